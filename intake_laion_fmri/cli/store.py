"""The commands ``store build``, ``store verify``, ``store info`` and ``store catalog``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intake_laion_fmri.cli import exits, interrupts
from intake_laion_fmri.cli.options import BucketChoice, bucket_options, chosen, selection_options, store_options
from intake_laion_fmri.cli.output import Bar, json_option, print_json, printable
from intake_laion_fmri.running.progress import duration, size

if TYPE_CHECKING:
    from distributed import Client

    from intake_laion_fmri.building.report import BuildProgress

_BUILD = exits.epilog(
    """
intake-laion-fmri store build --bucket s3://laion-fmri --to /data/laion.zarr --subject sub-01
intake-laion-fmri store build --to s3://mine/faces.zarr --roi face --roi body --workers 4
intake-laion-fmri store build --to /shared/laion.zarr --cluster tcp://10.0.0.1:8786
python -c "import intake; print(intake.cat.laion_fmri.betas(store='/data/laion.zarr', roi='face').to_dask())"
""",
    more="If interrupted, run the command again: complete sessions are kept.",
    done="every session is complete",
    failed="the store could not be written, or a worker died",
)
_VERIFY = exits.epilog(
    """
intake-laion-fmri store verify /data/laion.zarr
intake-laion-fmri store verify /data/laion.zarr --against-source --bucket s3://laion-fmri --session 1
""",
    done="every session is unchanged",
    failed="a session is incomplete",
)
_INFO = exits.epilog(
    """
intake-laion-fmri store info /data/laion.zarr
intake-laion-fmri store info s3://mine/faces.zarr --json
""",
    failed="the store could not be read",
)
_CATALOG = exits.epilog(
    """
intake-laion-fmri store catalog /data/laion.zarr --out laion_store.yaml
python -c "import intake; print(intake.open_catalog('laion_store.yaml')['sub-01'].to_dask())"
""",
    failed="the file could not be written",
)

_splits = click.option("--splits", metavar="URL", help="Folder or URL of split files. By default the published ones.")


@click.group()
def store() -> None:
    """Build, check and describe a Zarr store of betas.

    A store allows random access; the bucket's files must be decompressed from their start.
    """


@store.command(epilog=_BUILD)
@click.option("--to", metavar="URL", required=True, help="Folder or URL of the store.")
@selection_options
@click.option("--roi", "rois", multiple=True, help="ROI to keep: a name, category or expression; several are joined.")
@click.option(
    "--mask", type=click.Choice(["rsquare", "anatomical", "rsquare_or_nan"]), help="Brain mask.  [default: rsquare]"
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bitround", "float16"]),
    help="Full precision; rounded to --keep-bits; or half precision, which loses small values.  [default: float32]",
)
@click.option("--keep-bits", type=int, help="Bits of the mantissa kept by bitround, 1 to 23.  [default: 10]")
@click.option("--codec", type=click.Choice(["none", "lz4", "zstd"]), help="Compression of chunks.  [default: none]")
@click.option("--chunk-voxels", type=int, help="Voxels per chunk.  [default: 128]")
@click.option("--shard-voxels", type=int, help="Voxels per object, 0 for an object per chunk.  [default: 4096]")
@_splits
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Worker processes on this machine."
)
@click.option("--cluster", metavar="ADDRESS", help="Scheduler address of a Dask cluster.")
@json_option
@bucket_options
@store_options
def build(
    bucket: BucketChoice,
    choice: BucketChoice,
    to: str,
    subjects: tuple[str, ...],
    sessions: tuple[str, ...],
    rois: tuple[str, ...],
    workers: int,
    cluster: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Build a store from a bucket's streams, or complete one.

    Missing options are taken from the existing store.
    """
    from intake_laion_fmri.building.build import build_store

    interrupts.promise("Complete sessions are kept. Run the command again for the rest.")
    with exits.exit_codes():
        root = choice.open_store(to)
    with exits.exit_codes(), _cluster(cluster) as client, _progress(quiet=as_json) as progress:
        reports = build_store(
            root,
            bucket=bucket.open(),
            subjects=chosen(subjects),
            sessions=chosen(sessions),
            roi=rois[0] if len(rois) == 1 else rois or None,
            client=client,
            scheduler="processes" if workers > 1 else "threads",
            workers=workers,
            progress=progress,
            **options,
        )
    if as_json:
        print_json({"store": to, "sessions": [asdict(report) for report in reports]})
    else:
        made = sum(report.status != "complete" for report in reports)
        click.echo(f"{to}: {len(reports)} sessions complete, {made} of them built now.")


@store.command(epilog=_VERIFY)
@click.argument("url", metavar="STORE")
@selection_options
@click.option("--against-source", is_flag=True, help="Read the bucket again and compare all values.")
@_splits
@json_option
@bucket_options
@store_options
@click.pass_context
def verify(
    context: click.Context,
    bucket: BucketChoice,
    choice: BucketChoice,
    url: str,
    subjects: tuple[str, ...],
    sessions: tuple[str, ...],
    against_source: bool,
    splits: str | None,
    as_json: bool,
) -> None:
    """Compare a store with its checksums, or with the bucket."""
    from intake_laion_fmri.building.verify import verify_store

    if not against_source and bucket.given:
        raise click.UsageError("--bucket and its options need --against-source.")
    checks = []
    with exits.exit_codes():
        for check in verify_store(
            choice.open_store(url),
            subjects=chosen(subjects),
            sessions=chosen(sessions),
            against_source=against_source,
            bucket=bucket.open() if against_source else None,
            splits=splits,
        ):
            checks.append(check)
            if not as_json:
                detail = f": {check.detail}" if check.detail else ""
                click.echo(printable(f"{check.subject} {check.session}: {check.status}{detail}"))
    if as_json:
        print_json({"store": url, "sessions": [asdict(check) for check in checks]})
    found = {check.status for check in checks}
    broken = bool(found & {"damaged", "different"})
    context.exit(exits.CONTRADICTORY if broken else exits.DRIFT if "incomplete" in found else 0)


@store.command(epilog=_INFO)
@click.argument("url", metavar="STORE")
@json_option
@store_options
def info(choice: BucketChoice, url: str, as_json: bool) -> None:
    """Show a store's sessions, its size and missing sessions."""
    from intake_laion_fmri.building.contents import store_info

    with exits.exit_codes():
        found = store_info(choice.open_store(url))
    if as_json:
        print_json(found.to_json())
        return
    click.echo(f"{found.url}: {size(found.n_bytes)}, built with {found.options}")
    for subject in found.subjects:
        click.echo(printable(f"{subject}; {size(subject.n_bytes)}"))
        for session, why in subject.damaged.items():
            click.echo(printable(f"  {session} is damaged: {why}"))


@store.command("catalog", epilog=_CATALOG)
@click.argument("url", metavar="STORE")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write. By default the catalog is printed."
)
@store_options
def store_catalog(choice: BucketChoice, url: str, out: Path | None) -> None:
    """Write a store's catalog for intake-xarray alone."""
    from intake_laion_fmri.building.contents import store_info
    from intake_laion_fmri.catalog import store_file
    from intake_laion_fmri.catalog.files import write_file

    with exits.exit_codes():
        found = store_info(choice.open_store(url))
        text = store_file.store_catalog(found, choice.options)
        if out is not None:
            write_file(out, text)
    if out is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"{out}: {sum(len(subject.sessions) for subject in found.subjects)} sessions of {found.url}.")


@contextmanager
def _cluster(address: str | None) -> Iterator[Client | None]:
    """Connect to the named Dask cluster, if any."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise click.UsageError(
            "--cluster needs dask's distributed: pip install 'intake-laion-fmri[cluster]'."
        ) from error
    with Client(address) as client:
        yield client


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[BuildProgress], None]]:
    """Show progress: a line per session, and a bar on a terminal.

    Nothing with `quiet`.
    """
    with Bar("Building") as bar:

        def advance(progress: BuildProgress) -> None:
            bar.report(progress)
            if progress.finished is not None and not quiet:
                to_go = progress.n_sessions - progress.sessions
                left = "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
                report = progress.finished
                line = f"{report.subject} {report.session}: {report.status}, {size(report.bytes_read)} read"
                line += f", {size(report.bytes_written)} written, {duration(report.seconds)}"
                bar.say(line + (f"; {to_go} to go, {left}" if to_go and left else ""))

        yield advance
