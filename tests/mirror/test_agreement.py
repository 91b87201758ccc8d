"""The images come from the access service: whole, checked, resumed, private, and with nothing secret said."""

from __future__ import annotations

import json
import os
import stat
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from access_server import REQUEST_ID, AccessServer, access_server
from click.testing import CliRunner
from conftest import S3

from intake_laion_fmri import layout, open_stimuli
from intake_laion_fmri.cli.main import main
from intake_laion_fmri.config import dataset_initialize, set_network
from intake_laion_fmri.download import download
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    DataIntegrityError,
    LicenseNotAcceptedError,
)
from intake_laion_fmri.mirror import gated
from intake_laion_fmri.mirror.gated import fetch_stimuli
from intake_laion_fmri.mirror.partial import PIECE_BYTES

IMAGES, TABLE = "task-images_stimuli.h5", "task-images_metadata.csv"


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request id of the developer's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    set_network(attempts=3)


@pytest.fixture
def server(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AccessServer]:
    with access_server({name: (tiny / "stimuli" / name).read_bytes() for name in (IMAGES, TABLE)}) as state:
        monkeypatch.setenv("LAION_FMRI_ACCESS_URL", state.url)
        yield state


@pytest.fixture
def large(server: AccessServer) -> bytes:
    """Images of five pieces and a half."""
    content = np.random.default_rng(0).bytes(5 * PIECE_BYTES + PIECE_BYTES // 2)
    server.files[IMAGES] = content
    return content


def get(to: Path, **arguments: Any) -> dict[str, Path]:
    return fetch_stimuli(to, request_id=REQUEST_ID, **arguments)


def test_they_are_fetched_and_read(server: AccessServer, tiny: Path, tmp_path: Path) -> None:
    """Manifest, addresses, files; a second run asks for the manifest alone, and needs no request id."""
    told: list[tuple[int, int]] = []
    paths = get(tmp_path / "mirror", progress=lambda done, total: told.append((done, total)))
    assert paths == {name: tmp_path / "mirror/stimuli" / name for name in (TABLE, IMAGES)}
    for name, path in paths.items():
        assert path.read_bytes() == server.files[name]
    assert server.asked == ["manifest", "refresh", TABLE, IMAGES]
    total = sum(map(len, server.files.values()))
    assert told[-1] == (total, total)
    server.asked.clear()
    assert fetch_stimuli(tmp_path / "mirror") == paths
    assert server.asked == ["manifest"]
    found = open_stimuli(mirror=tmp_path / "mirror", mirror_only=True).load()
    assert found.equals(open_stimuli(bucket=tiny).load())
    runner = CliRunner().invoke(main, ["mirror", "verify", str(tmp_path / "mirror")])
    assert runner.exit_code == 0, runner.output


def test_only_this_user_may_read_them(server: AccessServer, large: bytes, tmp_path: Path) -> None:
    """Whatever the umask: the file, and what there is of it while it arrives."""
    modes: set[int] = set()

    def look(done: int, total: int) -> None:
        for path in (tmp_path / "mirror").rglob("*"):
            if path.suffix in {".part", ".h5"} and path.stat().st_size == len(large):
                modes.add(stat.S_IMODE(path.stat().st_mode))

    before = os.umask(0)
    try:
        path = get(tmp_path / "mirror", progress=look)[IMAGES]
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_transfer_goes_on(server: AccessServer, large: bytes, tmp_path: Path) -> None:
    """From one run to the next: no piece is received twice."""

    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 3.2 * PIECE_BYTES:
            raise StoppedError

    with pytest.raises(StoppedError):
        get(tmp_path / "mirror", progress=stop)
    assert get(tmp_path / "mirror")[IMAGES].read_bytes() == large
    parts = [one for one in server.asked if one.startswith(IMAGES)]
    assert parts == [IMAGES, f"{IMAGES} bytes={4 * PIECE_BYTES}-{len(large) - 1}"]
    assert not list((tmp_path / "mirror/.laion-fmri/partial").iterdir())


def test_a_broken_connection(server: AccessServer, large: bytes, tmp_path: Path) -> None:
    """The next one begins where it broke."""
    get(tmp_path)
    (tmp_path / "stimuli" / IMAGES).unlink()  # the table is there
    server.asked.clear()
    server.cut_after = 2 * PIECE_BYTES + 1000
    assert get(tmp_path)[IMAGES].read_bytes() == large
    parts = [one for one in server.asked if one.startswith(IMAGES)]
    assert parts == [IMAGES, f"{IMAGES} bytes={2 * PIECE_BYTES + 1000}-{len(large) - 1}"]


def test_an_address_that_has_expired_is_made_again(server: AccessServer, large: bytes, tmp_path: Path) -> None:
    original = server.addressed

    def addressed(name: str) -> dict[str, Any]:
        server.good_for = 1000 if server.asked.count("refresh") > 1 else 0
        return original(name)

    server.addressed = addressed  # type: ignore[method-assign]
    assert get(tmp_path / "mirror")[IMAGES].read_bytes() == large
    assert server.asked == ["manifest", "refresh", TABLE, "refresh", TABLE, IMAGES]
    server.good_for, server.addressed = 0, original  # type: ignore[method-assign]
    with pytest.raises(BucketUnreachableError, match="refuses the addresses that it has just issued"):
        get(tmp_path / "other")


REFUSALS: dict[str, tuple[tuple[int, Any, dict[str, str]], type[Exception], str]] = {
    "terms": (
        (403, {"error": "terms_outdated", "accept_url": "https://x.org/accept", "current_terms_version": "1.2"}, {}),
        AccessDeniedError,
        r"terms of use of the images have changed \(1\.2\): accept them at https://x\.org/accept",
    ),
    "unknown": ((404, "request not found", {}), AccessDeniedError, rf"does not know this.*{layout.REQUEST_URL}"),
    "malformed": ((422, [{"loc": ["body"]}], {}), AccessDeniedError, "does not know this request id"),
    "revoked": ((403, "access revoked", {}), AccessDeniedError, "was revoked"),
    "other": ((403, "no", {}), AccessDeniedError, rf"refuses access to the images \(HTTP 403\).*{layout.REQUEST_URL}"),
    "rate": ((429, "slow down", {"Retry-After": "30"}), BucketUnreachableError, "too many requests: try again in 30 s"),
    "rate without a time": ((429, "", {"Retry-After": "Thu"}), BucketUnreachableError, "try again later"),
    "broken": ((500, "oops", {}), BucketUnreachableError, r"does not respond \(HTTP 500\)"),
    "elsewhere": ((302, "", {"Location": "http://127.0.0.1:9/"}), AccessDeniedError, r"HTTP 302"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_each_refusal_says_what_to_do(server: AccessServer, tmp_path: Path, case: str) -> None:
    server.refusal, error, text = REFUSALS[case]
    with pytest.raises(error, match=text) as caught:
        get(tmp_path)
    told = "".join(traceback.format_exception(caught.value))
    assert REQUEST_ID not in told
    assert not list(tmp_path.rglob("*.h5"))


def test_without_a_request_id(server: AccessServer, tmp_path: Path) -> None:
    """It says where to ask; the environment's goes before the one that the data set's own package keeps."""
    with pytest.raises(AccessDeniedError, match=rf"{layout.REQUEST_URL}.*LAION_FMRI_REQUEST_ID.*auth\.json"):
        fetch_stimuli(tmp_path / "a")
    kept = tmp_path / "home/.cache/laion-fmri/auth.json"
    kept.parent.mkdir(parents=True)
    for content in ("", "[]", '{"request_id": 3}'):
        kept.write_text(content)
        with pytest.raises(AccessDeniedError, match="auth"):
            fetch_stimuli(tmp_path / "a")
    kept.write_text(json.dumps({"request_id": REQUEST_ID, "server_url": server.url}))
    assert fetch_stimuli(tmp_path / "a")[IMAGES].is_file()
    for odd in ("a b", "x\nHost: y", "ü" * 9):
        with pytest.raises(ValueError, match="letters, digits") as caught:
            fetch_stimuli(tmp_path / "b", request_id=odd)
        assert odd not in str(caught.value)


def test_what_is_not_the_file_is_not_kept(server: AccessServer, tmp_path: Path) -> None:
    server.sums[IMAGES] = "0" * 64
    with pytest.raises(DataIntegrityError, match=f"expected the SHA-256 {'0' * 64}"):
        get(tmp_path)
    assert [path.name for path in tmp_path.rglob("task*")] == [TABLE]
    assert not list((tmp_path / ".laion-fmri/partial").iterdir())


def test_what_others_have_put_there_stays(server: AccessServer, tmp_path: Path) -> None:
    """The file itself, from the data set's own package, is taken; another one is left alone; our own older one not."""
    path = tmp_path / "stimuli" / IMAGES
    path.parent.mkdir()
    path.write_bytes(server.files[IMAGES])
    get(tmp_path)
    assert server.asked == ["manifest", "refresh", TABLE]
    other = tmp_path / "other"
    (other / "stimuli").mkdir(parents=True)
    (other / "stimuli" / IMAGES).write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="left alone"):
        get(other)
    assert (other / "stimuli" / IMAGES).read_bytes() == b"mine"
    server.files[IMAGES] = server.files[IMAGES][::-1]
    mirror = tmp_path / "mirror"
    get(mirror)
    server.files[IMAGES] = server.files[IMAGES][::-1] + b"x"
    assert get(mirror)[IMAGES].read_bytes() == server.files[IMAGES]


def test_answers_that_are_none(server: AccessServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for manifest in ({}, {"files": []}, {"files": [{"name": IMAGES}]}, {"files": [{"name": "../x", "size": 1}]}):
        monkeypatch.setattr(server, "manifest", lambda manifest=manifest: manifest)
        with pytest.raises(DataIntegrityError):
            get(tmp_path)
    monkeypatch.undo()
    for url in ("http://example.org", "file:///etc/passwd", "ftp://x", ""):
        with pytest.raises(ValueError, match="https"):
            fetch_stimuli(tmp_path, server_url=url or "x", request_id=REQUEST_ID)
    with pytest.raises(BucketUnreachableError, match="does not respond"):
        get(tmp_path, server_url="http://127.0.0.1:9")


def test_an_address_of_a_file_of_this_machine_is_not_opened(server: AccessServer, tmp_path: Path) -> None:
    original = server.addressed
    server.addressed = lambda name: {**original(name), "url": "file:///etc/passwd"}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="Expected an address with https"):
        get(tmp_path)


def test_the_command(server: AccessServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit codes, the data folder, and nothing secret in what it prints."""
    runner = CliRunner()
    refused = runner.invoke(main, ["stimuli", "get", "--to", str(tmp_path)])
    assert refused.exit_code == 4
    assert layout.REQUEST_URL in refused.stderr
    monkeypatch.setenv("LAION_FMRI_REQUEST_ID", REQUEST_ID)
    assert runner.invoke(main, ["stimuli", "get"]).exit_code == 2
    (tmp_path / "data").mkdir()
    dataset_initialize(tmp_path / "data")
    done = runner.invoke(main, ["stimuli", "get", "--json"])
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["files"]) == {IMAGES, TABLE}
    server.refusal = (404, REQUEST_ID, {})
    monkeypatch.setenv("LAION_FMRI_REQUEST_ID", "lfm_wrong")
    refused = runner.invoke(main, ["stimuli", "get", "--to", str(tmp_path / "new")])
    assert refused.exit_code == 4
    for result in (done, refused):
        assert REQUEST_ID not in result.output
        assert "Signature" not in result.output
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert REQUEST_ID.encode() not in path.read_bytes()
            assert b"Signature" not in path.read_bytes()


def test_they_come_with_a_download(
    server: AccessServer, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the data set's own package, whose name of the error without an agreement catches this one."""
    dataset_initialize(tmp_path)
    choice: dict[str, Any] = {"ses": "averages", "desc": "R2mean", "include_stimuli": True}
    where: dict[str, Any] = {"bucket": s3.url, "storage_options": s3.storage_options}
    with pytest.raises(LicenseNotAcceptedError, match=layout.REQUEST_URL):
        download(**choice, **where)
    monkeypatch.setenv("LAION_FMRI_REQUEST_ID", REQUEST_ID)
    download(**choice, **where)
    assert (tmp_path / "stimuli" / IMAGES).read_bytes() == server.files[IMAGES]


def test_two_at_once(server: AccessServer, tmp_path: Path) -> None:
    """The second says so, and touches nothing."""
    folder = gated.MirrorFolder.from_argument(tmp_path)
    key = f"stimuli/{TABLE}"
    with gated.locked(folder, gated.name_of(key)), pytest.raises(OSError, match="Wait until it has finished"):
        get(tmp_path)
