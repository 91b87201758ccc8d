"""The commands ``info`` and ``ls``: contents of a bucket."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from intake_laion_fmri import layout
from intake_laion_fmri.cli import exits
from intake_laion_fmri.cli.options import BucketChoice, bucket_options, group_option
from intake_laion_fmri.cli.output import Size, Table, json_option, on_terminal, print_json, print_table, printable
from intake_laion_fmri.errors import NotInBucketError, unknown_value
from intake_laion_fmri.running.progress import size

if TYPE_CHECKING:
    from intake_laion_fmri.layout import ObjectInfo
    from intake_laion_fmri.remote.bucket import Bucket

_INFO = exits.epilog(
    """
intake-laion-fmri info
intake-laion-fmri info --bucket demo-bucket --subject sub-01
intake-laion-fmri info --mirror /data/laion-fmri --mirror-only
intake-laion-fmri info --json | jq '.subjects[].sessions'
""",
    more="""\b
In a pipe, fields separated by tabs; a line for each subject:
  subject, public sessions, held-out sessions, ROIs, ROIs by category, objects, bytes
  (with a mirror: bytes in the mirror)
\b
and with --subject:
  session, subject, session, public|held out|no betas, objects, bytes
  roi, subject, category, ROI, objects, bytes
  group, subject, group, objects, bytes
""",
    failed="the bucket could not be read",
)
_LS = exits.epilog(
    """
intake-laion-fmri ls --subject sub-01 --session 1
intake-laion-fmri ls --group betas
intake-laion-fmri ls derivatives/rois/sub-01/face/
intake-laion-fmri ls stimuli/ --json
""",
    more="""\b
In a pipe, fields separated by tabs:
  bytes, group, public|held out (with a mirror: mirror|bucket|held out), key
""",
    failed="the bucket could not be read",
)


@dataclass(frozen=True)
class _Object:
    """An object, with the parts of its key."""

    key: str
    bytes: int
    group: str
    kind: str
    subject: str
    session: str
    roi: str
    category: str
    held_out: bool
    origin: str | None

    @classmethod
    def from_info(cls, info: ObjectInfo) -> _Object:
        from intake_laion_fmri.mirror.selection import subject_of

        parsed = layout.parse_key(info.key)
        entities: Mapping[str, str] = parsed.entities if parsed else {}
        session = layout.session_of(info.key) or ""
        return cls(
            info.key,
            info.size,
            layout.group_of(info.key),
            parsed.kind if parsed else "",
            subject_of(info.key) or "",
            entities.get("session") or (session if layout.is_session(session) else ""),
            layout.clean_label(entities.get("label", "")),
            entities.get("category", ""),
            not layout.is_of_public(info.key),
            info.origin,
        )

    @property
    def main_session(self) -> str:
        """The numbered session, or None.

        Localizers' sessions have names instead.
        """
        return self.session if layout.is_session(self.session) else ""

    @property
    def access(self) -> str:
        """Access to the object: public, held out, or where it is read."""
        if self.key == layout.GATED and self.origin != "mirror":
            return "on request"
        return "held out" if self.held_out else self.origin or "public"


@dataclass(frozen=True)
class _Subject:
    """A subject's contents in a bucket."""

    name: str
    public: Sequence[str]
    objects: Sequence[_Object]

    @property
    def sessions(self) -> dict[str, str]:
        """Session → its access."""
        there = {item.main_session for item in self.objects if item.main_session}
        return {
            name: "public" if name in self.public else "held out" if layout.is_held_out(name) else "no betas"
            for name in sorted(there, key=layout.session_number)
        }

    @property
    def rois(self) -> dict[str, str]:
        """ROI → its category, sorted by category and name."""
        found = {item.roi: item.category for item in self.objects if item.roi}
        return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))

    @property
    def groups(self) -> list[str]:
        """Groups of the subject's objects, sorted."""
        return sorted({item.group for item in self.objects})

    def total(self, **which: str) -> tuple[int, Size]:
        """Count the objects with the given fields, and sum their sizes."""
        found = [item for item in self.objects if all(getattr(item, name) == value for name, value in which.items())]
        return len(found), Size(sum(item.bytes for item in found))

    def to_json(self) -> dict[str, Any]:
        sessions = [
            {"session": name, "access": access, **_counted(self.total(session=name))}
            for name, access in self.sessions.items()
        ]
        rois = [
            {"roi": name, "category": category, **_counted(self.total(roi=name))}
            for name, category in self.rois.items()
        ]
        groups = {name: _counted(self.total(group=name)) for name in self.groups}
        mirrored = {}
        if any(item.origin for item in self.objects):
            mirrored["mirror"] = _counted(self.total(origin="mirror"))
        return {
            "subject": self.name,
            "sessions": sessions,
            "rois": rois,
            "groups": groups,
            **_counted(self.total()),
            **mirrored,
        }


def _counted(total: tuple[int, Size]) -> dict[str, int]:
    return {"objects": total[0], "bytes": int(total[1])}


@click.command(epilog=_INFO)
@click.option("--subject", "subjects", multiple=True, help="Show details of this subject; may be given several times.")
@json_option
@bucket_options
def info(bucket: BucketChoice, subjects: tuple[str, ...], as_json: bool) -> None:
    """Show a bucket's subjects, sessions and ROIs.

    Counts the objects that this package can read, and lists any others.
    """
    with exits.exit_codes():
        opened = bucket.open()
        found, others = _contents(opened, subjects)
    total = len(found), sum(len(subject.objects) for subject in found), sum(subject.total()[1] for subject in found)
    if as_json:
        print_json(
            {
                "bucket": opened.url,
                "subjects": [subject.to_json() for subject in found],
                **({} if subjects else {"dataset": others.to_json()["groups"]}),
                "objects": total[1],
                "bytes": total[2],
            }
        )
    elif subjects:
        for subject in found:
            _print_subject(opened.url, subject)
    else:
        if on_terminal(sys.stdout):
            click.echo(printable(f"{opened.url}: {total[0]} subjects, {total[1]:,} objects, {size(total[2])}\n"))
        _print_subjects(found)


@click.command(epilog=_LS)
@click.argument("prefix", default="")
@click.option("--subject", "subjects", multiple=True, help="sub-01 or 01; may be given several times.")
@click.option(
    "--session",
    "sessions",
    multiple=True,
    help="ses-01, 01 or 1, or averages for files of no single session; may be given several times.",
)
@group_option()
@json_option
@bucket_options
def ls(
    bucket: BucketChoice,
    prefix: str,
    subjects: tuple[str, ...],
    sessions: tuple[str, ...],
    groups: tuple[str, ...],
    as_json: bool,
) -> None:
    """List objects of a bucket: size, group and key.

    Without PREFIX, lists all objects that this package can read; with PREFIX, every object whose key begins with it.
    """
    with exits.exit_codes():
        opened = bucket.open()
        if prefix:
            listed = opened.find(prefix.rpartition("/")[0])
            objects = [_Object.from_info(info) for key, info in listed.items() if key.startswith(prefix)]
            if subjects:
                wanted = {layout.subject_name(name) for name in subjects}
                objects = [item for item in objects if item.subject in wanted]
        else:
            found, others = _contents(opened, subjects)
            objects = [item for owner in [*found, *([] if subjects else [others])] for item in owner.objects]
        chosen = _of_sessions(objects, sessions, where=opened.url)
        chosen = sorted((item for item in chosen if not groups or item.group in groups), key=lambda item: item.key)
        if not chosen and not as_json:
            raise NotInBucketError(f"{opened.url} has no matching object.")
    n_bytes = sum(item.bytes for item in chosen)
    if as_json:
        print_json({"bucket": opened.url, "objects": [asdict(item) for item in chosen], "bytes": n_bytes})
    else:
        rows = [(Size(item.bytes), item.group, item.access, item.key) for item in chosen]
        print_table(Table(("size", "group", "access", "key"), rows), wrap=False)
        if on_terminal(sys.stdout):
            click.echo(f"\n{len(chosen):,} objects, {size(n_bytes)}")
    if not chosen:
        raise click.exceptions.Exit(exits.NOT_FOUND)


def _contents(bucket: Bucket, subjects: Iterable[str]) -> tuple[list[_Subject], _Subject]:
    """List readable objects of some subjects, and of none.

    Split files of a subject count as the subject's.
    """
    from intake_laion_fmri.discovery import get_subjects
    from intake_laion_fmri.reading.contents import dataset_objects, subject_contents

    names = sorted({layout.subject_name(name) for name in subjects}) or get_subjects(bucket=bucket, refresh=True)
    others = [_Object.from_info(info) for info in dataset_objects(bucket).values()]
    found = []
    for name in names:
        contents = subject_contents(bucket, name, trees=layout.SUBJECT_TREES)
        own = [*map(_Object.from_info, contents.objects.values()), *(item for item in others if item.subject == name)]
        found.append(_Subject(name, contents.sessions, own))
    return found, _Subject("", (), [item for item in others if not item.subject])


def _of_sessions(objects: Sequence[_Object], sessions: Sequence[str], *, where: str) -> list[_Object]:
    from intake_laion_fmri.mirror.selection import AVERAGES

    if not sessions:
        return list(objects)
    there = sorted({item.main_session for item in objects} - {""}, key=layout.session_number)
    names = {""} if AVERAGES in sessions else set()
    for name in (layout.session_name(given) for given in sessions if given != AVERAGES):
        same = layout.same_session(name, there)
        if not same:
            raise unknown_value("session", name, [*there, AVERAGES], where=where)
        names.update(same)
    return [item for item in objects if item.main_session in names and item.subject]


def _print_subjects(found: Sequence[_Subject]) -> None:
    columns = ["subject", "sessions", "held out", "ROIs", "of them", "objects", "size"]
    mirrored = any(item.origin for subject in found for item in subject.objects)
    rows = []
    for subject in found:
        access = Counter(subject.sessions.values())
        categories = [f"{name} {number}" for name, number in Counter(subject.rois.values()).items()]
        row = [subject.name, access["public"], access["held out"], len(subject.rois), categories, *subject.total()]
        rows.append([*row, subject.total(origin="mirror")[1]] if mirrored else row)
    print_table(Table([*columns, "in the mirror"] if mirrored else columns, rows))


def _print_subject(url: str, subject: _Subject) -> None:
    name = subject.name
    sessions = [
        (name, session, access, *subject.total(session=session)) for session, access in subject.sessions.items()
    ]
    groups = [(name, group, *subject.total(group=group)) for group in subject.groups]
    tables = [
        Table(("subject", "session", "access", "objects", "size"), sessions, "session"),
        Table(("subject", "group", "objects", "size"), groups, "group"),
    ]
    if on_terminal(sys.stdout):
        objects, n_bytes = subject.total()
        click.echo(printable(f"{name} in {url}: {objects:,} objects, {size(n_bytes)}"))
        names: dict[str, list[str]] = {}
        for roi, category in subject.rois.items():
            names.setdefault(category, []).append(roi)
        rois = [(name, category, len(of), of) for category, of in names.items()]
        tables.insert(1, Table(("subject", "category", "ROIs", "names"), rois))
    else:
        rows = [(name, category, roi, *subject.total(roi=roi)) for roi, category in subject.rois.items()]
        tables.insert(1, Table((), rows, "roi"))
    for table in tables:
        if table.rows:
            if on_terminal(sys.stdout):
                click.echo()
            print_table(table)
