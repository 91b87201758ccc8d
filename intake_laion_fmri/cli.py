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
    NotInBucketError,
)

if TYPE_CHECKING:
    from intake_laion_fmri.access import Bucket

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
  {UNREACHABLE}  the bucket does not answer
  {DENIED}  the bucket may not be listed
  {NOT_FOUND}  there is no such bucket, or it holds nothing of the data set
  {CONTRADICTORY}  the bucket or an inventory contradicts itself or cannot be understood
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


def _bucket_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that tell how a bucket is reached."""
    for option in (
        click.option(
            "--storage-option",
            "storage_options",
            metavar="KEY=VALUE",
            multiple=True,
            callback=_parse_options,
            help="Option of the bucket's file system, the value as JSON or text; may be given several times.",
        ),
        click.option("--endpoint-url", metavar="URL", help="Server of an S3 bucket that is not Amazon's."),
    ):
        command = option(command)
    return command


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


def _bucket(url: str | None, endpoint_url: str | None, storage_options: dict[str, Any]) -> Bucket:
    from intake_laion_fmri.access import open_bucket

    options = dict(storage_options)
    try:
        if endpoint_url:
            options["client_kwargs"] = {**options.get("client_kwargs", {}), "endpoint_url": endpoint_url}
        return open_bucket(url, options)
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn the errors that a bucket may cause into a line and an exit code, and its warning into a line."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", IncompleteBucketWarning)
            yield
    except BucketUnreachableError as error:
        raise _exit(error, UNREACHABLE) from error
    except AccessDeniedError as error:
        raise _exit(error, DENIED) from error
    except NotInBucketError as error:
        raise _exit(error, NOT_FOUND) from error
    except DataIntegrityError as error:
        raise _exit(error, CONTRADICTORY) from error
    except OSError as error:
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
