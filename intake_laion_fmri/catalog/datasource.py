"""Base classes of the drivers for Intake's first generation.

A driver takes exactly the arguments of its opener. Names and values are checked when the source is created, before the
bucket is contacted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from intake.source.base import DataSource, Schema

from intake_laion_fmri.catalog.given import opened, sealed, shown
from intake_laion_fmri.catalog.pages import source_page
from intake_laion_fmri.errors import redact
from intake_laion_fmri.reading.arguments import check_arguments, labels_alone
from intake_laion_fmri.reading.loading import load
from intake_laion_fmri.sources import Source

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd
    import xarray as xr


class OpenedSource(DataSource):  # type: ignore[misc]
    """Base class of drivers, which call `opener` once with their arguments.

    Parameters
    ----------
    metadata : dict, optional
        Metadata of the catalog's entry.
    **arguments
        The arguments of `opener`.

    Raises
    ------
    TypeError
        If an argument is unknown; the message lists the nearest names.
    ValueError
        If a value is invalid for any bucket.
    """

    version = "0.1"
    source: ClassVar[Source]
    opener: ClassVar[Callable[..., Any]]

    def __init__(self, *, metadata: dict[str, Any] | None = None, **arguments: Any) -> None:
        arguments, metadata = opened(arguments), opened(metadata)
        check_arguments(self.opener, arguments, where=f"driver {self.name!r}")
        arguments = labels_alone(arguments)
        # Intake compares and pickles these, and creates other sources from them.
        self._captured_init_kwargs = {**arguments, **({} if metadata is None else {"metadata": metadata})}
        if self.source.of_subject and "subject" not in arguments:
            raise TypeError(f"Driver {self.name!r} needs the argument 'subject', such as subject='sub-01'.")
        super().__init__(metadata=metadata)
        self._arguments = arguments
        self._opened: Any = None

    def configure_new(self, **arguments: Any) -> OpenedSource:
        """Return this source with other arguments.

        Raises
        ------
        TypeError, ValueError
            As in the constructor.
        """
        source: OpenedSource = super().configure_new(**for_intake(self, arguments))
        return source

    __call__ = get = configure_new

    def _open(self) -> Any:
        """Open the data once until the source is closed.

        The result is shared: callers copy it before returning it. The inventory, which reads no file, is opened each
        time, to list the bucket again.
        """
        if self._opened is None or not self.source.groups:
            self._opened = self.opener(**self._arguments)
        return self._opened

    def _repr_html_(self) -> str:
        return source_page(self.source, self.opener, self._arguments).html()

    def _ipython_display_(self) -> None:
        source_page(self.source, self.opener, self._arguments).display()

    def _yaml(self) -> dict[str, Any]:
        return shown_entries(super()._yaml())

    def _close(self) -> None:
        self._opened = self._schema = None

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """Raise NotImplementedError: save opened data with their own methods."""
        raise NotImplementedError(
            f"{self.name!r} cannot export data. Save the opened data instead: a Dataset with to_dask().to_zarr(...) or "
            ".to_netcdf(...), a table with read().to_csv(...). For all betas, use intake_laion_fmri.build_store."
        )

    persist = export

    def describe(self) -> dict[str, Any]:
        """Return the description of the entry or source, with secrets hidden."""
        if self._entry is not None:
            return described(self._entry.describe())
        return {
            "name": self.name,
            "container": self.container,
            "driver": [self.name],
            "description": inspect.getdoc(type(self)),
            "metadata": redact.tree(self.metadata),
            "args": redact.tree(self._arguments),
        }


def for_intake(source: DataSource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Seal arguments for Intake, and merge them with those given before."""
    passed = getattr(source, "_passed_kwargs", ())
    before = {name: value for name, value in source._captured_init_kwargs.items() if name in passed}
    return sealed({**before, **arguments})


def shown_entries(content: dict[str, Any]) -> dict[str, Any]:
    """Return the YAML content of a source, without secrets."""
    entries = {
        name: {field: shown(value) if field in ("args", "metadata") else value for field, value in entry.items()}
        for name, entry in content["sources"].items()
    }
    return {**content, "sources": entries}


def described(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry's description, with secrets hidden."""
    return {**description, **{name: redact.tree(opened(description[name])) for name in ("args", "metadata")}}


class DatasetSource(OpenedSource):
    """A source that opens an xarray Dataset."""

    container = "xarray"
    partition_access = True

    def to_dask(self) -> xr.Dataset:
        """Return the lazy Dataset; small files are read once.

        Each call returns a new copy. The data are opened again after `close`.
        """
        dataset: xr.Dataset = self._open().copy(deep=True)  # lazy arrays are not copied
        return dataset

    def read(self) -> xr.Dataset:
        """Return the Dataset with all values in memory; see `reading.loading.load`."""
        return load(self.to_dask())

    def _get_schema(self) -> Schema:
        dataset = self._open()
        dtypes = {str(name): str(array.dtype) for name, array in dataset.data_vars.items()}
        extra = {"dims": dict(dataset.sizes), "data_vars": list(dtypes), "coords": list(map(str, dataset.coords))}
        return Schema(
            dtype=dtypes, shape=dict(dataset.sizes), npartitions=len(self._partitions()), extra_metadata=extra
        )

    def _partitions(self) -> list[slice]:
        """Return the range of trials of each session; one range without ``trial``."""
        lengths = self._open().chunksizes.get("trial", ())
        stops = [sum(lengths[: number + 1]) for number in range(len(lengths))]
        return [slice(stop - length, stop) for length, stop in zip(lengths, stops, strict=True)] or [slice(None)]

    def _get_partition(self, i: int) -> xr.Dataset:
        dataset, trials = self.to_dask(), self._partitions()[i]
        return (dataset.isel(trial=trials) if "trial" in dataset.dims else dataset).compute()


class TableSource(OpenedSource):
    """A source that opens a pandas DataFrame."""

    container = "dataframe"

    def read(self) -> pd.DataFrame:
        """Return a copy of the table as a pandas DataFrame."""
        table: pd.DataFrame = self._open().copy()
        return table

    def to_dask(self) -> dd.DataFrame:
        """Return the table as a Dask DataFrame with one partition.

        Raises
        ------
        ImportError
            If ``dask[dataframe]`` is missing; the extra ``cluster`` of this package installs it.
        """
        try:
            import dask.dataframe as dd
        except ImportError as error:
            raise ImportError(
                f"to_dask() of {self.name!r} needs dask.dataframe, which cannot be imported ({error}). Install it with "
                "pip install 'dask[dataframe]', or call read() for the same table as a pandas DataFrame."
            ) from None
        table: dd.DataFrame = dd.from_pandas(self.read(), npartitions=1)
        return table

    def _get_schema(self) -> Schema:
        table = self.read()
        dtypes = {str(name): str(dtype) for name, dtype in table.dtypes.items()}
        return Schema(dtype=dtypes, shape=table.shape, npartitions=1, extra_metadata={})

    def _get_partition(self, i: int) -> pd.DataFrame:
        return self.read()


def driver(source: Source, module: str) -> type[OpenedSource]:
    """Create the driver class of a source in a module."""
    bases = {"xarray": DatasetSource, "dataframe": TableSource}
    fields = {
        "__module__": module,
        "__doc__": f"{source.described()} See `{source.path.replace(':', '.')}`.",
        "name": f"laion_fmri_{source.name}",
        "source": source,
        "opener": staticmethod(source.load()),
        "__signature__": inspect.signature(source.load()),  # for help and completion of `cat.betas(`
    }
    return type(source.driver, (bases[source.container],), fields)
