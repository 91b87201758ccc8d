"""The command ``intake-laion-fmri``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from intake_laion_fmri import __version__

__all__ = ["main"]

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


@contextlib.contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for what takes longer than two seconds, on a terminal only."""
    from tqdm import tqdm

    with tqdm(desc=label, delay=_SLOW_SECONDS, disable=None, leave=False, unit="vol") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance
