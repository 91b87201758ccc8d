"""Connections: the back-end of a root, chosen by its address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intake_laion_fmri.errors import DataIntegrityError, redact
from intake_laion_fmri.remote import addresses
from intake_laion_fmri.remote.backend import Backend
from intake_laion_fmri.remote.failures import broken_archives, errors_of
from intake_laion_fmri.remote.local import LocalFiles
from intake_laion_fmri.remote.messages import Messages
from intake_laion_fmri.remote.other_files import OtherFiles, top_of
from intake_laion_fmri.remote.retry import NetworkPolicy
from intake_laion_fmri.remote.s3 import S3Objects, s3_options
from intake_laion_fmri.remote.s3_settings import for_client
from intake_laion_fmri.remote.web import WebFiles, web_options

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


def connected(messages: Messages, network: NetworkPolicy) -> Backend:
    """Connect to a root; some file systems send a request.

    ValueError for an unknown option, or a secret that was replaced by `redact.HIDDEN`; ImportError where a package is
    missing.
    """
    address, wording = messages.address, messages.wording
    if redact.holds_hidden([address if "://" in address else "", messages.storage_options]):
        raise ValueError(
            f"The {wording.argument} {messages.url} or its {wording.options_argument} hold {redact.HIDDEN!r} in "
            f"place of a secret, which is hidden when printed or saved. Pass the original address and options."
        )
    options = dict(messages.storage_options)
    is_s3 = address.startswith(("s3://", "s3a://"))
    if is_s3:
        options = s3_options(for_client(options, wording.options_argument), network)
    elif address.startswith(("http://", "https://")):
        options = web_options(options, network)
    with errors_of(messages, ""):
        try:
            file_system, root = _file_system(address, options)
        except ImportError as error:
            raise ImportError(
                f"{wording.argument}={messages.url!r} needs a package that is not installed: {redact.text(error)}."
            ) from redact.cause(error)
        except broken_archives() as error:
            raise DataIntegrityError(
                f"{messages.url!r} is not such an archive, or is incomplete: {redact.text(error)}. Copy it again."
            ) from redact.cause(error)
    if is_s3:
        # fsspec shares instances between equal options; these make the instance private.
        file_system.retries = 1
    return _backend_for(address, file_system)(file_system, root.rstrip("/"))


def _backend_for(address: str, file_system: AbstractFileSystem) -> type[LocalFiles | S3Objects | WebFiles | OtherFiles]:
    protocols = [file_system.protocol] if isinstance(file_system.protocol, str) else file_system.protocol
    if addresses.is_folder(address):
        return LocalFiles
    if "s3" in protocols:
        return S3Objects
    return WebFiles if "http" in protocols else OtherFiles


def _file_system(url: str, options: Mapping[str, Any]) -> tuple[AbstractFileSystem, str]:
    """Return a URL's file system, and the root's path on it."""
    from fsspec.core import filesystem, strip_protocol, url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    if addresses.is_folder(url):
        return LocalFileSystem(**options), url
    if addresses.is_chain(url) or "::" not in url:
        file_system, root = url_to_fs(url, **options)
    else:  # an IPv6 address, or a name: a chain to fsspec
        file_system, root = filesystem(addresses.protocol_of(url), **options), strip_protocol(url)
    return file_system, top_of(file_system, str(root))
