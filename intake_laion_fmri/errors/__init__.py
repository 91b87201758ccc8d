"""Exceptions and warnings of this package.

Each error class is also the builtin that a caller would expect, so that ``except FileNotFoundError`` works
as well as ``except NotInBucketError``. Every message names the value, what was expected and what to do next.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from intake_laion_fmri.errors import redact

__all__ = [
    "AccessDeniedError",
    "BucketUnreachableError",
    "DataDirNotSetError",
    "DataIntegrityError",
    "DataNotDownloadedError",
    "DataNotFoundError",
    "IncompleteBucketWarning",
    "LeftAloneWarning",
    "LicenseNotAcceptedError",
    "MissingFileWarning",
    "NoMatchingDataError",
    "NotInBucketError",
    "NotInStoreError",
    "OfflineWarning",
    "OtherSplitsWarning",
    "Remarks",
    "StimuliNotDownloadedError",
    "SubjectNotDownloadedError",
    "SubjectNotFoundError",
    "UnexpectedContentWarning",
    "UnknownValueError",
    "check_option",
    "in_short",
    "is_several",
    "unknown_value",
]


class NotInBucketError(FileNotFoundError):
    """A required object is not in the bucket."""


class NotInStoreError(NotInBucketError):
    """A store lacks requested data, which may still be in the bucket."""


class AccessDeniedError(PermissionError):
    """The object is held out, or requires a data use agreement."""


class BucketUnreachableError(ConnectionError):
    """The bucket did not answer after all retries."""


class DataIntegrityError(ValueError):
    """A file is truncated, corrupt, or contradicts another file."""


class DataDirNotSetError(RuntimeError):
    """No data folder was named, now or earlier."""


class UnknownValueError(ValueError):
    """A name is not among the valid ones; see `unknown_value`."""


# The names that the data set's own package has: each is raised where that package raises it, or is a base of what is.
DataNotDownloadedError = DataNotFoundError = NotInBucketError


class StimuliNotDownloadedError(NotInBucketError):
    """The images or their table are not in the bucket or folder."""


class NoMatchingDataError(NotInBucketError, ValueError):
    """Nothing in the bucket matches the selection."""


class LicenseNotAcceptedError(AccessDeniedError, RuntimeError):
    """The images require a data use agreement."""


class SubjectNotFoundError(UnknownValueError):
    """The subject does not exist."""


class SubjectNotDownloadedError(SubjectNotFoundError, NotInBucketError):
    """The bucket or folder of a `Subject` lacks the subject."""


class IncompleteBucketWarning(UserWarning):
    """The bucket is incomplete: one tree lacks subjects of another."""


class MissingFileWarning(UserWarning):
    """An optional file is absent or unusable; its content is left out."""


class UnexpectedContentWarning(UserWarning):
    """A file differs from its documentation; the message says how it is read."""


class OfflineWarning(UserWarning):
    """The bucket does not respond; the mirror is read by its last listing."""


class LeftAloneWarning(UserWarning):
    """A mirror holds files of unknown origin, which are left alone."""


@dataclass(frozen=True)
class Remarks:
    """Notes on files that were read, for warnings."""

    left_out: tuple[str, ...] = ()
    """What is left out and why, in words."""
    noted: tuple[str, ...] = ()
    """What differs from what is documented, and how it was read."""

    def __add__(self, other: Remarks) -> Remarks:
        return Remarks(self.left_out + other.left_out, self.noted + other.noted)

    def warn(self, *, stacklevel: int) -> None:
        """Issue at most one warning of each kind."""
        if self.left_out:
            text = _joined(self.left_out)
            warnings.warn(f"Left out: {text}", MissingFileWarning, stacklevel=stacklevel + 1)
        if self.noted:
            text = _joined(self.noted)
            warnings.warn(
                f"The data differ from the documentation: {text}", UnexpectedContentWarning, stacklevel=stacklevel + 1
            )


def _joined(texts: Sequence[str], *, most: int = 12) -> str:
    distinct = list(dict.fromkeys(texts))
    more = [f"{len(distinct) - most} more"] if len(distinct) > most else []
    return f"{'; '.join([*distinct[:most], *more])}."


class OtherSplitsWarning(UserWarning):
    """Split files that were found differ from the pinned revision."""


def unknown_value(what: str, value: object, valid: Iterable[str], *, where: str = "") -> UnknownValueError:
    """Describe an invalid value, with the nearest valid ones.

    `what` is the kind of value, such as ``"ROI"``, and `where` where the valid ones come from, such as ``"sub-01 in
    s3://laion-fmri"``.
    """
    names = list(valid)
    by_folded_name = {name.casefold(): name for name in names}
    near = [
        by_folded_name[match]
        for match in difflib.get_close_matches(str(value).casefold(), by_folded_name, n=3, cutoff=0.5)
    ]
    place = f" of {where}" if where else ""
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    listing = f" Valid: {', '.join(names)}." if names else " There is none."
    kind = SubjectNotFoundError if what == "subject" else UnknownValueError
    return kind(f"Unknown {what}{place}: {redact.text(repr(value))}.{hint}{listing}")


def check_option(name: str, value: object, *, valid: Iterable[str], optional: bool = False) -> object:
    """Return a valid option, or None if it is `optional`.

    ValueError if it is something else, with the nearest ones.
    """
    names = list(valid)
    if not (optional and value is None) and not (isinstance(value, str) and value in names):
        raise unknown_value(name, value, names)
    return value


def check_each(name: str, values: object, *, valid: Iterable[str]) -> list[str]:
    """Return one valid option, or several, as a list; ValueError if one is something else, with the nearest ones."""
    given: Any = values if is_several(values) else [values]
    return [str(check_option(name, value, valid=valid)) for value in given]


def in_short(names: Sequence[str], *, most: int = 12) -> str:
    """Join names for a message, shortened by an ellipsis."""
    return ", ".join([*names[:most], *(["…"] if len(names) > most else [])])


def is_several(value: object) -> bool:
    """Return True for lists and the like, False for single values.

    Texts, numbers and zero-dimensional arrays are single.
    """
    # NumPy's zero-dimensional arrays claim to be iterable.
    return isinstance(value, Iterable) and not isinstance(value, str | bytes) and getattr(value, "ndim", 1) != 0
