"""Stores as builders of the tests leave them, on a disk and on an S3 server."""

from __future__ import annotations

import functools
import gzip
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr
from faulty_proxy import FaultyProxy

from intake_laion_fmri import open_betas
from intake_laion_fmri.errors import NotInStoreError
from intake_laion_fmri.store import SessionReport, build_store

SESSIONS = [(subject, session) for subject in ("sub-01", "sub-03") for session in ("ses-01", "ses-02", "ses-03")]
THREE = SESSIONS[3:]
"""Those of one subject."""
OPTIONS = {"chunk_voxels": 64, "shard_voxels": 256}
"""The betas of each session are two objects."""
STORES = "faulty-stores"
"""Bucket for stores on the S3 server."""

Result = TypeVar("Result")


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, and every folder with None."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: None if path.is_dir() else path.read_bytes() for name, path in paths.items()}


def files_of(store: Path, *sessions: tuple[str, str]) -> dict[str, bytes]:
    """The files of a store that holds some sessions of one subject, and these only."""
    groups = {"/".join(one) for one in sessions}
    above = {"zarr.json", f"{sessions[0][0]}/zarr.json"}
    return {
        name: content
        for name, content in tree(store).items()
        if content is not None and (name in above or (name.rpartition("/ses-")[0] and name[:13] in groups))
    }


@functools.cache
def from_bucket(bucket: Path, subject: str, session: str) -> xr.Dataset:
    """What a session is; for a bucket that nobody writes to."""
    return open_betas(subject, session=session, bucket=bucket).compute(scheduler="synchronous")


def from_store(store: str | Path, subject: str, session: str, **options: Any) -> xr.Dataset | None:
    """What a store shows of a session: every value, or None where it says that there is no such session."""
    try:
        ds = open_betas(subject, session=session, store=store, **options)
    except NotInStoreError:
        return None
    return ds.compute(scheduler="synchronous")


def whole_sessions(store: Path, tiny: Path, whole: Path) -> list[tuple[str, str]]:
    """Return the sessions of a store; each is as from the bucket and byte for byte as it should be, or not there."""
    found = []
    for subject, session in SESSIONS:
        ds = from_store(store, subject, session)
        if ds is None:
            assert not (store / subject / session).exists()
        else:
            xr.testing.assert_identical(ds, from_bucket(tiny, subject, session))
            assert tree(store / subject / session) == tree(whole / subject / session)
            found.append((subject, session))
    return found


def workshop(store: Path) -> Path:
    """The folder beside a store on a local disk in which sessions are written."""
    return store.with_name(f".{store.name}.building")


def statuses(reports: list[SessionReport]) -> dict[tuple[str, str], str]:
    return {(one.subject, one.session): one.status for one in reports}


def in_background(function: Callable[..., Result], *args: Any, **kwargs: Any) -> Future[Result]:
    """Call in a thread that nobody has to wait for."""
    future: Future[Result] = Future()

    def call() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  (for whoever asks for the result)
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


def build(to: object, **given: Any) -> list[SessionReport]:
    """Build in this process, within a minute."""
    return in_background(build_store, to, **{"subjects": "sub-03", **OPTIONS, **given}).result(timeout=60)


class Stores:
    """Stores on the S3 server, behind a proxy that may do harm; the tests look at them past it."""

    def __init__(self, s3: Any, proxy: FaultyProxy, whole: Path, tiny: Path) -> None:
        self.proxy = proxy
        self._s3, self._whole, self._tiny = s3, whole, tiny

    def options(self, *, direct: bool = False) -> dict[str, Any]:
        """The options of a store's file system."""
        endpoint = self._s3.endpoint if direct else self.proxy.endpoint
        return {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": endpoint}}

    @property
    def source(self) -> dict[str, Any]:
        """The tiny bucket, read through the proxy."""
        return {"bucket": self._s3.url, "storage_options": {"client_kwargs": {"endpoint_url": self.proxy.endpoint}}}

    def begun(self, name: str, *sessions: tuple[str, str]) -> str:
        """Put a store there as if these sessions had been built; its URL."""
        for key, content in files_of(self._whole, *sessions).items():
            self._s3.client.put_object(Bucket=STORES, Key=f"{name}/{key}", Body=content)
        return f"s3://{STORES}/{name}"

    def sums(self, url: str) -> dict[str, str]:
        """The MD5 of every object of a store, which the server's ETag is."""
        prefix = f"{url.removeprefix(f's3://{STORES}/')}/"
        found = self._s3.client.list_objects_v2(Bucket=STORES, Prefix=prefix)
        assert not found["IsTruncated"]
        return {one["Key"].removeprefix(prefix): one["ETag"].strip('"') for one in found.get("Contents", [])}

    def content(self, url: str, key: str) -> bytes:
        """One object of a store."""
        key = f"{url.removeprefix(f's3://{STORES}/')}/{key}"
        return self._s3.client.get_object(Bucket=STORES, Key=key)["Body"].read()

    def expected(self, *sessions: tuple[str, str]) -> dict[str, str]:
        """The MD5 of what a store of these sessions consists of."""
        files = files_of(self._whole, *sessions)
        return {key: hashlib.md5(content).hexdigest() for key, content in files.items()}

    def whole_sessions(self, url: str) -> list[tuple[str, str]]:
        """As the function of this name, of the two sessions that are built here."""
        there, found = self.sums(url), []
        for subject, session in THREE[:2]:
            ds = from_store(url, subject, session, store_options=self.options(direct=True))
            group = f"{subject}/{session}/"
            if ds is None:
                assert f"{group}zarr.json" not in there
            else:
                xr.testing.assert_identical(ds, from_bucket(self._tiny, subject, session))
                expected = self.expected((subject, session)).items()
                assert {one for one in there.items() if one[0].startswith(group)} <= expected
                found.append((subject, session))
        return found

    def expect_same(self, url: str, *sessions: tuple[str, str]) -> None:
        """A store must be byte for byte the uninterrupted one, of these sessions."""
        assert self.sums(url) == self.expected(*sessions)

    def build(self, url: str, **given: Any) -> list[SessionReport]:
        """Build in this process, through the proxy."""
        return build(url, **{"bucket": self._tiny, "store_options": self.options(), **given})


TWO = r"/sub-03/ses-02/"


def negate(path: Path) -> None:
    """Write a file of betas again with other values, as valid as before."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    for place in range(352 + 3, len(content), 4):  # the sign of each float32
        content[place] ^= 0x80
    path.write_bytes(gzip.compress(bytes(content), mtime=0))
