"""The catalog's YAML files: made from an inventory, which is a bucket's listing or what is documented of it.

The files that ship lie beside their inventory and are exactly what `catalog_files` makes of it. They name no bucket:
where the data are is told when a catalog is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from intake_laion_fmri import layout, redact
from intake_laion_fmri.building.contents import StoreInfo
from intake_laion_fmri.catalog.given import shown
from intake_laion_fmri.catalog.inventory import INVENTORY_FILE, Change, Inventory, SubjectRecord
from intake_laion_fmri.remote import addresses, atomic
from intake_laion_fmri.remote.marks import CATALOG, INVENTORY, raise_unless_ours
from intake_laion_fmri.sources import SOURCES, Source, argument_help

__all__ = [
    "ROOT_FILE",
    "V2_FILE",
    "catalog_files",
    "changed_files",
    "store_catalog",
    "write_file",
    "write_files",
]

ROOT_FILE = "laion_fmri.yaml"
V2_FILE = "laion_fmri.v2.yaml"

_PLACE = ("bucket", "storage_options", "mirror", "mirror_only")
"""Arguments that tell where the data are."""

_HEADER = f"""\
# Written by `intake-laion-fmri catalog write` from {INVENTORY_FILE} beside it: do not edit.
"""
_HEADER_V1 = """\
# No entry declares `parameters:`: Intake warns of text parameters at every use, so the drivers check their arguments
# themselves, and the allowed values stand in each entry's metadata.
"""
_HEADER_STORE = """\
# Written by `intake-laion-fmri store catalog`. Reading it needs intake-xarray, and not this package.
"""
_HEADER_V2 = """\
# For the second generation of Intake: intake.from_yaml_file(...). `bucket_url` and `bucket_options` are meant for the
# whole catalog, cat(bucket_url="demo-bucket"); their names differ from the readers' arguments, which Intake would
# drop without a word.
"""


def catalog_files(inventory: Inventory) -> dict[str, str]:
    """Make the catalog's files.

    Parameters
    ----------
    inventory : Inventory
        What is to be described.

    Returns
    -------
    dict
        File name → text, in an order in which a file only refers to files before it: the subjects' catalogs, the root
        catalogs of both generations of Intake, and the inventory itself.
    """
    files = {
        f"{name}.yaml": _HEADER + _yaml(_subject_catalog(name, subject, inventory.source))
        for name, subject in inventory.subjects.items()
    }
    files[ROOT_FILE] = _HEADER + _HEADER_V1 + _yaml(_root_catalog(inventory))
    files[V2_FILE] = _HEADER + _HEADER_V2 + _yaml(_v2_catalog(inventory))
    files[INVENTORY_FILE] = inventory.to_json()
    return files


_MISREAD = {
    "::": "Intake takes '::' for a chain of file systems",
    "#": "newer versions of Zarr take '#' for the end of a path",
    "?": "newer versions of Zarr take '?' for the end of a path",
}
"""What intake-xarray, or what it calls, does not take for a part of a path."""


def store_catalog(info: StoreInfo, storage_options: Mapping[str, Any] | None = None) -> str:
    """Return a catalog of a store that needs intake-xarray only.

    Parameters
    ----------
    info : StoreInfo
        What the store holds.
    storage_options : mapping, optional
        Options of the store's file system; only those are written that are known to be no secrets.

    Returns
    -------
    str
        YAML, to be executed by Intake as every catalog; it is made so that the store's address is none of it that runs.
        It has an entry per session, ``sub-01_ses-01``, and one for all sessions of a subject along ``trial``,
        ``sub-01``, where they have the same voxels. Voxels are in stored order there, and the chunks are the store's.

    Raises
    ------
    ValueError
        If intake-xarray could not open the store, because of a ``::`` in its address, or a ``#`` or ``?`` in its path.
    """
    for mark, reason in _MISREAD.items():
        if mark in info.url and (mark == "::" or addresses.is_folder(info.url)):
            raise ValueError(
                f"store={redact.url(info.url)!r}: a catalog cannot name it, because {reason}. Move or link the store "
                f"to a path without {mark!r}, or read it with open_betas(store=...)."
            )
    options = _without_secrets(storage_options or {})
    sources = {}
    for subject, sessions in ((one.subject, one.sessions) for one in info.subjects):
        urls = [shown(f"{info.url}/{subject}/{session}") for session in sessions]
        if len(urls) > 1 and len({one.record.axis for one in sessions.values()}) == 1:
            together = {
                "combine": "nested",
                "concat_dim": "trial",
                "data_vars": _FlowList(["betas"]),
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
        for session, place in zip(sessions, urls, strict=True):
            path = [place] if "*" in place else place  # a text with a star would be a pattern
            sources[f"{subject}_{session}"] = {
                "driver": "zarr",
                "description": f"Single-trial betas of {subject} in {session}.",
                "args": {"urlpath": path, "consolidated": True, **_storage_options(options)},
            }
    title = {"version": 1, "title": f"LAION-fMRI, the store {info.url}"}
    return _HEADER_STORE + _yaml({"metadata": {**_CATALOG_METADATA, **title}, "sources": sources})


def _storage_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"storage_options": _Flow(shown(options))} if options else {}  # new objects: no alias in YAML


def _without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: options[name] for name in ("anon", "profile", "endpoint_url") if name in options}
    given = options.get("client_kwargs", {})
    client = {name: given[name] for name in _PUBLIC_CLIENT if name in given}
    return redact.options(kept | ({"client_kwargs": client} if client else {}))


_PUBLIC_CLIENT = ("endpoint_url", "region_name")


def changed_files(files: Mapping[str, str], folder: Path) -> list[Change]:
    """Tell which files of a folder are not what they should be.

    Parameters
    ----------
    files : mapping
        File name → text, of `catalog_files`.
    folder : path
        Where they should be.

    Returns
    -------
    list of Change
    """
    changes = []
    for name, text in files.items():
        path = folder / name
        if not path.is_file():
            changes.append(Change("", "file", name, "gone", "run `intake-laion-fmri catalog write`"))
        elif path.read_bytes() != text.encode():
            detail = f"not what {INVENTORY_FILE} gives; run `intake-laion-fmri catalog write`"
            changes.append(Change("", "file", name, "changed", detail))
    return sorted(changes)


def write_files(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files that differ from what is there; each appears whole or not at all.

    Parameters
    ----------
    files : mapping
        File name → text.
    folder : path
        Made where it is missing. Catalogs of subjects that `files` has not, written here before, are removed.

    Returns
    -------
    list of Path
        Those written or removed.

    Raises
    ------
    FileExistsError
        If one of these names is that of a file which this package did not write. Nothing is written then.
    OSError
        If the folder cannot be written to.
    """
    for name in files:
        raise_unless_ours(folder / name, INVENTORY if name == INVENTORY_FILE else CATALOG)
    atomic.make_folder(folder)
    touched = []
    for name, text in files.items():
        path, content = folder / name, text.encode()
        if not path.is_file() or path.read_bytes() != content:
            atomic.write_whole(path, content)
            touched.append(path)
    for path in sorted(folder.glob("sub-*.yaml")):
        if path.name not in files and path.is_file() and path.read_bytes().startswith(_HEADER.encode()):
            atomic.remove(path)
            touched.append(path)
    return touched


def write_file(path: Path, text: str) -> None:
    """Write one catalog, which appears whole or not at all.

    Raises
    ------
    FileExistsError
        If there is a file that is no catalog of this package.
    """
    raise_unless_ours(path, CATALOG)
    atomic.write_whole(path, text.encode())


def _root_catalog(inventory: Inventory) -> dict[str, Any]:
    first = next(iter(inventory.subjects))
    sources = {
        name: _entry(
            source.driver,
            source.described(),
            _Flow({"subject": first} if source.of_subject else {}),
            {"arguments": _arguments(source)},
        )
        for name, source in SOURCES.items()
    }
    for name, subject in inventory.subjects.items():
        sources[name] = _entry(
            "LaionCatalog",
            f"{name}: an entry for each of {subject}.",
            # The directory ends in a slash or not, as the catalog is local or not; the driver takes either.
            _Flow(path=f"{{{{ CATALOG_DIR }}}}/{name}.yaml"),
            _about(name, subject) | {"arguments": _Arguments("catalog", _help_of_place(_PLACE))},
        )
    return {"metadata": {**_CATALOG_METADATA, "inventory": inventory.source}, "sources": sources}


def _subject_catalog(name: str, subject: SubjectRecord, source: str) -> dict[str, Any]:
    own = {kind: source for kind, source in SOURCES.items() if source.of_subject}
    arguments = {kind: _arguments(source) for kind, source in own.items()}
    sources = {
        kind: _entry(source.driver, source.described(name), _Flow(subject=name), {"arguments": arguments[kind]})
        for kind, source in own.items()
    }
    for session in subject.public:
        sources[session.session] = _entry(
            SOURCES["betas"].driver,
            f"Single-trial betas of {name} in {session.session}.",
            _Flow(subject=name, session=session.session),
            _Flow(_known(bytes=session.bytes), arguments=arguments["betas"]),
        )
    for roi in subject.rois or ():
        chosen = {"subject": name, "roi": roi.roi}
        if roi.formats is not None and "volume" not in roi.formats:
            chosen["format"] = roi.formats[0]
        formats = None if roi.formats is None else _FlowList(roi.formats)
        # A region may be called what an entry is called.
        key = roi.roi if roi.roi not in sources else f"roi_{roi.roi}"
        sources[key] = _entry(
            SOURCES["rois"].driver,
            f"The region of interest {roi.roi} ({roi.category}) of {name}.",
            _Flow(shown(chosen)),  # names of files in somebody's bucket
            _Flow(
                category=shown(roi.category), **_known(formats=formats, bytes=roi.bytes), arguments=arguments["rois"]
            ),
        )
    metadata = {**_CATALOG_METADATA, "title": f"LAION-fMRI, {name}", "inventory": source, **_about(name, subject)}
    return {"metadata": metadata, "sources": sources}


_CATALOG_METADATA = {
    "version": 1,
    "title": "LAION-fMRI",
    "license": layout.LICENSE,
    "references": layout.REFERENCES,
}


def _about(name: str, subject: SubjectRecord) -> dict[str, Any]:
    """Return what a subject's catalog says of the subject, and of what is not known."""
    about: dict[str, Any] = {"subject": name, "public_sessions": len(subject.public)}
    held_out = [session.session for session in subject.sessions if session.held_out]
    if held_out:
        about["held_out_sessions"] = _FlowList(held_out)
    if subject.rois is not None:
        about["rois"] = len(subject.rois)
    else:
        about["documented_rois"] = _Flow(subject.roi_counts)
        about["roi_names"] = (
            "not documented, and not made up here: `intake-laion-fmri catalog write --bucket "
            f"{layout.BUCKET_URL}` fills them in"
        )
    return about


def _entry(driver: str, description: str, args: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "driver": f"intake_laion_fmri.drivers.{driver}",
        "description": description,
        **({"args": args} if args else {}),
        "metadata": metadata,
    }


def _v2_catalog(inventory: Inventory) -> dict[str, Any]:
    first = next(iter(inventory.subjects))
    place = {"bucket": "{bucket_url}", "storage_options": "{bucket_options}"}
    data, entries = {}, {}
    for name, source in ((name, source) for name, source in SOURCES.items() if source.of_subject):
        data[f"{name}_data"] = {
            "datatype": f"intake_laion_fmri.readers:{source.data}",
            "kwargs": _Flow(subject=first, **place),
            "metadata": _Flow(),
            "user_parameters": _Flow(),
        }
        entries[name] = {
            "reader": f"intake_laion_fmri.readers:{source.reader}",
            "kwargs": _Flow(data=f"{{data({name}_data)}}"),
            "output_instance": source.output,
            "metadata": {
                "description": source.described(),
                "arguments": _arguments(source),
            },
            "user_parameters": _Flow(),
        }
    told = _help_of_place(("bucket", "storage_options"))
    parameters = {
        own: {
            "cls": "intake_laion_fmri.readers:PlaceParameter",
            "default": None,
            "description": told[argument],
        }
        for own, argument in (("bucket_url", "bucket"), ("bucket_options", "storage_options"))
    }
    return {
        "version": 2,
        "metadata": {name: value for name, value in _CATALOG_METADATA.items() if name != "version"},
        "user_parameters": parameters,
        "data": data,
        "entries": entries,
        # Without aliases, Intake neither lists nor completes the entries' names.
        "aliases": _Flow({name: name for name in entries}),
    }


def _arguments(source: Source) -> _Arguments:
    return _Arguments(source.name, argument_help(source.load()))


def _help_of_place(names: Iterable[str]) -> dict[str, str]:
    told = argument_help(SOURCES["betas"].load())
    return {name: told[name] for name in names}


def _known(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class _Flow(dict[str, Any]):
    """A mapping to be written in one line."""


class _FlowList(list[str]):
    """A list to be written in one line."""


class _Arguments(dict[str, str]):
    """A mapping that is written once in a file, and referred to by its name from then on."""

    def __init__(self, name: str, arguments: Mapping[str, str]) -> None:
        super().__init__(arguments)
        self.name = name


class _Dumper(yaml.SafeDumper):
    """Writes the classes above."""

    def generate_anchor(self, node: Any) -> str:
        return f"{node.anchor_name}_arguments"


def _represent_arguments(dumper: _Dumper, data: _Arguments) -> yaml.Node:
    node = dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=False)
    node.anchor_name = data.name  # type: ignore[attr-defined]
    return node


_Dumper.add_representer(_Arguments, _represent_arguments)
_Dumper.add_representer(
    _Flow, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)
)
_Dumper.add_representer(
    _FlowList, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def _yaml(content: Mapping[str, Any]) -> str:
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116)
    return text
