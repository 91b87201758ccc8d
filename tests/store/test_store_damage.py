"""Metadata of a store that are damaged: refused, whatever it is."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_metadata import CHECKSUM, GROUP, NAME, SESSION, STORE, STORED, SUBJECT, Built, flipped

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.store.chunks import ChunkTable
from intake_laion_fmri.store.format import BETAS, Record, StoredSession
from intake_laion_fmri.store.metadata import read_root, read_subject, root_metadata, subject_metadata

pytest_plugins = ["stored_metadata_fixtures"]


# --- groups there and back --------------------------------------------------------------------------------------------


def record_of(session: StoredSession) -> dict[str, Any]:
    return {one.name: getattr(session.record, one.name) for one in dataclasses.fields(Record)}


# --- damage -----------------------------------------------------------------------------------------------------------


def read_session(content: bytes, *, name: str) -> tuple[Any, ...]:
    """What `StoredSession.parse` returns, in a form that can be compared."""
    one = StoredSession.parse(content, group=GROUP, name=name)
    return (one.attributes, one.arrays, record_of(one), one.grid)


Reader = Callable[..., Any]

KINDS: Mapping[str, Reader] = {
    "root": read_root,
    "subject": functools.partial(read_subject, subject=SUBJECT),
    "session": read_session,
}


@pytest.fixture(params=KINDS)
def group(request: pytest.FixtureRequest, face: Built) -> tuple[bytes, Reader]:
    """The metadata of a group and their reader, of each kind that there is."""
    contents = {
        "root": (face.folder / "zarr.json").read_bytes(),
        "subject": (face.folder / SUBJECT / "zarr.json").read_bytes(),
        "session": face.metadata,
    }
    return contents[request.param], KINDS[request.param]


def json_of(content: bytes) -> str | None:
    """What JSON says, with the types; None where it is none."""
    try:
        return repr(json.loads(content))
    except ValueError:
        return None


def read_or_refusal(content: bytes, read: Reader) -> Any:
    try:
        return read(content, name=NAME)
    except DataIntegrityError as error:
        return error


def expect_refused(contents: Iterable[bytes], right: bytes, read: Reader) -> int:
    """Read damaged metadata: an error of the contract's class that names them, else they say the same as before.

    Returns how many were refused.
    """
    value, said, refused = read(right, name=NAME), json_of(right), 0
    for content in contents:
        found = read_or_refusal(content, read)
        if isinstance(found, DataIntegrityError):
            assert str(found).startswith(f"{NAME}: expected ")
            refused += 1
        else:
            assert json_of(content) == said, "something else was read"
            assert found == value
    return refused


def test_flipped_bits_are_refused(group: tuple[bytes, Reader]) -> None:
    """Anywhere; in a session's long metadata at places spread over all of it, with each bit of a byte in turn."""
    content, read = group
    step = max(1, 8 * len(content) // 2500) | 1  # odd, so that it meets every bit
    bits = range(0, 8 * len(content), step)
    refused = expect_refused((flipped(content, bit) for bit in bits), content, read)
    # The last digit of a number can be another spelling of the same.
    assert refused >= 0.99 * len(bits)


@settings(max_examples=60)
@given(data=st.data())
def test_other_bytes_are_refused(data: st.DataObject) -> None:
    """A run of them replaced by others, by none, or by more."""
    right = root_metadata(STORED)
    start = data.draw(st.integers(0, len(right)))
    stop = data.draw(st.integers(start, min(len(right), start + 40)))
    other = data.draw(st.one_of(st.binary(max_size=40), st.sampled_from([b" ", b"\n", b"\0", b'"', b"}", b"null"])))
    expect_refused([right[:start] + other + right[stop:]], right, read_root)


def test_metadata_that_are_cut_off_are_refused(group: tuple[bytes, Reader]) -> None:
    """As a disk leaves them: short, or with zeros where the rest should be."""
    content, read = group
    sizes = [*range(0, len(content), max(1, len(content) // 300)), len(content) - 1]
    assert expect_refused((content[:size] for size in sizes), content, read) == len(sizes)
    assert expect_refused((content[:size].ljust(len(content), b"\0") for size in sizes), content, read) == len(sizes)
    assert expect_refused([content + b"}", content * 2], content, read) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\xff\xfe",
        b"<html>503 Slow Down</html>",
        b"{",
        b"null",
        b"true",
        b"1",
        b"NaN",
        b'"a text"',
        b"[]",
        b"[1]",
        b"{}",
        b'{"attributes": null}',
        b'{"attributes": []}',
        b'{"attributes": "a text"}',
        b'{"attributes": {}}',
        b'{"attributes": {"%b": 1}}' % CHECKSUM.encode(),
        b'{"zarr_format": 3, "node_type": "group", "attributes": {"created_with": "something else"}}',
        b'{"zarr_format": 3, "node_type": "array", "shape": [1]}',
        b"9" * 5000,
        pytest.param(b"[" * 100_000, id="nested too deep"),
    ],
)
@pytest.mark.parametrize("read", KINDS.values(), ids=KINDS.keys())
def test_what_is_no_metadata_of_a_store_is_refused(content: bytes, read: Reader) -> None:
    """Whatever stands where they should, a plain Zarr group too."""
    with pytest.raises(DataIntegrityError, match=f"^{NAME}: expected metadata as written by") as caught:
        read(content, name=NAME)
    assert "build the store again" in str(caught.value)


def with_right_checksum(content: dict[str, Any]) -> bytes:
    """Metadata with the checksum that goes with them: `CHECKSUM` computed from its description."""
    attributes = {name: value for name, value in content["attributes"].items() if name != CHECKSUM}
    bare = json.dumps({**content, "attributes": attributes}, sort_keys=True, separators=(",", ":"))
    attributes[CHECKSUM] = hashlib.sha256(bare.encode()).hexdigest()
    return json.dumps({**content, "attributes": attributes}).encode()


def changed(right: bytes, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> bytes:
    """Metadata with something changed in the group, or in what `STORE` says, and the checksum made good."""
    content = json.loads(right)
    told = json.loads(content["attributes"][STORE])
    change(content, told)
    if STORE in content["attributes"]:
        content["attributes"][STORE] = json.dumps(told)
    return with_right_checksum(content)


def test_the_checksum_is_made_good(group: tuple[bytes, Reader]) -> None:
    """Or the tests below would refuse for another reason than the one they name."""
    content, read = group
    assert read(changed(content, lambda *_: None), name=NAME) == read(content, name=NAME)
    assert json_of(changed(content, lambda *_: None)) == json_of(content)


@pytest.mark.parametrize("attribute", [STORE, CHECKSUM])
def test_a_missing_attribute_is_refused(group: tuple[bytes, Reader], attribute: str) -> None:
    right, read = group
    content = json.loads(changed(right, lambda content, _: content["attributes"].pop(attribute)))
    if attribute == CHECKSUM:
        del content["attributes"][CHECKSUM]
    with pytest.raises(DataIntegrityError, match=f"^{NAME}: expected metadata as written by .*KeyError: '{attribute}'"):
        read(json.dumps(content).encode(), name=NAME)


def test_any_attribute_gone_without_a_new_checksum_is_refused(group: tuple[bytes, Reader]) -> None:
    right, read = group
    for name in json.loads(right)["attributes"]:
        content = json.loads(right)
        del content["attributes"][name]
        with pytest.raises(DataIntegrityError, match=f"^{NAME}: expected metadata as written by"):
            read(json.dumps(content).encode(), name=NAME)


@pytest.mark.parametrize("version", [0, 2, 17, "1", None, [1]], ids=repr)
def test_another_version_of_the_layout_is_refused(group: tuple[bytes, Reader], version: Any) -> None:
    """And the user told what can read it."""
    right, read = group
    content = changed(right, lambda _, told: told.update(format=version))
    with pytest.raises(DataIntegrityError) as caught:
        read(content, name=NAME)
    assert str(caught.value).startswith(f"{NAME}: expected a store of format 1, found {version}. Read it with the ver")


def _without(*names: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Remove something from what `STORE` says."""

    def change(_: dict[str, Any], told: dict[str, Any]) -> None:
        *parents, last = names
        del functools.reduce(lambda one, name: one[name], parents, told)[last]

    return change


def _with(value: Any, *names: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Put something else into what `STORE` says."""

    def change(_: dict[str, Any], told: dict[str, Any]) -> None:
        *parents, last = names
        functools.reduce(lambda one, name: one[name], parents, told)[last] = value

    return change


def _of_betas(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Change the metadata of the betas."""
    return lambda content, _: change(content["consolidated_metadata"]["metadata"][BETAS])


WRONG = {
    "no options": ("root", _without("options")),
    "no ROI among the options": ("root", _without("options", "roi")),
    "an option of another version": ("root", _with(1, "options", "compression")),
    "options that are a list": ("root", _with([], "options")),
    "options that are none": ("root", _with(None, "options")),
    "no sessions": ("subject", _without("sessions")),
    "sessions that are a number": ("subject", _with(3, "sessions")),
    **{
        f"no {name} in the record": ("session", _without(name))
        for name in ("group", "options", "inputs", "axis", "objects", "chunks", "left_out")
    },
    "another group": ("session", _with(f"{SUBJECT}/ses-02", "group")),
    "no sets left out": ("session", _without("left_out", "sets")),
    "no maps left out": ("session", _without("left_out", "maps")),
    "sets of another form": ("session", _with([["00", 1]], "left_out", "sets")),
    "a table that is no Base64": ("session", _with("?", "chunks")),
    "a table that is a number": ("session", _with(7, "chunks")),
    "a table of no chunks": ("session", _with("", "chunks")),
    "a table of another array": ("session", _with(ChunkTable((1,) * 99, (1,) * 99).to_text(), "chunks")),
    "a table with half a row": ("session", _with(base64.b64encode(bytes(12)).decode(), "chunks")),
    "no arrays": ("session", lambda content, _: content.pop("consolidated_metadata")),
    "arrays that are none": ("session", lambda content, _: content.update(consolidated_metadata=None)),
    "no betas": ("session", lambda content, _: content["consolidated_metadata"]["metadata"].pop(BETAS)),
    "betas without a shape": ("session", _of_betas(lambda betas: betas.pop("shape"))),
    "betas in other codecs": ("session", _of_betas(lambda betas: betas.update(codecs=[{"name": "gzip"}]))),
    "betas with fewer voxels": ("session", _of_betas(lambda betas: betas.update(shape=[betas["shape"][0], 1]))),
}
"""What is wrong → in which group, and how it comes about; with a right checksum, so by another program's doing."""


@pytest.mark.parametrize(("kind", "change"), WRONG.values(), ids=WRONG.keys())
def test_a_record_that_cannot_be_understood_is_refused(
    kind: str, change: Callable[[dict[str, Any], dict[str, Any]], None], face: Built
) -> None:
    right = {"root": root_metadata(STORED), "subject": subject_metadata(SUBJECT, [SESSION]), "session": face.metadata}
    with pytest.raises(DataIntegrityError, match=f"^{NAME}: expected ") as caught:
        KINDS[kind](changed(right[kind], change), name=NAME)
    assert caught.value.__cause__ is not None
    assert "uild the store again" in str(caught.value)
