"""Options by their names and types; the user's AWS set-up does not come between an anonymous reader and the bucket."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import S3, moto_server

from intake_laion_fmri import open_trials
from intake_laion_fmri.remote.access import Bucket, open_bucket, open_store
from intake_laion_fmri.remote.cache import cache_info

PW = "hunter2secret"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Files of AWS settings: broken, with an endpoint where nobody is, and not there."""
    (tmp_path / "broken").write_text("[default\nregion = \n= nonsense\n")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "fine").write_text("[default]\nendpoint_url = http://127.0.0.1:9\n[profile other]\nregion = x\n")
    return {name: str(tmp_path / name) for name in ("broken", "binary", "fine", "none")}


ENVIRONMENTS: list[dict[str, str]] = [
    {"AWS_PROFILE": "nope"},
    {"AWS_DEFAULT_PROFILE": "nope"},
    {"AWS_PROFILE": "nope", "AWS_CONFIG_FILE": "fine"},
    {"AWS_CONFIG_FILE": "broken"},
    {"AWS_CONFIG_FILE": "binary", "AWS_PROFILE": "nope"},
    {"AWS_SHARED_CREDENTIALS_FILE": "broken"},
    {"AWS_CONFIG_FILE": "fine"},
    {"AWS_CONFIG_FILE": "none"},
    {"AWS_CA_BUNDLE": "none"},
    {"AWS_RETRY_MODE": "wrong", "AWS_MAX_ATTEMPTS": "0"},
    {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
    {"AWS_ACCESS_KEY_ID": "X", "AWS_SECRET_ACCESS_KEY": "Y", "AWS_SESSION_TOKEN": "Z"},
]


@pytest.fixture
def surroundings(files: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in request.param.items():
        monkeypatch.setenv(name, files.get(value, value))


@pytest.mark.parametrize("surroundings", ENVIRONMENTS, indirect=True, ids=str)
def test_an_anonymous_reader_needs_no_set_up(s3: S3, surroundings: None) -> None:
    assert len(open_trials("sub-01", bucket=s3.url, storage_options=s3.storage_options, session=1)) == 40


@pytest.mark.parametrize(
    ("surroundings", "options", "message"),
    [
        (
            {"AWS_PROFILE": "nope", "AWS_CONFIG_FILE": "fine"},
            {},
            r"AWS_PROFILE='nope': this profile does not .* unset AWS",
        ),
        ({"AWS_DEFAULT_PROFILE": "nope"}, {}, "AWS_DEFAULT_PROFILE='nope': this profile does not exist"),
        ({"AWS_CONFIG_FILE": "fine"}, {"profile": "nope"}, r"storage_options\['profile'\]='nope': .*/fine and"),
        ({"AWS_CONFIG_FILE": "broken"}, {}, "/broken is not a valid AWS configuration file. Correct it"),
        ({"AWS_SHARED_CREDENTIALS_FILE": "binary"}, {}, "/binary is not a valid AWS configuration file. Correct it"),
        ({"AWS_CA_BUNDLE": "none"}, {}, "AWS_CA_BUNDLE='.*/none': this certificate file does not exist"),
        ({}, {"client_kwargs": {"verify": "/nope.pem"}}, "verify='/nope.pem': this certificate file does not exist"),
    ],
    indirect=["surroundings"],
)
def test_whoever_has_an_account_is_told_what_is_broken(surroundings: None, options: Any, message: str) -> None:
    """The variable, the option or the file; nothing is asked for."""
    bucket = open_bucket("s3://x", {"anon": False, **options})
    with pytest.raises(ValueError, match=message):
        bucket.find("")


def test_a_default_of_fsspec_beside_an_endpoint(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given by the call goes before it."""
    import fsspec.config

    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:9", "anon": False, "key": "K"})
    for options in (s3.storage_options, {"endpoint_url": s3.endpoint}, {"endpoint_url": f"{s3.endpoint}/"}):
        assert open_bucket(s3.url, options).find("stimuli/none") == {}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"anonymous": True}, ValueError, "Unknown option of storage_options: 'anonymous'. Did you mean 'anon'"),
        ({"enpoint_url": "http://h"}, ValueError, "'enpoint_url'. Did you mean 'endpoint_url'"),
        ({"secret_key": PW}, ValueError, "Unknown option of storage_options: 'secret_key'. Did you mean 'secret'"),
        ({"region_name": "x"}, ValueError, "write {'client_kwargs': {'region_name': …}}"),
        ({"read_timeout": 3}, ValueError, "write {'config_kwargs': {'read_timeout': …}}"),
        ({"client_kwargs": {"region": "x"}}, ValueError, r"\['client_kwargs'\]: 'region'. Did you mean 'region_name'"),
        ({"config_kwargs": {"read_time": 3}}, ValueError, "Did you mean 'read_timeout'"),
        ({"asynchronous": True}, ValueError, "is for asynchronous programs only"),
        (
            {"endpoint_url": "http://a", "client_kwargs": {"endpoint_url": f"http://me:{PW}@b"}},
            ValueError,
            "two endpoints",
        ),
        ({"endpoint_url": "h:80"}, ValueError, "endpoint_url='h:80' is not the URL of a server. Include the protocol"),
        ({"client_kwargs": f"secret={PW}"}, TypeError, "'client_kwargs'] must be a mapping of options, found a str"),
        ({"key": 3, "secret": 4}, TypeError, "'key'] must be a string, found an int"),
        ({"anon": "maybe"}, TypeError, "'anon'] must be True or False, found a str"),
        ({"anon": 1}, TypeError, "'anon'] must be True or False, found an int"),
    ],
)
def test_options_that_cannot_be_right(options: Any, error: type[Exception], message: str) -> None:
    """At once, and not 'check the network'; no value of theirs is shown."""
    with pytest.raises(error) as caught:
        open_bucket("s3://x", options).find("")
    assert message.replace("\\", "") in str(caught.value)
    assert PW not in str(caught.value)
    with pytest.raises(error, match="store_options"):
        open_store("s3://x", options).find("")


def test_options_that_say_nothing() -> None:
    """As in a file of settings whose values are empty, or texts."""
    for options in ({"anon": None, "key": None, "client_kwargs": None}, {"anon": "True"}, {}):
        assert open_bucket("s3://x", options).storage_options["anon"] is True
    assert open_bucket("s3://x", {"anon": "false"}).storage_options["anon"] is False
    assert open_bucket("s3://x", {"key": "K", "secret": "S"}).storage_options["anon"] is False


def test_endpoints_of_settings_have_copies_of_their_own(
    s3: S3, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers that only AWS's file of settings tells apart: bucket, key, size and ETag are the same."""
    monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "bucket"
    folder.mkdir()
    shutil.copy(tiny / "README", folder)
    with moto_server(folder, tmp_path / "log") as other:
        for number, endpoint in enumerate((s3.endpoint, other.endpoint, s3.endpoint)):
            (tmp_path / f"config-{number}").write_text(f"[default]\nendpoint_url = {endpoint}\n")
            monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / f"config-{number}"))
            bucket = open_bucket("s3://laion-fmri", {"skip_instance_cache": True})
            assert bucket.storage_options == open_bucket("s3://laion-fmri").storage_options | {
                "skip_instance_cache": True
            }
            info = bucket.state("README")
            bucket.fetch([info])
            assert cache_info().n_files == (1, 2, 2)[number]


def test_chains_over_two_servers_have_copies_of_their_own(tmp_path: Path) -> None:
    one, other = (
        Bucket("simplecache::s3://x", {"s3": {"endpoint_url": f"http://127.0.0.1:{port}"}}) for port in (9, 10)
    )
    assert one._server != other._server
