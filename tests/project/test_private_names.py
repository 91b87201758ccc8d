"""Private names of other libraries: where they may be, and a test that tells which release of whom broke it."""

from __future__ import annotations

import ast
import asyncio
import gzip
import importlib.metadata
import inspect
import io
import pickle
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import s3fs
from aiohttp.base_protocol import BaseProtocol
from intake.catalog.local import LocalCatalogEntry, YAMLFileCatalog
from intake.source.base import DataSource, Schema
from isal import igzip_lib, isal_zlib

import intake_laion_fmri
from intake_laion_fmri.formats.gunzip import open_gzip
from intake_laion_fmri.remote.s3 import unread

FOLDER = Path(intake_laion_fmri.__file__).parent
LIBRARIES = {
    "aiohttp": {"_buffer", "_buffer_offset"},
    "intake": {
        *("_captured_init_args", "_captured_init_kwargs", "_dir", "_entries", "_entry", "_load"),
        *("_passed_kwargs", "_schema", "_yaml"),
    },
    "isal": {"_GzipReader"},
    "s3fs": {"_call_s3"},
}
"""Library → its private names in use here."""
STANDARD = {"_exit", "_thread"}
"""Of the standard library, and documented there."""


def is_private(found: tuple[Any, bool]) -> bool:
    name, _ = found
    return isinstance(name, str) and name.isidentifier() and name.strip("_") != "" and name[0] == "_" != name[1]


def names_of(tree: ast.AST) -> Iterator[tuple[Any, bool]]:
    """Find the private names that a module defines (True) and uses (False)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, True
        elif isinstance(node, ast.Name | ast.Attribute):
            yield node.id if isinstance(node, ast.Name) else node.attr, isinstance(node.ctx, ast.Store)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"getattr", "hasattr", "setattr"}:
            yield from ((one.value, False) for one in node.args[1:] if isinstance(one, ast.Constant))
        elif isinstance(node, ast.ImportFrom):
            own = node.module is None or node.module.startswith("intake_laion_fmri")
            yield from ((alias.name, own) for alias in node.names)


SOURCES = {path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.py")}
NAMES = {module: set(filter(is_private, names_of(ast.parse(source)))) for module, source in SOURCES.items()}


def test_every_private_name_of_others_is_known() -> None:
    """What another library may rename is in the table above, and nothing else is."""
    used = {name for names in NAMES.values() for name, _ in names}
    defined = {name for names in NAMES.values() for name, defines in names if defines}
    assert used - defined - STANDARD <= set().union(*LIBRARIES.values())
    assert LIBRARIES["intake"] | LIBRARIES["isal"] <= used


@pytest.mark.parametrize("name", sorted(LIBRARIES["s3fs"] | LIBRARIES["aiohttp"]))
def test_the_private_names_of_clients_are_in_one_module(name: str) -> None:
    """It imports neither: s3fs is fsspec's to load."""
    modules = [module for module, names in NAMES.items() if (name, False) in names and (name, True) not in names]
    assert modules == ["remote/s3.py"]


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        ("intake", {"catalog/datasource.py", "drivers.py"}),  # sources, and catalogs
        ("isal", {"formats/gunzip.py"}),
    ],
)
def test_the_private_names_of_a_library_have_their_place(library: str, expected: set[str]) -> None:
    """One place is to be changed with a new release; others may have names of their own that are spelt alike."""
    imports = re.compile(rf"^ *(from|import) {library}\b", re.MULTILINE)
    modules = {
        module
        for module, names in NAMES.items()
        if LIBRARIES[library] & {name for name, _ in names} and imports.search(SOURCES[module])
    }
    assert modules == expected


@pytest.mark.parametrize(
    "source",
    [
        "import isal\nisal._thing(1)",
        "getattr(file_system, '_thing')",
        "from intake.utils import _thing",
    ],
)
def test_a_private_name_is_found(source: str) -> None:
    assert ("_thing", False) in names_of(ast.parse(source))


def expect(holds: bool, library: str, what: str) -> None:
    """Fail with the release that broke what is relied upon."""
    if not holds:
        release = importlib.metadata.version(library)
        pytest.fail(f"{library} {release} broke what this package relies on: {what}", pytrace=False)


# --- isal -------------------------------------------------------------------------------------------------------------


CONTENT = bytes(range(256)) * 4096


def unpacked(packed: bytes) -> bytes:
    stream, buffer, parts = open_gzip(io.BytesIO(packed), 4096), bytearray(10_000), []
    while count := stream.readinto(buffer):
        parts.append(bytes(buffer[:count]))
    return b"".join(parts)


def test_isal_has_its_fast_reader() -> None:
    """Without it sessions are read through `IGzipFile`, 5 % slower."""
    reader = getattr(isal_zlib, "_GzipReader", None)
    expect(reader is not None, "isal", "isal_zlib._GzipReader is gone; open_gzip reads through IGzipFile, 5 % slower")
    buffer = bytearray(len(CONTENT))
    try:
        count = reader(io.BytesIO(gzip.compress(CONTENT)), 4096).readinto(buffer)
    except (AttributeError, TypeError) as error:
        count = 0
        expect(False, "isal", f"isal_zlib._GzipReader(file, size).readinto(buffer): {error}")
    expect(count > 0 and CONTENT.startswith(buffer[:count]), "isal", "isal_zlib._GzipReader reads other bytes")


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "fallback"])
def test_streams_are_read_with_and_without_it(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes, and the same errors for what is truncated, corrupt or no gzip."""
    if not fast:
        monkeypatch.delattr(isal_zlib, "_GzipReader")
    packed = gzip.compress(CONTENT)
    assert unpacked(packed) == CONTENT
    assert unpacked(packed + packed) == CONTENT * 2
    with pytest.raises(EOFError):
        unpacked(packed[:-9])
    flipped = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    with pytest.raises(gzip.BadGzipFile):
        unpacked(flipped)
    with pytest.raises((gzip.BadGzipFile, igzip_lib.IsalError)):
        unpacked(packed[:10] + b"\xff" * 100)
    with pytest.raises(gzip.BadGzipFile):
        unpacked(zlib.compress(CONTENT))


# --- s3fs and aiohttp -------------------------------------------------------------------------------------------------


def test_s3fs_makes_requests_of_any_method() -> None:
    """Listings, small files and streams go through it."""
    call = getattr(s3fs.S3FileSystem, "_call_s3", None)
    expect(inspect.iscoroutinefunction(call), "s3fs", "S3FileSystem._call_s3 is a coroutine function")
    parameters = [*inspect.signature(call).parameters.values()][1:] if call else []
    takes = bool(parameters) and parameters[0].name == "method" and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
    expect(takes, "s3fs", "S3FileSystem._call_s3(method, ..., **request)")
    expect("retries" in vars(s3fs.S3FileSystem), "s3fs", "S3FileSystem.retries is how often it makes a request itself")


def test_aiohttp_tells_what_was_not_handed_over() -> None:
    """Without it these bytes are asked for again where a connection breaks."""

    async def rest() -> bytes:
        loop = asyncio.get_running_loop()
        content = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
        content.feed_data(b"abcdef")
        content.feed_data(b"ghi")
        assert await content.read(2) == b"ab"
        return unread(SimpleNamespace(raw_stream=SimpleNamespace(content=content)))

    expect(asyncio.run(rest()) == b"cdefghi", "aiohttp", "StreamReader._buffer and _buffer_offset are what is unread")
    assert unread(object()) == b""


# --- Intake, first generation -----------------------------------------------------------------------------------------


class Numbers(DataSource):
    """A source that says itself what it was made with, as ours do."""

    name = "numbers"
    container = "python"
    version = "0"

    def __init__(self, n: Any = 1, metadata: Any = None) -> None:
        self._captured_init_args = ()
        self._captured_init_kwargs = {"n": 10 * n}
        super().__init__(metadata=metadata)
        self.n = n
        self.closed = 0

    def _get_schema(self) -> Schema:
        return Schema(dtype=None, shape=(self.n,), npartitions=1, extra_metadata={})

    def _get_partition(self, i: int) -> list[int]:
        return list(range(self.n))

    def _close(self) -> None:
        self._schema = None
        self.closed += 1


def test_a_source_is_compared_pickled_and_saved_by_what_it_captured() -> None:
    source = Numbers(1)
    expect(source == Numbers(1) != Numbers(2), "intake", "sources are compared by _captured_init_kwargs")
    expect(hash(source) == hash(Numbers(1)), "intake", "sources are hashed by _captured_init_kwargs")
    state = pickle.loads(pickle.dumps(source))
    expect(state._captured_init_kwargs["n"] == 100, "intake", "sources are pickled by _captured_init_kwargs")
    written = next(iter(source._yaml()["sources"].values()))
    expect(written["args"]["n"] == 10, "intake", "DataSource._yaml() writes _captured_init_kwargs as the entry's args")
    expect({"args", "metadata"} <= set(written), "intake", "DataSource._yaml() has args and metadata for each source")
    another = source.configure_new(n=3)
    expect(another.n == 3, "intake", "configure_new makes a source of _captured_init_kwargs with those given")


def test_a_source_calls_the_methods_that_drivers_write() -> None:
    source = Numbers(2)
    expect(source._entry is None, "intake", "a source that no catalog made has the _entry None")
    source.discover()
    expect(source._schema is not None and source.shape == (2,), "intake", "_get_schema fills _schema and shape")
    expect(source.read_partition(0) == [0, 1], "intake", "read_partition returns what _get_partition does")
    source.close()
    expect(source.closed == 1 and source._schema is None, "intake", "close calls _close")


CATALOG = """
sources:
  numbers:
    driver: {module}.Numbers
    description: some
    args: {{n: 4}}
    metadata: {{a: 1}}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> YAMLFileCatalog:
    path = tmp_path / "numbers.yaml"
    path.write_text(CATALOG.format(module=__name__))
    return YAMLFileCatalog(str(path))


def test_a_catalog_keeps_its_entries_where_drivers_look(catalog: YAMLFileCatalog, tmp_path: Path) -> None:
    catalog._load(True)
    expect(list(catalog._entries) == ["numbers"], "intake", "_load(reload) fills Catalog._entries")
    folder = str(getattr(catalog, "_dir", "")).rstrip("/")
    expect(folder.endswith(tmp_path.name), "intake", "YAMLFileCatalog._dir is the folder that CATALOG_DIR stands for")
    entry = catalog._entries["numbers"]
    expect(type(entry) is LocalCatalogEntry, "intake", "a catalog file's entries are LocalCatalogEntry objects")
    entry.describe()["args"]["n"] = 5
    expect(catalog["numbers"].n == 5, "intake", "an entry describes itself with its own args, not with a copy")
    copied = pickle.loads(pickle.dumps(entry))
    expect(copied.describe()["args"]["n"] == 5, "intake", "an entry is pickled with these args")


def test_an_entry_marks_the_sources_that_it_makes(catalog: YAMLFileCatalog) -> None:
    source = catalog["numbers"](n=6)
    expect(source.n == 6, "intake", "an entry is called with arguments for its source")
    expect(isinstance(source._entry, LocalCatalogEntry), "intake", "a source out of a catalog knows its _entry")
    expect("n" in source._passed_kwargs, "intake", "_passed_kwargs names the arguments that an entry was called with")
