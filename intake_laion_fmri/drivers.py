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

import yaml
from intake.catalog.base import VersionError
from intake.catalog.exceptions import CatalogException
from intake.catalog.local import LocalCatalogEntry, YAMLFileCatalog
from intake.source.base import DataSource, Schema

from intake_laion_fmri import layout, redact
from intake_laion_fmri.catalog.files import ROOT_FILE
from intake_laion_fmri.catalog.given import Given, opened, sealed, shown
from intake_laion_fmri.catalog.inventory import catalog_folder
from intake_laion_fmri.discovery import inventory
from intake_laion_fmri.errors import DataIntegrityError, unknown_value
from intake_laion_fmri.reading.arguments import check_argument, check_arguments
from intake_laion_fmri.reading.assembly import loaded
from intake_laion_fmri.reading.betas import open_betas, open_maps, open_noise_ceilings, open_rois, open_trials

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd
    import xarray as xr

__all__ = [
    "BetasSource",
    "InventorySource",
    "LaionCatalog",
    "MapsSource",
    "NoiseCeilingsSource",
    "RoisSource",
    "TrialsSource",
    "UnknownEntryError",
    "catalog_path",
    "open_catalog",
]


_TEMPLATE = re.compile(r"\{[{%#]")


def _represent(dumper: yaml.representer.BaseRepresenter, given: Given) -> yaml.Node:
    return dumper.represent_data(shown(given))


# Intake saves catalogs with these, whatever their class.
yaml.add_representer(Given, _represent)
yaml.add_representer(Given, _represent, Dumper=yaml.SafeDumper)


class UnknownEntryError(KeyError):
    """A catalog has no such entry: names the nearest, and where a rule stands behind it, the rule."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would quote it


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
        arguments, metadata = opened(arguments), opened(metadata)
        # What Intake compares, pickles and makes another source from.
        self._captured_init_kwargs = {**arguments, **({} if metadata is None else {"metadata": metadata})}
        check_arguments(self.opener, arguments, where=f"driver {self.name!r}")
        if "subject" in inspect.signature(self.opener).parameters and "subject" not in arguments:
            raise TypeError(f"Driver {self.name!r} needs the argument 'subject', such as subject='sub-01'.")
        super().__init__(metadata=metadata)
        self._arguments = arguments
        self._opened: Any = None

    def configure_new(self, **arguments: Any) -> _Source:
        """Return a source like this one with other arguments.

        Raises
        ------
        TypeError, ValueError
            As when a source is made.
        """
        source: _Source = super().configure_new(**_for_intake(self, arguments))
        return source

    __call__ = get = configure_new

    def _open(self) -> Any:
        """Open the data, once until the source is closed, and return them: not to be handed out."""
        if self._opened is None:
            self._opened = self.opener(**self._arguments)
        return self._opened

    def _yaml(self) -> dict[str, Any]:
        return _shown_entries(super()._yaml())

    def _close(self) -> None:
        self._opened = self._schema = None

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """Not done by this source: what it opens is saved by its own methods."""
        raise NotImplementedError(
            f"{self.name!r} is saved by what it opens: to_dask().to_zarr(...) or .to_netcdf(...) of a Dataset, "
            "read().to_csv(...) of a table. For all betas, build a store: intake_laion_fmri.build_store."
        )

    persist = export

    def describe(self) -> dict[str, Any]:
        """Return the entry's description, or that of a source made without a catalog; secrets are hidden."""
        if self._entry is not None:
            return _described(self._entry.describe())
        return {
            "name": self.name,
            "container": self.container,
            "driver": [self.name],
            "description": inspect.getdoc(type(self)),
            "metadata": redact.tree(self.metadata),
            "args": redact.tree(self._arguments),
        }


def _for_intake(source: DataSource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as they may pass through Intake: sealed, with those that the source was called with before."""
    passed = getattr(source, "_passed_kwargs", ())
    before = {name: value for name, value in source._captured_init_kwargs.items() if name in passed}
    return sealed({**before, **arguments})


def _shown_entries(content: dict[str, Any]) -> dict[str, Any]:
    """Return what Intake writes of a source, with arguments and metadata as they may be seen and saved."""
    entries = {
        name: {field: shown(value) if field in ("args", "metadata") else value for field, value in entry.items()}
        for name, entry in content["sources"].items()
    }
    return {**content, "sources": entries}


def _described(description: Mapping[str, Any]) -> dict[str, Any]:
    return {**description, **{name: redact.tree(opened(description[name])) for name in ("args", "metadata")}}


class _Entry(LocalCatalogEntry):  # type: ignore[misc]
    """An entry that is given values without an envelope too, such as one out of `walk`."""

    def get(self, **user_parameters: Any) -> DataSource:
        """Return the source, with other arguments where there are any."""
        return super().get(**sealed(user_parameters))

    def describe(self) -> dict[str, Any]:
        """Return the entry's description; secrets are hidden."""
        return _described(super().describe())


class _DatasetSource(_Source):
    """A source that is an xarray Dataset."""

    container = "xarray"
    partition_access = True

    def to_dask(self) -> xr.Dataset:
        """Return the Dataset, lazy where it holds betas: only small files are read, and once.

        Each call returns a copy of its own, which may be changed. The bucket is looked at again after `close`.
        """
        dataset: xr.Dataset = self._open().copy(deep=True)  # lazy arrays are not copied
        return dataset

    def read(self) -> xr.Dataset:
        """Return the Dataset with all its values in memory."""
        return loaded(self.to_dask())

    def _get_schema(self) -> Schema:
        dataset = self._open()
        dtypes = {str(name): str(array.dtype) for name, array in dataset.data_vars.items()}
        extra = {"dims": dict(dataset.sizes), "data_vars": list(dtypes), "coords": list(map(str, dataset.coords))}
        return Schema(
            dtype=dtypes, shape=dict(dataset.sizes), npartitions=len(self._partitions()), extra_metadata=extra
        )

    def _partitions(self) -> list[slice]:
        """Return the range of trials of each session, or of everything where there is no such dimension."""
        lengths = self._open().chunksizes.get("trial", ())
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
        """Return the table as a pandas DataFrame, which may be changed."""
        table: pd.DataFrame = self._open().copy()
        return table

    def to_dask(self) -> dd.DataFrame:
        """Return the table as a Dask DataFrame of one partition.

        Raises
        ------
        ImportError
            Without ``dask[dataframe]``, which the extra ``cluster`` of this package installs.
        """
        try:
            import dask.dataframe as dd
        except ImportError as error:
            raise ImportError(
                f"to_dask() of {self.name!r} needs dask.dataframe, which cannot be imported here ({error}). Install it "
                "with: pip install 'dask[dataframe]', or call read() for the same table as a pandas DataFrame."
            ) from None
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

    def _open(self) -> pd.DataFrame:
        """Return what is there now: `discovery` says how long a listing is kept."""
        return self.opener(**self._arguments)


class LaionCatalog(YAMLFileCatalog):  # type: ignore[misc]
    """A catalog file whose entries all read from one bucket, as do those of the catalogs that it refers to.

    A catalog file is a program: open one of this package, or one that you would run. Values that are given to catalogs
    and entries are data: they are never rendered.

    Parameters
    ----------
    path : str or path
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
        path: str | os.PathLike[str],
        *,
        arguments: Mapping[str, Any] | None = None,
        bucket: str | os.PathLike[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        own = {"arguments": arguments, "bucket": bucket, "storage_options": storage_options, **options}
        own = {name: opened(value) for name, value in own.items()}
        file, options = _without_doubled_slashes(os.fspath(opened(path))), {name: own[name] for name in options}
        self._captured_init_kwargs = {name: value for name, value in own.items() if value is not None}
        self._captured_init_args = (file,)
        bucket, storage_options = own["bucket"], own["storage_options"]
        given = dict(own["arguments"] or {})
        if bucket is not None:
            given |= {"bucket": bucket, "storage_options": storage_options}
            storage_options = None
        for name, value in given.items():
            check_argument(name, value)
        self._arguments = {name: value for name, value in given.items() if value is not None}
        super().__init__(file, storage_options=storage_options, **options)

    def configure_new(self, **arguments: Any) -> LaionCatalog:
        """Return a catalog like this one with other arguments."""
        catalog: LaionCatalog = super().configure_new(**_for_intake(self, arguments))
        return catalog

    __call__ = get = configure_new

    def __getitem__(self, key: Any) -> Any:
        """Return an entry by name; ``cat["sub-01.betas"]`` and ``cat["sub-01", "betas"]`` go through catalogs.

        Raises
        ------
        KeyError
            If there is none, with the nearest names.
        """
        try:
            return super().__getitem__(key)
        except UnknownEntryError:
            raise
        except KeyError:
            raise self._unknown(key) from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "entry":
            return super().__getattr__(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(str(error)) from None

    def _unknown(self, key: object) -> UnknownEntryError:
        """Describe an entry that is not there."""
        first, _, rest = key.partition(".") if isinstance(key, str) else ("", "", "")
        if rest and first in self and isinstance(inner := self[first], LaionCatalog):
            return inner._unknown(rest)
        subject = self.metadata.get("subject")
        if isinstance(key, str) and subject and layout.is_session(key) and layout.is_held_out(key):
            return UnknownEntryError(
                f"{key} of {subject} is held out by the data set's authors: it has no entry. Ask {layout.CONTACT}."
            )
        hint = ""
        if subject and "rois" not in self.metadata:
            hint = (
                f" The ROIs of {subject} are not in this catalog by name: take .rois(roi=...) or .betas(roi=...), or "
                "write a catalog from a listing of your bucket with 'intake-laion-fmri catalog write --bucket URL'."
            )
        where = f"the catalog of {subject}" if subject else f"the catalog {self.name!r}"
        return UnknownEntryError(str(unknown_value("entry", key, list(self), where=where)) + hint)

    def _yaml(self) -> dict[str, Any]:
        return _shown_entries(super()._yaml())

    def describe(self) -> dict[str, Any]:
        """Return the entry's description; secrets are hidden."""
        return _described(super().describe())

    def _load(self, reload: bool = False) -> None:
        try:
            super()._load(reload)
        except UnicodeDecodeError as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> DataIntegrityError:
        return DataIntegrityError(
            f"{redact.url(self.path)} is no catalog: {redact.text(error)[:500]}. Fetch or write the file again."
        )

    def parse(self, text: str) -> None:
        """Take the entries from a YAML text and add the arguments.

        A catalog file is a program: Intake imports what it names, and renders its templates. Open only those that you
        would run.

        Raises
        ------
        DataIntegrityError
            If it is no catalog.
        ValueError
            If the name of the file's folder holds a template, which Intake would render.
        """
        if _TEMPLATE.search(str(self._dir)):
            raise ValueError(
                f"The catalog's folder {redact.url(self._dir)!r} has the start of a template in its name, which Intake "
                "would execute. Move the catalog to a folder without '{{', '{%' and '{#' in its name."
            )
        try:
            super().parse(text)
        except (yaml.YAMLError, CatalogException, VersionError, RecursionError) as error:
            raise self._broken(error) from redact.cause(error)
        for entry in self._entries.values():
            description = entry.describe()
            args = description["args"]  # the entry's own, which it also pickles with
            if LaionCatalog.name in description["driver"]:
                args["arguments"] = Given({**opened(args.get("arguments", {})), **self._arguments})
            else:
                args.update(sealed(self._arguments))
            entry.__class__ = _Entry  # Intake makes them, and tells nobody how to make others


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
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> LaionCatalog:
    """Open the catalog that came with the package, for a bucket of one's choice.

    Parameters
    ----------
    bucket : str or path, optional
        URL or folder that every entry reads from. By default each entry looks at the environment variable
        ``LAION_FMRI_BUCKET`` when it is opened, and takes ``s3://laion-fmri`` where that is not set.
    storage_options : mapping, optional
        Options of the bucket's file system, for every entry.
    mirror : str or path, optional
        Local folder with a part of the bucket, which every entry reads first. By default each entry looks at what
        `config.dataset_initialize` has named, or at the environment variable ``LAION_FMRI_MIRROR``.
    mirror_only : bool, optional
        Whether every entry reads the mirror alone, without a network.

    Returns
    -------
    LaionCatalog
        With the entries ``betas``, ``trials``, ``rois``, ``noise_ceilings``, ``maps`` and ``inventory``, and a catalog
        for each subject: ``cat["sub-01"]["ses-01"]``, ``cat["sub-01"]["FFA1"]``, ``cat["sub-01"].betas``.

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be right.

    Notes
    -----
    Reads one small file of the package. The catalogs of the subjects are read when they are asked for.

    Examples
    --------
    >>> cat = open_catalog(bucket="demo-bucket")
    >>> ds = cat.betas(subject="sub-01", roi="face").to_dask()  # doctest: +SKIP
    >>> ds = cat["sub-01"]["ses-01"](roi="face").to_dask()  # doctest: +SKIP
    """
    given = {"bucket": bucket, "storage_options": storage_options, "mirror": mirror, "mirror_only": mirror_only}
    return LaionCatalog(
        str(catalog_path()), arguments={name: value for name, value in given.items() if value is not None}
    )
