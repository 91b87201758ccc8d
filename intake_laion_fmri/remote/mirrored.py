"""Buckets of which a local folder holds a part, or all that is read."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, ClassVar

from intake_laion_fmri.errors import (
    BucketUnreachableError,
    DataIntegrityError,
    LeftAloneWarning,
    NotInBucketError,
    OfflineWarning,
)
from intake_laion_fmri.forks import concurrently
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote.bucket import SMALL_FILES_IN_FLIGHT, Bucket
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.messages import Wording
from intake_laion_fmri.remote.pinned import remember_silent
from intake_laion_fmri.remote.requests import Requests

__all__ = ["MirrorOnly", "MirroredBucket"]


@dataclass(frozen=True, repr=False)
class MirroredBucket(Bucket):
    """A bucket of which a local folder holds a part: what is there, complete and current, is read from there.

    The bucket's listing says what there is, and which copies are current. Where it does not answer, the listing of the
    last time that the mirror was filled stands in for it, with a warning.
    """

    mirror: MirrorFolder = field(kw_only=True)
    """The folder."""

    wording: ClassVar[Wording] = Wording(
        elsewhere=", or copy what is missing to the mirror while there is one: 'intake-laion-fmri mirror'"
    )

    def __dask_tokenize__(self) -> object:
        # What is read is the same: a worker may have no such folder.
        return Bucket(self.address, self.storage_options).__dask_tokenize__()

    def find(self, folder: str) -> dict[str, ObjectInfo]:
        """List every object below a folder as `Bucket.find` does, and say where it will be read."""
        try:
            found = super().find(folder)
        except BucketUnreachableError as error:
            saved = self.mirror.listing(folder)
            if saved is None:
                raise
            self._go_offline(error)
            found = saved
        origin = {key: "bucket" if self.mirror.holds(info) is None else "mirror" for key, info in found.items()}
        if not self.is_local and any(
            self.mirror.untold(info) for key, info in found.items() if origin[key] == "bucket"
        ):
            # The same text each time, so that Python shows it once.
            warnings.warn(
                f"Files in the mirror {self.mirror.path} have names and sizes as in the bucket, but were copied by "
                "other means, and nothing tells whether they are the same: they are not read. Compare them once, by "
                f"'intake-laion-fmri mirror --to {self.mirror.path}'.",
                LeftAloneWarning,
                stacklevel=2,
            )
        return {key: replace(info, origin=origin[key]) for key, info in found.items()}

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders below one; of those in the mirror where the bucket does not answer."""
        try:
            return super().folders(folder)
        except BucketUnreachableError as error:
            copied = Bucket(self.mirror.path.as_posix()).folders(folder)
            if not copied:
                raise
            self._go_offline(error)
            return copied

    def fetch(self, objects: Iterable[ObjectInfo], failures: dict[str, Exception] | None = None) -> dict[str, bytes]:
        """Read whole small objects: copies, and the rest as in `Bucket.fetch`."""
        wanted = list(objects)
        if failures is None:
            self._expect_small(wanted)
        contents = zip(wanted, concurrently(self.mirror.content_of, wanted, SMALL_FILES_IN_FLIGHT), strict=True)
        copied = {info.key: content for info, content in contents if content is not None}
        fetched = super().fetch([info for info in wanted if info.key not in copied], failures)
        found = copied | fetched
        return {info.key: found[info.key] for info in wanted if info.key in found}

    @contextmanager
    def stream(self, info: ObjectInfo, received: Callable[[int], None] | None = None) -> Iterator[BinaryIO]:
        """Open an object for reading once from its start: the copy, or as in `Bucket.stream`."""
        path = self.mirror.proves(info)
        if path is None:
            with super().stream(info, received) as file:
                yield file
            return
        copy = Bucket(path.parent.as_posix())
        with copy.stream(copy.state(path.name), received) as file:
            yield file
        if self.mirror.holds(info) is None:
            raise DataIntegrityError(f"{path} was replaced while it was read. Open the data again.")

    @functools.cached_property
    def requests(self) -> Requests:
        """Requests for its objects: as there is another way, a machine without a network waits once."""
        return Requests(self.messages, self.network, impatient=True)

    def _go_offline(self, error: BucketUnreachableError) -> None:
        remember_silent(self.messages, error)
        # The same text each time, so that Python shows it once.
        warnings.warn(
            f"{self.url} does not answer: what is in the mirror {self.mirror.path} is read, by the listing of the last "
            "time that it was filled.",
            OfflineWarning,
            stacklevel=2,
        )


@dataclass(frozen=True, repr=False)
class MirrorOnly(Bucket):
    """A mirror as if it were the bucket: what is not there does not exist, and nothing is asked for over a network."""

    def missing(self, key: str, beside: Iterable[str]) -> NotInBucketError:
        """Describe an object that is needed and not in the mirror."""
        return NotInBucketError(
            f"{self.locate(key)} is not in the mirror, and mirror_only forbids to read the bucket. Copy it with "
            f"'intake-laion-fmri mirror --to {self.url}', or leave mirror_only away."
        )

    def find(self, folder: str) -> dict[str, ObjectInfo]:
        """List every object below a folder as `Bucket.find` does, and say where it will be read."""
        known = MirrorFolder(Path(self.root)).known
        found = super().find(folder)
        return {key: replace(known(info), origin="mirror") for key, info in found.items()}

    def fetch(self, objects: Iterable[ObjectInfo], failures: dict[str, Exception] | None = None) -> dict[str, bytes]:
        """Read whole small files as `Bucket.fetch` does; one that is not what was copied there is an error."""
        wanted = list(objects)
        if failures is None:
            self._expect_small(wanted)
        recorded, found = MirrorFolder(Path(self.root)).recorded_content, {}
        rest = []
        for info in wanted:
            try:
                content = recorded(info.key, info.size)
            except DataIntegrityError as error:
                if failures is None:
                    raise
                failures[info.key] = error
                continue
            if content is None:
                rest.append(info)
            else:
                found[info.key] = content
        found |= super().fetch(rest, failures)
        return {info.key: found[info.key] for info in wanted if info.key in found}

    @functools.cached_property
    def requests(self) -> Requests:
        """Requests for the copies, whose states are those of what they were copied from."""

        def known(info: ObjectInfo) -> ObjectInfo:
            return MirrorFolder(Path(self.address)).known(info)

        return Requests(self.messages, self.network, known=known)
