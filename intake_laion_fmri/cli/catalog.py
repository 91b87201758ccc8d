"""The commands ``catalog write`` and ``catalog check``; and ``doctor``, a first look at a bucket."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from intake_laion_fmri.cli import exits
from intake_laion_fmri.cli.options import BucketChoice, bucket_options, source_options
from intake_laion_fmri.cli.output import json_option, print_json, printable

_WRITE = exits.epilog(
    """
intake-laion-fmri catalog write --bucket s3://laion-fmri --out catalogs
intake-laion-fmri catalog write --bucket s3://copy --endpoint-url http://127.0.0.1:9000
python -c "import intake; print(list(intake.open_catalog('catalogs/laion_fmri.yaml')['sub-01']))"
""",
    done="the files are up to date",
    failed="the files could not be written",
)
_CHECK = exits.epilog(
    """
intake-laion-fmri catalog check --bucket s3://laion-fmri
intake-laion-fmri catalog check --bucket demo-bucket --catalog catalogs --json
""",
    more="""\b
A line for each difference:
  new      sub-01 ses-31: held out
  gone     sub-01 roi FFA1: face
  changed  sub-01 ses-02: bytes 1000 -> 1200
""",
    done="no difference",
    failed="the bucket and the catalog differ",
)

_DOCTOR = exits.epilog(
    """
intake-laion-fmri doctor > report.md
intake-laion-fmri doctor --subject sub-03 --json
intake-laion-fmri doctor --bucket demo-bucket --session 1
""",
    done="every source could be opened, except those that are absent or available on request only",
    failed="a source could not be opened",
)


@click.group()
def catalog() -> None:
    """Write catalog files, or check them."""


@catalog.command(epilog=_WRITE)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="catalogs",
    show_default=True,
    help="Folder to write to.",
)
@json_option
@source_options("the inventory that comes with this package")
def write(source: BucketChoice, out: Path, as_json: bool) -> None:
    """Write a catalog of every subject, session and ROI.

    The same listing gives the same bytes. Files are written atomically, and unchanged files are left alone. If a file
    that this command did not write has one of the names, nothing is written. The files do not contain the bucket's
    address: pass it when opening them, or set LAION_FMRI_BUCKET.
    """
    from intake_laion_fmri.catalog.files import catalog_files, write_files
    from intake_laion_fmri.catalog.inventory import catalog_folder, read_inventory, take_inventory

    if source.given and source.url is None:
        raise click.UsageError("--endpoint-url and --storage-option need --bucket.")
    with exits.exit_codes():
        inventory = take_inventory(source.open()) if source.given else read_inventory(catalog_folder())
        files = catalog_files(inventory)
        touched = write_files(files, out)
    if as_json:
        changed = sorted(map(str, touched))
        print_json({"out": str(out), "source": inventory.source, "files": sorted(files), "changed": changed})
    else:
        click.echo(
            f"{out}: {len(files)} files from {inventory.source}; {len(touched)} of them new, changed or removed."
        )


@catalog.command(epilog=_CHECK)
@click.option(
    "--catalog",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder written by `catalog write`. By default the catalog in the package.",
)
@json_option
@bucket_options
@click.pass_context
def check(context: click.Context, bucket: BucketChoice, folder: Path | None, as_json: bool) -> None:
    """Compare a catalog with the present contents of a bucket.

    Compares subjects, public and held-out sessions, ROIs and their categories, and, if the catalog was written from a
    listing, sizes and formats. Nothing is written.
    """
    from intake_laion_fmri.catalog.drift import compare
    from intake_laion_fmri.catalog.files import catalog_files, changed_files
    from intake_laion_fmri.catalog.inventory import INVENTORY_FILE, catalog_folder, read_inventory, take_inventory

    folder = folder or catalog_folder()
    if not (folder / INVENTORY_FILE).is_file():
        raise click.BadParameter(
            f"{folder} has no {INVENTORY_FILE}. Pass a folder written by `catalog write`.",
            context,
            param_hint="'--catalog'",
        )
    with exits.exit_codes():
        opened = bucket.open()
        known = read_inventory(folder)
        found = take_inventory(opened)
    changes = [*changed_files(catalog_files(known), folder), *compare(known, found)]
    if as_json:
        report = {"bucket": opened.url, "catalog": str(folder), "changes": [asdict(change) for change in changes]}
        print_json(report)
    else:
        for change in changes:
            click.echo(printable(str(change)))
        click.echo(
            f"{len(changes)} differences between {folder} and {opened.url}."
            if changes
            else f"{folder} agrees with {opened.url}: {len(found.subjects)} subjects."
        )
    context.exit(exits.DRIFT if changes else 0)


@click.command(epilog=_DOCTOR)
@click.option("--subject", help="Subject whose sources are opened. By default the first.")
@click.option("--session", help="Also read the betas of this session; the whole file is fetched.")
@json_option
@bucket_options
@click.pass_context
def doctor(
    context: click.Context, bucket: BucketChoice, subject: str | None, session: str | None, as_json: bool
) -> None:
    """Check a bucket and print a report for an issue.

    Lists the bucket, compares it with the catalog in the package, and opens each source of one subject as a user would.
    Only listings and small files are read, unless --session names a session. The report contains no secrets.
    """
    from intake_laion_fmri.catalog.doctor import look

    with exits.exit_codes():
        report = look(bucket.open(), subject, session)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(printable(report.markdown()))
    context.exit(exits.FAILED if report.failed else 0)
