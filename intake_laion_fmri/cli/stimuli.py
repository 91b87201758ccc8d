"""The command ``stimuli get``."""

from __future__ import annotations

from typing import Any

import click

from intake_laion_fmri.cli import exits
from intake_laion_fmri.cli.output import Bar, json_option, print_json

_GET = exits.epilog(
    """
    LAION_FMRI_REQUEST_ID=lfm_... intake-laion-fmri stimuli get --to /data/laion-fmri
    intake-laion-fmri stimuli get
    """,
    more="""They are asked for at https://laion-fmri.hebartlab.com/request; the answer is a request id. It may be
interrupted at any moment and run again: what was received is not fetched again. The images may be read by you alone.

\b
Environment:
  LAION_FMRI_REQUEST_ID   the request id; others can see what stands on a command line
  LAION_FMRI_ACCESS_URL   another address of the access service""",
    done="the images and their table are there, and have the published SHA-256",
    failed="there is another file in their place, or the disk is full",
)


@click.group()
def stimuli() -> None:
    """Get the images, which are given under a data use agreement."""


@stimuli.command(epilog=_GET)
@click.option("--to", metavar="DIR", type=click.Path(file_okay=False), help="Folder; by default the data folder.")
@click.option("--request-id", metavar="ID", help="Better given in LAION_FMRI_REQUEST_ID.")
@json_option
def get(to: str | None, request_id: str | None, as_json: bool) -> None:
    """Fetch the images and their table into a mirror.

    The request id is the option's, or the environment's, or the one that the data set's own package keeps in
    ~/.cache/laion-fmri/auth.json.
    """
    from intake_laion_fmri.mirror.gated import fetch_stimuli

    with exits.exit_codes(), Bar("Fetching the images", after=1) as bar:
        paths = fetch_stimuli(to, request_id=request_id, progress=bar.show)
    if as_json:
        found: dict[str, Any] = {name: str(path) for name, path in paths.items()}
        print_json({"files": found})
    else:
        for path in paths.values():
            click.echo(path)
