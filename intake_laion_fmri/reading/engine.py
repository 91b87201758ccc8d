"""Backend of ``xarray.open_dataset("s3://laion-fmri", engine="laion_fmri", subject="sub-01")``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint


class LaionBackend(BackendEntrypoint):
    """Backend that opens a subject's betas from a bucket's URL or folder.

    It takes the options of `open_betas` except ``bucket`` and ``chunks``. With xarray's own ``chunks={}`` each session
    is a block; without ``chunks``, betas are read on first access, as for every backend.
    """

    description = "Single-trial betas of LAION-fMRI, from a bucket or a copy of it"
    url = "https://github.com/ViCCo-Group/LAION-fMRI"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = ("filename_or_obj", "drop_variables")

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, **options: Any
    ) -> xr.Dataset:
        """Open the betas of a subject.

        Parameters
        ----------
        filename_or_obj : str or path
            The bucket: ``"s3://laion-fmri"``, another URL, or a folder.
        drop_variables : str or iterable of str, optional
            Variables and coordinates to leave out.
        **options
            Arguments of `open_betas`; ``subject`` is required.

        Returns
        -------
        xarray.Dataset
            As from `open_betas`, with the same errors and warnings.

        Raises
        ------
        TypeError
            If `open_betas` has no such option, or ``subject`` is missing.
        """
        from intake_laion_fmri.reading.betas import open_betas

        known = set(inspect.signature(open_betas).parameters) - {"bucket", "chunks"}
        unknown = sorted(set(options) - known)
        if unknown or "subject" not in options:
            problem = f"has no option {unknown[0]!r}" if unknown else "needs subject="
            raise TypeError(f"engine='laion_fmri' {problem}. Its options are {', '.join(sorted(known))}.")
        dataset = open_betas(**options, bucket=os.fspath(filename_or_obj))
        betas = dataset["betas"]
        betas.encoding["preferred_chunks"] = dict(betas.chunksizes)
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return dataset.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return False: a bucket is opened by naming the engine."""
        return False
