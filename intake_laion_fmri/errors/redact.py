"""Hide secrets in every address and option before it is printed or written.

Names are trusted, values are not. A query's value, or an option's, is shown only where its name is known to be
harmless; an unknown name is hidden. Addresses and options that open something never pass here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Set
from typing import Any

HIDDEN = "***"
"""Stands for a secret."""

_CONTAINERS = {"abfs", "abfss", "adl", "az", "wasb", "wasbs"}
"""Protocols whose URLs name a container before the ``@``, not a user."""

_HARMLESS_QUERY = {
    "continuation-token",
    "delimiter",
    "encoding-type",
    "format",
    "generation",
    "list-type",
    "max-keys",
    "partnumber",
    "prefix",
    "region",
    "start-after",
    "versionid",
    "x-amz-algorithm",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
}
"""Names in the query of a URL whose values are no secrets."""

_HARMLESS_OPTIONS = {
    "account_name",
    "addressing_style",
    "anon",
    "asynchronous",
    "auto_mkdir",
    "batch_size",
    "block_size",
    "cache_regions",
    "cache_storage",
    "cache_type",
    "check_files",
    "connect",
    "connect_timeout",
    "default_block_size",
    "default_cache_type",
    "default_fill_cache",
    "endpoint",
    "endpoint_url",
    "expiry_time",
    "fixed_upload_size",
    "fo",
    "host",
    "listings_expiry_time",
    "max_attempts",
    "max_concurrency",
    "max_paths",
    "max_pool_connections",
    "mode",
    "multi_account_support",
    "port",
    "profile",
    "profile_name",
    "project",
    "protocol",
    "proxy",
    "read_timeout",
    "region",
    "region_name",
    "requester_pays",
    "retries",
    "same_names",
    "service_name",
    "signature_version",
    "simple_links",
    "size_policy",
    "skip_instance_cache",
    "sock_connect",
    "sock_read",
    "tcp_keepalive",
    "timeout",
    "total",
    "total_max_attempts",
    "use_dualstack_endpoint",
    "use_listings_cache",
    "use_ssl",
    "verify",
    "version_aware",
}
"""Options of file systems whose values are no secrets; of texts, only what is secret in a URL is hidden."""

_SECRET_WORD = (
    r"[\w-]{0,40}(?:secret|password|passwd|passphrase|token|credential|signature|authorization|connection[_-]?string"
    r"|cookie|(?:account|access|api|private|shared)[_-]?key)[\w-]{0,40}"
)
_SECRET_NAME = re.compile(rf"{_SECRET_WORD}|key|key_id|pass|pwd|auth|sig|sas", re.IGNORECASE)
"""A whole name of something secret, of whatever shape."""

_ASSIGNED = re.compile(
    rf"""(?P<name>\b{_SECRET_WORD}['"]?\s*(?:=|:(?!:|//))\s*)
    (?P<value>(?:(?:Bearer|Basic|Digest|Token|AWS4-HMAC-SHA256)\s+)?(?:'[^']*'|"[^"]*"|[^\s,;&'"(){{}}\[\]<>]+))""",
    re.IGNORECASE | re.VERBOSE,
)
"""A secret's name and its value in a sentence, an option of the command line, a header or the repr of a mapping."""

_ACCESS_KEY = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}\b")

_USER_IN_URL = re.compile(
    r"""(?P<protocol>[A-Za-z][A-Za-z0-9+.-]{0,30})://
    (?P<user>
        [^\s/?\#'"<>]{0,2048}   # ends at the last @ before the path
        # A password with a slash in it: what follows the colon is no number of a port.
      | [^\s/?\#'"<>@:\[]{0,2048}:(?!\d+[/?\#]|[/:])[^\s@]{0,2048}
    )@""",
    re.VERBOSE,
)
_BARE_USER = re.compile(r"""(?<![\w/\\.@-])(?!mailto:)[\w.+-]{1,256}:[^\s@/\\'"<>]{1,256}@(?=\w)""")
"""User and password where the protocol was forgotten."""
_QUERY = re.compile(r"""(?P<before>://[^\s?\#'"<>]{0,2048})(?P<rest>[?\#][^\s'"<>]*)""")
_BARE_QUERY = re.compile(
    rf"""(?P<name>[?&](?:{_SECRET_WORD}|key|sig|sas|auth)=)(?P<value>[^\s&\#'"<>]*)""", re.IGNORECASE
)
"""A secret in a URL without a server, as in urllib3's messages."""
_PART = re.compile(r"(?P<separator>^[?#]|[?#&;])(?P<part>[^?#&;]*)")


def url(address: object) -> str:
    """Return an address without user, password and secret query values.

    Parameters
    ----------
    address : str or path
        URL, chain of URLs such as ``zip://x::http://user:password@host``, or folder. A folder is returned as it is.

    Returns
    -------
    str
        To be shown: it may no longer open anything.

    Examples
    --------
    >>> url("https://me:hunter2@example.org/x?versionId=3&X-Amz-Signature=abc")
    'https://***@example.org/x?versionId=3&X-Amz-Signature=***'
    """
    shown = _fspath(address)
    if "://" not in shown:
        return f"{HIDDEN}@{shown[match.end() :]}" if (match := _BARE_USER.match(shown)) else shown
    return _QUERY.sub(_hidden_query, _USER_IN_URL.sub(_hidden_user, shown))


def text(message: object) -> str:
    """Return a message without secrets of URLs, options and headers.

    Parameters
    ----------
    message : object
        Text of a message, an error, a line that is printed.

    Returns
    -------
    str
        A second pass changes nothing.

    Examples
    --------
    >>> text("cannot reach http://me:hunter2@host/x with secret=hunter2")
    'cannot reach http://***@host/x with secret=***'
    """
    shown = _QUERY.sub(_hidden_query, _USER_IN_URL.sub(_hidden_user, str(message)))
    shown = _BARE_QUERY.sub(_hidden_value, _BARE_USER.sub(f"{HIDDEN}@", shown))
    return _ACCESS_KEY.sub(HIDDEN, _ASSIGNED.sub(_hidden_value, shown))


def options(values: Mapping[Any, Any] | None) -> dict[str, Any]:
    """Return file-system options with all but harmless values hidden.

    Parameters
    ----------
    values : mapping or None
        Options, however deeply nested.

    Returns
    -------
    dict
        Of the same shape, to be shown; of plain texts, numbers, lists and mappings.

    Examples
    --------
    >>> options({"key": "AKIA", "anon": False, "client_kwargs": {"region_name": "eu-west-1", "new": 1}})
    {'key': '***', 'anon': False, 'client_kwargs': {'region_name': 'eu-west-1', 'new': '***'}}
    """
    return {text(name): _option(name, value, ()) for name, value in (values or {}).items()}


def tree(value: Any) -> Any:
    """Return nested arguments or metadata without secrets.

    Parameters
    ----------
    value : object
        What is hidden depends on the names in its mappings: below ``storage_options`` and the like, everything that
        is not known to be harmless.
    """
    return _tree(value, ())


def holds_hidden(value: Any) -> bool:
    """Return True if this module has hidden a part of a value."""
    if isinstance(value, str):
        return value == HIDDEN or f"{HIDDEN}@" in value or f"={HIDDEN}" in value or f"?{HIDDEN}" in value
    if isinstance(value, Mapping):
        return any(holds_hidden(part) for part in value.values())
    return isinstance(value, list | tuple) and any(holds_hidden(part) for part in value)


def cause(error: BaseException) -> BaseException | None:
    """Return an error as a cause, or None if it holds a secret.

    Examples
    --------
    >>> cause(ValueError("fine"))
    ValueError('fine')
    >>> cause(ValueError("http://me:hunter2@host")) is None
    True
    """
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        if text(behind) != str(behind):
            return None
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)
    return error


def _fspath(address: object) -> str:
    return os.fsdecode(address) if isinstance(address, str | bytes | os.PathLike) else str(address)


def _hidden_user(match: re.Match[str]) -> str:
    if match["protocol"].lower() in _CONTAINERS and ":" not in match["user"]:
        return match[0]
    return f"{match['protocol']}://{HIDDEN}@"


def _hidden_query(match: re.Match[str]) -> str:
    query = match["rest"].rstrip(":.,;)]}")  # a sentence goes on
    return match["before"] + _PART.sub(_hidden_part, query) + match["rest"][len(query) :]


def _hidden_part(match: re.Match[str]) -> str:
    name, equals, value = match["part"].partition("=")
    if not value or name.lower() in _HARMLESS_QUERY:
        # A word alone is a token as often as not; the fragment after # is a position in a page.
        bare = bool(name) and not equals and match["separator"] == "?" and len(name) >= 16
        return match["separator"] + (HIDDEN if bare else match["part"])
    return match[0] if value.startswith(HIDDEN) else f"{match['separator']}{name}={HIDDEN}"


def _hidden_value(match: re.Match[str]) -> str:
    value = match["value"]
    if value.strip("'\"").startswith(HIDDEN):
        return match[0]
    quote = value[-1] if value[-1:] in {"'", '"'} else ""
    return f"{match['name']}{quote}{HIDDEN}{quote}"


def _option(name: object, value: Any, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if id(value) in above or _SECRET_NAME.fullmatch(str(name)):
        return HIDDEN
    if isinstance(value, Mapping):
        return {text(inner): _option(inner, part, (*above, id(value))) for inner, part in value.items()}
    if isinstance(value, list | tuple):
        return [_option(name, part, (*above, id(value))) for part in value]
    if str(name).lower() not in _HARMLESS_OPTIONS:
        return HIDDEN
    if isinstance(value, str | os.PathLike):
        return text(_fspath(value))
    return value if isinstance(value, int | float) else HIDDEN


def _tree(value: Any, above: tuple[int, ...]) -> Any:
    if id(value) in above:
        return "…"
    if isinstance(value, Mapping):
        inside = (*above, id(value))
        return {
            text(name) if isinstance(name, str) else name: _named(name, part, inside) for name, part in value.items()
        }
    if isinstance(value, list | tuple | Set):
        parts = [_tree(part, (*above, id(value))) for part in value]
        return tuple(parts) if isinstance(value, tuple) else parts
    if isinstance(value, str | bytes | os.PathLike):
        return text(_fspath(value))
    return value


def _named(name: object, value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping) and str(name).endswith(("options", "kwargs")):
        return options(value)
    # A key is an object's name in a bucket here.
    is_secret = isinstance(value, str | bytes) and name != "key" and _SECRET_NAME.fullmatch(str(name))
    return HIDDEN if is_secret else _tree(value, above)
