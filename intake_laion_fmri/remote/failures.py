"""Errors of file systems and clients, mapped to the contract's errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from intake_laion_fmri import layout
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    LicenseNotAcceptedError,
    NotInBucketError,
    redact,
)
from intake_laion_fmri.remote.messages import Messages
from intake_laion_fmri.remote.retry import Attempts


@contextmanager
def errors_of(messages: Messages, key: str, attempts: Attempts | None = None) -> Iterator[None]:
    """Map errors of a file system to the contract's.

    `attempts` is the number of attempts made so far.

    What they say holds all that their causes do, and the tracebacks of a client's tries have some 90 lines: they are
    left out, except those of unforeseen answers.
    """
    try:
        yield
    except (NotInBucketError, AccessDeniedError, BucketUnreachableError):
        raise
    except FileNotFoundError:
        raise NotInBucketError(
            f"{messages.locate(key)} does not exist or was removed. Open the data again, or fetch the object."
        ) from None
    except PermissionError:
        raise _denied(messages, key) from None
    # The S3 client cannot build a request: invalid name, no credentials.
    except _loaded("botocore.exceptions", "ParamValidationError", "NoCredentialsError", "ProfileNotFound") as error:
        raise ValueError(
            f"{messages.locate(key)} cannot be requested: {redact.text(error)}. Check the URL and "
            f"{messages.wording.options_argument} (public data are read with {{'anon': True}})."
        ) from None
    except TypeError as error:
        if _is_ours(messages):
            raise
        names = ", ".join(map(str, messages.storage_options))
        raise ValueError(
            f"{messages.wording.options_argument}: one of {names} is not an option of {messages.protocol}, or has an "
            f"invalid value: {redact.text(error)}. Correct or remove it."
        ) from redact.cause(error)
    except _transport_errors() as error:
        if getattr(error, "status", None) in (401, 403):  # of a web server's answer
            raise _denied(messages, key) from None
        raise BucketUnreachableError(messages.unreachable(key, error, attempts)) from None
    except OSError as error:
        if messages.is_local or isinstance(error, FileExistsError):  # the second: what was to be created is there
            raise
        # s3fs maps all other answers to an errno (500 and 503: EREMOTEIO and EBUSY, 400: EINVAL).
        raise BucketUnreachableError(messages.unreachable(key, error, attempts)) from redact.cause(error)


def _denied(messages: Messages, key: str) -> AccessDeniedError:
    return (LicenseNotAcceptedError if key == layout.GATED else AccessDeniedError)(messages.denied(key))


def broken_archives() -> tuple[type[BaseException], ...]:
    """Return the errors raised for a broken archive."""
    return (*_loaded("zipfile", "BadZipFile"), *_loaded("tarfile", "TarError"))


def _is_ours(messages: Messages) -> bool:
    """Return True if a TypeError cannot come from a user's option.

    S3 options have been checked by then.
    """
    return messages.is_local or not messages.storage_options or messages.protocol in ("s3", "s3a")


def _transport_errors() -> tuple[type[BaseException], ...]:
    """Return the errors of a broken network."""
    return (
        ConnectionError,
        TimeoutError,
        *_loaded("socket", "gaierror"),
        *_loaded("fsspec.exceptions", "FSTimeoutError"),
        *_loaded("aiohttp", "ClientError"),
        *_loaded("botocore.exceptions", "BotoCoreError"),
        *_loaded("botocore.parsers", "ResponseParserError"),
    )


def _loaded(module: str, *names: str) -> tuple[type[BaseException], ...]:
    """Return a library's exception classes, if it is loaded."""
    return tuple(getattr(sys.modules[module], name) for name in names) if module in sys.modules else ()
