"""The command ``demo``."""

from __future__ import annotations

from pathlib import Path

import click

from intake_laion_fmri.cli import exits
from intake_laion_fmri.cli.output import Bar, json_option, print_json

SLOW_SECONDS = 2.0
"""A progress bar is shown for what takes longer."""

_EPILOG = """\b
Example:
  intake-laion-fmri demo demo-bucket
  LAION_FMRI_BUCKET=demo-bucket python -c "import intake; print(intake.cat.laion_fmri.betas().to_dask())"
"""


@click.command(epilog=_EPILOG)
@click.argument("path", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--scale",
    type=click.Choice(["tiny", "small", "session"]),
    default="small",
    show_default=True,
    help="tiny: two subjects, under 2 MB. small: five subjects, three sessions each. session: one full-size session.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same bytes.")
@json_option
def demo(path: Path, scale: str, seed: int, as_json: bool) -> None:
    """Write a synthetic bucket with the real layout to PATH."""
    from intake_laion_fmri.demo.bucket import write_demo

    with exits.exit_codes(), Bar(f"Writing {path}", after=SLOW_SECONDS) as bar:
        written = write_demo(path, scale=scale, seed=seed, progress=bar.show)
    if as_json:
        print_json({"bucket": str(written), "scale": scale, "seed": seed})
    else:
        click.echo(f"{written}: a synthetic bucket of scale {scale!r}.")
