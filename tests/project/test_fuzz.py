"""Whatever bytes come, the readers give what an oracle gives, or one of the contract's errors that names the file.

Hypothesis starts from valid files and changes fields, bytes and ends; some examples are any bytes at all. Where a
reader gives something, nibabel, pandas, json or Python's own parser must give the same. No example may take longer than
`EXAMPLE_SECONDS`, and all of them together no more memory than `BOUND_BYTES`.

The environment variable ``LAION_FMRI_FUZZ_EXAMPLES`` says how many examples each property gets; ``fuzz/`` does the same
with coverage as its guide.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import re
import struct
import warnings
import zlib
from typing import Any
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError

import nibabel
import numpy as np
import pandas as pd
import pytest
from fuzzing import NAME, damaged, fuzzed, refusals
from hypothesis import event, given
from hypothesis import strategies as st

from intake_laion_fmri.axes.labels import parse_label
from intake_laion_fmri.axes.trial_table import read_trials
from intake_laion_fmri.formats.freesurfer import read_label
from intake_laion_fmri.formats.gifti import read_func_gii
from intake_laion_fmri.formats.grid import Gather
from intake_laion_fmri.formats.nifti import VolumeReader

pytest_plugins = ["fuzzing_fixtures"]
pytestmark = pytest.mark.usefixtures("bounded_memory")


# --- NIfTI ------------------------------------------------------------------------------------------------------------


SHAPE, VOLUMES = (3, 2, 4), 2
EXTREME = [-(2**15), -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 255, 2**15 - 1]
EXTREME_FLOATS = [0.0, -0.0, 1.0, 0.5, -2.0, 348.0, 352.0, 353.0, 352.5, 368.0, 1e6, 2e7, 1e30, np.inf, -np.inf, np.nan]
DATATYPES = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 77, -1]
FIELDS_1 = {
    "sizeof_hdr": (0, "i", st.sampled_from([348, 540, 0, -1, 1543569408])),
    "datatype": (70, "h", st.sampled_from(DATATYPES)),
    "bitpix": (72, "h", st.sampled_from([0, 8, 32, -1])),
    "vox_offset": (108, "f", st.sampled_from(EXTREME_FLOATS) | st.floats(width=32)),
    "scl_slope": (112, "f", st.sampled_from(EXTREME_FLOATS) | st.floats(width=32)),
    "scl_inter": (116, "f", st.sampled_from(EXTREME_FLOATS) | st.floats(width=32)),
    "qform_code": (252, "h", st.sampled_from([0, 1, -1, 4])),
    "sform_code": (254, "h", st.sampled_from([0, 1, -1, 4])),
    "quatern_b": (256, "f", st.sampled_from(EXTREME_FLOATS)),
    "pixdim": (80, "f", st.sampled_from(EXTREME_FLOATS)),
    "qfac": (76, "f", st.sampled_from(EXTREME_FLOATS)),
    "srow": (284, "f", st.sampled_from(EXTREME_FLOATS)),
    "magic": (344, "4s", st.sampled_from([b"n+1\0", b"ni1\0", b"n+2\0", b"n+1x", b""])),
    "extension": (348, "4s", st.binary(min_size=4, max_size=4)),
    **{f"dim {n}": (40 + 2 * n, "h", st.sampled_from(EXTREME)) for n in range(8)},
}
FIELDS_2 = {
    "sizeof_hdr": (0, "i", st.sampled_from([348, 540, 0])),
    "magic": (4, "8s", st.sampled_from([b"n+2\0\r\n\x1a\n", b"n+2", b"n+1", b"ni2"])),
    "datatype": (12, "h", st.sampled_from(DATATYPES)),
    "vox_offset": (168, "q", st.sampled_from([0, 540, 544, 545, 560, -1, 2**31, 2**62, -(2**63)])),
    "scl_slope": (176, "d", st.sampled_from(EXTREME_FLOATS) | st.floats()),
    "scl_inter": (184, "d", st.sampled_from(EXTREME_FLOATS) | st.floats()),
    "sform_code": (348, "i", st.sampled_from([0, 1, -1])),
    "srow": (408, "d", st.sampled_from(EXTREME_FLOATS)),
    **{f"dim {n}": (16 + 8 * n, "q", st.sampled_from([*EXTREME, 2**31, 2**62, -(2**63)])) for n in range(8)},
}


@st.composite
def niftis(draw: st.DrawFn) -> tuple[bytes, type[Any]]:
    """Draw a packed NIfTI with changed fields, values, ends and packing; and the class that nibabel has for it."""
    cls = draw(st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]))
    order = draw(st.sampled_from("<>"))
    dtype = np.dtype(draw(st.sampled_from(["f4", "f8", "i2", "u1", "i8", "u4"]))).newbyteorder(order)
    header = cls.header_class(endianness=order)
    header.set_data_dtype(dtype)
    header.set_data_shape((*SHAPE, VOLUMES) if draw(st.booleans()) else SHAPE)
    header.set_sform(np.diag([2.0, 2.0, 2.0, 1.0]), code=1)
    header["magic"] = b"n+1" if cls is nibabel.Nifti1Image else b"n+2\0\r\n\x1a\n"
    start = header.template_dtype.itemsize + 4
    header["vox_offset"] = start
    values = draw(st.binary(min_size=0, max_size=40)) + bytes(range(256)) * 2
    n_bytes = int(np.prod(header.get_data_shape())) * dtype.itemsize
    content = bytearray(header.binaryblock + bytes(4) + (values * 2)[:n_bytes])
    known = FIELDS_1 if cls is nibabel.Nifti1Image else FIELDS_2
    for name in draw(st.lists(st.sampled_from(sorted(known)), max_size=3)):
        offset, form, field_values = known[name]
        struct.pack_into(order + form, content, offset, draw(field_values))
    plain = bytes(content)
    if draw(st.booleans()):
        plain = draw(damaged(plain))
    packed = gzip.compress(plain, draw(st.sampled_from([0, 1, 9])), mtime=0)
    return (draw(damaged(packed)) if draw(st.booleans()) else packed), cls


def unpacked_by_python(content: bytes) -> bytes | None:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, ValueError, Exception) as error:  # noqa: BLE001  # zlib.error has no other base
        event(f"Python: {type(error).__name__}")
        return None


def volumes_by_nibabel(content: bytes, cls: type[Any]) -> np.ndarray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = cls.header_class.from_fileobj(io.BytesIO(content), check=False)
        image = cls.from_bytes(content) if header.template_dtype.itemsize else None
        return np.asarray(image.dataobj, dtype=np.float32)


@fuzzed
@given(niftis() | st.binary(max_size=400).map(lambda content: (content, nibabel.Nifti1Image)))
def test_a_nifti(file: tuple[bytes, type[Any]]) -> None:
    """Header and stream: what is read to the end is what nibabel reads of what Python's own gzip unpacks."""
    content, _ = file
    with refusals():
        reader = VolumeReader(io.BytesIO(content), name=NAME)
        header = reader.header
        size, n_volumes = header.grid.size, header.n_volumes
        assert np.isfinite(header.grid.matrix()).all()
        if size > 10_000 or n_volumes > 1000:  # what is asked for is known beforehand: never so much for 1 kB
            reader.where(lambda values: values > 0)
            raise AssertionError("a kilobyte of zeros is no such volume")
        voxels = np.arange(size)
        found = reader.take(Gather.from_voxels(voxels, header.grid.shape), range(n_volumes))
        plain = unpacked_by_python(content)
        assert plain is not None
        cls = nibabel.Nifti1Image if header.vox_offset < 544 or plain[4:7] != b"n+2" else nibabel.Nifti2Image
        expected = volumes_by_nibabel(plain, cls)
        np.testing.assert_array_equal(found, by_rows(expected, size))
        if n_volumes == 1:
            again = VolumeReader(io.BytesIO(content), name=NAME).volume()
            np.testing.assert_array_equal(again.ravel(), found[0])
            inside = VolumeReader(io.BytesIO(content), name=NAME).where(lambda values: values > 0)
            np.testing.assert_array_equal(inside, np.flatnonzero(found[0] > 0))


def by_rows(volumes: np.ndarray, size: int) -> np.ndarray:
    """Return (volume, voxel): volumes as they follow each other in the file, voxels in C-order."""
    stacked = volumes.reshape(*volumes.shape[:3], -1, order="F")
    return stacked.reshape(size, -1).T


# --- trial tables -----------------------------------------------------------------------------------------------------


LABELS = [
    "shared_12rep_LAION_a.jpg",
    "shared_4rep_OOD_shape_b c.png",
    "unique_LAION_x_p01.jpg",
    "shared_4rep_NSD_é.jpg",
]
CELLS = ["", "0", "1", "-1", "01", "run-01", "ses-01", "ses-02", "nan", "NA", "1e3", "9" * 30, '"', "\x1c", *LABELS]


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    columns = draw(
        st.permutations(
            ["session", "run", "beta_index", "label", *draw(st.lists(st.sampled_from(["x", "y", "run", ""])))]
        )
    )
    rows = []
    for number in range(draw(st.integers(0, 5))):
        cells = {
            "session": "ses-01",
            "run": "run-02",
            "beta_index": str(number),
            "label": draw(st.sampled_from(LABELS)),
        }
        row = [cells.get(column, "NA") for column in columns]
        if draw(st.integers(0, 5)) == 0:
            row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(CELLS))
        rows += [row] * draw(st.sampled_from([1, 1, 1, 1, 2]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    text = end.join(["\t".join(line) for line in [columns, *rows]]) + draw(st.sampled_from([end, "", end * 2]))
    content = text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"])))
    if draw(st.booleans()):
        content = draw(damaged(content, pieces=(b"\t", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b'"', b"#")))
    return content


@fuzzed
@given(tables() | st.binary(max_size=300))
def test_a_trial_table(content: bytes) -> None:
    """Every cell is what pandas and the csv module have there, as texts."""
    with refusals():
        found = read_trials(content, name=NAME, session="ses-01", participant="p01")
        text = content.decode("utf-8-sig").rstrip("\r\n")
        frame = pd.read_csv(
            io.StringIO(text),
            sep="\t",
            dtype=str,
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,
            skip_blank_lines=False,
        )  # fmt: skip
        assert found["label"].tolist() == frame["label"].tolist()
        assert set(found["session"]) == {"ses-01"}
        assert {int(one.removeprefix("ses-")) for one in frame["session"]} == {1}
        assert found["run"].tolist() == [float(run.removeprefix("run-")) for run in frame["run"]]
        assert found["beta_index"].tolist() == list(range(len(frame))) == [int(one) for one in frame["beta_index"]]
        assert all(parse_label(label) or (label.isprintable() and label.strip()) for label in frame["label"])


# --- surfaces ---------------------------------------------------------------------------------------------------------


NUMBERS = [
    "0",
    "1",
    "-1",
    "7",
    "1.5",
    "-2.25",
    ".5",
    "1e3",
    "1E-3",
    "1e400",
    "nan",
    "inf",
    "0x1",
    "1_0",
    "٣",
    "9" * 40,
    "",
]


@st.composite
def labels(draw: st.DrawFn) -> bytes:
    rows = [
        [str(draw(st.integers(0, 120)) if draw(st.integers(0, 8)) else draw(st.sampled_from(NUMBERS)))]
        + [draw(st.sampled_from(NUMBERS[:8] if draw(st.integers(0, 5)) else NUMBERS)) for _ in range(4)]
        for _ in range(draw(st.integers(0, 4)))
    ]
    count = len(rows) + draw(st.sampled_from([0, 0, 0, 0, 1, -1, 10**8]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    lines = ["#!ascii label", str(count), *(draw(st.sampled_from([" ", "  ", "\t"])).join(row) for row in rows)]
    content = (end.join(lines) + end).encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"])))
    return draw(damaged(content, pieces=(b"\n", b" ", b"\0", b"\xff", b"1"))) if draw(st.booleans()) else content


@fuzzed
@given(labels() | st.binary(max_size=200))
def test_a_label(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Every entry is what nibabel reads of the same file."""
    with refusals():
        found = read_label(content, name=NAME, n_vertices=121)
        assert (found.vertices >= 0).all()
        assert (found.vertices < 121).all()
        if len(found.vertices):
            path = tmp_path_factory.getbasetemp() / "fuzzed.label"
            path.write_bytes(content)
            vertices, values = nibabel.freesurfer.read_label(path, read_scalars=True)
            np.testing.assert_array_equal(found.vertices, vertices)
            np.testing.assert_array_equal(found.values, values.astype("f4"))
            numbers = np.loadtxt(io.StringIO(content.decode("utf-8-sig")), skiprows=2, ndmin=2, encoding=None)
            np.testing.assert_array_equal(found.xyz, numbers[:, 1:4].astype("f4"))


ENCODINGS = ["GIFTI_ENCODING_ASCII", "GIFTI_ENCODING_B64BIN", "GIFTI_ENCODING_B64GZ"]
PIECES = tuple(
    text.encode()
    for text in ["<", ">", "&lt;", "&x;", "<!-- -->", "<![CDATA[1]]>", "<Data>1</Data>", "\0", "é", "</Data>"]
)  # fmt: skip


@st.composite
def giftis(draw: st.DrawFn) -> bytes:
    dtype, code = draw(st.sampled_from([("f4", "FLOAT32"), ("u1", "UINT8"), ("i4", "INT32")]))
    values = np.array(draw(st.lists(st.integers(0, 3), min_size=1, max_size=6)), dtype=dtype)
    array = nibabel.gifti.GiftiDataArray(
        values, datatype=f"NIFTI_TYPE_{code}", encoding=draw(st.sampled_from(ENCODINGS)), intent="NIFTI_INTENT_NONE"
    )
    text = nibabel.gifti.GiftiImage(darrays=[array] * draw(st.sampled_from([1, 1, 1, 2]))).to_bytes().decode()
    for _ in range(draw(st.integers(0, 2))):
        name, value = draw(
            st.sampled_from(
                [
                    ("Dim0", "0"), ("Dim0", "-1"), ("Dim0", "7"), ("Dim0", "1e1"), ("Dim0", "99999999"),
                    ("Dimensionality", "2"), ("Dimensionality", "0"), ("Encoding", "ASCII"),
                    ("Encoding", "Base64Binary"), ("Encoding", "ExternalFileBinary"), ("Endian", "BigEndian"),
                    ("DataType", "NIFTI_TYPE_FLOAT64"), ("DataType", "NIFTI_TYPE_RGB24"), ("NumberOfDataArrays", "3"),
                    ("ExternalFileName", "/etc/passwd"), ("encoding", "UTF-16"), ("encoding", "ISO-8859-1"),
                ]
            )
        )  # fmt: skip
        text = re.sub(f'{name}="[^"]*"', f'{name}="{value}"', text)
    content = text.encode()
    return draw(damaged(content, pieces=PIECES)) if draw(st.booleans()) else content


@fuzzed
@given(giftis() | st.binary(max_size=200))
def test_a_gifti(content: bytes) -> None:
    """Every vertex is what another parser has there, and nibabel, where what is no mask does not keep it from reading.

    They are never asked for what is refused: they follow names, and unpack without a bound.
    """
    with refusals():
        found = read_func_gii(content, name=NAME)
        try:
            np.testing.assert_array_equal(found, by_element_tree(content) > 0)
        except ElementTree.ParseError:
            assert re.search(rb'="[^"]*&', content)  # XML skips an entity that a DTD may declare; we do in attributes
        try:
            (array,) = nibabel.gifti.GiftiImage.from_bytes(content).darrays
        except (ValueError, KeyError, AttributeError, TypeError, IndexError, UserWarning, ExpatError):
            return
        np.testing.assert_array_equal(found, np.asarray(array.data).reshape(-1) > 0)


def by_element_tree(content: bytes) -> np.ndarray:
    parser = ElementTree.XMLParser(encoding="UTF-8")  # whatever encoding the file names
    array = ElementTree.fromstring(content, parser).find("DataArray")
    text, kind = array.find("Data").text, array.get("DataType").removeprefix("NIFTI_TYPE_")
    if array.get("Encoding") == "ASCII":
        return np.array(text.split(), dtype=float)
    data = base64.b64decode(text)
    if array.get("Encoding").startswith("GZip"):
        data = zlib.decompress(data)
    return np.frombuffer(data, dtype=np.dtype(kind.lower()).newbyteorder("<" if array.get("Endian")[0] == "L" else ">"))
