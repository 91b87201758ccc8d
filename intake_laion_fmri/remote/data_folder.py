"""The data folder: target of downloads, read first, remembered between processes."""

from __future__ import annotations

import errno
import json
import os
import warnings
from pathlib import Path

from intake_laion_fmri.errors import DataDirNotSetError
from intake_laion_fmri.remote import marks
from intake_laion_fmri.remote.addresses import local_folder, user_folder
from intake_laion_fmri.remote.atomic import write_whole
from intake_laion_fmri.remote.parents import make_folder

CONFIG_VARIABLE = "LAION_FMRI_CONFIG"
"""Environment variable with the folder that the setting is kept in, instead of the user's configuration folder."""

_LARGEST_BYTES = 100_000

_data_dir: Path | None = None


def dataset_initialize(data_dir: str | os.PathLike[str]) -> None:
    """Set the data folder, for this process and later ones.

    `download.download` copies to it, and it is read before the bucket.

    What is opened from now on, without a ``mirror`` of its own, reads from there what is there, complete and current.
    The folder's name is kept in the user's configuration folder; the environment variable ``LAION_FMRI_MIRROR`` goes
    before what an earlier process has named.

    Parameters
    ----------
    data_dir : str or path
        An existing folder. Nothing is written to it here.

    Raises
    ------
    TypeError, ValueError
        If it is no path, or a URL of something else than a file.
    FileNotFoundError, NotADirectoryError
        If there is no such folder, or it is a file.

    Warns
    -----
    UserWarning
        If the name cannot be kept: then it is known to this process only.

    References
    ----------
    ``laion_fmri.config`` of the data set's own package.
    """
    global _data_dir
    folder = local_folder(data_dir, "data_dir")
    if not folder.is_dir():
        kind, code = (NotADirectoryError, errno.ENOTDIR) if folder.exists() else (FileNotFoundError, errno.ENOENT)
        raise kind(code, f"{os.strerror(code)}: create the folder first, or give another", os.fspath(folder))
    _data_dir = folder
    _keep(folder)


def data_dir() -> Path | None:
    """Return the data folder set in this process, or None."""
    return _data_dir


def get_data_dir() -> str:
    """Return the data folder set in this or an earlier process.

    Raises
    ------
    DataDirNotSetError
        If there was no such call.
    """
    folder = _data_dir or kept_data_dir()
    if folder is None:
        raise DataDirNotSetError(
            "No data folder is set: call intake_laion_fmri.config.dataset_initialize(FOLDER) first, or "
            "'intake-laion-fmri config --data-dir FOLDER'."
        )
    return os.fspath(folder)


def settings_file() -> Path | None:
    """Return the settings file; None if no home folder is known."""
    folder = user_folder("config", CONFIG_VARIABLE)
    return folder and folder / "settings.json"


def kept_data_dir() -> Path | None:
    """Return the data folder of an earlier process, or None.

    The folder may no longer exist.
    """
    path = settings_file()
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_LARGEST_BYTES))["data_dir"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # not there, or not ours
        return None
    return Path(found) if isinstance(found, str) and os.path.isabs(found) else None


def _keep(folder: Path) -> None:
    path = settings_file()
    try:
        if path is None:
            raise FileNotFoundError("the home folder is unknown")
        marks.raise_unless_ours(path, marks.SETTINGS)
        make_folder(path.parent)
        content = {"made by": "intake-laion-fmri", "data_dir": os.fspath(folder)}
        write_whole(path, json.dumps(content, indent=1).encode())
    except OSError as error:
        warnings.warn(
            f"The data folder {folder} is set for this process only and was not saved: {error}. Set "
            f"{CONFIG_VARIABLE} to a writable folder.",
            stacklevel=3,
        )
