"""Options shared by commands: buckets, mirrors, stores, and selections."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intake_laion_fmri import layout
from intake_laion_fmri.cli.wording import cli_message

if TYPE_CHECKING:
    from intake_laion_fmri.remote.access import Bucket

Command = Callable[..., Any]


@dataclass(frozen=True)
class BucketChoice:
    """Location of a bucket, from a command's options."""

    url: str | None = None
    """Its URL or folder; None is the environment's, or the real one."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of its file system, with the server of an S3 bucket that is not Amazon's."""
    mirror: Path | None = None
    """Folder that is read first."""
    mirror_only: bool | None = None
    """Whether nothing else is read; None leaves it to the environment."""

    @property
    def given(self) -> bool:
        """True if any of the options was given."""
        return self != BucketChoice()

    def open(self) -> Bucket:
        """Return the bucket without contacting it."""
        from intake_laion_fmri.remote.access import open_bucket

        with _errors_of_usage():
            return open_bucket(self.url, self.options, mirror=self.mirror, mirror_only=self.mirror_only)

    def source(self) -> Bucket:
        """Return the bucket without a mirror before it."""
        from intake_laion_fmri.remote.access import open_source

        with _errors_of_usage():
            return open_source(self.url, self.options)

    def open_store(self, url: str) -> Bucket:
        """Return a store without contacting it."""
        from intake_laion_fmri.remote.access import open_store

        with _errors_of_usage():
            return open_store(url, self.options)


def source_options(default: str = "LAION_FMRI_BUCKET, or the real bucket") -> Callable[[Command], Command]:
    """Add the options of a bucket; the command receives ``source``."""

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def run(*arguments: Any, bucket: str | None, endpoint_url: str | None, **others: Any) -> Any:
            source = BucketChoice(bucket, _with_endpoint(endpoint_url, others.pop("storage_options")))
            return command(*arguments, source=source, **others)

        url = click.option("--bucket", metavar="URL", help=f"Bucket or folder. By default {default}.")
        return url(_reached_by("bucket", "--storage-option", "storage_options", "--endpoint-url")(run))

    return add


def bucket_options(command: Command) -> Command:
    """Add the options of a bucket and a mirror; the command receives ``bucket``."""

    @functools.wraps(command)
    def run(*arguments: Any, source: BucketChoice, mirror: Path | None, mirror_only: bool, **others: Any) -> Any:
        return command(*arguments, bucket=replace(source, mirror=mirror, mirror_only=mirror_only or None), **others)

    folder = click.option(
        "--mirror",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder with copies by `mirror`, read before the bucket. By default LAION_FMRI_MIRROR.",
    )
    only = click.option("--mirror-only", is_flag=True, help="Read only the mirror, without a network.")
    return source_options()(folder(only(run)))


def store_options(command: Command) -> Command:
    """Add the options of a store's file system; the command receives ``choice``."""

    @functools.wraps(command)
    def run(*arguments: Any, store_endpoint_url: str | None, store_options: dict[str, Any], **others: Any) -> Any:
        choice = BucketChoice(options=_with_endpoint(store_endpoint_url, store_options))
        return command(*arguments, choice=choice, **others)

    return _reached_by("store", "--store-option", "store_options", "--store-endpoint-url")(run)


def selection_options(command: Command) -> Command:
    """Add options for subjects and sessions."""
    session = click.option("--session", "sessions", multiple=True, help="ses-01, 01 or 1; may be given several times.")
    subject = click.option("--subject", "subjects", multiple=True, help="sub-01 or 01; may be given several times.")
    return subject(session(command))


def entity_options(*names: str) -> Callable[[Command], Command]:
    """Add an option for each of some entities in a file's name."""
    examples = {"task": "images", "space": "T1w", "desc": "R2mean", "stat": "effect", "suffix": "statmap"}
    examples |= {"extension": ".nii.gz", "run": "1", "echo": "2", "part": "mag"}

    def add(command: Command) -> Command:
        for name in reversed(names):
            help = f"Entity of the file's name, such as {examples[name]}; may be given several times."
            command = click.option(f"--{name}", multiple=True, help=help)(command)
        return command

    return add


def group_option(more: str = "") -> Callable[[Command], Command]:
    """Return the option for groups of files; `more` extends its help."""
    words = click.Choice(list(layout.GROUPS))
    help = f"May be given several times.{more}"
    return click.option("--group", "--kind", "groups", multiple=True, type=words, help=help)


def chosen(names: tuple[str, ...]) -> str | tuple[str, ...]:
    """Return the values of a repeatable option; ``"all"`` without any."""
    return "all" if not names or "all" in names else names


def _reached_by(what: str, option: str, options: str, endpoint: str) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        of_the_file_system = click.option(
            option,
            options,
            metavar="KEY=VALUE",
            multiple=True,
            callback=_parse_options,
            help=f"Option of the {what}'s file system; the value is JSON or text; may be given several times.",
        )
        server = click.option(endpoint, metavar="URL", help=f"Server of an S3 {what} outside AWS.")
        return server(of_the_file_system(command))

    return add


def _parse_options(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """Parse ``key=value`` options; JSON values are decoded."""
    options: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not name or not separator:
            # Not what was given: it may be a secret whose name was forgotten.
            raise click.BadParameter("expected key=value, such as anon=false.", context, parameter)
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


@contextmanager
def _errors_of_usage() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        raise click.UsageError(cli_message(error)) from error


def _with_endpoint(endpoint_url: str | None, options: dict[str, Any]) -> dict[str, Any]:
    if not endpoint_url:
        return options
    with _errors_of_usage():
        return {**options, "client_kwargs": {**options.get("client_kwargs", {}), "endpoint_url": endpoint_url}}
