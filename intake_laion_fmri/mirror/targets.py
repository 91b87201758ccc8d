"""Targets in a mirror: obstacles, locks, and leftovers of killed runs."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from intake_laion_fmri.errors import AccessDeniedError, BucketUnreachableError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.partial import PIECE_BYTES, part_of, read_state
from intake_laion_fmri.remote import atomic, locks
from intake_laion_fmri.remote.copy import Copy, MirrorFolder, Target
from intake_laion_fmri.remote.parents import make_folder
from intake_laion_fmri.remote.proofs import is_whole_md5

STALE_SECONDS = 180.0
"""How long another process may hold an object without receiving anything."""


class ObjectBusyError(Exception):
    """Another process on this file system is fetching the object."""


class LeftAloneError(Exception):
    """A foreign file is in an object's way; the message describes it."""


def what_is_in_the_way(folder: MirrorFolder, info: ObjectInfo, copy: Copy | None) -> str | None:
    """Describe the obstacle to writing an object, or return None.

    Only names, sizes and times are compared.
    """
    path = os.fspath(folder.path)
    *above, _ = info.key.split("/")
    for name in above if not os.path.isdir(os.path.join(path, *above)) else ():
        path = os.path.join(path, name)
        if os.path.lexists(path) and not os.path.isdir(path):
            return f"a file instead of the folder {path}"
    if copy is None:
        path = os.path.join(folder.path, info.key)
        if not os.path.lexists(path):
            return None
        return "a folder of that name" if os.path.isdir(path) else "not a regular file"
    if copy.known:
        return None
    if copy.state.st_size != info.size:
        return f"another file, of {copy.state.st_size} bytes instead of {info.size}"
    return f"another file of {info.size} bytes" if folder.is_known_other(info, copy) else None


def tidy(folder: MirrorFolder, objects: Iterable[ObjectInfo]) -> None:
    """Remove leftovers of killed runs and of outdated versions.

    `objects` are the current versions of this run's objects. Partial files of other objects may still be useful and are
    kept.
    """
    current = {info.key: info for info in objects}
    by_lock: dict[str, list[Path]] = {}
    for name, is_own in _OWN_FILES.items():
        for path in folder.workplace(name).glob("*"):
            left = name == "locks" or path.suffix == atomic.TEMPORARY or name == "partial"
            if left and is_own(path.name) and (name != "partial" or _is_useless(folder, path, current)):
                by_lock.setdefault("listings" if name == "listings" else path.name.split(".")[0], []).append(path)
    for name, paths in by_lock.items():
        with contextlib.suppress(ObjectBusyError), locked(folder, name):
            for path in paths:
                if path.suffix != ".lock" and (".lock." not in path.name or _is_of_the_dead(path)):
                    atomic.remove(path, within=folder.path)


@contextmanager
def locked(folder: MirrorFolder, name: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock of a name against other processes.

    Raises
    ------
    ObjectBusyError
        If another process has the lock.
    """
    path = folder.workplace("locks") / f"{name}.lock"
    if path.is_symlink():
        raise DataIntegrityError(f"{path} is a link to {os.path.realpath(path)}, not a lock. Remove the link.")
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locks.locked(path, wait_seconds=wait_seconds, what="fetching an object"))
        except locks.HeldError as error:
            raise ObjectBusyError(str(error)) from error
        except PermissionError as error:
            if not path.exists():
                raise
            raise ObjectBusyError(f"{path} belongs to another user's process") from error
        yield


def _is_of_the_dead(path: Path) -> bool:
    """Return True for a lock name left behind by a killed process.

    filelock uses this name for milliseconds while it breaks a lock.

    A living lock that has this name for a moment is kept fresh.
    """
    try:
        return time.time() - path.lstat().st_mtime > 2 * locks.LEASE_SECONDS
    except FileNotFoundError:
        return False


def _is_useless(folder: MirrorFolder, path: Path, current: Mapping[str, ObjectInfo]) -> bool:
    """Return True if a partial file will not be continued."""
    found = read_state(path.with_suffix(".state"))
    if found is None or not path.with_suffix(".part").exists():
        return True
    info = current.get(str(found[0]["key"]))
    return info is not None and (part_of(folder, info).stem != path.stem or folder.is_complete(info))


is_part = re.compile(rf"[0-9a-f]{{40}}\.[0-9a-f]{{16}}\.(part|state(\.[0-9a-f]{{32}}{atomic.TEMPORARY})?)").fullmatch
"""Matches the names of partial files."""

_OWN_FILES: Mapping[str, Callable[[str], object]] = {
    "partial": is_part,
    "records": re.compile(rf"[0-9a-f]{{40}}\.json\.[0-9a-f]{{32}}{atomic.TEMPORARY}").fullmatch,
    "listings": re.compile(rf".*\.list\.json\.[0-9a-f]{{32}}{atomic.TEMPORARY}").fullmatch,
    "locks": re.compile(r"([0-9a-f]{40}|listings)\.lock(\.break\.\d+\.[0-9a-f]{32})?").fullmatch,
}
"""Folder below the mirror's own → matches the names of leftovers of killed runs."""


def make_room(folder: MirrorFolder, info: ObjectInfo, target: Target, copy: Copy | None) -> None:
    """Create an object's folders.

    Raises LeftAloneError if a foreign file is in the way.
    """
    reason = what_is_in_the_way(folder, info, copy)
    if reason:
        raise LeftAloneError(reason)
    if copy and not folder.is_own(copy):
        _expect_comparable(info, copy)
    if not target.path.parent.is_dir():
        make_folder(target.path.parent, within=target.within)


def put_in_place(
    part: Path, target: Target, folder: MirrorFolder, *, durable: bool = False, private: bool = False
) -> bool:
    """Move a received file to its key, or copy it to another disk.

    A symbolic link may lead to another disk. Returns True if the file was copied. A `private` file stays private.
    """
    if target.within == folder.path:
        atomic.move(part, target.path, within=target.within, durable=durable)
        return False
    with part.open("rb") as file:
        blocks = iter(lambda: file.read(PIECE_BYTES), b"")
        atomic.write_whole(target.path, blocks, durable=True, private=private, within=target.within)
    return True


def forget(part: Path, folder: MirrorFolder) -> None:
    """Remove a partial file and its sums."""
    for path in (part, part.with_suffix(".state")):
        if os.path.lexists(path):
            atomic.remove(path, within=folder.path)


def _expect_comparable(info: ObjectInfo, copy: Copy) -> None:
    """Raise LeftAloneError for a file that is not the object.

    A file that can only be compared after fetching the object passes.
    """
    if copy.known:
        raise LeftAloneError("a file that was changed since it was copied")
    if is_whole_md5(info.etag):
        raise LeftAloneError(f"another file of {info.size} bytes")


@contextmanager
def errors_of_writing(key: str, target: Path) -> Iterator[None]:
    """Name the object in errors of the disk."""
    try:
        yield
    except (NotInBucketError, AccessDeniedError, BucketUnreachableError):
        raise
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(
            error.errno, f"{key} cannot be copied to {target}: {os.strerror(error.errno)}. {_advice(error.errno)}"
        ) from error


def _advice(number: int) -> str:
    if number in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return "Free some space: what was received is kept, and the next run continues from there."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Mirror to a writable folder; this one can still be read."
    if number in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
        return "A file is where a folder should be, or a folder where a file should be: move it away."
    return "What was received is kept, and the next run continues from there."
