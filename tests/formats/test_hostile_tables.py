"""Broken and hostile tables, surfaces, split files and inventories: refused, and within bounds."""

from __future__ import annotations

import base64
import gzip
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from demo_files import trials_file
from hostile import (
    BOUND_BYTES,
    betas_of,
    header_of,
    map_of,
    mask_of,
    own_copy,
    read_table,
    refused,
    replace,
    roi_of,
    session_map_of,
)
from limits import Reading, read_all
from tiers import full

from intake_laion_fmri import open_rois
from intake_laion_fmri.catalog.inventory import INVENTORY_FILE, read_inventory
from intake_laion_fmri.splits import load_split

pytest_plugins = ["hostile_fixtures"]


BOUND_SECONDS = 10
"""No reading of a hostile file takes more of a processor; most take a tenth of a second."""

MIB = 1024 * 1024
GIB = 1024 * MIB


# --- bombs ------------------------------------------------------------------------------------------------------------


def zeros_packed(head: bytes, n_bytes: int, *, value: bytes = bytes(4)) -> bytes:
    """Pack some bytes and then very many equal ones, without making them: one piece of a stream, again and again."""
    size = 16 * MIB
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(value * (size // len(value))) + packer.flush(zlib.Z_FULL_FLUSH)
    last = packer.flush(zlib.Z_FINISH)
    stream = first + piece * (n_bytes // size) + last
    trailer = bytes(8)  # nobody gets to the end of gigabytes
    if n_bytes <= GIB:
        checksum = zlib.crc32(head)
        for _ in range(n_bytes // size):
            checksum = zlib.crc32(value * (size // len(value)), checksum)
        trailer = struct.pack("<2I", checksum, (len(head) + n_bytes) % 2**32)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + stream + trailer


ONE = struct.pack("<f", 1.0)


def bombs(bucket: Path) -> dict[str, tuple[Path, bytes, str]]:
    """Name → the file to replace, with what, and what reads it."""
    mask, betas, one = mask_of(bucket), betas_of(bucket), map_of(bucket)
    shape, trials = nibabel.load(mask).shape, nibabel.load(betas).shape[3]
    huge = (32767, 32767, 32767)
    return {
        "a mask, and 16 GB behind it": (mask, zeros_packed(header_of(shape, like=mask), 16 * GIB), "maps"),
        "a mask that says it is 10^14 bytes, and has 16 GB": (mask, zeros_packed(header_of(huge), 16 * GIB), "maps"),
        "a mask of 10^14 bytes without any": (mask, gzip.compress(header_of(huge)), "maps"),
        "a mask with 16 GB before its data": (mask, zeros_packed(header_of(shape, offset=1.7e10), 16 * GIB), "maps"),
        "a mask with everything inside, of the largest grid": (
            mask, zeros_packed(header_of((256, 256, 128)), 32 * MIB, value=ONE), "maps",
        ),
        "a mask of float64, of the largest grid": (
            mask, zeros_packed(header_of((256, 256, 128), datatype=64), 64 * MIB, value=struct.pack("<d", 1)), "maps",
        ),
        "a map, and 16 GB behind it": (one, zeros_packed(header_of(shape, like=one), 16 * GIB), "maps"),
        "a map of 10^14 bytes": (one, zeros_packed(header_of(huge, like=one), 16 * GIB), "maps"),
        "an ROI, and 16 GB behind it": (roi_of(bucket), zeros_packed(header_of(shape, like=mask), 16 * GIB), "rois"),
        "betas, and 16 GB behind them": (
            betas, zeros_packed(header_of((*shape, trials), like=betas), 16 * GIB), "betas",
        ),
        "betas of 10^27 bytes": (betas, zeros_packed(header_of((*huge, *huge[:3], 1), like=betas), 16 * GIB), "betas"),
        "betas of the right grid, and 32767^4 volumes": (
            betas, zeros_packed(header_of((*shape, *[32767] * 4), like=betas), 16 * GIB), "betas",
        ),
        "betas with 16 GB before them": (
            betas, zeros_packed(header_of((*shape, trials), offset=1.7e10, like=betas), 16 * GIB), "betas",
        ),
        "a name of 64 MB in the header of gzip": (
            one, b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * (64 * MIB), "maps",
        ),
        "a million empty members": (one, gzip.compress(b"") * 1_000_000, "maps"),
        "a session's map of the trial table's kind": (
            session_map_of(bucket), zeros_packed(header_of(shape, like=mask), 16 * GIB), "session map",
        ),
    }  # fmt: skip


def broken_within_bounds(outcome: Reading, name: str) -> None:
    assert "DataIntegrityError" in outcome.classes, outcome
    assert name in outcome.text
    assert outcome.seconds < BOUND_SECONDS, outcome
    assert outcome.peak < BOUND_BYTES, outcome
    assert len(outcome.text) < 2000


def bombs_of_gzip(bucket: Path, folder: Path) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Name → how to read it, and what the error must name."""
    how = {
        "maps": ("maps", {"subject": "sub-01", "maps": "nc_12rep"}),
        "rois": ("rois", {"subject": "sub-01", "roi": "PPA"}),
        "betas": ("betas", {"subject": "sub-01"}),
        "session map": ("maps", {"subject": "sub-01", "session": 1, "maps": "r2"}),
    }
    calls = {}
    for number, (what, (path, content, reads)) in enumerate(bombs(bucket).items()):
        own = own_copy(bucket, folder / f"gzip-{number}")
        replace(own / path.relative_to(bucket), content)
        # A mask of the largest grid is a good one: the first map contradicts it.
        named = map_of(bucket) if "of the largest grid" in what else path
        name, given = how[reads]
        calls[what] = (name, {**given, "bucket": str(own)}, named.name)
    return calls


# --- tables, surfaces, splits, inventories ----------------------------------------------------------------------------


def surface_of(bucket: Path, end: str) -> Path:
    (found,) = (bucket / "derivatives/rois/sub-01/place").glob(f"sub-01_hemi-L_*label-PPA*{end}")
    return found


def table_of(bucket: Path) -> Path:
    return trials_file(bucket, "sub-01", "ses-01")


def label_of(bucket: Path) -> Path:
    return surface_of(bucket, ".label")


def gifti_of(bucket: Path) -> Path:
    return surface_of(bucket, ".func.gii")


def split_of(bucket: Path) -> Path:
    return bucket / "derivatives/splits/shared/tau.json"


def read_label(bucket: Path) -> Any:
    return open_rois("sub-01", roi="PPA", format="label", hemi="L", bucket=bucket)


def read_gifti(bucket: Path) -> Any:
    return open_rois("sub-01", roi="PPA", format="func.gii", hemi="L", bucket=bucket)


def read_split(bucket: Path) -> Any:
    return load_split("tau", bucket=bucket)


TEXTS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "table": (table_of, read_table),
    "label": (label_of, read_label),
    "GIfTI": (gifti_of, read_gifti),
    "split": (split_of, read_split),
}

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "a byte": lambda content: b"\n",
    "a BOM alone": lambda content: b"\xef\xbb\xbf",
    "the first line alone": lambda content: content[: content.index(b"\n") + 1] if b"\n" in content else content[:20],
    "the first half": lambda content: content[: len(content) // 2],
    "all but the last byte that counts": lambda content: content.rstrip()[:-1],
    "UTF-16 without a BOM": lambda content: content.decode().encode("utf-16-be"),
    "UTF-32": lambda content: content.decode().encode("utf-32"),
    "EBCDIC": lambda content: content.decode().encode("cp500", "replace"),
    "NULs between": lambda content: b"\0".join(content[n : n + 1] for n in range(len(content))),
    "NULs in place of the end": lambda content: content[: len(content) // 2] + bytes(len(content) // 2),
    "a NUL in front": lambda content: b"\0" + content,
    "a NUL inside": lambda content: content[:40] + b"\0" + content[40:],
    "a continuation byte": lambda content: content[:40] + b"\x80" + content[40:],
    "an overlong slash": lambda content: content[:40] + b"\xc0\xaf" + content[40:],
    "half a surrogate": lambda content: content[:40] + b"\xed\xa0\x80" + content[40:],
    "beyond Unicode": lambda content: content[:40] + b"\xf5\x80\x80\x80" + content[40:],
    "packed": gzip.compress,
    "twice": lambda content: content + content,
    "a web page": lambda content: b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "another format's": lambda content: b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" * 10,
}

TOLD = {
    # JSON and XML tell their encoding.
    ("split", "UTF-16 without a BOM"),
    ("split", "UTF-32"),
    ("GIfTI", "UTF-16 without a BOM"),
    # The last of the zeros behind a point.
    ("label", "all but the last byte that counts"),
    # A comment may be in any encoding; all else are digits.
    ("label", "a continuation byte"),
    ("label", "an overlong slash"),
    ("label", "half a surrogate"),
    ("label", "beyond Unicode"),
}
"""What is the same file all the same."""


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("fault", ENCODINGS)
def test_texts_in_no_encoding_of_theirs(hostile_bucket: Path, kind: str, fault: str) -> None:
    """Never a result of a part of it, nor of what somebody guesses it to mean."""
    find, read = TEXTS[kind]
    path = find(hostile_bucket)
    replace(path, ENCODINGS[fault](path.read_bytes()))
    if (kind, fault) in TOLD:
        assert read(hostile_bucket) is not None
        return
    with refused(path):
        read(hostile_bucket)


SAME_TEXT: dict[str, Callable[[bytes], bytes]] = {
    "a BOM": lambda content: b"\xef\xbb\xbf" + content,
    "lines of Windows": lambda content: content.replace(b"\n", b"\r\n"),
    "empty lines at the end": lambda content: content + b"\n\n",
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("form", SAME_TEXT)
def test_texts_as_editors_leave_them(hostile_bucket: Path, kind: str, form: str) -> None:
    """The same values; only a split's sum is another."""
    find, read = TEXTS[kind]
    path, expected = find(hostile_bucket), read(hostile_bucket)
    replace(path, SAME_TEXT[form](path.read_bytes()))
    found = read(hostile_bucket)
    if kind == "table":
        assert found.equals(expected)
    elif kind == "split":
        assert found.variants == expected.variants
    else:
        assert found.drop_attrs().identical(expected.drop_attrs())


ROW = b"ses-01\t1\t0\tshared_4rep_NSD_1.jpg\n"
TABLE_HEAD = b"session\trun\tbeta_index\tlabel\n"
LABEL_HEAD = b"#!ascii label\n"
GIFTI = (
    '<?xml version="1.0" encoding="UTF-8"?>{doctype}<GIFTI Version="1.0" NumberOfDataArrays="1"><DataArray '
    'Intent="NIFTI_INTENT_NONE" DataType="{kind}" ArrayIndexingOrder="RowMajorOrder" Dimensionality="1" '
    'Dim0="{n}" Encoding="{encoding}" Endian="LittleEndian" ExternalFileName="{external}" ExternalFileOffset="0">'
    "<Data>{data}</Data></DataArray></GIFTI>"
)


def gii(
    data: str, n: object = 3, *, encoding: str = "ASCII", kind: str = "FLOAT32", external: str = "", doctype: str = ""
) -> bytes:
    filled = GIFTI.format(
        data=data, n=n, encoding=encoding, kind=f"NIFTI_TYPE_{kind}", external=external, doctype=doctype
    )
    return filled.encode()


def laughs(depth: int) -> str:
    """Entities that stand for ten of the one before."""
    inner = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, depth))
    return f'<!DOCTYPE GIFTI [<!ENTITY l0 "1 ">{inner}]>'


FAULTS: dict[str, tuple[str, bytes]] = {
    "every row twice": ("table", TABLE_HEAD + ROW * 2),
    "a row of NaN": ("table", TABLE_HEAD + b"nan\tnan\tnan\tnan\n"),
    "a negative index": ("table", TABLE_HEAD + ROW.replace(b"\t0\t", b"\t-1\t")),
    "a run beyond all": ("table", TABLE_HEAD + ROW.replace(b"\t1\t", b"\t" + b"9" * 100_000 + b"\t")),
    "an index beyond all": ("table", TABLE_HEAD + ROW.replace(b"\t0\t", b"\t" + b"9" * 100_000 + b"\t")),
    "a label of a megabyte": ("table", TABLE_HEAD + ROW.replace(b"NSD_1", b"NSD_" + b"1" * MIB)),
    "a column of a megabyte": ("table", TABLE_HEAD.replace(b"run", b"r" * MIB) + ROW),
    "a million columns": ("table", TABLE_HEAD[:-1] + b"\tx" * MIB + b"\n" + ROW),
    "a million trials": ("table", TABLE_HEAD + ROW * MIB),
    "a table of 5 MB": ("table", TABLE_HEAD + ROW * (5 * MIB // len(ROW))),
    "terminal commands in a label": ("table", TABLE_HEAD + b"ses-01\t1\t0\t\x1b]0;x\x07\x1b[2J.jpg\n"),
    "a vertex of many digits": ("label", LABEL_HEAD + b"1\n" + b"9" * 100_000 + b" 0 0 0 1\n"),
    "a position of many digits": ("label", LABEL_HEAD + b"1\n1 " + b"9" * 100_000 + b" 0 0 1\n"),
    "numbers that can be read in many ways": ("label", LABEL_HEAD + b"1\n1" + (b" " + b"1" * 30) * 4 + b" x\n"),
    "a negative vertex": ("label", LABEL_HEAD + b"1\n-1 0 0 0 1\n"),
    "a vertex of NaN": ("label", LABEL_HEAD + b"1\nnan 0 0 0 1\n"),
    "a position of NaN": ("label", LABEL_HEAD + b"1\n1 nan 0 0 1\n"),
    "one entry less than it says": ("label", LABEL_HEAD + b"2\n1 0 0 0 1\n"),
    "one entry more than it says": ("label", LABEL_HEAD + b"1\n1 0 0 0 1\n2 0 0 0 1\n"),
    "999999999 entries": ("label", LABEL_HEAD + b"999999999\n1 0 0 0 1\n"),
    "a table of vertices with tabs and a header": ("label", b"vertex\tx\ty\tz\n1\t0\t0\t0\n"),
    "a billion laughs": ("GIfTI", gii("&l30;", doctype=laughs(31))),
    "laughs in an attribute": ("GIfTI", gii("0 1 1", n="&l9;", doctype=laughs(10))),
    "an external entity": ("GIfTI", gii("&x;", doctype='<!DOCTYPE GIFTI [<!ENTITY x SYSTEM "file:///etc/passwd">]>')),
    "a parameter entity": (
        "GIfTI", gii("0 1 1", doctype='<!DOCTYPE GIFTI [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x">%x;]>'),
    ),
    "an undeclared entity": ("GIfTI", gii("&x;")),
    "an entity that XML would skip": (
        "GIfTI",
        gii("0 1&x; 1 " * 214, n=642, doctype='<!DOCTYPE GIFTI SYSTEM "gifti.dtd">'),
    ),
    "an undeclared entity with an external DTD": (
        "GIfTI", gii("&x;", doctype='<!DOCTYPE GIFTI SYSTEM "http://127.0.0.1:9/x.dtd">'),
    ),
    "an external file": ("GIfTI", gii("", encoding="ExternalFileBinary", external="/etc/passwd")),
    "another number of vertices": ("GIfTI", gii("0 1 1")),
    "fewer numbers than it says": ("GIfTI", gii("0 1 1", n=642)),
    "a number of vertices beyond all": ("GIfTI", gii("0 1 1", n=10**30)),
    "numbers with underscores": ("GIfTI", gii("1_0 " * 642, n=642)),
    "numbers in other digits": ("GIfTI", gii("\u0661 " * 642, n=642)),
    "no finite number": ("GIfTI", gii("inf " * 642, n=642)),
    "numbers beyond float64": ("GIfTI", gii("1e999 " * 642, n=642)),
    "elements inside each other": ("GIfTI", b"<GIFTI>" * 100_000),
    "an encoding that does not exist": ("GIfTI", gii("0 1 1").replace(b'"UTF-8"', b'"x-hostile"')),
    "deep nesting": ("split", b"[" * 1_000_000),
    "deep nesting of mappings": ("split", b'{"a":' * 1_000_000),
    "deep parameters": ("split", None),
    "a number of many digits": ("split", b'{"name": "tau", "n_train": ' + b"9" * 1_000_000 + b"}"),
    "NaN for a number": ("split", b'{"name": "tau", "n_train": NaN}'),
    "infinity for a number": ("split", b'{"name": "tau", "n_train": 1e999}'),
    "5 MB of lists": ("split", b"[" + b"[]," * (5 * MIB // 3) + b"[]]"),
    "a name of a megabyte": ("split", None),
}  # fmt: skip
CHANGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "deep parameters": lambda fields: fields.update(params=nested(200)),
    "a name of a megabyte": lambda fields: fields.update(name="x" * MIB),
    "a truth for a number": lambda fields: fields.update(n_train=True),
    "a mapping for labels": lambda fields: fields["variants"][0].update(train_ids={"a": 1}, test_ids={}),
    "half a surrogate in a label": lambda fields: fields["variants"][0]["train_ids"].__setitem__(0, "\ud800"),
    "a list of pairs for parameters": lambda fields: fields.update(params=[["a", 1]]),
    "a label on both sides": lambda fields: fields["variants"][0]["test_ids"].__setitem__(
        0, fields["variants"][0]["train_ids"][0]
    ),
    "a label of a megabyte twice": lambda fields: fields.update(
        variants=[{"variant_id": 0, "train_ids": ["x" * MIB], "test_ids": ["x" * MIB]}], n_train=1, n_test=1
    ),
}
FAULTS |= dict.fromkeys(CHANGED, ("split", b""))


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize("fault", FAULTS)
def test_texts_that_lie(hostile_bucket: Path, fault: str) -> None:
    """Wrong counts, numbers that are none, entities, nesting: refused by name, before anything is made of them."""
    kind, content = FAULTS[fault]
    find, read = TEXTS[kind]
    path = find(hostile_bucket)
    if fault in CHANGED:
        fields = json.loads(path.read_text())
        CHANGED[fault](fields)
        content = json.dumps(fields).encode()
    replace(path, content)
    with refused(path):
        read(hostile_bucket)


def test_a_field_that_comes_twice(hostile_bucket: Path) -> None:
    """JSON's last one would win, and another program's first one."""
    path = split_of(hostile_bucket)
    replace(path, path.read_bytes().replace(b"{", b'{"n_train": 1, ', 1))
    with refused(path, "'n_train' twice"):
        read_split(hostile_bucket)


def test_a_label_may_list_a_vertex_twice(hostile_bucket: Path) -> None:
    """As nibabel reads it: what the file says, in its order."""
    path = label_of(hostile_bucket)
    replace(path, LABEL_HEAD + b"3\n7 0 0 0 1\n3 0 0 0 1\n7 0 0 0 1\n")
    found = read_label(hostile_bucket)
    listed = found.label_vertex_L.values[found.label_roi_L.values == "PPA"]
    np.testing.assert_array_equal(listed, nibabel.freesurfer.read_label(path))


def inventory_of(**subject: Any) -> bytes:
    known = {"sessions": [], "rois": [], **subject}
    return json.dumps({"source": "a test", "subjects": {"sub-01": known}}).encode()


INVENTORIES = {
    "deep nesting": b"[" * 1_000_000,
    "a number of many digits": b'{"subjects": ' + b"9" * 1_000_000 + b"}",
    "not UTF-8": b'{"source": "\xff"}',
    "5 MB": b'{"source": "' + b"x" * 5 * MIB + b'"}',
    "a session that is a path": inventory_of(sessions=[{"session": "../x"}]),
    "a session beyond all": inventory_of(sessions=[{"session": "ses-99999"}]),
    "a session that is a number": inventory_of(sessions=[{"session": 1}]),
    "a size that is a text": inventory_of(sessions=[{"session": "ses-01", "bytes": "1"}]),
    "a negative size": inventory_of(sessions=[{"session": "ses-01", "bytes": -1}]),
    "a truth that is a text": inventory_of(sessions=[{"session": "ses-01", "held_out": "no"}]),
    "an ROI that is a list": inventory_of(rois=[{"roi": [], "category": "x"}]),
    "an ROI of two lines": inventory_of(rois=[{"roi": "x\ny", "category": "x"}]),
    "a format that is none": inventory_of(rois=[{"roi": "x", "category": "x", "formats": ["y"]}]),
    "counts that are texts": inventory_of(roi_counts={"all": "x"}),
    "a subject that is a path": b'{"source": "", "subjects": {"../x": {"sessions": [], "rois": []}}}',
    "a source that is a list": b'{"source": [], "subjects": {}}',
}


@pytest.mark.parametrize("fault", INVENTORIES)
def test_inventories_that_lie(tmp_path: Path, fault: str) -> None:
    """Their names become entries and files of catalogs: none is a path, or anything but a line of text."""
    path = tmp_path / INVENTORY_FILE
    path.write_bytes(INVENTORIES[fault])
    with refused(path, "is not an inventory"):
        read_inventory(tmp_path)


def large_texts(folder: Path) -> dict[str, tuple[str, dict[str, Any], str]]:
    """The largest files that are read at all, made of what takes most memory per byte; and larger ones."""
    entry, most, small = MIB, 16 * MIB, 4 * MIB
    base64_of_zeros = base64.b64encode(zlib.compress(bytes(256 * MIB), 1)).decode()
    files = {
        "lines alone": ("table", TABLE_HEAD + b"\n" * (small - 64) + b"x"),
        "tabs alone": ("table", b"\t" * small),
        "trials without end": ("table", TABLE_HEAD + ROW * (small // len(ROW) - 2)),
        "wide trials": ("table", TABLE_HEAD[:-1] + b"\t" * 400 + b"\n" + (b"\t" * 400 + b"\n") * 9999),
        "other scripts": ("table", "\U0001f9e0".encode() * MIB),
        "a table of 5 MB": ("table", ROW * (5 * MIB // len(ROW))),
        "empty lines": ("label", LABEL_HEAD + b"1\n" + b"\n" * (most - 32)),
        "lines of a character": ("label", LABEL_HEAD + b"1\n" + b"1\n" * (most // 2 - 16)),
        "spaces": ("label", LABEL_HEAD + b"1\n" + b" " * (most - 32)),
        "entries": ("label", LABEL_HEAD + b"%d\n" % entry + b"1 0 0 0 1\n" * entry + b"x"),
        "a label of 17 MB": ("label", LABEL_HEAD + b"x" * (17 * MIB)),
        "elements": ("func_gii", b"<GIFTI>" + b"<a/>" * (most // 4 - 8)),
        "elements inside each other": ("func_gii", b"<GIFTI>" + b"<a>" * (most // 3 - 8)),
        "attributes": ("func_gii", b"<GIFTI>" + b"<a " + b"".join(b'a%x="" ' % n for n in range(MIB)) + b"/>"),
        "words, all counted": ("func_gii", gii("1 " * MIB + "x", n=MIB + 1)),
        "words": ("func_gii", gii("1 " * (most // 2 - 512), n=10_000_000)),
        "Base64 with spaces": ("func_gii", gii("A " * (most // 2 - 512), encoding="Base64Binary", n=10_000_000)),
        "256 MB of zeros, ten million said": (
            "func_gii", gii(base64_of_zeros, encoding="GZipBase64Binary", n=10_000_000),
        ),
        "256 MB of zeros, three said": ("func_gii", gii(base64_of_zeros, encoding="GZipBase64Binary")),
        "a comment": ("func_gii", b"<GIFTI><!--" + b"x" * (most - 64)),
        "a name": ("func_gii", b"<" + b"x" * (most - 64)),
        "a GIfTI of 17 MB": ("func_gii", gii("1 " * (17 * MIB // 2))),
    }  # fmt: skip
    calls = {}
    for number, (what, (reader, content)) in enumerate(files.items()):
        path = folder / f"text-{number}"
        path.write_bytes(content)
        calls[what] = (reader, {"path": str(path)}, str(path))
    return calls


def large_jsons(bucket: Path, folder: Path) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Splits and inventories made of what takes most memory per byte."""
    most = 4 * MIB - 64
    contents = {
        "lists": b"[" + b"[]," * (most // 3) + b"[]]",
        "mappings": b"[" + b"{}," * (most // 3) + b"{}]",
        "numbers": b"[" + b"300," * (most // 4) + b"1]",
        "fields": b"{" + b",".join(b'"%x":[]' % n for n in range(MIB // 4)) + b"}",
        "brackets": b"[" * most,
    }
    calls = {}
    for what, content in contents.items():
        own = own_copy(bucket, folder / f"json-{what}")
        replace(split_of(own), content)
        (own / INVENTORY_FILE).write_bytes(content)
        calls[f"a split of {what}"] = ("split", {"name": "tau", "bucket": str(own)}, "tau.json")
        calls[f"an inventory of {what}"] = ("inventory", {"folder": str(own)}, INVENTORY_FILE)
    return calls


def sparse_files(bucket: Path, folder: Path) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Files with a terabyte of nothing at their end, which take no space on a disk."""
    calls = {}
    for what, (find, how) in {
        "a table of a terabyte": (table_of, ("trials", {})),
        "a mask of a terabyte": (mask_of, ("maps", {"maps": "nc_12rep"})),
        "a map of a terabyte": (map_of, ("maps", {"maps": "nc_12rep"})),
        "an ROI of a terabyte": (roi_of, ("rois", {"roi": "PPA"})),
        "a label of a terabyte": (label_of, ("rois", {"roi": "PPA", "format": "label"})),
        "a GIfTI of a terabyte": (gifti_of, ("rois", {"roi": "PPA", "format": "func.gii"})),
    }.items():
        own = own_copy(bucket, folder / f"sparse-{len(calls)}")
        path = find(own)
        replace(path, path.read_bytes())
        os.truncate(path, 2**40)
        calls[what] = (how[0], {"subject": "sub-01", "bucket": str(own), **how[1]}, path.name)
    return calls


@full("forty processes, half a minute; test_the_bounds_can_be_exceeded and single files are in the fast tier")
def test_bombs_are_bounded(one_session: Path, tmp_path: Path) -> None:
    """Files of a few megabytes that unpack to many gigabytes, say so, or take much memory to look at.

    All are refused by name, each within `BOUND_SECONDS` and `BOUND_BYTES`, in a process of its own.
    """
    cases = bombs_of_gzip(one_session, tmp_path) | large_texts(tmp_path) | large_jsons(one_session, tmp_path)
    cases |= sparse_files(one_session, tmp_path)
    outcomes = read_all([(call, given) for call, given, _ in cases.values()], folder=tmp_path)
    for (what, (_, _, name)), outcome in zip(cases.items(), outcomes, strict=True):
        print(f"{what}: {outcome.seconds:.2f} s, {outcome.peak / MIB:.0f} MiB")  # with pytest -s
        broken_within_bounds(outcome, name)
    assert len(cases) > 40
