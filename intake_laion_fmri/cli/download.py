"""The commands of the data set's own package: ``download`` and its kin, and ``request-access``."""

from __future__ import annotations

from typing import Any

import click

from intake_laion_fmri import layout
from intake_laion_fmri.cli import exits, interrupts
from intake_laion_fmri.cli.mirror import KEPT, show_progress
from intake_laion_fmri.cli.options import BucketChoice, Command, entity_options, source_options
from intake_laion_fmri.cli.output import Bar, json_option, print_json

_GET = exits.epilog(
    """
    LAION_FMRI_REQUEST_ID=lfm_... intake-laion-fmri stimuli get --to /data/laion-fmri
    intake-laion-fmri stimuli get
    """,
    more="""Request access at https://laion-fmri.hebartlab.com/request to get a request id. If interrupted, run the
command again: received data are kept. The files are readable by you only.

\b
Environment:
  LAION_FMRI_REQUEST_ID   the request id; other users can see command lines
  LAION_FMRI_ACCESS_URL   another address of the access service""",
    done="the images and their table are complete and have the published SHA-256",
    failed="another file has their name, or the disk is full",
)

_DONE = {"done": "every chosen file is in the data folder", "failed": "no data folder is set, or the disk is full"}


class ManyValues(click.Command):
    """A command whose options take several values: ``--subject sub-01 sub-03``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option's name before each further value."""
        many = {word for one in self.params if isinstance(one, click.Option) and one.multiple for word in one.opts}
        given: list[str] = []
        option = ""
        for word in args:
            if word.startswith("-"):
                option = word if word in many else ""
            elif option and given[-1] != option:
                given.append(option)
            given.append(word)
        return super().parse_args(ctx, given)


_subject = click.option("--subject", multiple=True, help="sub-01 or 01; several, or all.")
_ses = click.option("--ses", multiple=True, help="ses-01, 01 or 1; several; averages for files of no single session.")
_jobs = click.option(
    "--n-jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Large files copied concurrently."
)


def _command(name: str, example: str = "") -> Command:
    text = f"intake-laion-fmri {name}{example}"
    return click.command(name, cls=ManyValues, epilog=exits.epilog(text, **_DONE))


def _copy(function: str, source: BucketChoice, **given: Any) -> None:
    """Call a function of `download` with the options that were given, and show how far it is."""
    from intake_laion_fmri import download as functions

    interrupts.promise(KEPT)
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value != ()}
    chosen = {name: "all" if value == ["all"] else value for name, value in given.items()}
    with exits.exit_codes(), show_progress(quiet=False) as progress:
        getattr(functions, function)(**chosen, bucket=source.source(), progress=progress)


@_command("download", " --subject sub-01 sub-03 --ses ses-01 --include-anatomical")
@_subject
@_ses
@entity_options(*layout.ENTITIES)
@click.option("--include-stimuli", is_flag=True, help="Include the images; they need a request id.")
@click.option(
    "--include-embeddings",
    is_flag=False,
    flag_value="all",
    multiple=True,
    help="Include embeddings of the images: all, or models such as CLIP.",
)
@click.option("--include-freesurfer", is_flag=True, help="Include each subject's FreeSurfer folder.")
@click.option("--include-anatomical", is_flag=True, help="Include all anatomical images.")
@click.option("--include-raw", is_flag=True, help="Include raw data: hundreds of GB per subject.")
@click.option("--include-localizers", is_flag=True, help="Include the localizers' maps.")
@_jobs
@source_options()
def download(source: BucketChoice, **given: Any) -> None:
    """Copy a part of the bucket to the data folder.

    Set the folder with `config --data-dir`; it is read before the bucket. A second run copies the missing files.
    `mirror` does the same for any folder.
    """
    models = given.pop("include_embeddings")
    given["include_embeddings"] = True if "all" in models else list(models) or False
    _copy("download", source, **given)


@_command("download-raw", " --subject sub-01 --ses ses-01 --run 1 --echo 2")
@_subject
@_ses
@entity_options("task", *layout.RAW_ENTITIES, "suffix", "extension")
@_jobs
@source_options()
def download_raw(source: BucketChoice, **given: Any) -> None:
    """Copy raw data and events to the data folder."""
    _copy("download_raw", source, **given)


@_command("download-embeddings", " --model CLIP DINOv2")
@click.option("--model", "models", multiple=True, help="Model, such as CLIP. By default all.")
@source_options()
def download_embeddings(source: BucketChoice, models: tuple[str, ...]) -> None:
    """Copy embeddings of images to the data folder."""
    _copy("download_embeddings", source, models=models)


@_command("download-captions")
@source_options()
def download_captions(source: BucketChoice) -> None:
    """Copy captions of images to the data folder."""
    _copy("download_captions", source)


@_command("download-segmentations")
@source_options()
def download_segmentations(source: BucketChoice) -> None:
    """Copy segmentations of images to the data folder."""
    _copy("download_segmentations", source)


@_command("download-stimuli")
def download_stimuli() -> None:
    """Copy the images to the data folder.

    This needs a request id; see `request-access`.
    """
    from intake_laion_fmri import download as functions

    with exits.exit_codes():
        functions.download_stimuli()


@click.command(
    "request-access",
    epilog=exits.epilog(
        "intake-laion-fmri request-access", done="the address is printed", failed="it could not be printed"
    ),
)
def request_access() -> None:
    """Show where to request access to the images.

    Access requires a data use agreement. Nothing is sent.
    """
    from intake_laion_fmri.download import request_stimulus_access

    request_stimulus_access()


@click.group()
def stimuli() -> None:
    """Get the images, under their data use agreement."""


@stimuli.command(epilog=_GET)
@click.option(
    "--to", metavar="DIR", type=click.Path(file_okay=False), help="Folder to copy to. By default the data folder."
)
@click.option("--request-id", metavar="ID", help="Request id; the variable LAION_FMRI_REQUEST_ID is safer.")
@json_option
def get(to: str | None, request_id: str | None, as_json: bool) -> None:
    """Fetch the images and their table into a mirror.

    The request id is taken from the option, the environment, or ~/.cache/laion-fmri/auth.json, where the data set's own
    package saves it.
    """
    from intake_laion_fmri.mirror.gated import fetch_stimuli

    with exits.exit_codes(), Bar("Fetching the images", after=1) as bar:
        paths = fetch_stimuli(to, request_id=request_id, progress=bar.show)
    if as_json:
        print_json({"files": {name: str(path) for name, path in paths.items()}})
    else:
        for path in paths.values():
            click.echo(path)


COMMANDS = (
    *(download, download_raw, download_embeddings, download_captions, download_segmentations),
    *(download_stimuli, request_access),
)
