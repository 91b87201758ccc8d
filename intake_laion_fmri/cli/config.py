"""The command ``config``."""

from __future__ import annotations

import warnings
from pathlib import Path

import click

from intake_laion_fmri.cli import exits
from intake_laion_fmri.cli.output import json_option, print_json

_CONFIG = exits.epilog(
    """
    intake-laion-fmri config --data-dir /data/laion-fmri
    intake-laion-fmri config
    """,
    done="done",
    failed="there is no such folder, or its name could not be kept",
)


@click.command(epilog=_CONFIG)
@click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="An existing folder: downloads go there, and it is read before the bucket.",
)
@json_option
def config(data_dir: Path | None, as_json: bool) -> None:
    """Show or name the folder with the data.

    Its name is kept in the user's configuration folder, or in LAION_FMRI_CONFIG. LAION_FMRI_MIRROR goes before it.
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
        click.echo("No data folder is named: 'intake-laion-fmri config --data-dir FOLDER' names one.")
    else:
        click.echo(f"{kept}{'' if kept.is_dir() else ' (is not there)'}")
