"""HDF5 files: what h5py reads of good ones, and one error for those that lie, are broken, or reach elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from intake_laion_fmri.errors import BucketUnreachableError, DataIntegrityError
from intake_laion_fmri.formats.hdf5 import Kind, open_hdf5

TEXTS = ["a", "bc ü", "shared_4rep_OOD_gaudy_https%3A.png"]
MASKS = (np.random.default_rng(0).random((30, 20, 25)) < 0.1).astype(np.uint8)


def made(fill: Callable[[h5py.File], Any], **options: Any) -> bytes:
    """Return an HDF5 file as bytes."""
    content = io.BytesIO()
    with h5py.File(content, "w", **options) as file:
        fill(file)
    return content.getvalue()


def good(file: h5py.File) -> None:
    file["numbers"] = np.arange(600, dtype=np.float16).reshape(3, 200)
    file["flags"] = np.array([True, False, True])
    file.create_dataset("texts", data=TEXTS, dtype=h5py.string_dtype())
    file["fixed"] = np.array([text.encode() for text in TEXTS])
    encoded = file.create_dataset("encoded", (3,), dtype=h5py.vlen_dtype(np.uint8))
    for k in range(3):
        encoded[k] = np.arange(10 * k, dtype=np.uint8)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_what_is_read_is_what_h5py_reads(tmp_path: Path, libver: str) -> None:
    content = made(good, libver=libver)
    (tmp_path / "x.h5").write_bytes(content)
    sources: list[Any] = [content, io.BytesIO(content), tmp_path / "x.h5", str(tmp_path / "x.h5")]
    for source in sources:
        with open_hdf5(source, name="x.h5") as file, h5py.File(io.BytesIO(content)) as oracle:
            assert np.array_equal(file.read(file.dataset("numbers", "number", ndim=2)), oracle["numbers"][()])
            assert file.read(file.dataset("flags", "flag")).tolist() == [True, False, True]
            assert file.texts(file.dataset("texts", "text")).tolist() == TEXTS
            assert file.texts(file.dataset("fixed", "text")).tolist() == TEXTS
            found = file.references(file.dataset("encoded", "bytes"))
            assert found["length"].tolist() == [0, 10, 20]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("chunks", [(1, 20, 25), (4, 7, 25), (7, 25, 25), None])
@pytest.mark.parametrize("filters", ["none", "all"])
def test_rows_are_read_by_the_index_alone(libver: str, chunks: tuple[int, ...] | None, filters: str) -> None:
    """Whatever the shape of the chunks; 16-bit items, so that shuffling does something."""
    values = MASKS.astype(np.int16) * 300
    options: dict[str, Any] = {"chunks": chunks, "maxshape": (30, 40, 50)} if chunks else {}
    if chunks and filters == "all":
        options |= {"compression": "gzip", "shuffle": True, "fletcher32": True}
    content = made(lambda file: file.create_dataset("x", data=values, **options), libver=libver)
    with open_hdf5(content, name="x.h5") as file:
        index = file.index(file.dataset("x", "number", ndim=3))
    for row in range(30):
        parts = [content[index.starts[k] :][: index.sizes[k]] for k in index.chunks_of(row)]
        assert np.array_equal(index.row(row, parts, name="x.h5"), values[row])


def test_a_chunk_that_gained_nothing_by_a_filter_is_read() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2, 50), dtype=np.uint8)

    def fill(file: h5py.File) -> None:
        data = file.create_dataset("x", (2, 50), np.uint8, chunks=(1, 50), compression="gzip", shuffle=True)
        data[0] = noise[0]
        data.id.write_direct_chunk((1, 0), noise[1].tobytes(), filter_mask=3)

    content = made(fill)
    with open_hdf5(content, name="x.h5") as file:
        index = file.index(file.dataset("x", "number", ndim=2))
    assert index.left_out[1] == 3
    assert np.array_equal(index.row(1, [content[index.starts[1] :][: index.sizes[1]]], name="x.h5"), noise[1])


def test_a_truncated_file_is_one_error_wherever_it_ends() -> None:
    content = made(good)
    for n in np.linspace(0, len(content) - 1, 20).astype(int):
        with pytest.raises(DataIntegrityError, match=r"x\.h5: expected a complete HDF5 file"):
            read_all(content[:n])


def test_a_flipped_byte_is_an_error_of_the_contract_or_read() -> None:
    """Nothing but DataIntegrityError, and no crash."""
    content, rng = made(good), np.random.default_rng(2)
    for at in rng.choice(min(4096, len(content)), 150, replace=False):
        broken = bytearray(content)
        broken[at] ^= int(rng.integers(1, 256))
        try:
            read_all(bytes(broken))
        except DataIntegrityError as error:
            assert "x.h5" in str(error)  # noqa: PT017


def read_all(content: bytes) -> None:
    with open_hdf5(content, name="x.h5") as file:
        file.read(file.dataset("numbers", "number", ndim=2))
        file.read(file.dataset("flags", "flag"))
        file.texts(file.dataset("texts", "text"))
        file.references(file.dataset("encoded", "bytes"))


def external_storage(file: h5py.File) -> None:
    file.create_dataset("x", (10,), np.uint8, external=[("/etc/hostname", 0, 10)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10,), np.uint8)
    layout[:] = h5py.VirtualSource("other.h5", "x", (10,))
    file.create_virtual_dataset("x", layout)


def unknown_filter(file: h5py.File) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((10,))
    plist.set_filter(300, h5py.h5z.FLAG_OPTIONAL, (1, 2))  # of the numbers for trials: no plugin has it
    data = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((10,)), plist)
    data.write_direct_chunk((0,), b"z" * 10)


def missing_chunk(file: h5py.File) -> None:
    file.create_dataset("x", (30,), np.uint8, chunks=(10,))[:20] = 1


def huge(file: h5py.File) -> None:
    file.create_dataset("x", (10**12,), np.uint8, chunks=(10**9,), compression="gzip")
    file["x"].id.write_direct_chunk((0,), b"x\x9c")


def compound(file: h5py.File) -> None:
    dtype = np.dtype([("a", h5py.string_dtype())])
    file["x"] = np.array([("1",)], dtype=dtype)


HOSTILE: dict[str, tuple[Callable[[h5py.File], Any], Kind, str]] = {
    "external storage": (external_storage, "number", "external, virtual"),
    "virtual": (virtual, "number", "external, virtual"),
    "external link": (lambda file: file.__setitem__("x", h5py.ExternalLink("o.h5", "/x")), "number", "link"),
    "soft link": (lambda file: file.__setitem__("x", h5py.SoftLink("/y")), "number", "link"),
    "unknown filter": (unknown_filter, "number", r"300"),
    "missing chunk": (missing_chunk, "number", "expected 3 chunks"),
    "never written": (lambda file: file.create_dataset("x", (30,), np.uint8), "number", "found 0"),
    "never written texts": (lambda file: file.create_dataset("x", (30,), h5py.string_dtype()), "text", "found 0"),
    "huge": (huge, "number", "x: expected"),
    "compound": (compound, "text", "another type"),
    "a group": (lambda file: file.create_group("x"), "number", "found a group"),
    "absent": (lambda file: file.create_group("y"), "number", "'x', found y"),
    "dimensions": (lambda file: file.__setitem__("x", MASKS), "number", "expected 1 dimensions, found 3"),
    "no text": (lambda file: file.__setitem__("x", np.array([b"\xff\xfe"])), "text", "UTF-8"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_reaches_elsewhere_or_is_not_there_is_refused(case: str) -> None:
    fill, kind, message = HOSTILE[case]
    with pytest.raises(DataIntegrityError, match=rf"x\.h5: .*{message}"):
        read_one(made(fill), kind)


def read_one(content: bytes, kind: Kind) -> None:
    with open_hdf5(content, name="x.h5") as file:
        dataset = file.dataset("x", kind)
        file.texts(dataset) if kind == "text" else file.read(dataset)


def test_an_error_of_the_network_passes() -> None:
    class Broken(io.BytesIO):
        def readinto(self, target: Any) -> int:
            raise BucketUnreachableError("gone")

        def read(self, size: int | None = -1) -> bytes:
            raise BucketUnreachableError("gone")

    with pytest.raises(BucketUnreachableError), open_hdf5(Broken(made(good)), name="x.h5"):
        pass
