"""Representations of catalogs and sources in notebooks and terminals."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from intake.catalog.base import Catalog

from intake_laion_fmri.errors import in_short, redact
from intake_laion_fmri.reading.pages import Page, counted, sized, spanned
from intake_laion_fmri.sources import Source, argument_help

_GIVES = {"xarray": "Dataset", "dataframe": "table", "catalog": "catalog"}
_READ = {
    "xarray": "to_dask() opens the Dataset, lazy where it is large; read() loads it.",
    "dataframe": "read() gives the table.",
}

_SESSIONS = "sessions"

Description = Mapping[str, Any]
"""The result of an entry's ``describe()``."""


class FoundCatalog(Catalog):  # type: ignore[misc]
    """Entries found by a search, under their names in the searched catalog."""

    name = "laion_fmri_search"

    def __repr__(self) -> str:
        return str(catalog_page(self))

    def _repr_html_(self) -> str:
        return catalog_page(self).html()

    def _ipython_display_(self) -> None:
        catalog_page(self).display()


def search(catalog: Catalog, text: str, depth: int = 2) -> FoundCatalog:
    """Find entries whose name or description contains a word of the text."""
    words = text.lower().split()
    found, unknown = {}, []
    for name, entry in catalog.walk(depth=depth).items():
        description = entry.describe()
        # The help of arguments would match nearly every word.
        about = {key: value for key, value in description["metadata"].items() if key not in ("arguments", "roi_names")}
        searched = " ".join(map(str, (name, description["description"], description["args"], about))).lower()
        if any(word in searched for word in words):
            found[name] = copy.copy(entry)
        if "roi_names" in description["metadata"]:
            unknown.append(name)
    metadata = {**(catalog.metadata or {}), "search": {"text": text, "upstream": catalog.name}}
    if unknown:
        metadata["search"]["rois_not_known"] = unknown
    found_catalog: FoundCatalog = FoundCatalog.from_dict(found, name=f"{catalog.name}_search", metadata=metadata)
    return found_catalog


def source_page(source: Source, opener: Callable[..., Any], arguments: Mapping[str, Any]) -> Page:
    """Return the page of a source: its arguments, their values and help."""
    help_texts, given = argument_help(opener), redact.tree(dict(arguments))
    rows = []
    for name, parameter in inspect.signature(opener).parameters.items():
        default = "(required)" if parameter.default is parameter.empty else repr(parameter.default)
        rows.append((name, repr(given[name]) if name in given else default, help_texts.get(name, "")))
    return Page(
        f"{source.name}: {source.described(str(given.get('subject', 'one subject')))}",
        ("argument", "value", "meaning"),
        rows,
        (f"Call it for other arguments. {_READ[source.container]}", f"In Python: {source.path.replace(':', '.')}(...)"),
    )


def catalog_page(catalog: Catalog) -> Page:
    """Return the page of a catalog, with its sources and catalogs."""
    entries = {name: entry.describe() for name, entry in catalog.walk(depth=1).items()}
    number = "1 entry" if len(entries) == 1 else f"{len(entries):,} entries"
    metadata = catalog.metadata or {}
    found = metadata.get("search")
    title = f"{number} of {found['upstream']} for {found['text']!r}" if found else f"Catalog {catalog.name}: {number}"
    columns = ("entry", "gives", "holds", "size", "arguments")
    return Page(title, columns, list(_rows(entries)), tuple(_notes(metadata)), hidden=("arguments",))


def _rows(entries: Mapping[str, Description]) -> Iterator[tuple[str, ...]]:
    """Yield rows; sessions, and ROIs of a category, share one."""
    groups: dict[tuple[str, str], dict[str, Description]] = {}
    for name, entry in entries.items():
        group = _group(entry)
        groups.setdefault((group, name.rpartition(".")[0]) if group else (name, ""), {})[name] = entry
    for (group, _), members in groups.items():
        first = next(iter(members.values()))
        sizes = [entry["metadata"]["bytes"] for entry in members.values() if "bytes" in entry["metadata"]]
        size = sized(sum(sizes)) if len(sizes) == len(members) else ""
        arguments = ", ".join(first["metadata"].get("arguments", ()))
        gives: str = _GIVES.get(first["container"], "")
        if group in members:
            yield group, gives, first["description"], size, arguments
        else:
            held, names = "session" if group == _SESSIONS else f"{group} ROI", list(members)
            shown = spanned(names) if group == _SESSIONS else in_short(names, most=6)
            yield shown, gives, counted(len(names), held), size, arguments


def _group(entry: Description) -> str:
    """Return the group whose entries share a row, or an empty string."""
    return _SESSIONS if "session" in entry["args"] else str(entry["metadata"].get("category", ""))


def _notes(metadata: Mapping[str, Any]) -> Iterator[str]:
    found = metadata.get("search")
    if found is None:
        yield "Open an entry with cat.betas(roi='face').to_dask(). Search with cat.search('FFA')."
        if "inventory" in metadata:
            yield f"Source: {metadata['inventory']}."
    elif found.get("rois_not_known"):
        yield (
            f"The names of the ROIs of {', '.join(found['rois_not_known'])} are not in this catalog. Write one that "
            "has them with 'intake-laion-fmri catalog write --bucket URL'."
        )
