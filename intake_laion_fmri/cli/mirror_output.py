"""What the command `mirror` prints: the plan, the progress and the report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from intake_laion_fmri import layout
from intake_laion_fmri.cli.output import (
    Bar,
    Size,
    Table,
    on_terminal,
    print_json,
    print_table,
    printable,
)
from intake_laion_fmri.errors import redact
from intake_laion_fmri.running.progress import duration, size

if TYPE_CHECKING:
    from intake_laion_fmri.mirror.report import MirrorPlan, MirrorProgress, MirrorReport

LONGEST_LIST = 20
"""Files that a terminal names."""


def announce_plan(plan: MirrorPlan, *, quiet: bool) -> None:
    """Print the work of a plan, and what it leaves out."""
    if not quiet:
        there = f"{len(plan.complete) + len(plan.unrecorded):,} are there"
        todo = f"{len(plan.fetch):,} to fetch, {size(plan.bytes_to_fetch)}"
        click.echo(
            printable(
                f"{redact.url(plan.bucket.url)}: {len(plan.objects):,} files, {size(plan.n_bytes)}; {there}, {todo}; "
                f"{size(plan.free_bytes)} are free in {plan.to}."
            )
        )
    if plan.held_out:
        click.echo(f"Left out: {plan.held_out:,} objects of held-out sessions.", err=True)
    if plan.gated:
        click.echo(f"Left out: {plan.gated:,} under a data use agreement; ask {layout.CONTACT}.", err=True)
    for note in plan.notes:
        click.echo(printable(note), err=True)
    for key, reason in plan.refused[:LONGEST_LIST]:
        click.echo(printable(f"Warning: {key!r} is left out: it {reason}."), err=True)
    if plan.bytes_to_fetch > plan.free_bytes:
        click.echo(f"Warning: {plan.to} has too little room.", err=True)


def print_plan(plan: MirrorPlan, *, as_json: bool) -> None:
    """Print the files of a plan by group, or all of it as JSON."""
    if as_json:
        to_fetch = [{"key": info.key, "bytes": info.size} for info in plan.fetch]
        print_json(_choice(plan, plan.left_alone) | {"free_bytes": plan.free_bytes, "fetch": to_fetch})
        return
    rows = []
    for group in layout.GROUPS:
        every = [info.size for info in plan.objects if layout.group_of(info.key) == group]
        fetch = [info.size for info in plan.fetch if layout.group_of(info.key) == group]
        if every:
            rows.append((group, len(every), Size(sum(every)), len(fetch), Size(sum(fetch))))
    print_table(Table(("group", "files", "size", "to fetch", "size"), rows))


def print_report(plan: MirrorPlan, report: MirrorReport, *, as_json: bool) -> None:
    """Print the result of copying in a line, or all of it as JSON."""
    if as_json:
        done = ("fetched", "adopted", "replaced", "bytes_received", "seconds")
        print_json(_choice(plan, report.left_alone) | {name: getattr(report, name) for name in done})
        return
    rate = f" at {size(report.bytes_received / report.seconds)}/s" if report.bytes_received and report.seconds else ""
    line = f"{report.to}: {report.n_files:,} files complete, {size(report.n_bytes)}; {report.fetched:,} fetched now"
    if report.replaced:
        line += f", {report.replaced:,} of them in place of others"
    if report.fetched:
        line += f": {size(report.bytes_received)} in {duration(report.seconds)}{rate}"
    click.echo(printable(f"{line}."))


def _choice(plan: MirrorPlan, left_alone: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the choice of a plan, as JSON holds it."""
    return {
        "bucket": redact.url(plan.bucket.url),
        "to": str(plan.to),
        "files": len(plan.objects),
        "bytes": plan.n_bytes,
        "complete": len(plan.complete) + len(plan.unrecorded),
        "bytes_to_fetch": plan.bytes_to_fetch,
        "held_out": plan.held_out,
        "gated": plan.gated,
        "refused": [{"key": key, "reason": reason} for key, reason in plan.refused],
        "left_alone": [{"key": key, "found": found} for key, found in left_alone],
        "notes": list(plan.notes),
    }


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[Callable[[MirrorProgress], None]]:
    """Show a bar of the bytes on a terminal; print each key in a pipe, unless `quiet`."""
    list_keys = not quiet and not on_terminal(sys.stdout)
    with Bar("Copying") as bar:

        def advance(progress: MirrorProgress) -> None:
            bar.report(progress)
            if list_keys and progress.finished is not None:
                bar.say(progress.finished)

        yield advance
