"""Contents of small files, fetched together."""

from __future__ import annotations

from collections.abc import Iterable

from intake_laion_fmri.remote.access import Bucket, ObjectInfo


class Fetched(dict[str, bytes]):
    """Key → content; a key that failed raises its error on access.

    Only then is it known whether the user's selection needs it.
    """

    def __init__(self, bucket: Bucket, objects: Iterable[ObjectInfo]) -> None:
        self._failures: dict[str, Exception] = {}
        super().__init__(bucket.fetch({info.key: info for info in objects}.values(), self._failures))

    def __missing__(self, key: str) -> bytes:
        raise self._failures.get(key, KeyError(key))
