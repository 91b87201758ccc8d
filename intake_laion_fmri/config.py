"""Where downloads go, under the function name of the data set's own package."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["dataset_initialize", "get_data_dir"]

_data_dir: Path | None = None


def dataset_initialize(data_dir: str | os.PathLike[str]) -> None:
    """Name the folder that `download.download` copies to, for this process.

    Parameters
    ----------
    data_dir : str or path
        Made if it does not exist. Nothing is written to it here.

    Raises
    ------
    TypeError
        If it is no path.
    OSError
        If it cannot be made, or is a file.
    """
    global _data_dir
    folder = Path(data_dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _data_dir = folder


def get_data_dir() -> Path:
    """Return the folder that `dataset_initialize` named.

    Raises
    ------
    RuntimeError
        If there was no such call.
    """
    if _data_dir is None:
        raise RuntimeError("No data folder yet: call intake_laion_fmri.config.dataset_initialize(FOLDER) first.")
    return _data_dir
