"""Fetching the images, under their data use agreement, into a mirror.

What arrives lies beside other partial files of the mirror, piece by piece with its sums, so that any later run goes on
with it; the file and what there is of it may be read by this user alone. It comes to its key once its SHA-256 is right.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from intake_laion_fmri import layout
from intake_laion_fmri.errors import AccessDeniedError, BucketUnreachableError, DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.agreement import AccessService, GatedFile, UrlExpiredError, find_request_id, opened
from intake_laion_fmri.mirror.partial import PIECE_BYTES, PartialFile, PieceWriter, part_of, received_before
from intake_laion_fmri.mirror.targets import ObjectBusyError, errors_of_writing, forget, locked, put_in_place
from intake_laion_fmri.remote.access import open_bucket
from intake_laion_fmri.remote.copy import MirrorFolder, Target
from intake_laion_fmri.remote.proofs import crc32_of
from intake_laion_fmri.remote.records import MirrorRecord, name_of, now
from intake_laion_fmri.remote.retry import Attempts, network_policy

SHA256 = "sha256"
"""How a file was checked, in its record; the sum is in the place of the ETag."""

_KINDS = ("stimulus_table", "stimuli")
_MOST_EXPIRED = 3
"""How often in a row an address may be refused at once."""


def fetch_stimuli(
    to: str | os.PathLike[str] | None = None,
    *,
    request_id: str | None = None,
    server_url: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Path]:
    """Fetch the images and their table into a mirror, unless present.

    Parameters
    ----------
    to : str or path, optional
        The folder. By default the one that `config.dataset_initialize` has named, or ``LAION_FMRI_MIRROR``.
    request_id : str, optional
        What the form's answer says. By default the environment variable ``LAION_FMRI_REQUEST_ID``, or what the data
        set's own package keeps in ``~/.cache/laion-fmri/auth.json``. It is sent to the service alone.
    server_url : str, optional
        Address of the access service. By default ``LAION_FMRI_ACCESS_URL``, or the data set's.
    progress : callable, optional
        Called with the bytes received, and those of all files.

    Returns
    -------
    dict
        Name of each file → where it is. The images may be read by this user alone.

    Raises
    ------
    AccessDeniedError
        If there is no request id, or the service does not give the images for it: says what to do.
    BucketUnreachableError
        If the service does not respond, or asks to wait. What was received is kept, and the next call goes on.
    DataIntegrityError
        If what was received has not the SHA-256 of the manifest. It is removed.
    FileExistsError
        If there is another file in a file's place. It is left alone.
    ValueError
        If no folder is named, or a request id or an address cannot be one.
    OSError
        If the folder cannot be written to.
    """
    folder = open_bucket().copies.mirror if to is None else MirrorFolder.from_argument(to)
    if folder is None:
        raise ValueError("No folder is given: pass to=, or set the data folder with config.dataset_initialize.")
    if folder.copy_of(layout.GATED) is None:
        find_request_id(request_id)  # what is to be done first needs no network
    service = AccessService(server_url)
    manifest = service.manifest()
    wanted = [file for kind in _KINDS if (file := manifest.get(layout.KINDS[kind].path))]
    if len(wanted) < len(_KINDS):
        raise DataIntegrityError(
            f"{service.url}: expected the images and their table in the manifest, found one missing."
        )
    job = _Job(service, folder, request_id, progress or (lambda done, total: None), sum(file.size for file in wanted))
    return {file.name: job.fetch(file) for file in wanted}


class _LostError(Exception):
    """A connection was lost."""


@dataclass
class _Job:
    """The files of one call."""

    service: AccessService
    folder: MirrorFolder
    request_id: str | None = field(repr=False)
    progress: Callable[[int, int], None]
    total: int
    done: int = 0
    addresses: dict[str, str] = field(default_factory=dict, repr=False)

    def fetch(self, file: GatedFile) -> Path:
        """Return a file's path; fetch it unless it is present."""
        target = self.folder.target(file.key)
        with errors_of_writing(file.key, target.path):
            try:
                with locked(self.folder, name_of(file.key)):
                    if not self._is_there(file, target):
                        self._receive(file, target)
            except ObjectBusyError as busy:
                raise OSError(f"{file.key}: {busy}.") from None
        self.progress(self.done, self.total)
        return target.path

    def _is_there(self, file: GatedFile, target: Target) -> bool:
        """Return True if a file is present, by its record or checksum.

        Raises FileExistsError if a foreign file has its name.
        """
        copy = self.folder.copy_of(file.key)
        if copy is None:
            if os.path.lexists(target.path):
                raise FileExistsError(f"{target.path} is not a regular file. Move it away and run this again.")
            return False
        if copy.record and copy.record.etag == file.sha256:
            self.done += file.size
            return True
        if copy.state.st_size == file.size:
            sha256, crc32 = _sums(copy.path)
            if sha256 == file.sha256:
                self._record(file, copy.path, crc32)
                self.done += file.size
                return True
        if not self.folder.is_own(copy):
            raise FileExistsError(
                f"{target.path} differs from the file of the service and was not written by this package: it is left "
                "alone. Move it away and run this again."
            )
        return False

    def _receive(self, file: GatedFile, target: Target) -> None:
        info = ObjectInfo(file.key, file.size, file.sha256)
        part = part_of(self.folder, info)
        self.folder.workplace("partial")
        private, before = file.key == layout.GATED, self.done
        self.done += received_before(self.folder, info)
        stop = threading.Event()
        with PartialFile(part, self.folder.path, info, PIECE_BYTES, stop, private=private) as partial:
            while run := partial.take(file.size + PIECE_BYTES):
                self._receive_run(file, PieceWriter(partial, *run), run[1])
            partial.sync()
        sha256, crc32 = _sums(part)
        if sha256 != file.sha256:
            forget(part, self.folder)
            raise DataIntegrityError(
                f"{file.key}: expected the SHA-256 {file.sha256}, found {sha256}. It was discarded: run this again; "
                "if it persists, report it."
            )
        put_in_place(part, target, self.folder, durable=True, private=private)
        self._record(file, target.path, crc32)
        forget(part, self.folder)
        self.done = before + file.size

    def _receive_run(self, file: GatedFile, writer: PieceWriter, stop: int) -> None:
        """Receive a run of bytes, over as many connections as necessary."""
        attempts, expired = Attempts(network_policy()), 0
        while writer.offset < stop:
            begun = writer.offset
            try:
                for data in self._blocks(file, begun, stop):
                    writer.write(data)
                    self.done += len(data)
                    self.progress(self.done, self.total)
                reason = "the response ended early"
            except UrlExpiredError:
                self.addresses.clear()
                expired = 1 if writer.offset > begun else expired + 1
                if expired < _MOST_EXPIRED:
                    continue
                reason = "it refuses the addresses that it has just issued"
            except _LostError as lost:
                reason = str(lost)
            if writer.offset > begun:
                attempts.progressed()
            if writer.offset < stop and not attempts.again():
                raise self.service.unreachable(reason)

    def _blocks(self, file: GatedFile, start: int, stop: int) -> Iterator[bytes]:
        """Yield the blocks of one connection."""
        try:
            with opened(self._address(file), start, stop, file.size, name=file.key) as answer:
                while start < stop and (data := answer.read(min(PIECE_BYTES, stop - start))):
                    start += len(data)
                    yield data
        except (AccessDeniedError, BucketUnreachableError):
            raise
        except (OSError, http.client.HTTPException) as error:
            raise _LostError(str(error) if isinstance(error, ConnectionError) else type(error).__name__) from None

    def _address(self, file: GatedFile) -> str:
        if file.name not in self.addresses:
            self.addresses = self.service.addresses(find_request_id(self.request_id))
        if file.name not in self.addresses:
            raise DataIntegrityError(f"{self.service.url}: expected an address of {file.name}, found none.")
        return self.addresses[file.name]

    def _record(self, file: GatedFile, path: Path, crc32: int) -> None:
        mtime_ns = path.stat().st_mtime_ns
        self.folder.write_record(MirrorRecord(file.key, file.size, file.sha256, mtime_ns, SHA256, crc32, now()))


def _sums(path: Path) -> tuple[str, int]:
    """Return a file's SHA-256 and CRC-32."""
    sha256, crc32 = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while data := file.read(PIECE_BYTES):
            sha256.update(data)
            crc32 = crc32_of(data, crc32)
    return sha256.hexdigest(), crc32
