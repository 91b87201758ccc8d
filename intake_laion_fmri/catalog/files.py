"""The catalog's YAML files, generated from an inventory of a bucket.

The files that ship with the package are the output of `catalog_files` for the inventory beside them. They do not
contain a bucket, which is chosen when a catalog is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.catalog.drift import Change
from intake_laion_fmri.catalog.given import shown
from intake_laion_fmri.catalog.inventory import INVENTORY_FILE, Inventory, SubjectRecord
from intake_laion_fmri.catalog.yaml_text import CATALOG_METADATA, Arguments, Flow, FlowList, yaml_text
from intake_laion_fmri.remote import atomic
from intake_laion_fmri.remote.marks import CATALOG, INVENTORY, raise_unless_ours
from intake_laion_fmri.sources import SOURCES, Source, argument_help

ROOT_FILE = "laion_fmri.yaml"
V2_FILE = "laion_fmri.v2.yaml"

_BUCKET_ARGUMENTS = ("bucket", "storage_options", "mirror", "mirror_only")
"""Arguments for the location of the data."""

_HEADER = f"""\
# Written by `intake-laion-fmri catalog write` from {INVENTORY_FILE} beside it: do not edit.
"""
_HEADER_V1 = """\
# No entry declares `parameters:`: Intake warns of text parameters at every use, so the drivers check their arguments
# themselves, and the allowed values stand in each entry's metadata.
"""
_HEADER_V2 = """\
# For the second generation of Intake: intake.from_yaml_file(...). `bucket_url` and `bucket_options` are meant for the
# whole catalog, cat(bucket_url="demo-bucket"); their names differ from the readers' arguments, which Intake would
# drop without a word.
"""


def catalog_files(inventory: Inventory) -> dict[str, str]:
    """Generate the catalog's files, as a mapping of file name to text.

    Files only refer to files before them: the subjects' catalogs come first, then the root catalogs for both
    generations of Intake, and the inventory itself.
    """
    files = {
        f"{name}.yaml": _HEADER + yaml_text(_subject_catalog(name, subject, inventory.source))
        for name, subject in inventory.subjects.items()
    }
    files[ROOT_FILE] = _HEADER + _HEADER_V1 + yaml_text(_root_catalog(inventory))
    files[V2_FILE] = _HEADER + _HEADER_V2 + yaml_text(_v2_catalog(inventory))
    files[INVENTORY_FILE] = inventory.to_json()
    return files


def changed_files(files: Mapping[str, str], folder: Path) -> list[Change]:
    """List the files of a folder that differ from those of `catalog_files`."""
    changes = []
    for name, text in files.items():
        path = folder / name
        if not path.is_file():
            changes.append(Change("", "file", name, "gone", "run `intake-laion-fmri catalog write`"))
        elif path.read_bytes() != text.encode():
            detail = f"differs from {INVENTORY_FILE}; run `intake-laion-fmri catalog write`"
            changes.append(Change("", "file", name, "changed", detail))
    return sorted(changes)


def write_files(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files that differ from a folder's, and remove outdated ones.

    Files are written atomically, and the folder is created if it is missing. Catalogs of other subjects that were
    written earlier are removed.

    Returns
    -------
    list of Path
        The files that were written or removed.

    Raises
    ------
    FileExistsError
        If a file of the same name was not written by this package. Nothing is written then.
    OSError
        If the folder cannot be written to.
    """
    for name in files:
        raise_unless_ours(folder / name, INVENTORY if name == INVENTORY_FILE else CATALOG)
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
    """Write one catalog atomically.

    Raises
    ------
    FileExistsError
        If the file exists and is not a catalog of this package.
    """
    raise_unless_ours(path, CATALOG)
    atomic.write_whole(path, text.encode())


def _root_catalog(inventory: Inventory) -> dict[str, Any]:
    first = next(iter(inventory.subjects))
    sources = {
        name: _entry(
            source.driver,
            source.described(),
            Flow({"subject": first} if source.of_subject else {}),
            {"arguments": _arguments(source)},
        )
        for name, source in SOURCES.items()
    }
    for name, subject in inventory.subjects.items():
        sources[name] = _entry(
            "LaionCatalog",
            f"{name}: an entry for each of {subject}.",
            # CATALOG_DIR ends with a slash for some file systems; the driver accepts both.
            Flow(path=f"{{{{ CATALOG_DIR }}}}/{name}.yaml"),
            _about(name, subject) | {"arguments": Arguments("catalog", _help_of(_BUCKET_ARGUMENTS))},
        )
    return {"metadata": {**CATALOG_METADATA, "inventory": inventory.source}, "sources": sources}


def _subject_catalog(name: str, subject: SubjectRecord, source: str) -> dict[str, Any]:
    own = {kind: source for kind, source in SOURCES.items() if source.of_subject}
    arguments = {kind: _arguments(source) for kind, source in own.items()}
    sources = {
        kind: _entry(source.driver, source.described(name), Flow(subject=name), {"arguments": arguments[kind]})
        for kind, source in own.items()
    }
    for session in subject.public:
        sources[session.session] = _entry(
            SOURCES["betas"].driver,
            f"Single-trial betas of {name} in {session.session}.",
            Flow(subject=name, session=session.session),
            Flow(_known(bytes=session.bytes), arguments=arguments["betas"]),
        )
    for roi in subject.rois or ():
        chosen = {"subject": name, "roi": roi.roi}
        if roi.formats is not None and "volume" not in roi.formats:
            chosen["format"] = roi.formats[0]
        formats = None if roi.formats is None else FlowList(roi.formats)
        # An ROI may have the name of another entry.
        key = roi.roi if roi.roi not in sources else f"roi_{roi.roi}"
        sources[key] = _entry(
            SOURCES["rois"].driver,
            f"The region of interest {roi.roi} ({roi.category}) of {name}.",
            Flow(shown(chosen)),  # escaped, since names of files in a bucket may be anything
            Flow(category=shown(roi.category), **_known(formats=formats, bytes=roi.bytes), arguments=arguments["rois"]),
        )
    metadata = {**CATALOG_METADATA, "title": f"LAION-fMRI, {name}", "inventory": source, **_about(name, subject)}
    return {"metadata": metadata, "sources": sources}


def _about(name: str, subject: SubjectRecord) -> dict[str, Any]:
    """Return the metadata of a subject's catalog, including what is unknown."""
    about: dict[str, Any] = {"subject": name, "public_sessions": len(subject.public)}
    held_out = [session.session for session in subject.sessions if session.held_out]
    if held_out:
        about["held_out_sessions"] = FlowList(held_out)
    if subject.rois is not None:
        about["rois"] = len(subject.rois)
    else:
        about["documented_rois"] = Flow(subject.roi_counts)
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
    bucket = {"bucket": "{bucket_url}", "storage_options": "{bucket_options}"}
    data, entries = {}, {}
    for name, source in SOURCES.items():
        data[f"{name}_data"] = {
            "datatype": f"intake_laion_fmri.readers:{source.data}",
            "kwargs": Flow(**({"subject": first} if source.of_subject else {}), **bucket),
            "metadata": Flow(),
            "user_parameters": Flow(),
        }
        entries[name] = {
            "reader": f"intake_laion_fmri.readers:{source.reader}",
            "kwargs": Flow(data=f"{{data({name}_data)}}"),
            "output_instance": source.output,
            "metadata": {"description": source.described(), "arguments": _arguments(source)},
            "user_parameters": Flow(),
        }
    help_texts = _help_of(("bucket", "storage_options"))
    parameters = {
        own: {"cls": "intake_laion_fmri.readers:PlaceParameter", "default": None, "description": help_texts[argument]}
        for own, argument in (("bucket_url", "bucket"), ("bucket_options", "storage_options"))
    }
    return {
        "version": 2,
        "metadata": {name: value for name, value in CATALOG_METADATA.items() if name != "version"},
        "user_parameters": parameters,
        "data": data,
        "entries": entries,
        # Intake only lists and completes names of entries with aliases.
        "aliases": Flow({name: name for name in entries}),
    }


def _arguments(source: Source) -> Arguments:
    return Arguments(source.name, argument_help(source.load()))


def _help_of(names: Iterable[str]) -> dict[str, str]:
    help_texts = argument_help(SOURCES["betas"].load())
    return {name: help_texts[name] for name in names}


def _known(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
