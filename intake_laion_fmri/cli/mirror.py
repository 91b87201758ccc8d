"""The commands ``mirror``, ``mirror verify`` and ``mirror status``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from intake_laion_fmri import layout
from intake_laion_fmri.cli import exits, interrupts
from intake_laion_fmri.cli.options import (
    BucketChoice,
    chosen,
    entity_options,
    group_option,
    selection_options,
    source_options,
)
from intake_laion_fmri.cli.output import Bar, Size, Table, json_option, on_terminal, print_json, print_table, printable
from intake_laion_fmri.errors import redact
from intake_laion_fmri.running.progress import duration, size

if TYPE_CHECKING:
    from intake_laion_fmri.mirror.report import MirrorPlan, MirrorProgress, MirrorReport

LONGEST_LIST = 20
"""Files listed on a terminal, at most."""
KEPT = "Received data are kept. Run the command again for the rest."
"""Message after an interrupt."""

_MIRROR = exits.epilog(
    """
intake-laion-fmri mirror --to /data/laion-fmri --subject sub-01 --session 1
intake-laion-fmri mirror --to /data/laion-fmri --group rois --group noise_ceilings --dry-run
intake-laion-fmri mirror --to /data/laion-fmri --subject 01 --session averages --desc R2mean
intake-laion-fmri mirror verify /data/laion-fmri
intake-laion-fmri mirror status /data/laion-fmri --json
LAION_FMRI_MIRROR=/data/laion-fmri python -c "import intake; print(intake.cat.laion_fmri.betas().to_dask())"
""",
    more="""If interrupted, run the command again: received data are kept.

Files in DIR that this program did not write, or that were changed since, are never replaced. They are listed, and
the exit code is 6.

In a pipe, the key of each file is printed as soon as it is complete.""",
    done="every selected file is complete and current",
    failed="the disk is full or not writable",
)
_VERIFY = exits.epilog(
    """
intake-laion-fmri mirror verify /data/laion-fmri
intake-laion-fmri mirror verify /data/laion-fmri --subject sub-01 --group betas --json
""",
    more="Prints a line for each changed file. The next run of mirror fetches it again.",
    done="every file is unchanged",
    failed="files are missing or incomplete",
)
_STATUS = exits.epilog(
    """
intake-laion-fmri mirror status /data/laion-fmri
intake-laion-fmri mirror status /data/laion-fmri --json
""",
    more="""\b
In a pipe, fields separated by tabs:
  subject, subject, sessions, groups, files, bytes
  partial, key, bytes received, bytes
  missing, key
  unknown, path
""",
    failed="the folder could not be read",
)

_groups = group_option(" By default all except stimuli, surfaces, localizers, time series and raw data.")


def _local(context: click.Context, parameter: click.Parameter, folder: str | None) -> str | None:
    if folder and "://" in folder:
        raise click.BadParameter(f"Expected a local folder, found {folder!r}.", context, parameter)
    return folder


_folder = click.argument("folder", metavar="DIR", type=click.Path(file_okay=False), callback=_local)


@click.group(invoke_without_command=True, subcommand_metavar="[verify DIR | status DIR]", epilog=_MIRROR)
@click.option(
    "--to", metavar="DIR", type=click.Path(file_okay=False), callback=_local, help="Folder to copy to.  [required]"
)
@selection_options
@_groups
@entity_options(*layout.ENTITIES)
@click.option("--include-stimuli", is_flag=True, help="Include the public tables of stimuli.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=4, show_default=True, help="Large files copied concurrently."
)
@click.option("--dry-run", is_flag=True, help="Show the files without copying.")
@json_option
@source_options()
@click.pass_context
def mirror(
    context: click.Context,
    /,
    source: BucketChoice,
    to: str | None,
    subjects: tuple[str, ...],
    sessions: tuple[str, ...],
    groups: tuple[str, ...],
    include_stimuli: bool,
    jobs: int,
    dry_run: bool,
    as_json: bool,
    **entities: tuple[str, ...],
) -> None:
    """Copy a part of the bucket to a folder.

    The copy has the bucket's layout, is read first with --mirror or LAION_FMRI_MIRROR, and is completed by another run.
    A session comes with the files of its subject that reading it needs; --session averages selects files of no single
    session. --task, --space, --desc, ... do not exclude files whose names lack that entity.
    """
    if context.invoked_subcommand is not None:
        _expect_no_options(context)
        return
    if to is None:
        raise click.UsageError("Missing option '--to': the folder to copy to.")
    from intake_laion_fmri.mirror.report import left_alone_message
    from intake_laion_fmri.mirror.run import fill_mirror, licence_notice, plan_mirror

    interrupts.promise(KEPT)
    with exits.exit_codes():
        plan = plan_mirror(
            to,
            bucket=source.source(),  # LAION_FMRI_MIRROR and LAION_FMRI_MIRROR_ONLY are about reading
            subjects=chosen(subjects),
            sessions=chosen(sessions),
            kinds=groups or None,
            entities={name: values for name, values in entities.items() if values},
            include_stimuli=include_stimuli,
        )
        _announce_plan(plan, quiet=as_json)
        left_alone = plan.left_alone
        if dry_run:
            _print_plan(plan, as_json=as_json)
        else:
            notice = licence_notice(plan.to)
            if notice:
                click.echo(notice, err=True)
            with show_progress(quiet=as_json) as progress:
                report = fill_mirror(plan, jobs=jobs, progress=progress)
            _print_report(plan, report, as_json=as_json)
            left_alone = report.left_alone
    if left_alone:
        click.echo(printable(f"Warning: {left_alone_message(plan.to, left_alone)}"), err=True)
    too_little = dry_run and plan.bytes_to_fetch > plan.free_bytes
    context.exit(exits.CONTRADICTORY if plan.refused or left_alone else exits.FAILED if too_little else 0)


@mirror.command(epilog=_VERIFY)
@_folder
@selection_options
@_groups
@json_option
@click.pass_context
def verify(
    context: click.Context,
    folder: str,
    subjects: tuple[str, ...],
    sessions: tuple[str, ...],
    groups: tuple[str, ...],
    as_json: bool,
) -> None:
    """Read every file of a mirror and compare it with its record.

    Files are compared with the checksums of when they were copied. This needs no network.
    """
    from intake_laion_fmri.mirror.verify import mirror_status, verify_mirror

    checks = []
    with exits.exit_codes(), Bar("Verifying") as bar:
        total = None if subjects or sessions or groups else mirror_status(folder).files
        selection = {"subjects": chosen(subjects), "sessions": chosen(sessions), "kinds": groups or None}
        for check in verify_mirror(folder, **selection):
            checks.append(check)
            bar.show(len(checks), total, f"{len(checks):,} files")
            if not check.is_good and not as_json:
                bar.say(f"{check.key}: {check.status}: {check.detail}")
    counts = Counter(check.status for check in checks)
    if as_json:
        print_json({"mirror": folder, "counts": dict(counts), "files": [asdict(check) for check in checks]})
    else:
        summary = ", ".join(f"{number:,} {status}" for status, number in counts.items())
        click.echo(f"{folder}: {summary or 'no files'}.")
    broken = any(not check.is_good for check in checks)
    context.exit(exits.CONTRADICTORY if counts["damaged"] else exits.DRIFT if broken else 0)


@mirror.command(epilog=_STATUS)
@_folder
@json_option
def status(folder: str, as_json: bool) -> None:
    """Show a mirror's contents and its missing files.

    Only names and sizes are compared: no file is read. This needs no network.
    """
    from intake_laion_fmri.mirror.verify import mirror_status

    with exits.exit_codes():
        found = mirror_status(folder)
    if as_json:
        print_json(found.to_json())
        return
    seen = on_terminal(sys.stdout)
    if seen:
        copied = f" {found.unrecorded:,} of them copied by another program." if found.unrecorded else ""
        click.echo(printable(f"{found.to}: {found.files:,} files, {size(found.bytes)}.{copied}\n"))
    subjects = [
        (
            subject.subject or ("(none)" if seen else ""),
            subject.sessions,
            [f"{group} {number}" for group, number in subject.groups.items()],
            subject.files,
            Size(subject.bytes),
        )
        for subject in found.subjects
    ]
    partial = [(key, Size(received), Size(whole)) for key, received, whole in found.partial]
    for table in (
        Table(("subject", "sessions", "groups", "files", "size"), subjects, "subject"),
        Table(("incomplete", "bytes received", "size"), partial, "partial"),
        Table(("missing, or changed since it was copied",), [(key,) for key in found.missing], "missing"),
        Table(("not part of the data set",), [(path,) for path in found.unknown], "unknown"),
    ):
        if seen and table.rows:
            shown = Table(table.columns, table.rows[:LONGEST_LIST])
            print_table(shown)
            left = len(table.rows) - len(shown.rows)
            click.echo(f"and {left:,} more: see --json\n" if left else "")
        elif table.rows:
            print_table(table)


def _expect_no_options(context: click.Context) -> None:
    from click.core import ParameterSource

    for parameter in context.command.params:
        if parameter.name and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            name = context.invoked_subcommand
            raise click.UsageError(
                f"{parameter.opts[0]} is an option of copying. Pass the options of `mirror {name}` after DIR."
            )


def _announce_plan(plan: MirrorPlan, *, quiet: bool) -> None:
    """Print a plan's work and its exclusions."""
    if not quiet:
        there = f"{len(plan.complete) + len(plan.unrecorded):,} are there"
        todo = f"{len(plan.fetch):,} to fetch, {size(plan.bytes_to_fetch)}"
        click.echo(
            printable(
                f"{redact.url(plan.bucket.url)}: {len(plan.objects):,} files, {size(plan.n_bytes)}; {there}, {todo}; "
                f"{size(plan.free_bytes)} free in {plan.to}."
            )
        )
    if plan.held_out:
        click.echo(f"Excluded: {plan.held_out:,} objects of held-out sessions.", err=True)
    if plan.gated:
        click.echo(f"Excluded: {plan.gated:,} under a data use agreement; contact {layout.CONTACT}.", err=True)
    for note in plan.notes:
        click.echo(printable(note), err=True)
    for key, reason in plan.refused[:LONGEST_LIST]:
        click.echo(printable(f"Warning: {key!r} is excluded: it {reason}."), err=True)
    if plan.bytes_to_fetch > plan.free_bytes:
        click.echo(f"Warning: not enough space in {plan.to}.", err=True)


def _print_plan(plan: MirrorPlan, *, as_json: bool) -> None:
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


def _print_report(plan: MirrorPlan, report: MirrorReport, *, as_json: bool) -> None:
    """Print the result of copying in a line, or all of it as JSON."""
    if as_json:
        done = ("fetched", "adopted", "replaced", "bytes_received", "seconds")
        print_json(_choice(plan, report.left_alone) | {name: getattr(report, name) for name in done})
        return
    rate = f" at {size(report.bytes_received / report.seconds)}/s" if report.bytes_received and report.seconds else ""
    line = f"{plan.to}: {report.n_files:,} files complete, {size(report.n_bytes)}; {report.fetched:,} fetched now"
    if report.replaced:
        line += f", {report.replaced:,} of them replacing others"
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
