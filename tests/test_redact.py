"""Secrets in addresses, options and sentences: what is hidden, and what is left to read."""

from __future__ import annotations

import doctest
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import sampled

from intake_laion_fmri.errors import redact

PW = "hunter2secret"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"http://me:{PW}@host:9000/x", "http://***@host:9000/x"),
        (f"https://{PW}@github.com/x.git", "https://***@github.com/x.git"),
        (f"ftp://me:{PW}@host", "ftp://***@host"),
        (f"http://me:{PW}@[::1]:9/x", "http://***@[::1]:9/x"),
        (f"http://me:{PW}@with@host/x", "http://***@host/x"),
        (f"http://me:pa/{PW}@host/x", "http://***@host/x"),
        (f"http://me:?{PW}#@host/x", "http://***@host/x"),
        (f"http://:{PW}@host/x", "http://***@host/x"),
        (f"simplecache::http://me:{PW}@host/x", "simplecache::http://***@host/x"),
        (f"zip://a.nii::sftp://me:{PW}@host/x.zip", "zip://a.nii::sftp://***@host/x.zip"),
        (f"http://h/x?sig={PW}", "http://h/x?sig=***"),
        (f"http://h/x?sv=1&se=2&sig={PW}&versionId=7", "http://h/x?sv=***&se=***&sig=***&versionId=7"),
        (f"http://h/x?X-Amz-Credential=AKIA/2026&X-Amz-Signature={PW}&X-Amz-Expires=60",
         "http://h/x?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Expires=60"),
        (f"http://h/x?AWSAccessKeyId={PW}&Signature={PW}", "http://h/x?AWSAccessKeyId=***&Signature=***"),
        (f"http://h/x?nobody-knows={PW}", "http://h/x?nobody-knows=***"),
        (f"http://h/x?{PW}{PW}", "http://h/x?***"),
        (f"http://h/x#access_token={PW}&a=b", "http://h/x#access_token=***&a=***"),
        (f"zip://a::http://h/x?token={PW}", "zip://a::http://h/x?token=***"),
        (f"me:{PW}@host:9000", "***@host:9000"),
    ],
)  # fmt: skip
def test_addresses(address: str, shown: str) -> None:
    """As an address, within a sentence, twice, and as a path object's text."""
    assert redact.url(address) == shown
    assert redact.url(shown) == redact.text(shown) == shown
    assert redact.text(f"{address}: not found, see {address!r}.") == f"{shown}: not found, see {shown!r}."
    assert redact.holds_hidden(shown)
    assert not redact.holds_hidden(address)


@pytest.mark.parametrize(
    "address",
    [
        "s3://laion-fmri",
        "s3://bucket/user@lab/x",
        "http://127.0.0.1:9000/user@lab/x",
        "http://[::1]:9000/user@lab",
        "abfs://container@account.dfs.core.windows.net/x",
        "http://h/x?list-type=2&prefix=derivatives&continuation-token=abc",
        "http://h/x#section",
        "/data/me:you@lab/x?sig=1",
        "/data/{a} b",
        "C:/data@lab",
        "mailto:me@example.org",
    ],
)
def test_addresses_without_secrets_stay(address: str) -> None:
    assert redact.url(address) == address
    assert redact.url(Path(address)) == str(Path(address)) or "//" in address
    assert not redact.holds_hidden(address)


@pytest.mark.parametrize(
    "message",
    [
        f"HTTPConnectionPool(host='h', port=9): Max retries exceeded with url: /x?sig={PW} (Caused by nothing)",
        f"'secret={PW}': expected key=value",
        f"--storage-option secret={PW}",
        f"{{'secret': '{PW}', 'anon': False}}",
        f'{{"aws_secret_access_key": "{PW}"}}',
        f"storage_options must be a mapping, found 'token={PW}'",
        f"Authorization: Bearer {PW}",
        f"headers={{'Authorization': 'Basic {PW}'}}",
        f"authorization: AWS4-HMAC-SHA256 Credential={PW}, Signature={PW}",
        f"x-amz-security-token: {PW}",
        f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={PW}==;EndpointSuffix=y",
        f"SharedAccessSignature={PW}",
        f"BasicAuth(login='me', password='{PW}', encoding='latin1')",
        f"Cannot connect, url=URL('http://me:{PW}@h/x?a=b')",
        f"password={PW}",
        f"api_key = {PW}",
        "key AKIAIOSFODNN7EXAMPLE is not known",
    ],
)
def test_sentences(message: str) -> None:
    shown = redact.text(message)
    assert PW not in shown
    assert "AKIAIOS" not in shown
    assert redact.HIDDEN in shown
    assert redact.text(shown) == shown
    assert redact.text(ValueError(message)) == shown


@pytest.mark.parametrize(
    "message",
    [
        "s3://laion-fmri/derivatives/x.nii.gz: expected the MD5 0123 that the server tells. key='sub-01'",
        "the server repeats its continuation token; 3 attempts over 2.0 s at http://127.0.0.1:9",
        "Unknown argument: 'sesion'. Did you mean 'session'? Valid: all, key: value",
        "see https://www.example.org/form?",
        "Ask laion-fmri@example.org, or at 12:30 me@example.org; /data/me:you@lab is none",
        "Valid: FFA1, V1d. roi='laionventral - retinotopy'",
    ],
)
def test_sentences_without_secrets_stay(message: str) -> None:
    assert redact.text(message) == message


class Auth:
    """As aiohttp.BasicAuth: its repr shows the password."""

    def __repr__(self) -> str:
        return f"BasicAuth('me', {PW!r})"


SECRET_OPTIONS: list[Any] = [
    *({name: PW} for name in (
        "key", "secret", "token", "password", "passphrase", "credential", "credentials", "sas_token", "account_key",
        "connection_string", "auth", "cookies", "aws_session_token", "KEY", "pkey", "nobody_has_thought_of_this",
    )),
    {"client_kwargs": {"aws_secret_access_key": PW, "auth": Auth()}},
    {"client_kwargs": {"headers": {"Authorization": f"Bearer {PW}", "X-Custom": PW}}},
    {"client_kwargs": {"endpoint_url": f"http://me:{PW}@h/x?sig={PW}"}},
    {"headers": [("Authorization", PW)]},
    {"config_kwargs": {"proxies": {"https": f"http://me:{PW}@proxy"}}},
    {"fo": f"http://me:{PW}@h", "target_options": {"password": PW}},
    {"key": {"nested": [PW]}},
    {"endpoint_url": Auth()},
    {"endpoint_url": f"http://me:{PW}@h".encode()},
    {"token": PW.encode()},
    {f"http://me:{PW}@h": 1},
    {"port": {PW}},
]  # fmt: skip


@pytest.mark.parametrize("options", SECRET_OPTIONS, ids=lambda options: next(iter(options)))
def test_options(options: dict[str, Any]) -> None:
    """By name at any depth; also as one argument among others."""
    for shown in (redact.options(options), redact.tree({"args": [{"storage_options": options}]})):
        assert PW not in repr(shown)
        assert redact.HIDDEN in repr(shown)
    assert set(redact.options(options)) == {redact.text(name) for name in options}


def test_harmless_options_are_shown() -> None:
    options = {
        "anon": True,
        "profile": "lab",
        "client_kwargs": {"endpoint_url": "http://127.0.0.1:9000", "region_name": "us-west-2", "verify": None},
        "config_kwargs": {"connect_timeout": 2.5, "retries": {"total_max_attempts": 3, "mode": "standard"}},
        "cache_regions": False,
        "use_ssl": False,
    }
    assert redact.options(options) == options
    assert redact.options(None) == {}
    assert not redact.holds_hidden(options)
    assert redact.holds_hidden(redact.options({"client_kwargs": {"x": [1]}}))


def test_arguments_keep_their_shape() -> None:
    """What is no secret is what it was; paths are texts."""
    given = {
        "subject": "sub-01",
        "roi": ["FFA1", ("V1",)],
        "bucket": Path("/data"),
        "min_noise_ceiling": 5.0,
        "n": None,
    }
    assert redact.tree(given) == {**given, "bucket": "/data"}
    assert redact.tree({"key": "sub-01/x", "token": PW}) == {"key": "sub-01/x", "token": "***"}
    assert redact.tree({"arguments": {"bucket": f"http://u:{PW}@h"}}) == {"arguments": {"bucket": "http://***@h"}}


def test_values_that_hold_themselves() -> None:
    options: dict[str, Any] = {"anon": True}
    options["again"] = options
    assert redact.options(options)["anon"] is True
    value: list[Any] = [f"http://u:{PW}@h"]
    value.append(value)
    assert PW not in repr(redact.tree(value))


def test_causes() -> None:
    """An error that would be printed below ours is left away where it tells a secret, or one behind it does."""
    plain = ValueError("plain")
    assert redact.cause(plain) is plain
    inner = ValueError(f"http://me:{PW}@h")
    assert redact.cause(inner) is None
    plain.__cause__ = inner
    assert redact.cause(plain) is None
    plain.__cause__, plain.__context__ = None, inner
    plain.__suppress_context__ = False
    assert redact.cause(plain) is None
    plain.__suppress_context__ = True
    assert redact.cause(plain) is plain
    plain.__cause__ = plain
    assert redact.cause(plain) is plain


@given(st.text())
def test_a_second_pass_changes_nothing(message: str) -> None:
    once = redact.text(message)
    assert redact.text(once) == once


@given(st.text(st.characters(exclude_characters=" /?#'\"<>@[]\\\t\n\r", categories=["L", "N", "P", "S"]), min_size=6))
def test_any_password_is_hidden(password: str) -> None:
    assert password not in redact.url(f"http://me:{password}@host/x").removeprefix("http://***@host")
    assert password not in redact.text(f"at http://me:{password}@host/x it failed").replace("http://***@host", "")


@pytest.mark.parametrize(
    "piece", sampled(["a", "://", "secret", "token-", "@", "?a=", "http://a:", "'", "key=:"], keep=1)
)
def test_long_texts_take_no_time(piece: str) -> None:
    """No expression goes over a text twice: bodies of foreign servers end in messages."""
    start = time.process_time()
    redact.text(piece * (100_000 // len(piece)))
    assert time.process_time() - start < 20


def test_the_examples() -> None:
    assert doctest.testmod(redact).failed == 0
