"""Intake drivers (first generation): arguments in, the functions of `betas` and `discovery` out.

A driver takes exactly the arguments of the function it opens; names and values are checked when the source is made,
before anything is contacted.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from intake.catalog.local import YAMLFileCatalog
from intake.source.base import DataSource, Schema

from intake_laion_fmri.arguments import check_argument, check_arguments
from intake_laion_fmri.betas import open_betas, open_maps, open_noise_ceilings, open_rois, open_trials
from intake_laion_fmri.catalog_files import ROOT_FILE, catalog_folder
from intake_laion_fmri.discovery import inventory

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd
    import xarray as xr
    from intake.catalog import Catalog

__all__ = [
    "BetasSource",
    "InventorySource",
    "LaionCatalog",
    "MapsSource",
    "NoiseCeilingsSource",
    "RoisSource",
    "TrialsSource",
    "catalog_path",
    "open_catalog",
]


class _Source(DataSource):  # type: ignore[misc]
    """What all drivers share: the arguments are those of `opener`, and it is called once.

    Parameters
    ----------
    metadata : dict, optional
        From the catalog's entry.
    **arguments
        The arguments of `opener`.

    Raises
    ------
    TypeError
        If an argument's name is unknown, with the nearest names.
    ValueError
        If a value cannot be right, whatever the bucket holds.
    """

    version = "0.1"
    opener: ClassVar[Callable[..., Any]]

    def __init__(self, *, metadata: dict[str, Any] | None = None, **arguments: Any) -> None:
        check_arguments(self.opener, arguments, where=f"driver {self.name!r}")
        if "subject" in inspect.signature(self.opener).parameters and "subject" not in arguments:
            raise TypeError(f"Driver {self.name!r} needs the argument 'subject', such as subject='sub-01'.")
        super().__init__(metadata=metadata)
        self._arguments = arguments
        self._opened: Any = None

    def _open(self) -> Any:
        """Open the data, once, and return them."""
        if self._opened is None:
            self._opened = self.opener(**self._arguments)
        return self._opened

    def _close(self) -> None:
        self._opened = self._schema = None

    def describe(self) -> dict[str, Any]:
        """Return the entry's description, or that of a source made without a catalog."""
        if self._entry is not None:
            description: dict[str, Any] = self._entry.describe()
            return description
        return {
            "name": self.name,
            "container": self.container,
            "driver": [self.name],
            "description": inspect.getdoc(type(self)),
            "metadata": self.metadata,
            "args": dict(self._arguments),
        }


class _DatasetSource(_Source):
    """A source that is an xarray Dataset."""

    container = "xarray"
    partition_access = True

    def to_dask(self) -> xr.Dataset:
        """Return the Dataset, lazy where it holds betas: only small files are read."""
        dataset: xr.Dataset = self._open()
        return dataset

    def read(self) -> xr.Dataset:
        """Return the Dataset with all its values in memory."""
        # Chunks that fit the sessions are of no use to values in memory: let a store choose its own.
        return self.to_dask().compute().drop_encoding()

    def _get_schema(self) -> Schema:
        dataset = self.to_dask()
        dtypes = {str(name): str(array.dtype) for name, array in dataset.data_vars.items()}
        extra = {"dims": dict(dataset.sizes), "data_vars": list(dtypes), "coords": list(map(str, dataset.coords))}
        return Schema(
            dtype=dtypes, shape=dict(dataset.sizes), npartitions=len(self._partitions()), extra_metadata=extra
        )

    def _partitions(self) -> list[slice]:
        """Return the range of trials of each session, or of everything where there is no such dimension."""
        lengths = self.to_dask().chunksizes.get("trial", ())
        stops = [sum(lengths[: number + 1]) for number in range(len(lengths))]
        return [slice(stop - length, stop) for length, stop in zip(lengths, stops, strict=True)] or [slice(None)]

    def _get_partition(self, i: int) -> xr.Dataset:
        dataset, trials = self.to_dask(), self._partitions()[i]
        return (dataset.isel(trial=trials) if "trial" in dataset.dims else dataset).compute()


class BetasSource(_DatasetSource):
    """Single-trial betas, lazy and labelled, in one partition per session; see `intake_laion_fmri.open_betas`."""

    name = "laion_fmri_betas"
    opener = staticmethod(open_betas)


class RoisSource(_DatasetSource):
    """Which voxels belong to which ROI; see `intake_laion_fmri.open_rois`."""

    name = "laion_fmri_rois"
    opener = staticmethod(open_rois)


class NoiseCeilingsSource(_DatasetSource):
    """Noise ceilings and mean R2 of a subject; see `intake_laion_fmri.open_noise_ceilings`."""

    name = "laion_fmri_noise_ceilings"
    opener = staticmethod(open_noise_ceilings)


class MapsSource(_DatasetSource):
    """Maps of a subject or of one session: noise ceilings, R2, HRF index, ridge; see `intake_laion_fmri.open_maps`."""

    name = "laion_fmri_maps"
    opener = staticmethod(open_maps)


class _TableSource(_Source):
    """A source that is a pandas DataFrame."""

    container = "dataframe"

    def read(self) -> pd.DataFrame:
        """Return the table as a pandas DataFrame."""
        table: pd.DataFrame = self._open()
        return table

    def to_dask(self) -> dd.DataFrame:
        """Return the table as a Dask DataFrame of one partition; needs ``dask[dataframe]`` (the extra ``cluster``)."""
        import dask.dataframe as dd

        table: dd.DataFrame = dd.from_pandas(self.read(), npartitions=1)
        return table

    def _get_schema(self) -> Schema:
        table = self.read()
        dtypes = {str(name): str(dtype) for name, dtype in table.dtypes.items()}
        return Schema(dtype=dtypes, shape=table.shape, npartitions=1, extra_metadata={})

    def _get_partition(self, i: int) -> pd.DataFrame:
        return self.read()


class TrialsSource(_TableSource):
    """The trial table of a subject; see `intake_laion_fmri.open_trials`."""

    name = "laion_fmri_trials"
    opener = staticmethod(open_trials)


class InventorySource(_TableSource):
    """Every object of the bucket that can be read; see `intake_laion_fmri.discovery.inventory`."""

    name = "laion_fmri_inventory"
    opener = staticmethod(inventory)


class LaionCatalog(YAMLFileCatalog):  # type: ignore[misc]
    """A catalog file whose entries all read from one bucket, as do those of the catalogs that it refers to.

    Parameters
    ----------
    path : str
        The YAML file.
    arguments : mapping, optional
        Argument → value, for every entry; they stay when the catalog is reloaded or pickled.
    bucket : str or path, optional
        URL or folder that every entry reads from: short for the same in `arguments`.
    storage_options : mapping, optional
        With `bucket`, the options of its file system, as in every other entry. Without, what Intake means by it: the
        options of the catalog's own file.
    **options
        As of Intake's own class.

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be right.
    """

    name = "laion_fmri_catalog"

    def __init__(
        self,
        path: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        bucket: str | os.PathLike[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        given = dict(arguments or {})
        if bucket is not None:
            given |= {"bucket": bucket, "storage_options": storage_options}
            storage_options = None
        for name, value in given.items():
            check_argument(name, value)
        if "bucket" in given:
            given["bucket"] = os.fspath(given["bucket"])
        self._arguments = {name: value for name, value in given.items() if value is not None}
        super().__init__(_without_doubled_slashes(path), storage_options=storage_options, **options)

    def parse(self, text: str) -> None:
        """Take the entries from a YAML text and add the arguments."""
        super().parse(text)
        for entry in self._entries.values():
            description = entry.describe()
            args = description["args"]  # the entry's own, which it also pickles with
            if LaionCatalog.name in description["driver"]:
                args["arguments"] = {**args.get("arguments", {}), **self._arguments}
            else:
                args.update(self._arguments)


def _without_doubled_slashes(path: str) -> str:
    """Undo what ``{{ CATALOG_DIR }}/x`` does where the directory ends in a slash; keep those of a protocol."""
    return re.sub(r"(?<![:/])/{2,}", "/", path)


def catalog_path() -> Path:
    """Return the catalog file that came with the package."""
    return catalog_folder() / ROOT_FILE


def open_catalog(
    *,
    bucket: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Catalog:
    """Open the catalog that came with the package, for a bucket of one's choice.

    Parameters
    ----------
    bucket : str or path, optional
        URL or folder that every entry reads from. By default each entry looks at the environment variable
        ``LAION_FMRI_BUCKET`` when it is opened, and takes ``s3://laion-fmri`` where that is not set.
    storage_options : mapping, optional
        Options of the bucket's file system, for every entry.

    Returns
    -------
    intake.catalog.Catalog
        With the entries ``betas``, ``trials``, ``rois``, ``noise_ceilings``, ``maps`` and ``inventory``, and a catalog
        for each subject: ``cat["sub-01"]["ses-01"]``, ``cat["sub-01"]["FFA1"]``, ``cat["sub-01"].betas``.

    Raises
    ------
    ValueError, TypeError
        If `bucket` or `storage_options` cannot be right.

    Notes
    -----
    Reads one small file of the package. The catalogs of the subjects are read when they are asked for.

    Examples
    --------
    >>> cat = open_catalog(bucket="demo-bucket")
    >>> ds = cat.betas(subject="sub-01", roi="face").to_dask()  # doctest: +SKIP
    >>> ds = cat["sub-01"]["ses-01"](roi="face").to_dask()  # doctest: +SKIP
    """
    given = {"bucket": bucket, "storage_options": storage_options}
    return LaionCatalog(
        str(catalog_path()), arguments={name: value for name, value in given.items() if value is not None}
    )
