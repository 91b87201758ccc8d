"""The commands that have the words of the data set's own package: ``download`` and its kin, and ``request-access``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from intake_laion_fmri import layout
from intake_laion_fmri.cli import exits, interrupts
from intake_laion_fmri.cli.mirror_output import show_progress
from intake_laion_fmri.cli.options import BucketChoice, Command, source_options

__all__ = ["COMMANDS"]

_DONE = {"done": "every chosen file is in the data folder", "failed": "no data folder is named, or the disk is full"}


class ManyValues(click.Command):
    """A command whose options may be followed by several values: ``--subject sub-01 sub-03``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Name the option again before each further value."""
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


def _values(*names: str) -> Command:
    """Add options that take several values."""
    helps = {
        "subject": "sub-01 or 01, several, or all of them.",
        "ses": "ses-01, 01 or 1, several; averages for the files of a subject as a whole.",
        "run": "1 or 01.",
        "echo": "1, 2 or 3.",
        "part": "mag or phase.",
    }

    def add(command: Command) -> Command:
        for name in reversed(names):
            help = helps.get(name, "In the file's name; a file without it is copied.")
            command = click.option(f"--{name}", multiple=True, help=help)(command)
        return command

    return add


_jobs = click.option(
    "--n-jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Large files at a time."
)


def _command(name: str, example: str = "") -> Command:
    text = f"intake-laion-fmri {name}{example}"
    return click.command(name, cls=ManyValues, epilog=exits.epilog(text, **_DONE))


def _chosen(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, as the function takes them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value != ()}


@contextmanager
def _copying(source: BucketChoice) -> Iterator[dict[str, Any]]:
    """Give the arguments that all functions take: the bucket, and what shows the progress; end as commands end."""
    interrupts.promise("What was received is kept: run the same again for the rest.")
    with exits.exit_codes(), show_progress(quiet=False) as progress:
        yield {"bucket": source.source(), "progress": progress}


@_command("download", " --subject sub-01 sub-03 --ses ses-01 --include-anatomical")
@_values("subject", "ses", *layout.ENTITIES)
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
    from intake_laion_fmri import download as functions

    models = given.pop("include_embeddings")
    given["include_embeddings"] = True if "all" in models else list(models) or False
    with _copying(source) as common:
        functions.download(**_chosen(given), **common)


@_command("download-raw", " --subject sub-01 --ses ses-01 --run 1 --echo 2")
@_values("subject", "ses", "task", *layout.RAW_ENTITIES, "suffix", "extension")
@_jobs
@source_options()
def download_raw(source: BucketChoice, **given: Any) -> None:
    """Copy raw data and tables of events to the data folder."""
    from intake_laion_fmri import download as functions

    with _copying(source) as common:
        functions.download_raw(**_chosen(given), **common)


@_command("download-embeddings", " --model CLIP DINOv2")
@click.option("--model", "models", multiple=True, help="Such as CLIP; all of them by default.")
@source_options()
def download_embeddings(source: BucketChoice, models: tuple[str, ...]) -> None:
    """Copy embeddings of the images to the data folder."""
    from intake_laion_fmri import download as functions

    with _copying(source) as common:
        functions.download_embeddings(list(models) or "all", **common)


@_command("download-captions")
@source_options()
def download_captions(source: BucketChoice) -> None:
    """Copy the captions of the images to the data folder."""
    from intake_laion_fmri import download as functions

    with _copying(source) as common:
        functions.download_captions(**common)


@_command("download-segmentations")
@source_options()
def download_segmentations(source: BucketChoice) -> None:
    """Copy the segmentations of the shared images to the data folder."""
    from intake_laion_fmri import download as functions

    with _copying(source) as common:
        functions.download_segmentations(**common)


@_command("download-stimuli")
def download_stimuli() -> None:
    """Copy the images to the data folder, once they were asked for."""
    from intake_laion_fmri import download as functions

    with exits.exit_codes():
        functions.download_stimuli()


@click.command(
    "request-access",
    epilog=exits.epilog("intake-laion-fmri request-access", done="the address was printed", failed="it was not"),
)
def request_access() -> None:
    """Show where the images are asked for.

    They are given under a data use agreement. Nothing is sent.
    """
    from intake_laion_fmri.download import request_stimulus_access

    request_stimulus_access()


COMMANDS = (
    *(download, download_raw, download_embeddings, download_captions, download_segmentations),
    *(download_stimuli, request_access),
)
