"""Intake's first generation: the catalog, and a driver for each row of `sources`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from intake.catalog.base import VersionError
from intake.catalog.exceptions import CatalogException
from intake.catalog.local import LocalCatalogEntry, YAMLFileCatalog

from intake_laion_fmri import layout
from intake_laion_fmri.catalog.datasource import OpenedSource, described, driver, for_intake, shown_entries
from intake_laion_fmri.catalog.files import ROOT_FILE
from intake_laion_fmri.catalog.given import Given, opened, sealed, shown
from intake_laion_fmri.catalog.inventory import catalog_folder
from intake_laion_fmri.catalog.pages import FoundCatalog, catalog_page, search
from intake_laion_fmri.errors import DataIntegrityError, redact, unknown_value
from intake_laion_fmri.reading.arguments import check_argument
from intake_laion_fmri.sources import SOURCES

if TYPE_CHECKING:
    from intake.source.base import DataSource

    def __getattr__(name: str) -> type[OpenedSource]: ...  # drivers, generated from the table of sources


_DRIVERS = {source.driver: driver(source, __name__) for source in SOURCES.values()}
globals().update(_DRIVERS)

__all__ = ["LaionCatalog", "UnknownEntryError", "catalog_path", "open_catalog", *_DRIVERS]

_TEMPLATE = re.compile(r"\{[{%#]")


def _represent(dumper: yaml.representer.BaseRepresenter, given: Given) -> yaml.Node:
    return dumper.represent_data(shown(given))


# Intake saves catalogs of any class with these dumpers.
yaml.add_representer(Given, _represent)
yaml.add_representer(Given, _represent, Dumper=yaml.SafeDumper)


class UnknownEntryError(KeyError):
    """A catalog has no such entry; the message lists the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show its repr


class _Entry(LocalCatalogEntry):  # type: ignore[misc]
    """An entry that accepts values without an envelope, as from `walk`."""

    def get(self, **user_parameters: Any) -> DataSource:
        """Return the source, optionally with other arguments."""
        return super().get(**sealed(user_parameters))

    def describe(self) -> dict[str, Any]:
        """Return the entry's description, with secrets hidden."""
        return described(super().describe())


class LaionCatalog(YAMLFileCatalog):  # type: ignore[misc]
    """A catalog whose entries and nested catalogs read from one bucket.

    Intake executes catalog files: only open those of this package, or others that you trust. Values passed to catalogs
    and entries are never rendered or executed.

    Parameters
    ----------
    path : str or path
        The YAML file.
    arguments : mapping, optional
        Arguments by name, for every entry; they are kept when the catalog is reloaded or pickled.
    bucket : str or path, optional
        URL or folder that every entry reads from; shorthand for the same in `arguments`.
    storage_options : mapping, optional
        With `bucket`, the options of its file system, as in every entry. Without `bucket`, as in Intake, those for
        reading the catalog file.
    **options
        As in Intake's own class.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.
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
        """Return this catalog with other arguments."""
        catalog: LaionCatalog = super().configure_new(**for_intake(self, arguments))
        return catalog

    __call__ = get = configure_new

    def __getitem__(self, key: Any) -> Any:
        """Return an entry; ``cat["sub-01.betas"]`` is that of a nested catalog.

        ``cat["sub-01", "betas"]`` returns the same.

        Raises
        ------
        KeyError
            If there is no such entry; the message lists the nearest names.
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
        """Describe an entry that does not exist."""
        first, _, rest = key.partition(".") if isinstance(key, str) else ("", "", "")
        if rest and first in self and isinstance(inner := self[first], LaionCatalog):
            return inner._unknown(rest)
        subject = self.metadata.get("subject")
        if isinstance(key, str) and subject and layout.is_session(key) and layout.is_held_out(key):
            return UnknownEntryError(
                f"{key} of {subject} has no entry: it is held out by the data set's authors. Contact {layout.CONTACT}."
            )
        hint = ""
        if subject and "rois" not in self.metadata:
            hint = (
                f" The ROIs of {subject} have no entries in this catalog. Use .rois(roi=...) or .betas(roi=...), or "
                "write a catalog from a listing of your bucket with 'intake-laion-fmri catalog write --bucket URL'."
            )
        where = f"the catalog of {subject}" if subject else f"the catalog {self.name!r}"
        return UnknownEntryError(str(unknown_value("entry", key, list(self), where=where)) + hint)

    def search(self, text: str, depth: int = 2) -> FoundCatalog:
        """Find entries by words, in this catalog and nested ones.

        Parameters
        ----------
        text : str
            Words such as an ROI, a category, a session or a source. Entries with at least one of them match.
        depth : int, default 2
            Number of levels of catalogs to search.

        Returns
        -------
        FoundCatalog
            A catalog of the matching entries, such as ``"sub-01.FFA1"``.
        """
        return search(self, text, depth)

    def __repr__(self) -> str:
        return str(catalog_page(self))

    def _repr_html_(self) -> str:
        return catalog_page(self).html()

    def _ipython_display_(self) -> None:
        catalog_page(self).display()

    def _yaml(self) -> dict[str, Any]:
        return shown_entries(super()._yaml())

    def describe(self) -> dict[str, Any]:
        """Return the entry's description, with secrets hidden."""
        return described(super().describe())

    def _load(self, reload: bool = False) -> None:
        try:
            super()._load(reload)
        except UnicodeDecodeError as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> DataIntegrityError:
        return DataIntegrityError(
            f"{redact.url(self.path)} is not a catalog: {redact.text(error)[:500]}. Download or write the file again."
        )

    def parse(self, text: str) -> None:
        """Parse entries from YAML, and pass the arguments to them.

        Intake imports the classes that a catalog file refers to, and renders its templates: only open files that you
        trust.

        Raises
        ------
        DataIntegrityError
            If the text is not a catalog.
        ValueError
            If the name of the file's folder contains a template, which Intake would render.
        """
        if _TEMPLATE.search(str(self._dir)):
            raise ValueError(
                f"The name of the catalog's folder {redact.url(self._dir)!r} contains a template, which Intake would "
                "execute. Move the catalog to a folder without '{{', '{%' and '{#' in its name."
            )
        try:
            super().parse(text)
        except (yaml.YAMLError, CatalogException, VersionError, RecursionError) as error:
            raise self._broken(error) from redact.cause(error)
        for entry in self._entries.values():
            description = entry.describe()
            args = description["args"]  # not a copy: the entry pickles these
            if LaionCatalog.name in description["driver"]:
                args["arguments"] = Given({**opened(args.get("arguments", {})), **self._arguments})
            else:
                args.update(sealed(self._arguments))
            entry.__class__ = _Entry  # Intake creates the entries, and has no option for their class


def _without_doubled_slashes(path: str) -> str:
    """Remove the doubled slashes of ``{{ CATALOG_DIR }}/x``, except after a protocol."""
    return re.sub(r"(?<![:/])/{2,}", "/", path)


def catalog_path() -> Path:
    """Return the path of the catalog that ships with the package."""
    return catalog_folder() / ROOT_FILE


def open_catalog(
    *,
    bucket: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> LaionCatalog:
    """Open the catalog that ships with the package, for any bucket.

    Parameters
    ----------
    bucket : str or path, optional
        URL or folder that every entry reads from. By default the environment variable ``LAION_FMRI_BUCKET`` when an
        entry is opened, or else ``s3://laion-fmri``.
    storage_options : mapping, optional
        Options of the bucket's file system, for every entry.
    mirror : str or path, optional
        Local folder with a part of the bucket, which every entry reads first. By default the environment variable
        ``LAION_FMRI_MIRROR`` when an entry is opened, or else the folder set with `config.dataset_initialize`.
    mirror_only : bool, optional
        Whether every entry reads only the mirror, without a network.

    Returns
    -------
    LaionCatalog
        With an entry for each source, such as ``betas``, ``trials``, ``rois``, ``maps`` and ``inventory``, and a
        catalog for each subject: ``cat["sub-01"]["ses-01"]``, ``cat["sub-01"]["FFA1"]``, ``cat["sub-01"].betas``.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Notes
    -----
    Reads one small file of the package. The subjects' catalogs are read on first use.

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
