"""The readers of GIfTI files and of FreeSurfer's labels, against nibabel."""

from __future__ import annotations

import base64
import contextlib
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from demo_files import surface_file
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from surface_files import gifti, gifti_bytes

from intake_laion_fmri import open_rois
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.formats.freesurfer import read_label
from intake_laion_fmri.formats.gifti import read_func_gii

# --- readers: GIfTI ---------------------------------------------------------------------------------------------------


DATATYPES = {"NIFTI_TYPE_UINT8": np.uint8, "NIFTI_TYPE_INT32": np.int32, "NIFTI_TYPE_FLOAT32": np.float32}


@given(
    st.sampled_from(sorted(DATATYPES)).flatmap(
        lambda kind: st.tuples(st.just(kind), hnp.arrays(DATATYPES[kind], st.integers(1, 40)))
    ),
    st.sampled_from(["GIFTI_ENCODING_ASCII", "GIFTI_ENCODING_B64BIN", "GIFTI_ENCODING_B64GZ"]),
    st.booleans(),
)
def test_gifti_is_what_nibabel_reads(array: tuple[str, np.ndarray], encoding: str, column: bool) -> None:
    """Whatever nibabel writes, in either of its encodings; an infinite number is an error, and so is an atlas."""
    datatype, values = array
    assume(encoding != "GIFTI_ENCODING_ASCII" or np.isfinite(values).all())
    content = gifti_bytes(values[:, np.newaxis] if column else values, datatype, encoding=encoding)
    if np.isinf(values).any():
        with pytest.raises(DataIntegrityError, match="a file: expected a mask of finite numbers"):
            read_func_gii(content, name="a file")
        return
    numbers = nibabel.gifti.GiftiImage.from_bytes(content).darrays[0].data.reshape(-1)
    expected = numbers > 0.5
    if expected.all() and len({round(number) for number in numbers.tolist()}) > 1:
        with pytest.raises(DataIntegrityError, match=r"a file: expected a mask, found the numbers .* no background"):
            read_func_gii(content, name="a file")
        return
    np.testing.assert_array_equal(read_func_gii(content, name="a file"), expected)


def test_gifti_of_the_other_endian() -> None:
    values = np.array([0, 1, 0, 2.5, -1], dtype=">f4")
    text = gifti_bytes(values.astype("f4"), encoding="GIFTI_ENCODING_B64BIN").decode()
    swapped = text.replace("LittleEndian", "BigEndian").replace(
        base64.b64encode(values.astype("<f4").tobytes()).decode(), base64.b64encode(values.tobytes()).decode()
    )
    assert swapped.count("BigEndian") == 1
    assert read_func_gii(swapped.encode(), name="a file").tolist() == [False, True, False, True, False]


PLAIN = gifti_bytes(np.array([0, 1, 1], np.float32)).decode()
DATA = re.search("<Data>(.*)</Data>", PLAIN)[1]
ARRAY = re.search("<DataArray.*</DataArray>", PLAIN, re.DOTALL)[0]


def packed(values: np.ndarray, compress: bool = True) -> str:
    content = values.tobytes()
    return base64.b64encode(zlib.compress(content) if compress else content).decode()


GIFTI_FAULTS = {
    "empty": (b"", "expected a complete GIfTI file"),
    "truncated": (PLAIN[: PLAIN.index("</Data>")].encode(), "expected a complete GIfTI file"),
    "truncated data": (PLAIN.replace(DATA, DATA[: len(DATA) // 2 // 4 * 4]).encode(), "truncated"),
    "flipped data": (PLAIN.replace(DATA, DATA[:-8] + "AAAAAAA=").encode(), "as GZipBase64Binary, found"),
    "no Base64": (PLAIN.replace(DATA, "***").encode(), "as GZipBase64Binary, found"),
    "beyond ASCII": (PLAIN.replace(DATA, "ééé").encode(), "as GZipBase64Binary, found"),
    "no zlib": (PLAIN.replace(DATA, packed(np.zeros(3, "f4"), False)).encode(), "as GZipBase64Binary, found"),
    "something after the data": (
        PLAIN.replace(DATA, base64.b64encode(base64.b64decode(DATA) + b"more").decode()).encode(),
        "continues after its end",
    ),
    "too few numbers": (PLAIN.replace(DATA, packed(np.zeros(2, "f4"))).encode(), "expected 3 numbers in 12 bytes"),
    "too many numbers": (PLAIN.replace(DATA, packed(np.zeros(4, "f4"))).encode(), "found more"),
    "no data": (PLAIN.replace(f"<Data>{DATA}</Data>", "").encode(), "found"),
    "no array": (PLAIN.replace(ARRAY, "").encode(), "expected one data array, found 0"),
    "two arrays": (PLAIN.replace(ARRAY, ARRAY * 2).encode(), "expected one data array, found 2"),
    "two arrays declared": (PLAIN.replace('Arrays="1"', 'Arrays="2"').encode(), "with 2 declared"),
    "infinite": (
        PLAIN.replace(DATA, packed(np.array([0, np.inf, 1], "f4"))).encode(),
        "finite numbers, found an infinite one",
    ),
    "external": (PLAIN.replace("GZipBase64Binary", "ExternalFileBinary").encode(), "'ExternalFileBinary'"),
    "no encoding": (PLAIN.replace('Encoding="GZipBase64Binary"', "").encode(), "found the Encoding ''"),
    "no endian": (PLAIN.replace("LittleEndian", "Middle").encode(), "Endian .* found 'Middle'"),
    "complex numbers": (PLAIN.replace("TYPE_FLOAT32", "TYPE_COMPLEX64").encode(), "found 'NIFTI_TYPE_COMPLEX64'"),
    "words": (PLAIN.replace("GZipBase64Binary", "ASCII").replace(DATA, "0 one 1").encode(), "expected numbers, found"),
    "too few words": (
        PLAIN.replace("GZipBase64Binary", "ASCII").replace(DATA, "0 1").encode(),
        "expected 3 numbers, found 2",
    ),
    "no vertex": (PLAIN.replace('Dim0="3"', 'Dim0="0"').encode(), "expected 1 to 10000000 vertices, found 0"),
    "a billion vertices": (PLAIN.replace('Dim0="3"', 'Dim0="999999999"').encode(), "found 999999999"),
    "a negative number of vertices": (PLAIN.replace('Dim0="3"', 'Dim0="-3"').encode(), "one number per vertex"),
    "a matrix": (
        PLAIN.replace('Dimensionality="1"', 'Dimensionality="2"').replace('Dim0="3"', 'Dim0="1" Dim1="3"').encode(),
        "one number per vertex",
    ),
    "no dimension": (PLAIN.replace('Dimensionality="1"', 'Dimensionality="x"').encode(), "one number per vertex"),
    "another XML file": (b"<svg/>", "expected a GIfTI file, found the XML element 'svg'"),
    "Latin-1": (PLAIN.replace("<MetaData", "é<MetaData").encode("latin-1"), "expected a complete GIfTI file"),
    "NUL": (PLAIN.replace("<MetaData", "\0<MetaData").encode(), "expected a complete GIfTI file"),
    "a binary file": (bytes(range(256)), "expected a complete GIfTI file"),
    "an entity": (
        PLAIN.replace(
            re.search("<!DOCTYPE.*?>", PLAIN)[0], '<!DOCTYPE GIFTI [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        ).encode(),
        "expected no XML entities",
    ),
}


@pytest.mark.parametrize("fault", GIFTI_FAULTS)
def test_broken_gifti(fault: str) -> None:
    content, message = GIFTI_FAULTS[fault]
    assert read_func_gii(PLAIN.encode(), name="a file").tolist() == [False, True, True]
    with pytest.raises(DataIntegrityError, match=rf"^a file: .*{message}.*Fetch the file again"):
        read_func_gii(content, name="a file")


def test_an_external_file_is_never_opened(own_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that exists beside it: nibabel would follow the name."""
    path = surface_file(own_tiny, "sub-01", "L", "PPA", ".func.gii")
    np.ones(642, "f4").tofile(path.with_name("secret"))
    text = path.read_text().replace("GZipBase64Binary", "ExternalFileBinary")
    path.write_text(text.replace('ExternalFileName=""', 'ExternalFileName="secret"'))
    assert gifti(path).sum() == 642
    with pytest.raises(DataIntegrityError, match=rf"{path.name}: .*in the file itself.*'ExternalFileBinary'"):
        open_rois("sub-01", format="func.gii", roi="PPA", bucket=own_tiny)


def test_bombs_cost_nothing() -> None:
    """A hundred megabytes of zeros in a hundred kilobytes, and entities that grow tenfold: refused at once."""
    start = time.process_time()
    bomb = base64.b64encode(zlib.compress(bytes(100_000_000))).decode()
    packing = time.process_time() - start
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 20))
    doctype = f'<!DOCTYPE GIFTI [<!ENTITY l0 "ha">{laughs}]>'
    start = time.process_time()
    for content in (PLAIN.replace(DATA, bomb), re.sub("<!DOCTYPE.*?>", doctype, PLAIN).replace(DATA, "&l19;")):
        with pytest.raises(DataIntegrityError):
            read_func_gii(content.encode(), name="a file")
    assert time.process_time() - start < max(1.0, 2 * packing)


@settings(max_examples=300)
@given(st.data())
def test_a_gifti_with_changed_bytes(data: st.DataObject) -> None:
    """It is read, or refused by our error that names it; nothing else."""
    content = damaged(data, PLAIN.encode())
    with suppress_refusal():
        assert read_func_gii(content, name="a file").dtype == bool


@contextlib.contextmanager
def suppress_refusal() -> Iterator[None]:
    try:
        yield
    except DataIntegrityError as error:
        if not str(error).startswith("a file: "):
            raise


def damaged(data: st.DataObject, content: bytes) -> bytes:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(len(content), start + 30)))
        content = (
            content[:start] + data.draw(st.binary(max_size=6) | st.just(content[stop : stop + 40])) + content[stop:]
        )
    return content


# --- readers: labels --------------------------------------------------------------------------------------------------


finite = st.floats(-999, 999, width=32).map(lambda value: f"{value:.3f}")


@given(
    st.lists(st.tuples(st.integers(0, 200_000), finite, finite, finite, finite), max_size=20), st.sampled_from("\n\r")
)
def test_labels_are_what_nibabel_reads(tmp_path_factory: Any, rows: list[tuple[Any, ...]], end: str) -> None:
    """Also with the line ends of other systems, which nibabel's text mode takes as well."""
    lines = ["#!ascii label  , from subject é", str(len(rows)), *("  ".join(map(str, row)) for row in rows)]
    content = (("\r\n" if end == "\r" else "\n").join([*lines, ""])).encode()
    found = read_label(content, name="a file")
    table = np.array(rows, dtype=float).reshape(-1, 5)
    np.testing.assert_array_equal(found.vertices, table[:, 0])
    np.testing.assert_array_equal(found.xyz, table[:, 1:4].astype("f4"))
    np.testing.assert_array_equal(found.values, table[:, 4].astype("f4"))
    if rows:
        path = tmp_path_factory.getbasetemp() / "a.label"
        path.write_bytes(content)
        vertices, values = nibabel.freesurfer.read_label(path, read_scalars=True)
        np.testing.assert_array_equal(found.vertices, vertices)
        np.testing.assert_array_equal(found.values, values.astype("f4"))


LABEL = "#!ascii label\n2\n3  1.0 -2.0 3.0 0.5\n7  1.0 -2.0 3.0 1\n"
LABEL_FAULTS = {
    "empty": (b"", "line 1: expected a comment"),
    "no comment": (LABEL[LABEL.index("\n") + 1 :].encode(), "line 1: expected a comment"),
    "comment alone": (b"#!ascii label\n", "line 2: expected the number of vertices"),
    "no count": (LABEL.replace("\n2\n", "\ntwo\n").encode(), "line 2: expected the number of vertices, found 'two'"),
    "a negative count": (LABEL.replace("\n2\n", "\n-2\n").encode(), "line 2"),
    "a count beyond all": (LABEL.replace("\n2\n", f"\n{10**30}\n").encode(), "line 2"),
    "more than counted": (LABEL.replace("\n2\n", "\n1\n").encode(), "expected 1 vertices, .* found 2"),
    "less than counted": (LABEL.replace("\n2\n", "\n999999999\n").encode(), "expected 999999999 .* found 2"),
    "truncated": (LABEL[:-5].encode(), "expected 'vertex x y z value' in each line"),
    "a field too many": (LABEL.replace("0.5", "0.5 9").encode(), "expected 'vertex x y z value' in each line"),
    "a negative vertex": (
        LABEL.replace("\n7", "\n-7").encode(),
        "expected vertices from 0 to 9999999, found -7",
    ),
    "a vertex beyond all": (
        LABEL.replace("\n7", "\n10000000").encode(),
        "expected vertices .* found 1e.07",
    ),
    "a vertex beyond int64": (LABEL.replace("\n7", f"\n{10**30}").encode(), "expected vertices from 0"),
    "half a vertex": (LABEL.replace("\n7", "\n7.5").encode(), "expected vertices .* found 7.5"),
    "a place that is none": (
        LABEL.replace("3.0 0.5", "nan 0.5").encode(),
        "expected finite positions",
    ),
    "beyond float32": (LABEL.replace("0.5", "1e40").encode(), "float32"),
    "a position beyond float64": (LABEL.replace("3.0 0.5", "1e400 0.5").encode(), "float32"),
    "words": (LABEL.replace("0.5", "half").encode(), "expected 'vertex x y z value' .* row 0, column 5"),
    "underscores": (LABEL.replace("0.5", "0_5").encode(), "expected 'vertex x y z value' .* row 0, column 5"),
    "other digits": (LABEL.replace("0.5", "٥").encode(), "expected 'vertex x y z value' .* row 0, column 5"),
    "NUL": (LABEL.replace("0.5", "0.5\0").encode(), "expected 'vertex x y z value' .* row 0, column 5"),
    "NUL in the comment": (LABEL.replace("label", "lab\0el").encode(), "line 1: expected a comment"),
    "UTF-16": (LABEL.encode("utf-16"), "line 1: expected a comment"),
    "a GIfTI file": (PLAIN.encode(), "line 1: expected a comment"),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_broken_labels(fault: str) -> None:
    content, message = LABEL_FAULTS[fault]
    assert read_label(LABEL.encode(), name="a file").vertices.tolist() == [3, 7]
    with pytest.raises(DataIntegrityError, match=rf"^a file: .*{message}.*Fetch the file again"):
        read_label(content, name="a file")


def test_the_vertices_of_a_label_end_with_the_surface() -> None:
    assert len(read_label(LABEL.encode(), name="a file", n_vertices=8).vertices) == 2
    with pytest.raises(DataIntegrityError, match="expected vertices from 0 to 6, found 7"):
        read_label(LABEL.encode(), name="a file", n_vertices=7)


def test_an_empty_label() -> None:
    found = read_label(b"#!ascii label\n0\n", name="a file")
    assert (found.vertices.shape, found.xyz.shape, found.values.shape) == ((0,), (0, 3), (0,))


@settings(max_examples=300)
@given(st.data())
def test_a_label_with_changed_bytes(data: st.DataObject) -> None:
    """It is read, or refused by our error that names it; nothing else."""
    with suppress_refusal():
        found = read_label(damaged(data, LABEL.encode()), name="a file", n_vertices=100)
        assert (found.vertices >= 0).all()
        assert np.isfinite(found.xyz).all()


@pytest.mark.parametrize("reader", [read_func_gii, read_label])
def test_long_nonsense_is_refused_in_no_time(reader: Any) -> None:
    """Patterns that backtrack and errors that quote everything would show here."""
    start = time.process_time()
    for piece in ("1", "1.", " ", "-", "1e", "\n", "#", "<GIFTI>", "1 1 1 1 1"):
        for head in ("", "#\n1\n", PLAIN[: PLAIN.index("<Data>") + 6].replace("GZipBase64Binary", "ASCII")):
            content = head + piece * (1_000_000 // len(piece))
            content += "</Data></DataArray></GIFTI>" if head.startswith("<") else ""
            with pytest.raises(DataIntegrityError) as caught:
                reader(content.encode(), name="a file")
            assert len(str(caught.value)) < 1000
    assert time.process_time() - start < 20
