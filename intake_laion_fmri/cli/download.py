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
    more="""They are asked for at https://laion-fmri.hebartlab.com/request; the answer is a request id. It may be
interrupted at any moment and run again: what was received is not fetched again. The images may be read by you alone.

\b
Environment:
  LAION_FMRI_REQUEST_ID   the request id; others can see what stands on a command line
  LAION_FMRI_ACCESS_URL   another address of the access service""",
    done="the images and their table are there, and have the published SHA-256",
    failed="there is another file in their place, or the disk is full",
)

_DONE = {"done": "every chosen file is in the data folder", "failed": "no data folder is named, or the disk is full"}


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


_subject = click.option("--subject", multiple=True, help="sub-01 or 01, several, or all of them.")
_ses = click.option(
    "--ses", multiple=True, help="ses-01, 01 or 1, several; averages for the files of a subject as a whole."
)
_jobs = click.option(
    "--n-jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Large files at a time."
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
@click.option("--include-stimuli", is_flag=True, help="The images too, once they were asked for.")
@click.option(
    "--include-embeddings",
    is_flag=False,
    flag_value="all",
    multiple=True,
    help="Embeddings of the images too; or the models, such as CLIP.",
)
@click.option("--include-freesurfer", is_flag=True, help="FreeSurfer's folder of each subject too.")
@click.option("--include-anatomical", is_flag=True, help="All images of the anatomy too.")
@click.option("--include-raw", is_flag=True, help="Raw data too: hundreds of GB a subject.")
@click.option("--include-localizers", is_flag=True, help="Maps of the localizers too.")
@_jobs
@source_options()
def download(source: BucketChoice, **given: Any) -> None:
    """Copy a part of the bucket to the data folder.

    The folder is named with `config --data-dir`. It is read before the bucket, and a second run copies what is missing.
    `mirror` does the same with any folder.
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
    """Copy raw data and tables of events to the data folder."""
    _copy("download_raw", source, **given)


@_command("download-embeddings", " --model CLIP DINOv2")
@click.option("--model", "models", multiple=True, help="Such as CLIP; all of them by default.")
@source_options()
def download_embeddings(source: BucketChoice, models: tuple[str, ...]) -> None:
    """Copy embeddings of the images to the data folder."""
    _copy("download_embeddings", source, models=models)


@_command("download-captions")
@source_options()
def download_captions(source: BucketChoice) -> None:
    """Copy the captions of the images to the data folder."""
    _copy("download_captions", source)


@_command("download-segmentations")
@source_options()
def download_segmentations(source: BucketChoice) -> None:
    """Copy the segmentations of the shared images to the data folder."""
    _copy("download_segmentations", source)


@_command("download-stimuli")
def download_stimuli() -> None:
    """Copy the images to the data folder, once access was granted."""
    from intake_laion_fmri import download as functions

    with exits.exit_codes():
        functions.download_stimuli()


@click.command(
    "request-access",
    epilog=exits.epilog("intake-laion-fmri request-access", done="the address was printed", failed="it was not"),
)
def request_access() -> None:
    """Show the address of the request form for the images.

    They are given under a data use agreement. Nothing is sent.
    """
    from intake_laion_fmri.download import request_stimulus_access

    request_stimulus_access()


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
        print_json({"files": {name: str(path) for name, path in paths.items()}})
    else:
        for path in paths.values():
            click.echo(path)


COMMANDS = (
    *(download, download_raw, download_embeddings, download_captions, download_segmentations),
    *(download_stimuli, request_access),
)
