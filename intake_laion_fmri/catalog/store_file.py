"""A store's catalog, for readers with intake-xarray and without this package."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from intake_laion_fmri.building.contents import StoreInfo
from intake_laion_fmri.catalog.given import shown
from intake_laion_fmri.catalog.yaml_text import CATALOG_METADATA, Flow, FlowList, yaml_text
from intake_laion_fmri.errors import redact
from intake_laion_fmri.remote import addresses

_HEADER_STORE = """\
# Written by `intake-laion-fmri store catalog`. Reading it needs intake-xarray, and not this package.
"""


def store_catalog(info: StoreInfo, storage_options: Mapping[str, Any] | None = None) -> str:
    """Return a store's catalog as YAML, for intake-xarray alone.

    It has an entry per session, such as ``sub-01_ses-01``, and an entry for all sessions of a subject along ``trial``,
    such as ``sub-01``, if they have equal voxels. Voxels are in stored order, and chunks are those of the store. Intake
    executes catalogs, so the store's URL is escaped. Only options of the file system that are known not to be secret
    are written.

    Raises
    ------
    ValueError
        If the store's URL contains ``::``, which Intake takes for a chain of file systems.

    Warns
    -----
    UserWarning
        If its path contains ``#`` or ``?``, which zarr 3.4 takes for the end of the path.
    """
    store = redact.url(info.url)
    if "::" in info.url:
        raise ValueError(
            f"store={store!r} cannot be in a catalog, because Intake takes '::' for a chain of file systems. Move or "
            "link the store to a path without '::', or read it with open_betas(store=...)."
        )
    if addresses.is_folder(info.url) and (found := [mark for mark in "#?" if mark in info.url]):
        warnings.warn(
            f"store={store!r}: zarr 3.4 and newer take {found[0]!r} for the end of a path, so that they will not find "
            f"the store with this catalog. For these versions, move or link the store to a path without {found[0]!r}.",
            stacklevel=2,
        )
    options = _without_secrets(storage_options or {})
    sources = {}
    for subject, sessions in ((found.subject, found.sessions) for found in info.subjects):
        urls = [shown(f"{info.url}/{subject}/{session}") for session in sessions]
        if len(urls) > 1 and len({stored.record.axis for stored in sessions.values()}) == 1:
            together = {
                "combine": "nested",
                "concat_dim": "trial",
                "data_vars": FlowList(["betas"]),
                "coords": "minimal",
                "compat": "override",
                "join": "override",
                "combine_attrs": "drop_conflicts",
            }
            sources[subject] = {
                "driver": "zarr",
                "description": f"Single-trial betas of {subject}, {len(urls)} sessions along trial.",
                "args": {"urlpath": urls, "consolidated": True, **together, **_storage_options(options)},
            }
        for session, url in zip(sessions, urls, strict=True):
            path = [url] if "*" in url else url  # a string with an asterisk would be a pattern
            sources[f"{subject}_{session}"] = {
                "driver": "zarr",
                "description": f"Single-trial betas of {subject} in {session}.",
                "args": {"urlpath": path, "consolidated": True, **_storage_options(options)},
            }
    title = {"version": 1, "title": f"LAION-fMRI, the store {info.url}"}
    return _HEADER_STORE + yaml_text({"metadata": {**CATALOG_METADATA, **title}, "sources": sources})


def _storage_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"storage_options": Flow(shown(options))} if options else {}  # new objects: no alias in YAML


def _without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: options[name] for name in ("anon", "profile", "endpoint_url") if name in options}
    given = options.get("client_kwargs", {})
    client = {name: given[name] for name in _PUBLIC_CLIENT if name in given}
    return redact.options(kept | ({"client_kwargs": client} if client else {}))


_PUBLIC_CLIENT = ("endpoint_url", "region_name")
