"""Downloading, under the function name of the data set's own package.

The transfer itself is not built yet. Nothing here needs it: every other function reads straight from the bucket.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from intake_laion_fmri import layout
from intake_laion_fmri.arguments import check_argument
from intake_laion_fmri.config import get_data_dir

__all__ = ["AVERAGES", "download"]

AVERAGES = "averages"
"""Value of `ses` for the files of a subject as a whole."""


def download(
    subject: str | Sequence[str] | None = None,
    ses: str | int | Sequence[str | int] | None = None,
    task: str | None = None,
    space: str | None = None,
    desc: str | None = None,
    stat: str | None = None,
    suffix: str | None = None,
    extension: str | None = None,
    include_stimuli: bool = False,
    n_jobs: int = 1,
) -> None:
    """Check what is to be downloaded, and say that the transfer is not built yet.

    Parameters
    ----------
    subject : str or sequence of str, optional
        ``"sub-01"`` or ``"01"``; all by default.
    ses : str, int or sequence of these, optional
        ``"ses-01"``, ``"01"``, ``1``; ``"averages"`` for the files of a subject as a whole.
    task, space, desc, stat, suffix, extension : str, optional
        BIDS entities that the files' names must have.
    include_stimuli : bool, default False
        Whether to fetch the public tables about the stimuli too.
    n_jobs : int, default 1
        Files at a time.

    Raises
    ------
    ValueError
        If a subject or session cannot be one, or `n_jobs` is below 1.
    RuntimeError
        If no folder was named with `config.dataset_initialize`.

    Warns
    -----
    UserWarning
        Always, until the transfer is there: nothing is copied.
    """
    for name in [subject] if isinstance(subject, str) else subject or []:
        layout.subject_name(name)
    if ses is not None and ses != AVERAGES:
        check_argument("session", ses)
    if n_jobs < 1:
        raise ValueError(f"n_jobs must be at least 1, found {n_jobs!r}.")
    warnings.warn(
        f"Nothing was copied to {get_data_dir()}: downloading is not built yet. It is not needed for reading: "
        "load_subject(), open_betas() and the catalog read straight from the bucket.",
        UserWarning,
        stacklevel=2,
    )
