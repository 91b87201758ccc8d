"""The command ``intake-laion-fmri``."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intake_laion_fmri import __version__
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    DataIntegrityError,
    IncompleteBucketWarning,
    MissingFileWarning,
    NotInBucketError,
)

if TYPE_CHECKING:
    from distributed import Client

    from intake_laion_fmri.access import Bucket
    from intake_laion_fmri.store import BuildProgress
    from intake_laion_fmri.store_root import StoreRoot

__all__ = ["CONTRADICTORY", "DENIED", "DRIFT", "NOT_FOUND", "UNREACHABLE", "main"]

DRIFT = 1
"""Exit code of ``catalog check``: the bucket and the catalog differ. 0 is no difference; 2 is a usage error."""
UNREACHABLE = 3
"""Exit code: the bucket does not answer."""
DENIED = 4
"""Exit code: the bucket may not be listed."""
NOT_FOUND = 5
"""Exit code: there is no such bucket, or it holds nothing of the data set."""
CONTRADICTORY = 6
"""Exit code: the bucket, or the catalog's inventory, contradicts itself or cannot be understood."""

Command = Callable[..., None]

_SLOW_SECONDS = 2
"""A progress bar is shown for what takes longer."""

_DEMO_EXAMPLE = """\b
Example:
  intake-laion-fmri demo demo-bucket
  LAION_FMRI_BUCKET=demo-bucket python -c "import intake; print(intake.cat.laion_fmri.betas().to_dask())"
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="intake-laion-fmri")
def main() -> None:
    """Read LAION-fMRI as lazy, labelled arrays."""


@main.command(epilog=_DEMO_EXAMPLE)
@click.argument("path", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--scale",
    type=click.Choice(["tiny", "small", "session"]),
    default="small",
    show_default=True,
    help="tiny: two subjects, under 2 MB. small: five subjects, three sessions each. session: one full-size session.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same bytes.")
def demo(path: Path, scale: str, seed: int) -> None:
    """Write a synthetic bucket with the real layout to PATH."""
    from intake_laion_fmri.demo import write_demo

    try:
        with _progress(f"Writing {path}") as progress:
            written = write_demo(path, scale=scale, seed=seed, progress=progress)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{written}: a synthetic bucket of scale {scale!r}.")


_EXIT_CODES = f"""\b
Exit codes:
  0  {{done}}
  1  {{failed}}
  2  the command was not understood, or its options are refused
  {UNREACHABLE}  the bucket or the store does not answer
  {DENIED}  the bucket or the store may not be read, or written to
  {NOT_FOUND}  there is no such bucket or store, or it holds nothing of what is asked for
  {CONTRADICTORY}  the bucket, a store or an inventory contradicts itself or cannot be understood
"""

_WRITE_EXAMPLES = """\b
Examples:
  intake-laion-fmri catalog write --bucket s3://laion-fmri --out catalogs
  intake-laion-fmri catalog write --bucket s3://copy --endpoint-url http://127.0.0.1:9000
  python -c "import intake; print(list(intake.open_catalog('catalogs/laion_fmri.yaml')['sub-01']))"

""" + _EXIT_CODES.format(done="the files are as they should be", failed="the files could not be written")

_CHECK_EXAMPLES = """\b
Examples:
  intake-laion-fmri catalog check --bucket s3://laion-fmri
  intake-laion-fmri catalog check --bucket demo-bucket --catalog catalogs --json

\b
A line for each difference:
  new      sub-01 ses-31: held out
  gone     sub-01 roi FFA1: face
  changed  sub-01 ses-02: bytes 1000 -> 1200

""" + _EXIT_CODES.format(done="no difference", failed="the bucket and the catalog differ")


def _parse_options(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """Turn ``key=value`` into options; a value that is JSON is taken as such."""
    options: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not name or not separator:
            raise click.BadParameter(f"{text!r}: expected key=value, such as anon=false.", context, parameter)
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _reached_by(place: str, option: str, options: str, endpoint: str) -> Callable[[Command], Command]:
    """Return what adds the options that tell how a bucket or a store is reached."""

    def add(command: Command) -> Command:
        of_the_file_system = click.option(
            option,
            options,
            metavar="KEY=VALUE",
            multiple=True,
            callback=_parse_options,
            help=f"Option of the {place}'s file system, the value as JSON or text; may be given several times.",
        )
        server = click.option(endpoint, metavar="URL", help=f"Server of an S3 {place} that is not Amazon's.")
        return server(of_the_file_system(command))

    return add


_bucket_options = _reached_by("bucket", "--storage-option", "storage_options", "--endpoint-url")
_store_options = _reached_by("store", "--store-option", "store_options", "--store-endpoint-url")


@main.group()
def catalog() -> None:
    """Write the catalog's YAML files, or compare them with a bucket."""


@catalog.command(epilog=_WRITE_EXAMPLES)
@click.option("--bucket", metavar="URL", help="Bucket or folder to list. By default the inventory that ships.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="catalogs",
    show_default=True,
    help="Folder to write to.",
)
@_bucket_options
def write(bucket: str | None, out: Path, endpoint_url: str | None, storage_options: dict[str, Any]) -> None:
    """Write a catalog of every subject, session and ROI.

    The same listing gives the same bytes; each file appears whole or not at all, and files that are right already
    are left alone. The files name no bucket: tell it when opening them, or by LAION_FMRI_BUCKET.
    """
    from intake_laion_fmri.catalog_files import (
        catalog_files,
        catalog_folder,
        read_inventory,
        take_inventory,
        write_files,
    )

    if bucket is None and (endpoint_url or storage_options):
        raise click.UsageError("--endpoint-url and --storage-option say how a bucket is reached: add --bucket.")
    with _exit_codes():
        if bucket is None:
            inventory = read_inventory(catalog_folder())
        else:
            inventory = take_inventory(_bucket(bucket, endpoint_url, storage_options))
        files = catalog_files(inventory)
        touched = write_files(files, out)
    click.echo(f"{out}: {len(files)} files from {inventory.source}; {len(touched)} of them new, changed or removed.")


@catalog.command(epilog=_CHECK_EXAMPLES)
@click.option("--bucket", metavar="URL", help="Bucket or folder to list. By default LAION_FMRI_BUCKET or the real one.")
@click.option(
    "--catalog",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that `catalog write` has written to. By default the one that ships.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@_bucket_options
@click.pass_context
def check(
    context: click.Context,
    bucket: str | None,
    folder: Path | None,
    as_json: bool,
    endpoint_url: str | None,
    storage_options: dict[str, Any],
) -> None:
    """Compare a catalog with what a bucket holds now.

    Subjects, public and held-out sessions, ROIs, their categories, and, where the catalog was written from a listing,
    sizes and formats. Nothing is written.
    """
    from dataclasses import asdict

    from intake_laion_fmri.catalog_files import (
        INVENTORY_FILE,
        catalog_files,
        catalog_folder,
        changed_files,
        compare,
        read_inventory,
        take_inventory,
    )

    folder = folder or catalog_folder()
    if not (folder / INVENTORY_FILE).is_file():
        raise click.BadParameter(
            f"{folder} holds no {INVENTORY_FILE}: expected a folder that `catalog write` has written to.",
            context,
            param_hint="'--catalog'",
        )
    with _exit_codes():
        place = _bucket(bucket, endpoint_url, storage_options)
        known = read_inventory(folder)
        found = take_inventory(place)
    changes = [*changed_files(catalog_files(known), folder), *compare(known, found)]
    if as_json:
        report = {"bucket": place.url, "catalog": str(folder), "changes": [asdict(change) for change in changes]}
        click.echo(json.dumps(report, indent=2))
    else:
        for change in changes:
            click.echo(str(change))
        click.echo(
            f"{len(changes)} differences between {folder} and {place.url}."
            if changes
            else f"{folder} describes {place.url} as it is: {len(found.subjects)} subjects."
        )
    context.exit(DRIFT if changes else 0)


_BUILD_EXAMPLES = """\b
Examples:
  intake-laion-fmri store build --bucket s3://laion-fmri --to /data/laion.zarr --subject sub-01
  intake-laion-fmri store build --to s3://mine/faces.zarr --roi face --roi body --workers 4
  intake-laion-fmri store build --to /shared/laion.zarr --cluster tcp://10.0.0.1:8786
  python -c "import intake; print(intake.cat.laion_fmri.betas(store='/data/laion.zarr', roi='face').to_dask())"

It may be interrupted at any moment and run again: what is complete is left alone.

""" + _EXIT_CODES.format(done="every session is complete", failed="the store could not be written, or a worker died")

_VERIFY_EXAMPLES = """\b
Examples:
  intake-laion-fmri store verify /data/laion.zarr
  intake-laion-fmri store verify /data/laion.zarr --against-source --bucket s3://laion-fmri --session 1

""" + _EXIT_CODES.format(done="every session is what was written", failed="a session is not complete")

_INFO_EXAMPLES = """\b
Examples:
  intake-laion-fmri store info /data/laion.zarr
  intake-laion-fmri store info s3://mine/faces.zarr --json

""" + _EXIT_CODES.format(done="done", failed="the store could not be read")

_STORE_CATALOG_EXAMPLES = """\b
Examples:
  intake-laion-fmri store catalog /data/laion.zarr --out laion_store.yaml
  python -c "import intake; print(intake.open_catalog('laion_store.yaml')['sub-01'].to_dask())"

""" + _EXIT_CODES.format(done="done", failed="the file could not be written")


def _selection_options(command: Command) -> Command:
    """Add the options that choose sessions."""
    for option in (
        click.option("--session", "sessions", multiple=True, help="ses-01, 01 or 1; may be given several times."),
        click.option("--subject", "subjects", multiple=True, help="sub-01 or 01; may be given several times."),
    ):
        command = option(command)
    return command


@main.group()
def store() -> None:
    """Build a Zarr store of betas, which is read at random; check it, and tell what it holds."""


@store.command(epilog=_BUILD_EXAMPLES)
@click.option("--to", metavar="URL", required=True, help="Folder or URL of the store.")
@click.option("--bucket", metavar="URL", help="Bucket or folder. By default LAION_FMRI_BUCKET or the real one.")
@_selection_options
@click.option(
    "--roi", "rois", multiple=True, help="Voxels to keep: a name, category or expression; several are united."
)
@click.option("--mask", type=click.Choice(["rsquare", "anatomical"]), help="The brain.  [default: rsquare]")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bitround", "float16"]),
    help="As it is; rounded to --keep-bits; or half precision, which loses small values.  [default: float32]",
)
@click.option("--keep-bits", type=int, help="Bits of the mantissa that bitround keeps, 1 to 23.  [default: 10]")
@click.option("--codec", type=click.Choice(["none", "lz4", "zstd"]), help="Packing of chunks.  [default: none]")
@click.option("--chunk-voxels", type=int, help="Voxels per chunk.  [default: 128]")
@click.option("--shard-voxels", type=int, help="Voxels per object, 0 for an object per chunk.  [default: 4096]")
@click.option("--splits", metavar="URL", help="Folder or URL of split files. By default what is found or fetched.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes on this machine.")
@click.option("--cluster", metavar="ADDRESS", help="Address of the scheduler of a Dask cluster to build on.")
@_bucket_options
@_store_options
def build(
    to: str,
    bucket: str | None,
    subjects: tuple[str, ...],
    sessions: tuple[str, ...],
    rois: tuple[str, ...],
    workers: int,
    cluster: str | None,
    endpoint_url: str | None,
    storage_options: dict[str, Any],
    store_endpoint_url: str | None,
    store_options: dict[str, Any],
    **options: Any,
) -> None:
    """Build a store from a bucket's streams, or complete one.

    Options that are not given are those of the store that is there.
    """
    from intake_laion_fmri.store import build_store

    with _exit_codes(), _cluster(cluster) as client, _build_progress() as progress:
        reports = build_store(
            _store(to, store_endpoint_url, store_options),
            bucket=_bucket(bucket, endpoint_url, storage_options),
            subjects=subjects or "all",
            sessions=sessions or "all",
            roi=_one_or_several(rois),
            client=client,
            scheduler="processes" if workers > 1 else "threads",
            workers=workers,
            progress=progress,
            **options,
        )
    made = sum(report.status != "complete" for report in reports)
    click.echo(f"{to}: {len(reports)} sessions complete, {made} of them built now.")


@store.command(epilog=_VERIFY_EXAMPLES)
@click.argument("url", metavar="STORE")
@_selection_options
@click.option("--against-source", is_flag=True, help="Stream the bucket again and compare value by value.")
@click.option("--bucket", metavar="URL", help="Bucket or folder. By default LAION_FMRI_BUCKET or the real one.")
@click.option("--splits", metavar="URL", help="Folder or URL of split files. By default what is found or fetched.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@_bucket_options
@_store_options
@click.pass_context
def verify(
    context: click.Context,
    url: str,
    subjects: tuple[str, ...],
    sessions: tuple[str, ...],
    against_source: bool,
    bucket: str | None,
    splits: str | None,
    as_json: bool,
    endpoint_url: str | None,
    storage_options: dict[str, Any],
    store_endpoint_url: str | None,
    store_options: dict[str, Any],
) -> None:
    """Compare what a store holds with the checksums of what was written, or with the bucket."""
    from dataclasses import asdict

    from intake_laion_fmri.store_checks import verify_store

    if not against_source and (bucket or endpoint_url or storage_options):
        raise click.UsageError("--bucket and its options are for --against-source: add it.")
    checks = []
    with _exit_codes():
        place = _bucket(bucket, endpoint_url, storage_options) if against_source else None
        for check in verify_store(
            _store(url, store_endpoint_url, store_options),
            subjects=subjects or "all",
            sessions=sessions or "all",
            against_source=against_source,
            bucket=place,
            splits=splits,
        ):
            checks.append(check)
            if not as_json:
                detail = f": {check.detail}" if check.detail else ""
                click.echo(f"{check.subject} {check.session}: {check.status}{detail}")
    if as_json:
        click.echo(json.dumps({"store": url, "sessions": [asdict(check) for check in checks]}, indent=2))
    found = {check.status for check in checks}
    context.exit(CONTRADICTORY if found & {"damaged", "different"} else DRIFT if "incomplete" in found else 0)


@store.command(epilog=_INFO_EXAMPLES)
@click.argument("url", metavar="STORE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@_store_options
def info(url: str, as_json: bool, store_endpoint_url: str | None, store_options: dict[str, Any]) -> None:
    """Tell what a store holds, its size, and what is missing."""
    from intake_laion_fmri.store_checks import store_info

    with _exit_codes():
        found = store_info(_store(url, store_endpoint_url, store_options))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    click.echo(f"{found.url}: {_size(found.n_bytes)}, built with {found.options}")
    for subject in found.subjects:
        click.echo(f"{subject}; {_size(subject.n_bytes)}")
        for session, why in subject.damaged.items():
            click.echo(f"  {session} is damaged: {why}")


@store.command("catalog", epilog=_STORE_CATALOG_EXAMPLES)
@click.argument("url", metavar="STORE")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write. By default the catalog is printed.",
)
@_store_options
def store_catalog(url: str, out: Path | None, store_endpoint_url: str | None, store_options: dict[str, Any]) -> None:
    """Write a catalog of a store that needs intake-xarray only."""
    from intake_laion_fmri import catalog_files
    from intake_laion_fmri.store_checks import store_info

    with _exit_codes():
        found = store_info(_store(url, store_endpoint_url, store_options))
        text = catalog_files.store_catalog(found, _with_endpoint(store_endpoint_url, store_options))
        if out is not None:
            catalog_files.write_file(out, text.encode())
    if out is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"{out}: {sum(len(one.sessions) for one in found.subjects)} sessions of {found.url}.")


def _one_or_several(texts: tuple[str, ...]) -> str | tuple[str, ...] | None:
    return (texts[0] if len(texts) == 1 else texts) if texts else None


def _size(n_bytes: float) -> str:
    """Tell a size in the units that disks are sold in."""
    from tqdm import tqdm

    return f"{tqdm.format_sizeof(n_bytes)}B"


def _duration(seconds: float) -> str:
    from tqdm import tqdm

    return str(tqdm.format_interval(seconds))


def _bucket(url: str | None, endpoint_url: str | None, storage_options: dict[str, Any]) -> Bucket:
    from intake_laion_fmri.access import open_bucket

    try:
        return open_bucket(url, _with_endpoint(endpoint_url, storage_options))
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error


def _store(url: str, endpoint_url: str | None, store_options: dict[str, Any]) -> StoreRoot:
    from intake_laion_fmri.store_root import open_store

    try:
        return open_store(url, _with_endpoint(endpoint_url, store_options))
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error


def _with_endpoint(endpoint_url: str | None, options: dict[str, Any]) -> dict[str, Any]:
    if not endpoint_url:
        return dict(options)
    return {**options, "client_kwargs": {**options.get("client_kwargs", {}), "endpoint_url": endpoint_url}}


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[Client | None]:
    """Connect to a Dask cluster, where one is named."""
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


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn the errors that a bucket may cause into a line and an exit code, and its warning into a line."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            for category in (IncompleteBucketWarning, MissingFileWarning):
                warnings.simplefilter("always", category)
            yield
    except BucketUnreachableError as error:
        raise _exit(error, UNREACHABLE) from error
    except AccessDeniedError as error:
        raise _exit(error, DENIED) from error
    except NotInBucketError as error:
        raise _exit(error, NOT_FOUND) from error
    except DataIntegrityError as error:
        raise _exit(error, CONTRADICTORY) from error
    except (OSError, RuntimeError) as error:
        raise _exit(error, 1) from error
    except ValueError as error:  # options that the bucket's client refuses
        raise click.UsageError(str(error)) from error
    for warning in caught:
        click.echo(f"Warning: {warning.message}", err=True)


def _exit(error: Exception, code: int) -> click.exceptions.Exit:
    click.echo(f"Error: {error}", err=True)
    return click.exceptions.Exit(code)


@contextlib.contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for what takes longer than two seconds, on a terminal only."""
    from tqdm import tqdm

    with tqdm(desc=label, delay=_SLOW_SECONDS, disable=None, leave=False, unit="vol") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


@contextlib.contextmanager
def _build_progress() -> Iterator[Callable[[BuildProgress], None]]:
    """Print a line for each session, and on a terminal a bar of the bytes that are read."""
    from tqdm import tqdm

    with tqdm(desc="Building", disable=None, leave=False, unit="B", unit_scale=True) as bar:

        def advance(progress: BuildProgress) -> None:
            bar.total = progress.n_bytes
            left = "" if progress.seconds_left is None else f", {_duration(progress.seconds_left)} left"
            bar.set_postfix_str(f"{progress.sessions} of {progress.n_sessions} sessions{left}", refresh=False)
            bar.update(progress.bytes - bar.n)
            report = progress.finished
            if report is not None:
                line = f"{report.subject} {report.session}: {report.status}, {_size(report.bytes_read)} read"
                line += f", {_size(report.bytes_written)} written, {_duration(report.seconds)}"
                if progress.sessions < progress.n_sessions:
                    line += f"; {progress.n_sessions - progress.sessions} to go{left}"
                with tqdm.external_write_mode():
                    click.echo(line)

        yield advance
