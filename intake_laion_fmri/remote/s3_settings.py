"""S3 client settings: checked options, and the user's AWS configuration.

A public bucket is read without an account. What is broken in a set-up that such a reader does not need is left alone;
for everybody else it is an error that names the option, variable or file.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from intake_laion_fmri.errors import redact, unknown_value

if TYPE_CHECKING:
    from botocore.session import Session

_NOT_ASKED = (None, None, None, None)
"""In botocore's table of a session's variables: in no file, in no variable, without a default."""

_MAPPINGS = ("client_kwargs", "config_kwargs", "s3_additional_kwargs")
_TEXTS = ("key", "secret", "token", "username", "password", "endpoint_url", "profile")
_OF_FSSPEC = {"use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache"}
_OF_PROGRAMS = {"asynchronous", "loop"}
"""Options with which a file system waits for a caller that this package is not."""


def checked_by_type(options: Mapping[str, Any], argument: str) -> dict[str, Any]:
    """Return s3fs options without None.

    Raises TypeError or ValueError for an invalid value.

    `argument` is what the user gave them by, for errors.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in _MAPPINGS:
        if not isinstance(given.get(name, {}), Mapping):
            raise TypeError(f"{argument}[{name!r}] must be a mapping of options, found {_type(given[name])}.")
    for name in _TEXTS:
        if not isinstance(given.get(name, ""), str):
            raise TypeError(f"{argument}[{name!r}] must be a string, found {_type(given[name])}.")
    for name in ("anon", "use_ssl", "requester_pays"):
        if isinstance(given.get(name), str) and given[name].lower() in ("true", "false"):  # of a file, or a variable
            given[name] = given[name].lower() == "true"
        if not isinstance(given.get(name, True), bool):
            raise TypeError(f"{argument}[{name!r}] must be True or False, found {_type(given[name])}.")
    for endpoint in _endpoints(given):
        if not re.match("https?://[^/]", str(endpoint)):
            raise ValueError(
                f"{argument}: endpoint_url={redact.url(endpoint)!r} is not the URL of a server. Include the "
                f"protocol, as in 'https://s3.example.org'."
            )
    return given


def for_client(options: Mapping[str, Any], argument: str) -> dict[str, Any]:
    """Return options for an s3fs client, safe against AWS's settings.

    ValueError for an option of a name that nothing takes, with the nearest; for two endpoints; for a profile, a file of
    settings or of certificates that is named and is not there, or cannot be read. TypeError as `checked_by_type`.
    """
    given = checked_by_type(options, argument)
    _raise_for_unknown(given, argument)
    client = dict(given.get("client_kwargs", {}))
    endpoints = _endpoints(given)
    if len(set(endpoints)) > 1:
        shown = " and ".join(repr(redact.url(url)) for url in endpoints)
        raise ValueError(f"{argument} gives two endpoints, {shown}. Remove one of them.")
    if endpoints:
        # Passed at the top level, so that fsspec's own setting (FSSPEC_S3_ENDPOINT_URL) cannot add a second endpoint.
        client.pop("endpoint_url", None)
        given["endpoint_url"] = endpoints[0]
    if "session" not in given:
        session, variables = _session(given, argument)
        if variables:
            given["session_vars"] = {**variables, **given.get("session_vars", {})}
        _check_certificates(session, client, endpoints)
    return {**given, "client_kwargs": client}


def _endpoints(options: Mapping[str, Any]) -> list[str]:
    both = (options.get("endpoint_url"), (options.get("client_kwargs") or {}).get("endpoint_url"))
    return [url.rstrip("/") if isinstance(url, str) else url for url in both if url]


def _raise_for_unknown(options: Mapping[str, Any], argument: str) -> None:
    import botocore.session
    from aiobotocore.config import AioConfig
    from aiobotocore.session import AioSession
    from fsspec import get_filesystem_class

    file_system = get_filesystem_class("s3")
    of_client = _names(botocore.session.Session.create_client) - {"service_name"}
    of_config = {*AioConfig.OPTION_DEFAULTS, *_names(AioConfig.__init__)}
    own = set().union(*(_names(kind.__init__) for kind in file_system.__mro__ if "__init__" in vars(kind)))
    valid = (own | _names(AioSession.__init__) | _OF_FSSPEC) - _OF_PROGRAMS
    inside = {"client_kwargs": of_client, "config_kwargs": of_config}
    for name in options:
        if name in _OF_PROGRAMS:
            raise ValueError(f"{argument}[{name!r}] is for asynchronous programs only. Remove it.")
        for where, names in inside.items():
            if name not in valid and name in names:
                raise ValueError(f"{argument}[{name!r}] belongs elsewhere: write {{{where!r}: {{{name!r}: …}}}}.")
        if name not in valid:
            raise unknown_value("option", name, sorted(map(str, valid)), where=argument)
    for where, names in inside.items():
        for name in options.get(where, {}):
            if name not in names:
                raise unknown_value("option", name, sorted(names), where=f"{argument}[{where!r}]")


def _names(function: Callable[..., Any]) -> set[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in found if parameter.kind not in kinds} - {"self"}


def _session(options: Mapping[str, Any], argument: str) -> tuple[Session, dict[str, Any]]:
    """Return a session like the client's, and settings to leave out."""
    import botocore.exceptions
    import botocore.session

    profile, anonymous = options.get("profile"), options.get("anon", False)
    session = botocore.session.Session(profile=profile)
    try:
        session.get_scoped_config()
    except botocore.exceptions.ProfileNotFound as error:
        if profile is None and anonymous:
            return _without(profile=_NOT_ASKED)
        name = next((name for name in ("AWS_DEFAULT_PROFILE", "AWS_PROFILE") if os.environ.get(name)), "AWS_PROFILE")
        found = f"{argument}['profile']={profile!r}" if profile else f"{name}={os.environ.get(name)!r}"
        raise ValueError(
            f"{found}: this profile does not exist in {_files()}. Correct it, or "
            f"{'remove it' if profile else f'unset {name}'}."
        ) from error
    except botocore.exceptions.ConfigParseError as error:
        if profile is None and anonymous:
            nothing = (None, None, os.devnull, None)
            return _without(profile=_NOT_ASKED, config_file=nothing, credentials_file=nothing)
        raise ValueError(
            f"{error.kwargs.get('path', _files())} is not a valid AWS configuration file. Correct it, or set "
            f"AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE to another."
        ) from redact.cause(error)
    return session, {}


def _without(**variables: Any) -> tuple[Session, dict[str, Any]]:
    import botocore.session

    return botocore.session.Session(session_vars=variables), variables


def _files() -> str:
    config = os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"
    return f"{config} and {os.environ.get('AWS_SHARED_CREDENTIALS_FILE') or '~/.aws/credentials'}"


def _check_certificates(session: Session, client: dict[str, Any], endpoints: list[str]) -> None:
    """Raise ValueError for an absent certificate file."""
    bundle = client.get("verify") or session.get_config_variable("ca_bundle")
    if not isinstance(bundle, str) or os.path.exists(bundle):
        return
    if endpoints and endpoints[0].startswith("http://"):
        client["verify"] = True  # they are loaded, though none are needed
        return
    name = "verify" if client.get("verify") else "AWS_CA_BUNDLE"
    raise ValueError(f"{name}={bundle!r}: this certificate file does not exist. Correct or remove it.")


def _type(value: object) -> str:
    """Describe a value's type, without the value: it may be secret."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
