"""Copies of a bucket's objects: none, read first, or read alone."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from intake_laion_fmri import layout
from intake_laion_fmri.errors import (
    BucketUnreachableError,
    DataIntegrityError,
    LeftAloneWarning,
    NotInBucketError,
    OfflineWarning,
)
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.messages import Messages, Wording
from intake_laion_fmri.remote.patience import is_silent, remember_silent
from intake_laion_fmri.remote.requests import SMALL_FILES_IN_FLIGHT, Requests
from intake_laion_fmri.remote.retry import NetworkPolicy, network_policy
from intake_laion_fmri.running.forks import concurrently

LYING = "folder"
"""Origin of a file that is read as it lies: the bucket does not respond, and no listing of it is known."""

_warned: set[str] = set()
"""Warnings given in this process. Python's own memory of them is lost whenever some library changes its filters."""


@dataclass(frozen=True)
class Copies:
    """Local copies used by a `Bucket`; the base class has none."""

    mirror: MirrorFolder | None = None
    """The folder with the copies."""
    are_alone: ClassVar[bool] = False
    """Whether nothing is read but copies."""

    def requests(self, messages: Messages, network: NetworkPolicy) -> Requests:
        """Return the root's requests."""
        return Requests(messages, network)

    def find(self, requests: Requests, folder: str) -> dict[str, ObjectInfo]:
        """List all objects below a folder, with their origins."""
        return requests.find(folder)

    def folders(self, requests: Requests, folder: str) -> list[str]:
        """List a folder's direct folders, sorted; empty if it is absent."""
        return requests.folders(folder)

    def root_files(self, requests: Requests) -> dict[str, ObjectInfo]:
        """List the objects directly below the root."""
        return {key: info for key, info in requests.list_folder("").files.items() if info}

    def contents(self, objects: Iterable[ObjectInfo], failures: dict[str, Exception] | None) -> dict[str, bytes]:
        """Read small objects that have a copy: key → content."""
        return {}

    def path_of(self, info: ObjectInfo) -> Path | None:
        """Return the local file to stream instead of an object."""
        return None

    def missing(self, messages: Messages, key: str) -> NotInBucketError | None:
        """Describe an absent object; None if only the bucket was searched."""
        return None


@dataclass(frozen=True)
class MirrorFirst(Copies):
    """Reads complete, current copies from a mirror.

    The bucket's listing says what there is, and which copies are current. Where it does not respond, the listing of the
    last time that the mirror was filled stands in for it, with a warning. A folder without any listing, such as one
    that the data set's own package has filled, is then read as it lies: what is not there does not exist.
    """

    mirror: MirrorFolder = field()
    """The folder."""

    def requests(self, messages: Messages, network: NetworkPolicy) -> Requests:
        """Return requests that fail at once for a silent root."""
        return Requests(messages, network, impatient=True)

    def find(self, requests: Requests, folder: str) -> dict[str, ObjectInfo]:
        """List all objects below a folder, with their origins."""
        try:
            found = requests.find(folder)
        except BucketUnreachableError as error:
            saved = self._listed_before(folder)
            self._go_offline(requests.messages, error, can_tell=saved is not None)
            if saved is None:
                return self._as_they_lie(self._lying().find(folder))
            found = saved
        origin = {key: "bucket" if self.mirror.holds(info) is None else "mirror" for key, info in found.items()}
        if not requests.messages.is_local and any(
            self.mirror.is_unprovable(info) for key, info in found.items() if origin[key] == "bucket"
        ):
            # The text never varies, so that Python shows the warning once.
            warnings.warn(
                f"Files in the mirror {self.mirror.path} have the same names and sizes as in the bucket, but were "
                f"copied by other means and never verified: they are not read. Verify them once with "
                f"'intake-laion-fmri mirror --to {self.mirror.path}'.",
                LeftAloneWarning,
                stacklevel=3,
            )
        return {key: replace(info, origin=origin[key]) for key, info in found.items()}

    def _listed_before(self, folder: str) -> dict[str, ObjectInfo] | None:
        saved = self.mirror.listing(folder)
        tree = layout.tree_of(f"{folder}/")
        is_left_out = tree is not None and tree.is_large and self.mirror.listing("") is not None
        return {} if saved is None and is_left_out else saved

    def folders(self, requests: Requests, folder: str) -> list[str]:
        """List a folder's direct folders; offline, those of the mirror."""
        try:
            return requests.folders(folder)
        except BucketUnreachableError as error:
            copied = self._lying().folders(folder)
            self._go_offline(requests.messages, error, can_tell=bool(copied))
            return copied

    def root_files(self, requests: Requests) -> dict[str, ObjectInfo]:
        """List the objects directly below the root."""
        try:
            return super().root_files(requests)
        except BucketUnreachableError as error:
            saved = self.mirror.listing("")
            self._go_offline(requests.messages, error, can_tell=saved is not None)
            if saved is None:
                return self._as_they_lie(super().root_files(self._lying()))
            return {key: info for key, info in saved.items() if "/" not in key}

    def contents(self, objects: Iterable[ObjectInfo], failures: dict[str, Exception] | None) -> dict[str, bytes]:
        """Read small objects with a current copy: key → content."""
        wanted = list(objects)
        contents = zip(wanted, concurrently(self._content_of, wanted, SMALL_FILES_IN_FLIGHT), strict=True)
        return {info.key: content for info, content in contents if content is not None}

    def path_of(self, info: ObjectInfo) -> Path | None:
        """Return an object's copy, if it is complete and current.

        A file that is unchanged since the folder was listed counts as current.
        """
        return self.mirror.proves(info) or (self.mirror.path_of(info.key) if self._is_as_listed(info) else None)

    def missing(self, messages: Messages, key: str) -> NotInBucketError | None:
        """Describe an object that a folder read without a bucket lacks."""
        if not (is_silent(messages) and self._is_foreign()):
            return None
        return NotInBucketError(
            f"{self.mirror.path / key} does not exist, and {messages.url} does not respond. Once it does, copy the "
            f"file with 'intake-laion-fmri mirror --to {self.mirror.path}', or with the data set's own package."
        )

    def _content_of(self, info: ObjectInfo) -> bytes | None:
        content = self.mirror.content_of(info)
        return self._lying().read_part(info, 0, info.size) if content is None and self._is_as_listed(info) else content

    def _is_as_listed(self, info: ObjectInfo) -> bool:
        """Return True for a listed file that is unchanged."""
        if info.origin != LYING:
            return False
        with contextlib.suppress(NotInBucketError):
            return self._lying().state(info.key) == info
        return False

    def _is_foreign(self) -> bool:
        """Return True for a folder with data but no listing."""
        has_data = any((self.mirror.path / tree.root).is_dir() for tree in layout.TREES if tree.root)
        return has_data and self.mirror.listing("") is None

    def _as_they_lie(self, found: Mapping[str, ObjectInfo]) -> dict[str, ObjectInfo]:
        return {key: replace(self.mirror.known(info), origin=LYING) for key, info in found.items()}

    def _lying(self) -> Requests:
        """Return requests for the folder's files alone."""
        return Requests(Messages(self.mirror.path.as_posix(), {}, Wording()), network_policy())

    def _go_offline(self, messages: Messages, error: BucketUnreachableError, *, can_tell: bool) -> None:
        """Note that the bucket is silent, and warn once per process.

        The error is raised unless the mirror can tell what there is, or is read as it lies.
        """
        is_foreign = self._is_foreign()
        if not (can_tell or is_foreign):
            raise error
        remember_silent(messages, error)
        how = "with the listing of the last mirror run"
        if is_foreign:
            how = "as it is, and its files may be outdated"
        text = f"{messages.url} does not respond: the folder {self.mirror.path} is read {how}."
        if text not in _warned:
            _warned.add(text)
            warnings.warn(text, OfflineWarning, stacklevel=4)


@dataclass(frozen=True)
class MirrorAlone(Copies):
    """The mirror as the root: no network, and nothing beyond its files."""

    mirror: MirrorFolder = field()
    """The folder, which is the bucket's address too."""
    are_alone: ClassVar[bool] = True

    def requests(self, messages: Messages, network: NetworkPolicy) -> Requests:
        """Return requests for copies, with their recorded states."""
        return Requests(messages, network, known=self.mirror.known)

    def find(self, requests: Requests, folder: str) -> dict[str, ObjectInfo]:
        """List all files below a folder, with their recorded states."""
        return {key: replace(self.mirror.known(info), origin="mirror") for key, info in requests.find(folder).items()}

    def contents(self, objects: Iterable[ObjectInfo], failures: dict[str, Exception] | None) -> dict[str, bytes]:
        """Read small recorded files; a changed one is an error."""
        found = {}
        for info in objects:
            try:
                content = self.mirror.recorded_content(info.key, info.size)
            except DataIntegrityError as error:
                if failures is None:
                    raise
                failures[info.key] = error
                continue
            if content is not None:
                found[info.key] = content
        return found

    def missing(self, messages: Messages, key: str) -> NotInBucketError | None:
        """Describe an object that the mirror lacks."""
        return NotInBucketError(
            f"{messages.locate(key)} is not in the mirror, and mirror_only forbids reading the bucket. Copy it with "
            f"'intake-laion-fmri mirror --to {messages.url}', or remove mirror_only."
        )
