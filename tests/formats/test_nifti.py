"""The stream reader against nibabel, and against everything a file can do wrong."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.formats import nifti
from intake_laion_fmri.formats.grid import Gather
from intake_laion_fmri.formats.nifti import VolumeReader

AFFINE = np.array([[-1.7, -0.3, 0.1, 90.0], [0.2, 1.7, 0.4, -70.0], [0.1, -0.4, 1.7, -60.0], [0, 0, 0, 1.0]])


def packed(
    values: np.ndarray,
    *,
    slope: float | None = None,
    inter: float | None = None,
    cls: type[nibabel.Nifti1Pair] = nibabel.Nifti1Image,
    level: int = 1,
) -> bytes:
    """Write an array as it is, header by nibabel, packed by the standard library."""
    header = cls.header_class(endianness=">" if values.dtype.byteorder == ">" else "<")
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_sform(AFFINE, code=1)
    if slope is not None:
        header["scl_slope"], header["scl_inter"] = slope, inter
    header["magic"] = b"n+1" if cls is nibabel.Nifti1Image else b"n+2"
    header["vox_offset"] = header.template_dtype.itemsize + 4
    return gzip.compress(header.binaryblock + bytes(4) + values.tobytes(order="F"), level, mtime=0)


def oracle(content: bytes, cls: type[Any] = nibabel.Nifti1Image) -> np.ndarray:
    """What nibabel reads, as float32."""
    with np.errstate(all="ignore"):
        return np.asarray(cls.from_bytes(gzip.decompress(content)).dataobj, dtype=np.float32)


def reader(content: bytes) -> VolumeReader:
    return VolumeReader(io.BytesIO(content), name="file.nii.gz")


def example(shape: tuple[int, ...] = (5, 4, 3, 6), dtype: str = "<f4", seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * 1000).astype(dtype)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, type[Any]]:
    """Files of any real dtype and byte order, scaled or not, with every value a file can hold."""
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3, st.integers(1, 5)))
    dtype = np.dtype(draw(st.sampled_from(["f4", "f8", "i2", "u1", "i1", "u2", "i4", "u4", "i8", "u8"])))
    dtype = dtype.newbyteorder(draw(st.sampled_from("<>")))
    elements = None
    if dtype.kind == "f":
        elements = st.floats(width=32, allow_nan=True, allow_infinity=True)
    values = draw(hnp.arrays(dtype, shape, elements=elements))
    slope, inter = draw(
        st.sampled_from([(None, None), (1.0, 0.0), (0.5, 3.0), (1.0 / 3.0, -7.1), (1e-30, 0.0), (0.0, 5.0), (2.0, 0.0)])
    )
    cls = draw(st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]))
    return packed(values, slope=slope, inter=inter, cls=cls), cls


@given(files(), st.data())
def test_values_are_those_of_nibabel_to_the_bit(file: tuple[bytes, type[Any]], data: st.DataObject) -> None:
    """Any dtype, byte order and scaling; any voxels in any order; any volumes."""
    content, cls = file
    expected = oracle(content, cls)
    shape, n_volumes = expected.shape[:3], expected.shape[3]
    voxels = data.draw(st.lists(st.integers(0, int(np.prod(shape)) - 1), max_size=40), label="voxels")
    volumes = sorted(data.draw(st.sets(st.integers(0, n_volumes - 1)), label="volumes"))
    voxels_array = np.array(voxels, dtype=np.int64)
    found = reader(content).take(Gather.from_voxels(voxels_array, shape), volumes)
    wanted = expected.reshape(-1, n_volumes)[voxels_array][:, volumes].T
    assert found.dtype == np.float32
    assert found.tobytes() == np.ascontiguousarray(wanted).tobytes() or np.array_equal(found, wanted, equal_nan=True)


@pytest.mark.parametrize("piece", [8, 64, 4096])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2"])
def test_values_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch, piece: int, dtype: str) -> None:
    """Volumes that span many pieces, or end within one."""
    monkeypatch.setattr(nifti, "PIECE_BYTES", piece)
    content = packed(example((7, 5, 3, 4), dtype))
    voxels = np.random.default_rng(1).permutation(7 * 5 * 3)
    found = reader(content).take(Gather.from_voxels(voxels, (7, 5, 3)), range(4))
    np.testing.assert_array_equal(found, oracle(content).reshape(-1, 4)[voxels].T)


@given(hnp.arrays(np.float32, (4, 3, 5), elements=st.floats(-2, 2, width=32, allow_nan=False)), st.integers(0, 9))
def test_where_finds_the_voxels_of_a_rule(values: np.ndarray, n_nan: int) -> None:
    """Ascending C-order indices, NaN never inside."""
    values.reshape(-1)[np.random.default_rng(n_nan).integers(0, 60, n_nan)] = np.nan
    found = reader(packed(values)).where(lambda v: v > 0)
    np.testing.assert_array_equal(found, np.flatnonzero(values > 0))
    assert found.dtype == np.int64


def test_where_applies_the_scale_factors() -> None:
    """A rule is about values, not about what is stored."""
    stored = np.arange(8, dtype="<i2").reshape(2, 2, 2)
    found = reader(packed(stored, slope=1.0, inter=-4.0)).where(lambda v: v > 0)
    np.testing.assert_array_equal(found, [5, 6, 7])


def test_header() -> None:
    header = reader(packed(example(dtype=">f8"))).header
    assert (header.grid.shape, header.n_volumes, header.dtype) == ((5, 4, 3), 6, np.dtype(">f8"))
    np.testing.assert_allclose(header.grid.matrix(), AFFINE, atol=1e-5)


def test_extensions_before_the_data_are_skipped() -> None:
    values = example()
    content = bytearray(gzip.decompress(packed(values)))
    content[108:112] = struct.pack("<f", 352 + 1600)
    long = gzip.compress(bytes(content[:352]) + bytes(1600) + bytes(content[352:]))
    found = reader(long).take(Gather.from_voxels(np.arange(60), (5, 4, 3)), range(6))
    np.testing.assert_array_equal(found, values.reshape(-1, 6).T)


def test_nothing_wanted_reads_nothing() -> None:
    """No volume: an empty result. No voxel: rows of length 0."""
    content = packed(example())
    assert reader(content).take(Gather.from_voxels(np.arange(5), (5, 4, 3)), []).shape == (0, 5)
    assert reader(content).take(Gather.from_voxels(np.array([], dtype=int), (5, 4, 3)), range(6)).shape == (6, 0)


def test_a_bit_is_flipped_and_the_last_volumes_are_not_wanted() -> None:
    """The stream is read to its checksum all the same: in a stream that is stored, nothing else tells of the bit."""
    values = np.random.default_rng(0).standard_normal((10, 10, 10, 8)).astype("<f4")
    content = bytearray(gzip.compress(gzip.decompress(packed(values)), 0))
    gather = Gather.from_voxels(np.arange(1000), (10, 10, 10))
    np.testing.assert_array_equal(reader(bytes(content)).take(gather, [1])[0], values[..., 1].ravel())
    content[352 + 4000 + 2000] ^= 1
    with pytest.raises(DataIntegrityError, match="corrupt"):
        reader(bytes(content)).take(gather, [1])


def test_memory_is_the_result_and_a_few_buffers() -> None:
    """16 MB unpacked, 800 values wanted."""
    content = packed(np.zeros((64, 64, 64, 16), dtype="<f4"))
    gather = Gather.from_voxels(np.arange(50), (64, 64, 64))
    tracemalloc.start()
    reader(content).take(gather, range(16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


@pytest.mark.parametrize("volumes", [[2, 1], [1, 1], [-1], [6], [0, 6]])
def test_volumes_that_cannot_be(volumes: list[int]) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        reader(packed(example())).take(Gather.from_voxels(np.arange(5), (5, 4, 3)), volumes)


@pytest.mark.parametrize("voxels", [[-1], [60]])
def test_voxels_outside_the_grid(voxels: list[int]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # numpy's own words
        Gather.from_voxels(np.array(voxels), (5, 4, 3))


def take_all(content: bytes) -> np.ndarray:
    return reader(content).take(Gather.from_voxels(np.arange(60), (5, 4, 3)), range(6))


def unpacked() -> bytearray:
    return bytearray(gzip.decompress(packed(example())))


def changed(offset: int, value: bytes) -> bytes:
    """Return a good file with a few bytes of its header changed."""
    content = unpacked()
    content[offset : offset + len(value)] = value
    return gzip.compress(bytes(content))


GOOD = packed(np.random.default_rng(0).standard_normal((5, 4, 3, 6)).astype("<f4"))

BROKEN = {
    "empty file": (b"", "the stream ends after 0 of 4 bytes"),
    "no gzip": (b"not a gzip file at all, but long enough", "corrupt"),
    "a NIfTI that is not packed": (bytes(unpacked()), "corrupt"),
    "gzip of something else": (gzip.compress(b"hello world"), "expected a NIfTI header"),
    "gzip of nothing": (gzip.compress(b""), "the stream ends after 0 of 4 bytes"),
    "truncated in the gzip header": (GOOD[:5], "truncated"),
    "truncated in the NIfTI header": (GOOD[:60], "truncated"),
    "truncated in the data": (GOOD[: len(GOOD) // 2], "truncated"),
    "truncated in the trailer": (GOOD[:-3], "truncated"),
    "trailer cut off": (GOOD[:-8], "truncated"),
    "wrong checksum": (GOOD[:-8] + bytes([GOOD[-8] ^ 1]) + GOOD[-7:], "corrupt"),
    "wrong length": (GOOD[:-4] + bytes([GOOD[-4] ^ 1]) + GOOD[-3:], "corrupt"),
    "a second member": (GOOD + gzip.compress(b"more"), "continues after"),
    "the same again": (GOOD + GOOD, "continues after"),
    "garbage behind": (GOOD + b"garbage", None),
    "one value too few": (gzip.compress(bytes(unpacked()[:-4])), "ends within volume 5"),
    "one byte too few": (gzip.compress(bytes(unpacked()[:-1])), "ends within volume 5"),
    "one byte too many": (gzip.compress(bytes(unpacked()) + b"x"), "continues after"),
    "no dimension": (changed(40, struct.pack("<8h", 0, 1, 1, 1, 1, 1, 1, 1)), "dimensions"),
    "eight dimensions": (changed(40, struct.pack("<8h", 8, 5, 4, 3, 6, 1, 1, 1)), "dimensions"),
    "a negative dimension": (changed(40, struct.pack("<8h", 4, 5, -4, 3, 6, 1, 1, 1)), "dimensions"),
    "no trials": (changed(40, struct.pack("<8h", 4, 5, 4, 3, 0, 1, 1, 1)), "dimensions"),
    "more volumes than there are": (changed(40, struct.pack("<8h", 4, 5, 4, 3, 7, 1, 1, 1)), None),
    "fewer volumes than there are": (changed(40, struct.pack("<8h", 4, 5, 4, 3, 5, 1, 1, 1)), None),
    "an enormous grid": (changed(40, struct.pack("<8h", 4, 32767, 32767, 32767, 6, 1, 1, 1)), "grid"),
    "complex numbers": (changed(70, struct.pack("<h", 32)), "datatype"),
    "RGB": (changed(70, struct.pack("<h", 128)), "datatype"),
    "an unknown datatype": (changed(70, struct.pack("<h", 9999)), "expected a readable NIfTI header"),
    "data inside the header": (changed(108, struct.pack("<f", 100)), "after the header"),
    "data before the file": (changed(108, struct.pack("<f", -4)), "after the header"),
    "data nowhere": (changed(108, struct.pack("<f", np.nan)), "vox_offset"),
    "data beyond the end": (changed(108, struct.pack("<f", 1e6)), "the stream ends before it"),
    "data beyond all": (changed(108, struct.pack("<f", 2e9)), "before byte 16777216"),
    "an infinite offset of the values": (changed(112, struct.pack("<2f", 2.0, np.inf)), "header"),
    "a pair of files": (changed(344, b"ni1\0"), "single-file"),
    "no magic": (changed(344, b"\0\0\0\0"), "single-file"),
    "a header of another size": (changed(0, struct.pack("<i", 999)), "expected a NIfTI header"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_an_error_that_names_it(case: str) -> None:
    """Never another exception, never a value."""
    content, found = BROKEN[case]

    def read() -> None:
        opened = reader(content)
        opened.take(Gather.from_voxels(np.arange(60), (5, 4, 3)), range(opened.header.n_volumes))

    with pytest.raises(DataIntegrityError, match=r"file\.nii\.gz") as caught:
        read()
    if found is not None:
        assert found in str(caught.value)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 7))
def test_a_flipped_bit_never_gives_wrong_values(position: int, bit: int) -> None:
    """Wherever it is: an error, or (in bits that mean nothing, as most of gzip's own header) the right values."""
    content = bytearray(GOOD)
    content[position] ^= 1 << bit
    try:
        found = take_all(bytes(content))
    except ValueError:  # DataIntegrityError is one; a header with fewer volumes than are asked for gives the other
        return
    np.testing.assert_array_equal(found, take_all(GOOD))


@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_stream_never_gives_values(length: int) -> None:
    with pytest.raises(DataIntegrityError):
        take_all(GOOD[:length])


def test_an_enormous_header_allocates_nothing() -> None:
    """A promise of 3 x 10^13 voxels costs no memory, for a map as for a session."""
    content = changed(40, struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1))
    tracemalloc.start()
    with pytest.raises(DataIntegrityError, match="at most 8388608 voxels, found"):
        reader(content).where(lambda v: v > 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024


def test_an_error_of_the_source_comes_through() -> None:
    """What the bytes' source raises is not mistaken for a broken file."""

    class Failing(io.BytesIO):
        def readinto(self, target: Any) -> int:
            raise PermissionError("no")

        def read(self, size: int | None = -1) -> bytes:
            raise PermissionError("no")

    with pytest.raises(PermissionError, match="no"):
        VolumeReader(Failing(), name="file")


def test_a_result_goes_where_the_caller_says(tmp_path: Path) -> None:
    """Memory that was used before is used again, whatever was in it."""
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    path = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    gather = Gather.from_voxels(np.array([7, 3, 59]), (3, 4, 5))
    kept = np.full(20, np.nan, dtype=np.float32)
    with path.open("rb") as file:
        found = VolumeReader(file, name="image").take(gather, range(6), kept[:18].reshape(6, 3))
    assert found.base is kept
    np.testing.assert_array_equal(found, values.reshape(-1, 6)[[7, 3, 59]].T)
    assert np.isnan(kept[18:]).all()
