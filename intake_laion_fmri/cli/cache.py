"""The commands ``cache info`` and ``cache clear``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from intake_laion_fmri.cli import exits
from intake_laion_fmri.cli.output import json_option, print_json
from intake_laion_fmri.running.progress import size

if TYPE_CHECKING:
    from intake_laion_fmri.remote.cache import CacheInfo

_INFO = exits.epilog(
    """
    intake-laion-fmri cache info
    LAION_FMRI_CACHE=/scratch/cache intake-laion-fmri cache info --json
    """,
    done="done",
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


@click.group()
def cache() -> None:
    """Show or clear the cache of small files.

    Tables, masks and maps that were read from a server, and split files. It is in the user's cache folder, or in
    LAION_FMRI_CACHE, and keeps at most LAION_FMRI_CACHE_LIMIT bytes, 2 GB by default.
    """


@cache.command(epilog=_INFO)
@json_option
def info(as_json: bool) -> None:
    """Show where the cache is, and how much is in it."""
    from intake_laion_fmri.remote.cache import cache_info

    with exits.exit_codes():
        found = cache_info()
    if as_json:
        print_json(_to_json(found))
    else:
        click.echo(f"{_named(found)}: {found.n_files} files, {size(found.n_bytes)} of at most {size(found.limit)}.")


@cache.command(epilog=_CLEAR)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def clear(yes: bool, as_json: bool) -> None:
    """Remove what is in the cache; it is fetched again where it is needed."""
    from intake_laion_fmri.remote.cache import cache_info, clear_cache

    with exits.exit_codes():
        found = cache_info()
        if found.n_files and not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("There is nobody to ask: add --yes.")
            question = f"Remove {found.n_files} files ({size(found.n_bytes)}) from {found.folder}?"
            if not click.confirm(question, err=True):
                raise click.exceptions.Exit(exits.FAILED)
        removed = clear_cache()
    if as_json:
        print_json(_to_json(removed))
    else:
        click.echo(f"{_named(removed)}: {removed.n_files} files removed, {size(removed.n_bytes)}.")


def _named(found: CacheInfo) -> str:
    return str(found.folder or "No home folder is known, nothing is kept (LAION_FMRI_CACHE names another folder)")


def _to_json(found: CacheInfo) -> dict[str, Any]:
    return {
        "folder": found.folder and str(found.folder),
        "files": found.n_files,
        "bytes": found.n_bytes,
        "limit": found.limit,
    }
