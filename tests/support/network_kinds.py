"""What a case of a network's fault is, where it happens, and how it is made: by a proxy or by sockets."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import faulty_proxy as proxies
from demo_files import betas_file, map_file, trials_file
from faulty_proxy import Action, FaultyProxy, Request
from openers import Job, Openers, Outcome

__all__ = [
    "ABSENT",
    "ALL",
    "ALWAYS",
    "ASKED",
    "BETAS",
    "CONNECTION",
    "CONTRACT",
    "DAMAGED",
    "DENIED",
    "HEAD",
    "KEYS",
    "LISTING",
    "LISTINGS",
    "MAP",
    "OBJECTS",
    "ONCE",
    "PLACES",
    "POLICY",
    "SAME",
    "SELECTION",
    "SESSION",
    "SLACK_SECONDS",
    "SUBJECT",
    "TABLE",
    "UNREACHABLE",
    "Case",
    "Result",
    "Stage",
    "alone",
    "at",
    "at_each",
    "betas",
    "black_hole",
    "bucket_name",
    "ceiling",
    "closed_port",
    "dropping",
    "elsewhere",
    "endless",
    "never_served",
    "no_such_name",
    "other_betas",
    "other_end",
    "outdated",
    "redirected",
    "replaced",
    "stored",
    "trials_before",
    "trials_of_session",
    "unlisted",
    "upload",
    "with_tls",
]

SUBJECT, SESSION = "sub-01", "ses-02"
SELECTION = {"subject": SUBJECT, "session": SESSION, "roi": "face"}
"""What is opened: with two listings, two trial tables, maps and ROIs, and one session's stream of four requests."""

POLICY: Mapping[str, Any] = {
    "attempts": 3,
    "connect_seconds": 1.0,
    "read_seconds": 1.5,
    "total_seconds": 6.0,
    "slowest": 5e6,
}
"""The policy of the cases: the default one is seven times as patient, and a busy machine is silent for a second."""

SLACK_SECONDS = 6.0
"""What a case may take beyond the policy's total: opening and computing themselves, on a busy machine; a listing's and
a block's own time at the slowest rate."""

SAME = "the same Dataset"
UNREACHABLE, DENIED, ABSENT, DAMAGED = CONTRACT = (
    "BucketUnreachableError",
    "AccessDeniedError",
    "NotInBucketError",
    "DataIntegrityError",
)
"""What may come of a case: the Dataset as without it, or one of the contract's errors."""

LISTINGS = 3
"""Those of an opening, which are under way at once."""

LISTING, HEAD, TABLE, MAP, BETAS = "listing", "HEAD", "small file", "packed small file", "middle of the betas"
ASKED = "small file of the session that is asked for"
CONNECTION, OBJECTS, ALL = "connection", "objects", "every request"
PLACES: Mapping[str, str] = {
    LISTING: r"list-type=2",
    HEAD: r"^HEAD .*SingletrialBetas_statmap",
    TABLE: r"^GET .*ses-01.*_trials\.tsv",
    ASKED: rf"^GET .*{SESSION}.*_trials\.tsv",
    MAP: r"^GET .*desc-R2mean_statmap",
    BETAS: r"^GET .*SingletrialBetas_statmap.* bytes=1048576-",
    ALL: r"",
}
"""Where something happens: the requests that are meant."""

KEYS = {
    LISTING: r"\b(derivatives/|stimuli\b)",
    HEAD: "SingletrialBetas_statmap.nii.gz",
    TABLE: "desc-SingletrialBetas_trials.tsv",
    ASKED: f"{SESSION}_task-images_desc-SingletrialBetas_trials.tsv",
    MAP: "desc-R2mean_statmap.nii.gz",
    BETAS: "SingletrialBetas_statmap.nii.gz",
}
"""What an error has to name."""

ONCE, ALWAYS = "once", "always"


@dataclass(frozen=True)
class Stage:
    """Where the cases are played."""

    server: str
    """Endpoint of the S3 server, which anybody may read from."""
    client: Any
    """Its client, which may write."""
    folder: Path
    """A folder with the bucket, and for what the cases need."""
    openers: Openers
    """What opens in new processes."""
    bucket: str
    """Name of the bucket on the server."""

    @property
    def local(self) -> Path:
        """The bucket on disk."""
        return self.folder / "bucket"

    @functools.cached_property
    def expected(self) -> str:
        """What the Dataset is, read from the disk."""
        return self.digest(self.local)

    @functools.cached_property
    def expected_but_betas(self) -> str:
        """What all else of it is."""
        return self.digest(self.local, compute=False)

    def expected_of(self, selection: str) -> str:
        """What the Dataset of a selection, as JSON, is."""
        return self.digest(self.local, selection=json.loads(selection))

    def expected_without(self, path: Callable[[Path], Path]) -> str:
        """What the Dataset of a bucket without some file is."""
        folder = Path(tempfile.mkdtemp(dir=self.folder)) / "bucket"
        shutil.copytree(self.local, folder)
        path(folder).unlink()
        return self.digest(folder)

    def digest(self, bucket: Path, **given: Any) -> str:
        """What the Dataset of a bucket on disk is."""
        outcome = self.openers.run(self.job(tempfile.mkdtemp(dir=self.folder), bucket=str(bucket), **given))
        assert not outcome.errors, outcome
        (found,) = outcome.digests
        return found

    def job(self, folder: str | Path, **given: Any) -> Job:
        """What a process does in a case, unless something else is given."""
        fixed = {
            "folder": str(folder),
            "bucket": f"s3://{self.bucket}",
            "selection": SELECTION,
            "network": dict(POLICY),
        }
        environment = {"LAION_FMRI_SPLITS": str(self.folder / "splits"), **given.pop("environment", {})}
        return Job(**{**fixed, **given, "environment": environment})

    def own(self, name: str) -> Stage:
        """Return a stage with a bucket of its own on the server, whose objects may be replaced."""
        upload(self.client, name, self.local)
        return replace(self, bucket=name)

    def put(self, path: Path, change: Callable[[bytes], bytes]) -> Callable[[], object]:
        """Return what replaces an object, each time by another."""
        key = path.relative_to(self.local).as_posix()
        return lambda: self.client.put_object(Bucket=self.bucket, Key=key, Body=change(path.read_bytes()))


@dataclass(frozen=True)
class Case:
    """One fault at one place."""

    fault: str
    """What goes wrong."""
    place: str
    """Where."""
    often: str
    """How often."""
    expected: tuple[str, ...]
    """What may come of it: `SAME`, or errors by name."""
    inject: Callable[[Stage, FaultyProxy], AbstractContextManager[str | None]]
    """Makes it happen, before the proxy given; yields the endpoint where that is not the proxy's."""
    own: bool = False
    """Whether it changes the bucket."""
    without: Callable[[Path], Path] | None = None
    """The file that the bucket seems to lack: the Dataset is then as from a bucket without."""
    job: Mapping[str, Any] = field(default_factory=dict)
    """What the process does else."""
    most: int | None = POLICY["attempts"]
    """How often it may happen at most to one request before it is given up; None where nothing is given up."""
    least: int = 0
    """How often it has to happen."""
    warns: str = ""
    """What has to be warned of, and nothing else: the beginning."""

    @property
    def name(self) -> str:
        """What it is called in the matrix."""
        return f"{self.fault}, {self.place}, {self.often}"

    @property
    def group(self) -> str:
        """With which others it is played."""
        return "each place, once" if self.least else f"{self.place}, {self.often}"


@dataclass(frozen=True)
class Result:
    """What came of a case."""

    case: Case
    outcome: Outcome | None
    """Of the process; None where the case cannot be produced here."""
    wrong: int = 0
    """Datasets that are not what they should be."""
    faults: int = 0
    """How often it happened."""
    requests: int = 0
    """Requests in all."""
    n_bytes: int = 0
    """Bytes of bodies that were sent."""
    left: tuple[str, ...] = ()
    """Temporary files that were left."""

    @property
    def hangs(self) -> bool:
        """Whether the process had to be ended."""
        return self.outcome is not None and not self.outcome.ended

    @property
    def came(self) -> str:
        """What came of it, in a word."""
        if self.outcome is None:
            return "not produced here"
        if self.hangs:
            return "**hangs**"
        if self.wrong:
            return "**wrong values**"
        names = {classes[0] for classes, _ in self.outcome.errors}
        return ", ".join(sorted(names | ({SAME} if self.outcome.digests else set())))


def at(
    place: str, action: Action, often: str = ALWAYS
) -> Callable[[Stage, FaultyProxy], AbstractContextManager[str | None]]:
    """Do something with requests of one kind."""

    @contextmanager
    def inject(_: Stage, proxy: FaultyProxy) -> Iterator[None]:
        with proxy.rule(PLACES[place], action, times=1 if often == ONCE else None):
            yield None

    return inject


@contextmanager
def at_each(_: Stage, proxy: FaultyProxy, *, places: Sequence[str], action: Action) -> Iterator[None]:
    """Do something once with requests of each kind, in the same opening."""
    with contextlib.ExitStack() as stack:
        for place in places:
            stack.enter_context(proxy.rule(PLACES[place], action, times=1))
        yield None


def elsewhere(
    place: Callable[[], AbstractContextManager[str]],
) -> Callable[[Stage, FaultyProxy], AbstractContextManager[str | None]]:
    """Have another endpoint asked."""
    return lambda stage, proxy: place()


@contextmanager
def closed_port() -> Iterator[str]:
    """Nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


@contextmanager
def never_served() -> Iterator[str]:
    """The system takes connections, and no program comes for them."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


@contextmanager
def black_hole() -> Iterator[str]:
    """Nothing comes back, not even for a connection: the queue of those that wait for one is full."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


@contextmanager
def no_such_name() -> Iterator[str]:
    """The name does not exist; by its standard it never will."""
    yield "http://bucket.invalid:9000"


def with_tls(stage: Stage, proxy: FaultyProxy) -> AbstractContextManager[str | None]:
    """HTTPS is spoken to a server that knows HTTP only."""
    return contextlib.nullcontext(proxy.endpoint.replace("http://", "https://"))


@contextmanager
def redirected(place: str, often: str, proxy: FaultyProxy) -> Iterator[None]:
    """Sent to where nothing comes back."""
    with black_hole() as url, at(place, proxies.redirect(url + "{path}"), often)(None, proxy):  # type: ignore[arg-type]
        yield None


@contextmanager
def dropping(_: Stage, proxy: FaultyProxy, every: int = 3) -> Iterator[None]:
    """Each so many-th connection breaks when it is made; none is used twice."""
    proxy.drop_every = every
    with proxy.rule("", alone):
        yield None


def alone(request: Request) -> None:
    """Answer, and end the connection."""
    request.forward()
    request.close_connection = True


def endless(request: Request) -> None:
    """List another page, and another."""
    page = int(time.monotonic() * 1e6)
    request.path = re.sub(r"&?continuation-token=[^&]*", "", request.path)
    last = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{page}</NextContinuationToken>"
    proxies.edit("<IsTruncated>false</IsTruncated>", last)(request)


def listed(path: Callable[[Path], Path]) -> str:
    """What finds an object in a listing; the bucket's place does not matter."""
    return rf"<Contents>\s*<Key>[^<]*{re.escape(path(Path('/')).name)}</Key>.*?</Contents>"


def trials_of_session(bucket: Path) -> Path:
    """The trial table that is needed."""
    return trials_file(bucket, SUBJECT, SESSION)


def trials_before(bucket: Path) -> Path:
    """The trial table of the session before it, by which repetitions are counted."""
    return trials_file(bucket, SUBJECT, "ses-01")


def ceiling(bucket: Path) -> Path:
    """A map that a coordinate is made of; the Dataset can do without."""
    return map_file(bucket, SUBJECT, "desc-Noiseceiling12rep")


def betas(bucket: Path) -> Path:
    """The betas that are opened."""
    return betas_file(bucket, SUBJECT, SESSION)


def unlisted(path: Callable[[Path], Path]) -> Action:
    """A listing that misses an object."""
    return proxies.edit(listed(path), "")


def outdated(path: Callable[[Path], Path], element: str, value: str) -> Action:
    """A listing from before an object was replaced."""
    found = listed(path).replace(".*?</Contents>", "")
    return proxies.edit(rf"({found}(?:(?!</Contents>).)*?<{element}>)[^<]*", rf"\g<1>{value}")


@contextmanager
def replaced(
    stage: Stage, proxy: FaultyProxy, *, path: Callable[[Path], Path], when: str, change: Callable[[bytes], bytes]
) -> Iterator[None]:
    """An object is replaced when something is asked for."""
    with proxy.rule(when, proxies.replace(stage.put(path(stage.local), change)), times=1):
        yield None


def other_betas(content: bytes) -> bytes:
    """Betas of the same size, each of them another number."""
    import numpy as np

    unpacked = bytearray(gzip.decompress(content))
    values = np.frombuffer(unpacked, dtype="<f4", offset=352)
    values[:] = -values
    return stored(bytes(unpacked))


def other_end(content: bytes) -> bytes:
    """As many bytes, of which one near the end is another."""
    return content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]


def stored(content: bytes) -> bytes:
    """Pack without making smaller: a flipped bit of it is one of a value, and only the trailer tells."""
    return gzip.compress(content, 0, mtime=0)


def bucket_name(folder: Path) -> str:
    """Return a name for a bucket of its own, within S3's rules."""
    return "faults-" + re.sub(r"[^a-z0-9]", "-", folder.name.lower()).strip("-")


def upload(client: Any, name: str, folder: Path) -> None:
    """Put a folder on the server, as a bucket that anybody may read."""
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.put_object(Bucket=name, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())
    resources = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
    actions = ["s3:ListBucket", "s3:GetObject", "s3:HeadObject"]
    allowed = [{"Effect": "Allow", "Principal": "*", "Action": actions, "Resource": resources}]
    client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": allowed}))
