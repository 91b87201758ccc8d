"""The folder that downloads go to, and that is read first: named once for a process."""

from __future__ import annotations

import os
from pathlib import Path

from intake_laion_fmri.remote.addresses import local_folder
from intake_laion_fmri.remote.parents import make_folder

__all__ = ["data_dir", "dataset_initialize", "get_data_dir"]

_data_dir: Path | None = None


def dataset_initialize(data_dir: str | os.PathLike[str]) -> None:
    """Name the folder that `download.download` copies to, and that is read first, for this process.

    Parameters
    ----------
    data_dir : str or path
        Made if it does not exist. Nothing is written to it here. What is opened from now on, without a ``mirror`` of
        its own, reads from there what is there, complete and current.

    Raises
    ------
    TypeError, ValueError
        If it is no path, or a URL of something else than a file.
    OSError
        If it cannot be made, or is a file.
    """
    global _data_dir
    folder = local_folder(data_dir, "data_dir")
    make_folder(folder)
    _data_dir = folder


def data_dir() -> Path | None:
    """Return the folder that `dataset_initialize` named, or None."""
    return _data_dir


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
