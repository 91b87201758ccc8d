"""The command ``doctor``: a first look at a bucket, as a report."""

from __future__ import annotations

import click

from intake_laion_fmri.cli import exits
from intake_laion_fmri.cli.options import BucketChoice, bucket_options
from intake_laion_fmri.cli.output import json_option, print_json, printable

_DOCTOR = exits.epilog(
    """
intake-laion-fmri doctor > report.md
intake-laion-fmri doctor --subject sub-03 --json
intake-laion-fmri doctor --bucket demo-bucket --session 1
""",
    done="every source could be opened, but those that the bucket does not have or gives on request only",
    failed="a source could not be opened",
)


@click.command(epilog=_DOCTOR)
@click.option("--subject", help="Open the sources of this subject. By default the bucket's first.")
@click.option("--session", help="Read the betas of this session, too: its whole file is fetched.")
@json_option
@bucket_options
@click.pass_context
def doctor(
    context: click.Context, bucket: BucketChoice, subject: str | None, session: str | None, as_json: bool
) -> None:
    """Look whether a bucket is what this package expects, and print a report to paste into an issue.

    Lists the bucket, compares it with the catalog that came with the package, and opens each source of one subject as
    a user would: listings and small files, but no session unless --session names one. Holds no secret.
    """
    from intake_laion_fmri.catalog.doctor import look

    with exits.exit_codes():
        report = look(bucket.open(), subject, session)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(printable(report.markdown()))
    context.exit(exits.FAILED if report.failed else 0)
