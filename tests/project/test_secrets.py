"""No password ends where others may see it: messages, reprs, attributes, stores, mirrors, catalogs.

One bucket is served over HTTP under a URL with a user, a password and, for messages, a signed query.
"""

from __future__ import annotations

import ast
import functools
import http.server
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from tiers import full, sampled

import intake_laion_fmri
from intake_laion_fmri import build_store, mirror_bucket, open_betas
from intake_laion_fmri.drivers import BetasSource
from intake_laion_fmri.remote.access import Bucket, open_bucket, open_store
from intake_laion_fmri.remote.retry import network_policy, set_network
from intake_laion_fmri.subject import load_subject

PW = "hunter2secret"
PACKAGE = Path(intake_laion_fmri.__file__).parent


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def served(tiny: Path) -> Iterator[str]:
    """URL of the tiny bucket, with a password in it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tiny)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://me:{PW}@127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hasty() -> Iterator[None]:
    """A server that does not respond is asked once."""
    before = network_policy()
    set_network(attempts=1, total_seconds=3)
    yield
    set_network(attempts=before.attempts, total_seconds=before.total_seconds)


def test_a_bucket_keeps_its_password_and_shows_none(tmp_path: Path) -> None:
    """The address opens, the URL is shown."""
    options = {"key": "AKIAIOSFODNN7EXAMPLE", "secret": PW, "client_kwargs": {"endpoint_url": f"http://me:{PW}@h"}}
    for bucket in (
        open_bucket(f"ftp://me:{PW}@h/x?sig={PW}", options),
        open_store(f"ftp://me:{PW}@h/x?sig={PW}", options),
        open_bucket(f"ftp://me:{PW}@h/x?sig={PW}", options, mirror=tmp_path),
    ):
        assert bucket.address == f"ftp://me:{PW}@h/x?sig={PW}"
        assert bucket.url == "ftp://***@h/x?sig=***"
        assert bucket.locate("a/b") == "ftp://***@h/x?sig=***/a/b"
        again = pickle.loads(pickle.dumps(bucket))
        assert again == bucket
        assert again.storage_options["secret"] == PW
        assert PW not in repr(again) + str(again) + again.url
        assert "ftp://***@h" in repr(again)


def test_a_folder_is_shown_as_it_is(tmp_path: Path) -> None:
    """Whatever its name looks like."""
    folder = tmp_path / "me:you@lab" / "x?sig=abc"
    assert open_bucket(folder).url == folder.as_posix()


UNREACHABLE: list[tuple[str, dict[str, Any]]] = [
    ("s3://x", {"endpoint_url": f"http://me:{PW}@127.0.0.1:9"}),
    ("s3://x", {"key": "AKIA", "secret": PW, "client_kwargs": {"endpoint_url": f"http://me:{PW}@127.0.0.1:9"}}),
    (f"http://me:{PW}@127.0.0.1:9/x", {}),
    (f"http://me:pa/{PW}@127.0.0.1:9/x", {}),
    (f"http://127.0.0.1:9/x?sig={PW}", {}),
    (f"http://127.0.0.1:9/x?X-Amz-Signature={PW}&X-Amz-Expires=3", {}),
    (f"simplecache::http://me:{PW}@127.0.0.1:9/x", {}),
    (f"ftp://me:{PW}@127.0.0.1:9/x", {}),
    (f"foo://me:{PW}@h", {}),
    ("s3://x", {"client_kwargs": {"endpoint_url": f"me:{PW}@nowhere"}, "secret": PW}),
    ("s3://x", {"secret": PW, "client_kwargs": {"verify": PW}, "unknown": PW}),
]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("url", "options"), sampled(UNREACHABLE, keep=5))
def test_errors_of_buckets_that_do_not_answer(url: str, options: dict[str, Any], hasty: None) -> None:
    """Neither in the message nor in the traceback that Python prints with its causes."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whichever it is
        open_betas("sub-01", bucket=url, storage_options=options)
    lines = traceback.format_exception_only(caught.value)
    behind: BaseException | None = caught.value
    while behind is not None:
        lines += traceback.format_exception_only(behind)
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)
    assert PW not in "".join(lines)


@pytest.mark.parametrize("argument", ["subject", "session", "mask", "split", "stimuli"])
def test_a_bucket_given_for_another_argument(argument: str) -> None:
    """Such as ``open_betas("http://user:password@host")``."""
    given: dict[str, Any] = {"subject": "sub-01", argument: f"http://me:{PW}@h/x"}
    with pytest.raises(ValueError, match=r"'http://\*\*\*@h/x'"):
        BetasSource(**given, bucket="/nowhere").to_dask()


def test_options_that_are_no_mapping() -> None:
    with pytest.raises(TypeError, match="must be a mapping of options, found a str") as caught:
        open_bucket("s3://x", f"secret={PW}")  # type: ignore[arg-type]
    assert PW not in str(caught.value)


def files_below(folder: Path) -> str:
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found
    return "".join(path.name + path.read_bytes().decode("latin-1") for path in found)


@full("everything that is made of a bucket, ten seconds; each message and text by itself is in the fast tier")
def test_what_is_made_of_a_bucket_with_a_password(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Datasets, their files, stores, mirrors and what is printed on the way: readable, and without the password."""
    monkeypatch.setenv("LAION_FMRI_SPLITS", f"{served}/derivatives/splits")
    ds = open_betas("sub-01", bucket=served, roi="face", session=1)
    everything = [repr(ds), repr(ds.attrs), repr(ds.betas.data), str(list(ds.betas.data.dask))]
    everything += [repr({name: one.attrs for name, one in ds.variables.items()})]
    assert ds.betas.sum().compute() > -1e9
    subject = load_subject("sub-01", bucket=served)
    everything += [repr(subject), str(subject.get_sessions())]
    ds.load().to_netcdf(tmp_path / "saved.nc")
    build_store(tmp_path / "store.zarr", bucket=served, subjects="sub-01", sessions=1, roi="face")
    mirror_bucket(tmp_path / "mirror", bucket=served, subjects="sub-01", kinds="trials")
    intake_laion_fmri.discovery.describe(bucket=served)
    everything += [files_below(tmp_path), *capsys.readouterr()]
    assert PW not in "".join(everything)
    xr.testing.assert_equal(
        open_betas("sub-01", session=1, store=tmp_path / "store.zarr", roi="face").load().betas, ds.betas
    )


# --- the rule, held ---------------------------------------------------------------------------------------------------

MAY_SEE_ADDRESSES = {
    *(f"remote/{name}" for name in ("access", "bucket", "connect", "messages", "mirrored", "patience")),
    "splits/sources",
}
"""Modules that open something by a `Bucket.address`, or compare two of them."""
SECRETS = {"storage_options", "store_options", "client_kwargs"}
SHOWING = {"print", "str", "repr", "format", "dumps", "dump", "echo", "write", "warn", "secho", "style"}


def name_of(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_secret(node: ast.AST) -> bool:
    return name_of(node) in SECRETS or (isinstance(node, ast.Attribute) and node.attr == "address")


def shown_secrets(tree: ast.AST, *, showing: bool = False) -> Iterator[str]:
    """Find names of secrets within what makes a text of them, unless they are given to `redact` there."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and name_of(node.func.value) == "redact":
            continue
        inside = showing
        if isinstance(node, ast.FormattedValue) or (isinstance(node, ast.Call) and name_of(node.func) in SHOWING):
            inside = True
        elif isinstance(node, ast.Call | ast.Compare | ast.Subscript):
            inside = False
        if inside and is_secret(node):
            yield f"line {node.lineno}: {ast.unparse(node)}"
        else:
            yield from shown_secrets(node, showing=inside)


def name_below(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "redact")


@pytest.mark.parametrize("path", MODULES, ids=name_below)
def test_no_module_makes_a_text_of_an_address_or_of_options(path: Path) -> None:
    """A bucket's URL is safe, so messages can be written without a thought; its address and options are not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = list(shown_secrets(tree))
    assert found == []
    addresses = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "address"]
    assert not addresses or name_below(path) in MAY_SEE_ADDRESSES


@pytest.mark.parametrize(
    "source",
    [
        "f'{bucket.address} is empty'",
        "f'found {storage_options!r}'",
        "print(self.storage_options)",
        "json.dumps({'x': [place.address]})",
        "click.echo(str(options['client_kwargs'], client_kwargs))",
        "raise ValueError(repr(store_options))",
    ],
)
def test_the_rule_can_be_broken(source: str) -> None:
    assert len(list(shown_secrets(ast.parse(source)))) == 1
    assert not list(shown_secrets(ast.parse("f'{redact.url(bucket.address)} {redact.options(storage_options)}'")))


def test_every_kind_of_root_has_the_safe_repr() -> None:
    """A dataclass would write its own, with all fields."""
    kinds: list[type[Bucket]] = [Bucket]
    for kind in kinds:
        kinds += kind.__subclasses__()
        make: Callable[[object], str] = kind.__repr__
        assert make is Bucket.__repr__
