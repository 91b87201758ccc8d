"""The command ``intake-laion-fmri``, with all groups of commands."""

from __future__ import annotations

import click

from intake_laion_fmri import __version__
from intake_laion_fmri.cli.bucket import info, ls
from intake_laion_fmri.cli.catalog import catalog, doctor
from intake_laion_fmri.cli.download import COMMANDS, stimuli
from intake_laion_fmri.cli.exits import Program
from intake_laion_fmri.cli.local import cache, config, demo
from intake_laion_fmri.cli.mirror import mirror
from intake_laion_fmri.cli.store import store

_EPILOG = """\b
Examples:
  intake-laion-fmri info
  intake-laion-fmri mirror --to /data/laion-fmri --subject sub-01 --session 1
  intake-laion-fmri store build --to /data/laion.zarr --subject sub-01 --mirror /data/laion-fmri
  intake-laion-fmri demo demo-bucket

\b
Environment:
  LAION_FMRI_BUCKET       URL or folder of the bucket, default s3://laion-fmri
  LAION_FMRI_MIRROR       folder that is read first; with LAION_FMRI_MIRROR_ONLY=1, no network
  LAION_FMRI_CONFIG       folder of the settings saved by "config"
  LAION_FMRI_NETWORK      limits of retries, such as attempts=3,total_seconds=20
  LAION_FMRI_CACHE        folder of the cache; LAION_FMRI_CACHE_LIMIT: its size in bytes
  LAION_FMRI_SPLITS       folder or URL of split files
  LAION_FMRI_REQUEST_ID   request id for the images; LAION_FMRI_ACCESS_URL: the access service

\b
Exit codes:
  0    done
  1    failure, or differences found
  2    invalid command or options
  3    the bucket does not respond
  4    access denied
  5    not found
  6    a file is damaged or inconsistent
  130  interrupted (Ctrl-C)
  141  the output was closed, as by head
"""


@click.group(cls=Program, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="intake-laion-fmri")
def main() -> None:
    """Read LAION-fMRI as lazy, labelled arrays.

    Commands print tables and progress bars on a terminal, plain lines in a pipe, and one object with --json.
    """


for _command in (info, ls, mirror, stimuli, store, catalog, doctor, demo, cache, config, *COMMANDS):
    main.add_command(_command)
