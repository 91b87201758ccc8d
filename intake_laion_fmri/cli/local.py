"""Commands for this machine: ``cache info``, ``cache clear``, ``config``, ``demo``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intake_laion_fmri.cli import exits
from intake_laion_fmri.cli.output import Bar, json_option, print_json
from intake_laion_fmri.running.progress import size

if TYPE_CHECKING:
    from intake_laion_fmri.remote.cache import CacheInfo

_INFO = exits.epilog(
    """
    intake-laion-fmri cache info
    LAION_FMRI_CACHE=/scratch/cache intake-laion-fmri cache info --json
    """,
    failed="the folder could not be read",
)
_CLEAR = exits.epilog(
    """
    intake-laion-fmri cache clear
    intake-laion-fmri cache clear --yes
    """,
    done="the cache is empty",
    failed="not confirmed, or the folder could not be written to",
)

_CONFIG = exits.epilog(
    """
    intake-laion-fmri config --data-dir /data/laion-fmri
    intake-laion-fmri config
    """,
    failed="the folder does not exist, or the setting could not be saved",
)

_DEMO = """\b
Example:
  intake-laion-fmri demo demo-bucket
  LAION_FMRI_BUCKET=demo-bucket python -c "import intake; print(intake.cat.laion_fmri.betas().to_dask())"
"""


@click.group()
def cache() -> None:
    """Show or clear the cache of small files.

    It holds tables, masks and maps from servers, and split files. It lies in the user's cache folder or in
    LAION_FMRI_CACHE, and is limited to LAION_FMRI_CACHE_LIMIT bytes, 2 GB by default.
    """


@cache.command(epilog=_INFO)
@json_option
def info(as_json: bool) -> None:
    """Show the cache's folder and size."""
    from intake_laion_fmri.remote.cache import cache_info

    with exits.exit_codes():
        found = cache_info()
    if as_json:
        print_json(_to_json(found))
    else:
        click.echo(f"{_named(found)}: {found.n_files} files, {size(found.n_bytes)} of at most {size(found.limit)}.")


@cache.command(epilog=_CLEAR)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def clear(yes: bool, as_json: bool) -> None:
    """Empty the cache; files are fetched again when needed."""
    from intake_laion_fmri.remote.cache import cache_info, clear_cache

    with exits.exit_codes():
        found = cache_info()
        if found.n_files and not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("No terminal to confirm on: add --yes.")
            question = f"Remove {found.n_files} files ({size(found.n_bytes)}) from {found.folder}?"
            if not click.confirm(question, err=True):
                raise click.exceptions.Exit(exits.FAILED)
        removed = clear_cache()
    if as_json:
        print_json(_to_json(removed))
    else:
        click.echo(f"{_named(removed)}: {removed.n_files} files removed, {size(removed.n_bytes)}.")


@click.command(epilog=_CONFIG)
@click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Existing folder for downloads, read before the bucket.",
)
@json_option
def config(data_dir: Path | None, as_json: bool) -> None:
    """Show or set the data folder.

    The setting is saved in the user's configuration folder, or in LAION_FMRI_CONFIG. LAION_FMRI_MIRROR takes
    precedence.
    """
    from intake_laion_fmri.remote.data_folder import dataset_initialize, kept_data_dir, settings_file

    with exits.exit_codes():
        if data_dir is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    dataset_initialize(data_dir)
                except UserWarning as warning:
                    raise click.ClickException(str(warning)) from None
        kept = kept_data_dir()
    if as_json:
        print_json({"data_dir": kept and str(kept), "settings": str(settings_file() or "") or None})
    elif kept is None:
        click.echo("No data folder is set. Set one with 'intake-laion-fmri config --data-dir FOLDER'.")
    else:
        click.echo(f"{kept}{'' if kept.is_dir() else ' (does not exist)'}")


@click.command(epilog=_DEMO)
@click.argument("path", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--scale",
    type=click.Choice(["tiny", "small", "session"]),
    default="small",
    show_default=True,
    help="tiny: two subjects, under 2 MB. small: five subjects, three sessions each. session: one full-size session.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Equal seeds give equal bytes.")
@json_option
def demo(path: Path, scale: str, seed: int, as_json: bool) -> None:
    """Write a synthetic bucket to PATH."""
    from intake_laion_fmri.demo.bucket import write_demo

    with exits.exit_codes(), Bar(f"Writing {path}", after=2) as bar:
        written = write_demo(path, scale=scale, seed=seed, progress=bar.show)
    if as_json:
        print_json({"bucket": str(written), "scale": scale, "seed": seed})
    else:
        click.echo(f"{written}: a synthetic bucket of scale {scale!r}.")


def _named(found: CacheInfo) -> str:
    return str(found.folder or "No home folder is known, so nothing is cached (set LAION_FMRI_CACHE to a folder)")


def _to_json(found: CacheInfo) -> dict[str, Any]:
    return {
        "folder": found.folder and str(found.folder),
        "files": found.n_files,
        "bytes": found.n_bytes,
        "limit": found.limit,
    }
