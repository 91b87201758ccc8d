"""Intake drivers (first generation): arguments in, the functions of `betas` and `discovery` out.

A driver takes exactly the arguments of the function it opens; names and values are checked when the source is made,
before anything is contacted.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import yaml
from intake.catalog.base import VersionError
from intake.catalog.exceptions import CatalogException
from intake.catalog.local import YAMLFileCatalog
from intake.source.base import DataSource, Schema

from intake_laion_fmri.arguments import check_argument, check_arguments
from intake_laion_fmri.assembly import loaded
from intake_laion_fmri.betas import open_betas, open_maps, open_noise_ceilings, open_rois, open_trials
from intake_laion_fmri.catalog_files import ROOT_FILE, catalog_folder
from intake_laion_fmri.discovery import inventory
from intake_laion_fmri.errors import DataIntegrityError

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


_TEMPLATE = re.compile(r"\{[{%#]")
_CATALOG_DIR = re.compile(r"\{\{ ?CATALOG_DIR ?\}\}")
_MOST_PARTS = 10_000
"""Values in an entry or an argument, at most."""
_LONGEST_CATALOG = 1024 * 1024
"""Characters of a catalog file, at most: those that ship have a twentieth. YAML is read slowly."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads a catalog before Intake does: by libyaml where it is there, ten times as fast."""


# Intake prints tuples so, and reads them.
_Loader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: loader.construct_sequence(node, deep=True)
)


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

    def configure_new(self, **arguments: Any) -> _Source:
        """Return a source like this one with other arguments.

        Raises
        ------
        TypeError, ValueError
            As when a source is made; and if a value holds a template, which Intake would execute.
        """
        _refuse_templates(arguments, where=f"driver {type(self).name!r}")
        source: _Source = super().configure_new(**arguments)
        return source

    __call__ = get = configure_new

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
        return loaded(self.to_dask())

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
        _refuse_templates(given, where="a catalog")
        for name, value in given.items():
            check_argument(name, value)
        for name in {"bucket", "mirror"} & given.keys():
            given[name] = None if given[name] is None else os.fspath(given[name])
        self._arguments = {name: value for name, value in given.items() if value is not None}
        super().__init__(_without_doubled_slashes(path), storage_options=storage_options, **options)

    def configure_new(self, **arguments: Any) -> LaionCatalog:
        """Return a catalog like this one with other arguments; a template in one of them is refused."""
        _refuse_templates(arguments, where="a catalog")
        catalog: LaionCatalog = super().configure_new(**arguments)
        return catalog

    __call__ = get = configure_new

    def _load(self, reload: bool = False) -> None:
        try:
            super()._load(reload)
        except UnicodeDecodeError as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> DataIntegrityError:
        return DataIntegrityError(
            f"{self.path} is no catalog of this package: {str(error)[:500]}. Fetch or write the file again; one with "
            "other entries, which you trust, opens with intake.open_catalog."
        )

    def parse(self, text: str) -> None:
        """Take the entries from a YAML text and add the arguments.

        Raises
        ------
        DataIntegrityError
            If it is no catalog of this package's entries alone, or could make Intake execute something.
        """
        try:
            if len(text) > _LONGEST_CATALOG:
                raise ValueError(f"expected at most {_LONGEST_CATALOG} characters, found {len(text)}")
            # Intake renders the folder's name, too.
            _refuse_templates({"path": self._dir}, where="a catalog")
            _expect_harmless(yaml.load(text, Loader=_Loader))
            super().parse(text)
        except (yaml.YAMLError, CatalogException, VersionError, RecursionError, ValueError, TypeError) as error:
            raise self._broken(error) from error
        for entry in self._entries.values():
            description = entry.describe()
            args = description["args"]  # the entry's own, which it also pickles with
            if LaionCatalog.name in description["driver"]:
                args["arguments"] = {**args.get("arguments", {}), **self._arguments}
            else:
                args.update(self._arguments)


def _refuse_templates(arguments: Mapping[str, Any], *, where: str) -> None:
    """Raise ValueError if a value that a user gives holds a template: Intake would execute it, without a sandbox."""
    for name, value in arguments.items():
        for text in _texts(value):
            if _TEMPLATE.search(text):
                raise ValueError(
                    f"{name}={text[:200]!r} for {where} holds a template. Intake would execute it, so only catalog "
                    "files may hold templates: expected a plain value."
                )


def _texts(value: object) -> Iterator[str]:
    """Return the texts in a value of lists and mappings, however they hold each other."""
    seen, waiting = set(), [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping | list | tuple | set | frozenset) and id(one) not in seen:
            seen.add(id(one))
            if len(seen) > _MOST_PARTS:
                raise ValueError(f"Expected at most {_MOST_PARTS} lists and mappings in a value, found more.")
            waiting.extend([*one, *one.values()] if isinstance(one, Mapping) else one)


def _expect_harmless(catalog: Any) -> None:
    """Raise ValueError for a catalog file with anything but entries of this package's drivers and plain arguments.

    To Intake a catalog file is a program: it imports what `plugins`, `driver` and `cls` name, calls the latter, and
    renders templates without a sandbox.
    """
    if not isinstance(catalog, dict) or not isinstance(sources := catalog.get("sources"), dict):
        raise ValueError("expected a mapping with 'sources'")
    if "plugins" in catalog:
        raise ValueError("found 'plugins', which name modules to import")
    metadata = catalog.get("metadata", {})
    if not isinstance(metadata, dict) or "parameters" in metadata:
        raise ValueError("expected metadata without 'parameters'")
    known = {name for driver in _drivers() for name in (driver.name, f"{driver.__module__}.{driver.__name__}")}
    for name, entry in sources.items():
        found = _harm_of(entry, known)
        if found:
            raise ValueError(f"entry {str(name)[:80]!r}: {found}")


def _harm_of(entry: Any, known: Collection[str]) -> str | None:
    """Say what an entry holds beside what this package writes into one; `known` are the names of its drivers."""
    if not isinstance(entry, dict) or {"cls", "parameters", "cache"} & entry.keys():
        return "expected driver, description, args and metadata alone"
    named = entry.get("driver")
    names = named if isinstance(named, list) else [named]
    if not names or not all(isinstance(one, str) and one in known for one in names):
        return f"expected a driver of this package, found {str(named)[:200]!r}"
    if not isinstance(entry.get("args", {}), dict):
        return "expected args to be a mapping"
    _expect_a_tree(entry)
    for text in _texts([entry.get("args"), entry.get("metadata")]):
        if _TEMPLATE.search(_CATALOG_DIR.sub("", text)):
            return f"expected no template but {{{{ CATALOG_DIR }}}}, found {text[:200]!r}"
    return None


def _expect_a_tree(value: Any) -> None:
    """Raise ValueError where aliases of YAML make a little text stand for very much: Intake would follow them all."""
    count, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        count += 1
        if count > _MOST_PARTS:
            raise ValueError(f"expected at most {_MOST_PARTS} values in an entry, found more")
        if isinstance(one, dict | list):
            waiting.extend(one.values() if isinstance(one, dict) else one)


def _drivers() -> list[type[DataSource]]:
    return [
        BetasSource,
        InventorySource,
        LaionCatalog,
        MapsSource,
        NoiseCeilingsSource,
        RoisSource,
        TrialsSource,
    ]


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
) -> Catalog:
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
    intake.catalog.Catalog
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
