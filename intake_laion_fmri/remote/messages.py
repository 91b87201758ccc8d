"""Messages about a root: name, contact, and advice when it is silent."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.errors import NotInBucketError, in_short, redact
from intake_laion_fmri.remote import addresses
from intake_laion_fmri.remote.retry import Attempts

BUCKET_VARIABLE = "LAION_FMRI_BUCKET"
"""Environment variable with the bucket's URL or folder, used where no ``bucket`` is given."""

MIRROR_VARIABLE = "LAION_FMRI_MIRROR"
"""Environment variable with a local folder that is read first, used where no ``mirror`` is given."""

GATED_ADVICE = (
    f"The images require a data use agreement: request access at {layout.REQUEST_URL}, fetch the file with "
    "'intake-laion-fmri stimuli get --to FOLDER', and open it with mirror=FOLDER"
)
"""What to do where the images are asked for."""


def _denied_of_bucket(messages: Messages, key: str) -> str:
    if messages.is_local:
        return f"{messages.locate(key)} cannot be read: its permissions forbid it. Change them, or copy the file."
    rule = "the bucket denies access"
    parsed = layout.parse_key(key)
    if parsed and "session" in parsed.entities and layout.is_held_out(parsed.entities["session"]):
        rule = f"{parsed.entities['session']} is held out by the data set's authors"
    if key == layout.GATED:
        return f"{messages.locate(key)} cannot be read. {GATED_ADVICE}."
    return f"{messages.locate(key)} cannot be read: {rule}. Contact {layout.CONTACT}."


def _denied_of_store(messages: Messages, key: str) -> str:
    if messages.is_local:
        return f"{messages.locate(key)} cannot be read or written: its permissions forbid it. Change them."
    return (
        f"{messages.locate(key)} cannot be read or written: the server denies access to these credentials. Check "
        f"{messages.wording.options_argument}."
    )


@dataclass(frozen=True)
class Wording:
    """Words that differ between a bucket, a mirrored bucket, and a store."""

    argument: str = "bucket"
    """Name of the argument that users give the root by."""
    options_argument: str = "storage_options"
    """Name of the argument with the options of its file system."""
    elsewhere: str = (
        f", or read a local copy: mirror=FOLDER (or {MIRROR_VARIABLE}) with mirror_only=True, or bucket=FOLDER"
    )
    """What else to try where the root does not respond."""
    denied: Callable[[Messages, str], str] = _denied_of_bucket
    """Returns the message about an object that may not be read."""


OF_STORES = Wording("store", "store_options", elsewhere="", denied=_denied_of_store)


@dataclass(frozen=True)
class Messages:
    """Messages about one root."""

    address: str = field(repr=False)
    """URL or folder of the root; may hold a password."""
    storage_options: Mapping[str, Any] = field(repr=False)
    """Options of its file system; may hold secrets."""
    wording: Wording
    """Texts of its kind."""

    @functools.cached_property
    def url(self) -> str:
        """Address without secrets."""
        return redact.url(self.address)

    @property
    def is_local(self) -> bool:
        """True for a local folder."""
        return addresses.is_folder(self.address)

    @property
    def protocol(self) -> str:
        """Protocol of the file system."""
        return addresses.protocol_of(self.address)

    def locate(self, key: str) -> str:
        """Return an object's URL without secrets."""
        return addresses.below(self.url, key)

    def denied(self, key: str) -> str:
        """Return the error for an object that may not be read."""
        return self.wording.denied(self, key)

    def unreachable(self, key: str, error: BaseException, attempts: Attempts | None) -> str:
        """Return the error for a server that does not respond."""
        tried = f" in {attempts.count} attempts over {attempts.seconds:.1f} s" if attempts else ""
        detail = redact.text(error) or type(error).__name__
        return (
            f"{self.locate(key)} could not be reached at {self.endpoint()}{tried} ({detail}). Check the network and "
            f"the endpoint{self.wording.elsewhere}."
        )

    def endpoint(self) -> str:
        """Return the server's address without secrets."""
        options = self.storage_options
        url = options.get("endpoint_url") or options.get("client_kwargs", {}).get("endpoint_url")
        protocol, _, rest = self.url.partition("://")
        if protocol in ("http", "https"):
            url = f"{protocol}://{rest.split('/', 1)[0]}"
        if not url and protocol in ("s3", "s3a"):
            url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return redact.url(url) if url else f"the default endpoint of {protocol}"

    def no_such_bucket(self) -> NotInBucketError:
        """Return the error for an absent root."""
        if self.is_local and os.path.isfile(self.address):
            return NotInBucketError(
                f"{self.url!r} is a file: expected the folder of a bucket, or of a copy of it. Check the argument "
                f"{self.wording.argument!r}."
            )
        return NotInBucketError(
            f"There is no bucket or folder {self.url!r}. Check the argument 'bucket' and the environment variable "
            f"{BUCKET_VARIABLE}, or make a demo bucket with 'intake-laion-fmri demo PATH'."
        )

    def missing(self, key: str, beside: Iterable[str], reason: str) -> NotInBucketError:
        """Return the error for an absent object, naming its neighbours.

        `beside` are keys of the listing in which it was looked for. `reason` says why something at its path counts as
        absent; "" where nothing is there.
        """
        if reason:
            return NotInBucketError(f"{self.locate(key)} is not in the bucket: {reason}.")
        folder, _, _ = key.rpartition("/")
        below = (other[len(folder) + 1 :] for other in beside if other.startswith(f"{folder}/"))
        names = sorted(name for name in below if "/" not in name)
        listing = f"Beside it: {in_short(names)}." if names else "Its folder is empty."
        return NotInBucketError(
            f"{self.locate(key)} is not in the bucket. {listing} "
            f"If this is a partial copy, fetch the object, or read from {layout.BUCKET_URL!r}."
        )
