"""Users' addresses: local folders and URLs.

fsspec takes every ``::`` for a chain of file systems, decodes no ``%20`` and leaves relative paths as they are. Here a
path is a path whatever its name, and only what begins like a chain is one.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import re
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes

from intake_laion_fmri import layout
from intake_laion_fmri.errors import redact

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-_]+):(.*)", re.DOTALL)
"""Scheme and rest of a URL; one letter before a colon is a drive."""

_PLAIN = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "memory"})
"""Protocols that are no part of a chain by themselves: ``::`` in their URLs is an IPv6 address, an ARN or a name."""

_AWS_HOST = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9.\-]+)\.)?s3(?:[.\-](?P<region>[a-z]{2}-[a-z\-]+-\d))?\.amazonaws\.com"
)
_BUCKETS = ("bucket", "LAION_FMRI_BUCKET")
"""Arguments that name what is listed."""

_ARN_OF_BUCKET = re.compile(r"arn:aws[a-z\-]*:s3:::")


def resolved(given: object, argument: str) -> str:
    """Return an address in canonical form.

    The result is an absolute path with slashes, or a URL without trailing slashes.

    A path object is always a local path. A text is one unless it begins with a protocol that fsspec knows and ``://``,
    or is a ``file:`` URL. `argument` is its name, for errors: TypeError if it is neither a text nor a path; ValueError
    if it names nothing, has an unknown protocol, or could be two things.
    """
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"{argument} must be a URL or a folder, found {redact.text(repr(given))}.")
    text = os.fsdecode(given)
    if not text or "\0" in text:
        raise ValueError(f"{argument}={redact.url(text)!r} is empty or invalid: expected a URL or a folder.")
    if isinstance(given, os.PathLike):
        return _absolute(text, argument)
    match = _SCHEME.fullmatch(text)
    if match and match[1].lower() in ("file", "local"):
        return _absolute(_path_of_url(text, match[2], argument), argument)
    if text.startswith("arn:aws") and not os.path.lexists(text):
        text = f"s3://{text}"
    is_url = "://" in text and _SCHEME.fullmatch(text)
    return _url(text, argument) if is_url else _absolute(text, argument)


def local_folder(given: object, argument: str) -> Path:
    """Return a local folder's absolute path.

    Raises TypeError if it is neither a string nor a path, and ValueError if it is empty or a URL of another protocol.
    """
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"{argument} must be a local folder, found {redact.text(repr(given))}.")
    address = resolved(given, argument)
    if not is_folder(address):
        raise ValueError(
            f"{argument} must be a local folder, found {redact.url(address)!r}. URLs are given as bucket=."
        )
    return Path(address)


def user_folder(kind: Literal["cache", "config"], variable: str) -> Path | None:
    """Return a folder from an environment variable or the home folder.

    None if no home folder is known.
    """
    import platformdirs

    given = os.environ.get(variable)
    if given:
        return local_folder(given, variable)
    own = {"cache": platformdirs.user_cache_dir, "config": platformdirs.user_config_dir}[kind]
    with contextlib.suppress(RuntimeError, KeyError):  # neither HOME nor an entry in the table of users
        folder = Path(own("intake-laion-fmri"))
        return folder if folder.is_absolute() else None
    return None


def is_folder(address: str) -> bool:
    """Return True for a local path, False for a URL."""
    return os.path.isabs(address)


def is_chain(address: str) -> bool:
    """Return True if a URL chains several file systems."""
    return not is_folder(address) and "::" in address and protocol_of(address) not in _PLAIN


def links(address: str) -> list[str]:
    """Return the file systems of a chain, outermost first.

    A plain URL is its only link.
    """
    found = []
    while is_chain(address):
        outermost, _, address = address.partition("::")
        found.append(outermost)
    return [*found, address]


def protocol_of(address: str) -> str:
    """Return an address's protocol; "file" for a local path.

    The protocol of a chain is that of its outermost file system.
    """
    return "file" if is_folder(address) else re.split("://|::", address, maxsplit=1)[0].lower()


def below(address: str, key: str) -> str:
    """Return the address of an object below a resolved address.

    The key "" is the root itself.
    """
    if not key:
        return address
    outermost, *inner = links(address)
    if inner and "://" in outermost:  # of an archive, the path in it comes first: zip://key::file.zip
        return "::".join([_joined(outermost, key), *inner])
    return _joined(address, key)


def _joined(address: str, key: str) -> str:
    return f"{address}{key}" if address.endswith("/") else f"{address}/{key}"


def _absolute(path: str, argument: str) -> str:
    expanded = os.path.expanduser(path)
    if expanded.startswith(("~/", "~\\")) or expanded == "~":
        raise ValueError(f"{argument}={redact.url(path)!r}: this home folder is unknown. Write the full path.")
    protocol, separator, rest = path.partition(":/")
    if separator and len(protocol) > 1 and protocol in _known_protocols() and not os.path.lexists(expanded):
        raise ValueError(
            f"{argument}={redact.url(path)!r} is a URL that lost a slash, as in a pathlib.Path. Pass the string "
            f"{redact.url(protocol + '://' + rest.lstrip('/'))!r}."
        )
    return os.path.abspath(expanded).replace(os.sep, "/")


def _path_of_url(url: str, rest: str, argument: str) -> str:
    """Return the path in a ``file:`` URL, encoded or not.

    ``Path.as_uri()`` encodes it, and ``f"file://{path}"``, which fsspec wants, does not. What is there tells which of
    both it is, and where nothing is, the standard does: encoded.
    """
    path = rest.removeprefix("//") if rest.startswith("//") else rest
    if path.startswith("localhost/"):
        path = path.removeprefix("localhost")
    if not path:
        raise ValueError(f"{argument}={redact.url(url)!r} has no path of a folder.")
    if os.name == "nt":
        path = re.sub(r"^/(?=[A-Za-z]:)", "", path)
    decoded = os.fsdecode(unquote_to_bytes(os.fsencode(path)))
    if decoded == path:
        return path
    as_it_is, as_decoded = _first_difference(path, decoded)
    if not os.path.lexists(as_it_is):
        return decoded
    if os.path.lexists(as_decoded):
        raise ValueError(
            f"{argument}={redact.url(url)!r} could be {as_it_is!r} or {as_decoded!r}, and both exist. Write the path "
            f"without 'file:'."
        )
    return path


def _first_difference(path: str, decoded: str) -> tuple[str, str]:
    """Return two paths up to their first different part."""
    parts, others = path.split("/"), decoded.split("/")
    count = next(index for index, pair in enumerate(zip(parts, others, strict=False), 1) if pair[0] != pair[1])
    # An encoded slash makes the second path longer; its part ends with the same number of slashes.
    return "/".join(parts[:count]), "/".join(others[:count])


def _url(text: str, argument: str) -> str:
    """Return a URL in canonical form."""
    if text != text.strip() or any(ord(letter) < ord(" ") for letter in text):
        raise ValueError(
            f"{argument}={redact.url(text)!r}: expected a URL without surrounding blanks or control characters."
        )
    *outer, innermost = links(text)
    if outer:
        url = _innermost(innermost, text, argument)
        for link in reversed(outer):
            protocol, _, path = _link(link, text, argument).partition("://")
            # A folder of another file system is served by that one as well, in parallel.
            url = below(url, path.strip("/")) if protocol == "dir" else f"{_link(link, text, argument)}::{url}"
        return url
    url = _link(text, text, argument)
    protocol, _, rest = url.partition("://")
    if protocol in ("http", "https"):
        return _web_url(protocol, rest, argument)
    if protocol in ("s3", "s3a"):
        # A template such as ``{{ CATALOG_DIR }}/x`` doubles slashes; in S3 they would be part of the key.
        rest = "/".join(part for part in _ARN_OF_BUCKET.sub("", rest).split("/") if part)
        if not rest:
            raise ValueError(f"{argument}={redact.url(text)!r} has no bucket name: expected s3://BUCKET.")
    return f"{protocol}://{rest.rstrip('/')}"


def _link(link: str, text: str, argument: str) -> str:
    """Return a URL or a protocol that fsspec knows."""
    protocol, separator, rest = link.partition("://")
    known = _known_protocols()
    if protocol.lower() not in known:
        near = difflib.get_close_matches(protocol.lower(), known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(
            f"{argument}={redact.url(text)!r}: fsspec does not know the protocol {protocol!r}.{hint} Expected a "
            f"local folder or a URL such as {layout.BUCKET_URL!r}."
        )
    return f"{protocol.lower()}{separator}{rest}"


def _innermost(link: str, text: str, argument: str) -> str:
    """Return a chain's innermost address.

    The path of a local file is made absolute.
    """
    address = resolved(link, argument)
    if "::" in address:
        raise ValueError(
            f"{argument}={redact.url(text)!r}: {redact.url(address)!r} cannot be part of a chain, as it contains '::'."
        )
    return address


def _web_url(protocol: str, rest: str, argument: str) -> str:
    plain = re.split("[?#]", rest, maxsplit=1)[0]
    if plain != rest:
        raise ValueError(
            f"{argument}={redact.url(protocol + '://' + plain)!r} is followed by {rest[len(plain)]!r} and more, "
            f"which cannot be sent with each file below it. Remove that part; pass what the server needs as "
            f"storage_options={{'headers': {{…}}}}."
        )
    plain = plain.rstrip("/").removesuffix("/index.html")
    host, _, path = plain.partition("/")
    if not host:
        raise ValueError(f"{argument}={redact.url(protocol + '://' + rest)!r} has no host name.")
    aws = _AWS_HOST.fullmatch(host.lower())
    # S3 lists objects by its own protocol only, not as a page of links. A store is read without listings.
    in_s3 = "/".join(filter(None, (aws["bucket"], path))) if aws and argument in _BUCKETS else ""
    return f"s3://{in_s3}" if in_s3 else f"{protocol}://{plain}"


@functools.lru_cache(maxsize=1)
def _implementations() -> frozenset[str]:
    from fsspec.registry import known_implementations

    return frozenset(known_implementations)


def _known_protocols() -> AbstractSet[str]:
    from fsspec.registry import registry

    return _implementations() | frozenset(registry)
