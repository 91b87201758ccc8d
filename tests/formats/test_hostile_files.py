"""Files that lie, are broken, or are made to do harm, through the functions that users call.

Each case is a real file in a real bucket. It is an error of the contract that names the file, or the values of an
oracle; within a time and a memory that are stated here, whatever the file says or unpacks to.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nibabel
import numpy as np
import pytest
from demo_files import GLM, betas_file, map_file, roi_file, session_file, trials_file, volume
from limits import Reading, read_all
from tiers import full, sampled

from intake_laion_fmri import layout, open_betas, open_rois, open_trials
from intake_laion_fmri.betas import open_maps
from intake_laion_fmri.catalog.inventory import INVENTORY_FILE, read_inventory, take_inventory
from intake_laion_fmri.discovery import get_rois, get_sessions, get_subjects
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning
from intake_laion_fmri.formats.nifti import Gather, VolumeReader
from intake_laion_fmri.remote.access import open_bucket
from intake_laion_fmri.splits import load_split

BOUND_SECONDS = 10
"""No reading of a hostile file takes more of a processor; most take a tenth of a second."""

BOUND_BYTES = 512 * 1024 * 1024
"""No reading of a hostile file takes more memory beyond what it takes of a good one."""

MIB = 1024 * 1024
GIB = 1024 * MIB


@pytest.fixture(scope="session")
def one_session(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bucket of one subject, one session and two ROIs; not to be written to."""
    bucket = tmp_path_factory.mktemp("buckets") / "one"

    def wanted(path: Path) -> bool:
        key = path.relative_to(tiny).as_posix()
        if key.startswith("derivatives/rois/"):
            return re.search(r"sub-01/.*label-(PPA|OPA)_", key) is not None
        if "splits" in key:
            return "/shared/" in key or "/sub-01/" in key
        return "/sub-01/" in key and not re.search("ses-(02|03|31)", key)

    for path in sorted(tiny.rglob("*")):
        if path.is_file() and wanted(path):
            target = bucket / path.relative_to(tiny)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return bucket


@pytest.fixture
def bucket(one_session: Path, tmp_path: Path) -> Path:
    """A copy of it that the test may break."""
    return own_copy(one_session, tmp_path / "bucket")


def own_copy(bucket: Path, folder: Path) -> Path:
    """Copy a bucket by links: cheap, as long as files are replaced and not written into."""
    return Path(shutil.copytree(bucket, folder, copy_function=os.link))


def replace(path: Path, content: bytes | bytearray) -> None:
    path.unlink()
    path.write_bytes(content)


@contextmanager
def refused(path: Path, found: str = "") -> Iterator[None]:
    """What is read must be refused by an error that names the file and says what was found, on less than a page."""
    with pytest.raises(DataIntegrityError) as caught:
        yield
    text = str(caught.value)
    assert path.name in text
    assert re.search(found, text), text
    assert re.search("Fetch|Correct|Write|write|Remove", text), text
    assert len(text) < 2000


def read_or_refuse(read: Callable[[], Any], path: Path) -> Any:
    """Return what is read, or None where it is refused by an error that names the file."""
    try:
        return read()
    except DataIntegrityError as error:
        if path.name not in str(error):
            raise
        return None


# --- NIfTI ------------------------------------------------------------------------------------------------------------


def mask_of(bucket: Path) -> Path:
    return map_file(bucket, "sub-01", "stat-rsquare_desc-R2mean")


def map_of(bucket: Path) -> Path:
    return map_file(bucket, "sub-01", "desc-Noiseceiling12rep")


def roi_of(bucket: Path) -> Path:
    return roi_file(bucket, "sub-01", "PPA")


def betas_of(bucket: Path) -> Path:
    return betas_file(bucket, "sub-01", "ses-01")


def session_map_of(bucket: Path) -> Path:
    return session_file(bucket, "sub-01", "ses-01", "space-T1w_stat-rsquare_desc-R2_statmap.nii.gz")


def read_betas(bucket: Path) -> Any:
    return open_betas("sub-01", bucket=bucket).compute(scheduler="synchronous")


def read_map(bucket: Path) -> Any:
    return open_maps("sub-01", maps="nc_12rep", bucket=bucket)


def read_rois(bucket: Path) -> Any:
    return open_rois("sub-01", roi="PPA", bucket=bucket)


def read_session_map(bucket: Path) -> Any:
    return open_maps("sub-01", session=1, maps="r2", bucket=bucket).compute(scheduler="synchronous")


PLACES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "mask": (mask_of, read_map),
    "map": (map_of, read_map),
    "ROI": (roi_of, read_rois),
    "betas": (betas_of, read_betas),
    "session's map": (session_map_of, read_session_map),
}
"""Where a NIfTI stands → its file, and what reads it."""


def unpacked(path: Path) -> bytearray:
    return bytearray(gzip.decompress(path.read_bytes()))


def pack(path: Path, content: bytes | bytearray) -> None:
    replace(path, gzip.compress(bytes(content), 1))


def field(offset: int, form: str, *values: Any) -> Callable[[bytearray], None]:
    """Return what writes a field of a header."""

    def write(content: bytearray) -> None:
        struct.pack_into("<" + form, content, offset, *values)

    return write


def dims(*values: int) -> Callable[[bytearray], None]:
    return field(40, "8h", *values, *[1] * (8 - len(values)))


def sform_alone(
    form: str, *values: Any, offset: int = 280, codes: int = 252, code: str = "2h"
) -> Callable[[bytearray], None]:
    """Return what writes an sform, and says that there is no qform to be read in its place."""

    def write(content: bytearray) -> None:
        field(codes, code, 0, 1)(content)
        field(offset, form, *values)(content)

    return write


NAN, INF = float("nan"), float("inf")
HEADERS: dict[str, Callable[[bytearray], None]] = {
    "no dimension": dims(0),
    "two dimensions": dims(2, 1000, 1000),
    "eight dimensions": dims(8, 9, 9, 9, 9, 9, 9, 9),
    "minus three dimensions": dims(-3, 9, 9, 9),
    "32767 dimensions": dims(32767),
    "a length of 0": dims(3, 0, 15, 11),
    "a negative length": dims(3, -13, 15, 11),
    "the most negative length": dims(3, -32768, -32768, -32768),
    "three times 32767": dims(3, 32767, 32767, 32767),
    "seven times 32767": dims(7, *[32767] * 7),
    "a product that is 0 in 64 bits": dims(7, *[16384] * 7),
    "a product that is 0 in 32 bits": dims(4, 256, 256, 256, 256),
    "one voxel": dims(3, 1, 1, 1),
    "lengths in another order": dims(3, 15, 13, 11),
    "no datatype": field(70, "h", 0),
    "a bit a voxel": field(70, "h", 1),
    "complex64": field(70, "h", 32),
    "complex128": field(70, "h", 1792),
    "complex256": field(70, "h", 2048),
    "float128": field(70, "h", 1536),
    "RGB": field(70, "h", 128),
    "RGBA": field(70, "h", 2304),
    "an unknown datatype": field(70, "h", 9999),
    "a negative datatype": field(70, "h", -16),
    "twice as wide values": field(70, "h", 64),
    "half as wide values": field(70, "h", 4),
    "data before the file": field(108, "f", -352.0),
    "data at the file's start": field(108, "f", 0.0),
    "data inside the header": field(108, "f", 100.0),
    "data inside the extension flag": field(108, "f", 350.0),
    "data at half a byte": field(108, "f", 352.5),
    "data a bit later": field(108, "f", 368.0),
    "data a gigabyte later": field(108, "f", 1e9),
    "data beyond all": field(108, "f", 3e38),
    "data nowhere": field(108, "f", NAN),
    "data infinitely far": field(108, "f", INF),
    "data infinitely early": field(108, "f", -INF),
    "an infinite intercept": field(112, "2f", 2.0, INF),
    "an intercept of NaN": field(112, "2f", 2.0, NAN),
    "an affine of NaN": sform_alone("12f", *[NAN] * 12),
    "an infinite affine": sform_alone("12f", *[INF] * 12),
    "another affine": field(280, "12f", 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0),
    "an affine of zeros": sform_alone("12f", *[0] * 12),
    "an affine beyond all": sform_alone("12f", *[3e38] * 12),
    "no affine": field(252, "2h", 0, 0),
    "quaternions beyond all": field(252, "2h3f", 1, 0, 3e38, 3e38, 3e38),
    "quaternions of NaN": field(252, "2h3f", 1, 0, NAN, NAN, NAN),
    "the magic of a pair": field(344, "4s", b"ni1\0"),
    "the magic of NIfTI-2": field(344, "4s", b"n+2\0"),
    "a magic that goes on": field(344, "4s", b"n+1x"),
    "no magic": field(344, "4s", b""),
    "a header of 0 bytes": field(0, "i", 0),
    "a header of NIfTI-2's size": field(0, "i", 540),
    "a header of a negative size": field(0, "i", -348),
    "an Analyze header": lambda content: content.__setitem__(slice(344, 348), bytes(4)),
    "the other byte order's size": field(0, "i", int.from_bytes((348).to_bytes(4, "little"), "big")),
}  # fmt: skip

CONTRADICTED = {
    # A mask tells the grid that the others are compared with: these are found there.
    ("mask", "another affine"),
    ("mask", "lengths in another order"),
}


CASES = [
    # All of them where a grid is told and where one is compared; among the others they are shared out.
    (place, fault)
    for number, place in enumerate(PLACES)
    for fault_number, fault in enumerate(HEADERS)
    if number < 2 or fault_number % 3 == number % 3
]


@pytest.mark.parametrize(("place", "fault"), sampled(CASES, keep=56))
def test_a_header_that_lies(bucket: Path, place: str, fault: str) -> None:
    """Wherever the file stands, nothing is read by such a header, and it is named."""
    find, read = PLACES[place]
    path = find(bucket)
    content = unpacked(path)
    HEADERS[fault](content)
    pack(path, content)
    if (place, fault) in CONTRADICTED:
        with refused(map_of(bucket), "unlike the subject's mask"):
            read(bucket)
        return
    with refused(path):
        read(bucket)


@pytest.mark.parametrize("fault", ["slope NaN", "slope infinite", "slope 0", "both 0", "negative slope"])
def test_slopes_are_taken_as_nibabel_does(bucket: Path, fault: str) -> None:
    """A slope that is no number, or 0, means that the values are as they are stored."""
    slope = {"slope NaN": NAN, "slope infinite": INF, "slope 0": 0.0, "both 0": 0.0, "negative slope": -2.0}[fault]
    path = map_of(bucket)
    content = unpacked(path)
    field(112, "2f", slope, 0.0 if fault == "both 0" else 3.0)(content)
    pack(path, content)
    found = read_map(bucket)
    np.testing.assert_array_equal(found.nc_12rep, volume(path).ravel()[found.voxel.values])


def of_other_form(path: Path, form: str) -> None:
    """Write a volume in another form of NIfTI, by nibabel."""
    image = nibabel.load(path)
    values = np.asarray(image.dataobj)
    if form.startswith("NIfTI-2"):
        header = nibabel.Nifti2Header(endianness=">" if "big" in form else "<")
        header["magic"] = b"n+2\0\r\n\x1a\n"
        offset = 544
    else:
        header = nibabel.Nifti1Header(endianness=">" if "big" in form else "<")
        header["magic"] = b"n+1"
        offset = 352
    header.set_data_shape(values.shape)
    header.set_data_dtype(values.dtype.newbyteorder(">" if "big" in form else "<"))
    header.set_sform(image.affine, code=1)
    extension = struct.pack("<2i", 160, 6) + b"a comment".ljust(152, b"\0") if "extension" in form else b""
    header["vox_offset"] = offset + len(extension)
    flag = b"\1\0\0\0" if extension or "flag" in form else bytes(4)
    data = values.astype(header.get_data_dtype()).tobytes(order="F")
    replace(path, gzip.compress(header.binaryblock + flag + extension + data, 1))


FORMS = [
    "big-endian",
    "NIfTI-2",
    "NIfTI-2 big-endian",
    "with an extension",
    "NIfTI-2 with an extension",
    "a flag alone",
]


@pytest.mark.parametrize("form", FORMS)
def test_unusual_and_valid(bucket: Path, form: str) -> None:
    """All files of a subject in another form: the same values."""
    expected = read_betas(bucket)
    paths = [mask_of(bucket), map_of(bucket), roi_of(bucket), betas_of(bucket)]
    for path in paths:
        of_other_form(path, form)
        assert nibabel.load(path).shape
    found = read_betas(bucket)
    for name in ("betas", "nc_12rep", "in_roi", "voxel"):
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize(("slope", "inter"), [(1.7e308, 0.0), (1.7e308, -1.7e308), (-1.7e308, 1.7e308), (1e-320, 1e39)])
def test_slopes_beyond_all_give_infinite_values(bucket: Path, slope: float, inter: float) -> None:
    """Without a warning, which would tell a user nothing; the values are nibabel's."""
    path = map_of(bucket)
    of_other_form(path, "NIfTI-2")
    content = unpacked(path)
    field(176, "2d", slope, inter)(content)
    pack(path, content)
    with np.errstate(all="ignore"):
        expected = volume(path).ravel()
    found = read_map(bucket)
    np.testing.assert_array_equal(found.nc_12rep, expected[found.voxel.values])
    assert not np.isfinite(found.nc_12rep).all()


NIFTI2 = {
    "lengths beyond 64 bits together": field(16, "8q", 3, 2**62, 2**62, 2**62, 1, 1, 1, 1),
    "seven times the largest": field(16, "8q", 7, *[2**63 - 1] * 7),
    "a negative length": field(16, "8q", 3, -(2**63), 40, 30, 1, 1, 1, 1),
    "as many dimensions as there are numbers": field(16, "8q", 2**63 - 1, *[1] * 7),
    "data beyond all": field(168, "q", 2**63 - 1),
    "data before the file": field(168, "q", -(2**63)),
    "data inside the header": field(168, "q", 540),
    "an infinite intercept": field(176, "2d", 1.0, INF),
    "the magic of NIfTI-1": field(4, "8s", b"n+1"),
    "an affine of NaN": sform_alone("12d", *[NAN] * 12, offset=400, codes=344, code="2i"),
    "an unknown datatype": field(12, "h", 12345),
}


@pytest.mark.parametrize("place", ["mask", "map", "betas"])
@pytest.mark.parametrize("fault", NIFTI2)
def test_a_header_of_the_second_kind_that_lies(bucket: Path, place: str, fault: str) -> None:
    """Its lengths and offsets have 64 bits."""
    find, read = PLACES[place]
    path = find(bucket)
    of_other_form(path, "NIfTI-2")
    content = unpacked(path)
    NIFTI2[fault](content)
    pack(path, content)
    with refused(path):
        read(bucket)


# --- gzip -------------------------------------------------------------------------------------------------------------


def layers(content: bytes) -> dict[str, tuple[int, int]]:
    """Part of a packed NIfTI → its first byte, and the byte after its last."""
    body, end = 10, len(content) - 8
    # Where the packed stream has delivered the NIfTI header: found by unpacking ever more of it.
    stream, got, header = zlib.decompressobj(-15), 0, body
    while got < 352:
        got += len(stream.decompress(content[header : header + 1]))
        header += 1
    return {
        "gzip header": (0, body),
        "NIfTI header": (body, header),
        "first volume": (header, header + (end - header) // 8),
        "last volume": (end - (end - header) // 8, end),
        "checksum": (end, end + 4),
        "length": (end + 4, end + 8),
    }


PARTS = ("gzip header", "NIfTI header", "first volume", "last volume", "checksum", "length")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("where", sampled(["middle", "start", "last byte"], keep=1))
def test_truncated_at_every_layer(bucket: Path, place: str, part: str, where: str) -> None:
    """From nothing at all to a single byte that is missing."""
    find, read = PLACES[place]
    path = find(bucket)
    content = path.read_bytes()
    start, stop = layers(content)[part]
    length = {"start": start, "middle": (start + stop) // 2, "last byte": stop - 1}[where]
    replace(path, content[:length])
    with refused(path):
        read(bucket)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", PARTS[1:])
def test_flipped_at_every_layer(bucket: Path, place: str, part: str) -> None:
    """A bit of each byte in turn, eight a part: the checksum sees what the header's check does not."""
    find, read = PLACES[place]
    path = find(bucket)
    content = path.read_bytes()
    start, stop = layers(content)[part]
    expected = read(bucket)
    for position in sorted({int(one) for one in np.linspace(start, stop - 1, 8)}):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        replace(path, damaged)
        found = read_or_refuse(lambda: read(bucket), path)
        if found is not None:  # a bit that means nothing, such as one of the padding at the end of a block
            assert gzip.decompress(bytes(damaged)) == gzip.decompress(content)
            for name, values in expected.items():
                np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("volumes", [(0,), (0, 1, 5), (20,)])
def test_flipped_where_few_trials_are_wanted(bucket: Path, volumes: tuple[int, ...]) -> None:
    """Before them, among them or behind them: the checksum is at the end of the stream, and is looked at."""
    content = betas_of(bucket).read_bytes()
    shape = nibabel.load(betas_of(bucket)).shape[:3]
    gather = Gather.of(np.arange(int(np.prod(shape))), shape)

    def read(packed: bytes) -> np.ndarray:
        return VolumeReader(io.BytesIO(packed), name="betas").take(gather, volumes)

    expected, refusals = read(content), 0
    for position in np.linspace(500, len(content) - 1, 40).astype(int):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(position) % 8
        found = read_or_refuse(lambda packed=bytes(damaged): read(packed), Path("betas"))
        refusals += found is None
        if found is not None:
            np.testing.assert_array_equal(found, expected)
    assert refusals > 35


@pytest.mark.parametrize("position", range(10))
def test_flipped_in_the_header_of_gzip(bucket: Path, position: int) -> None:
    """Each bit of its ten bytes: an error, or the same values where it is a time, a system or a level."""
    path = map_of(bucket)
    content, expected = path.read_bytes(), read_map(bucket)
    for bit in range(8):
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        replace(path, damaged)
        found = read_or_refuse(lambda: read_map(bucket), path)
        if found is not None:
            np.testing.assert_array_equal(found.nc_12rep, expected.nc_12rep)
            assert position in (3, 4, 5, 6, 7, 8, 9)


BEHIND = {
    "a second member": gzip.compress(b"more"),
    "an empty member and a byte": gzip.compress(b"") + gzip.compress(b"x"),
    "garbage": b"garbage",
    "half a header of gzip": b"\x1f\x8b\x08",
    "a header of gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
    "zeros and garbage": bytes(512) + b"x",
    "a member cut off": gzip.compress(b"more")[:-1],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", [*BEHIND, "itself"])
def test_something_behind_the_stream(bucket: Path, place: str, what: str) -> None:
    """A second member, or garbage."""
    find, read = PLACES[place]
    path = find(bucket)
    content = path.read_bytes()
    replace(path, content + BEHIND.get(what, content))
    with refused(path):
        read(bucket)


SAME = {
    "zeros behind, as tapes leave them": lambda content: content + bytes(512),
    "empty members behind": lambda content: content + gzip.compress(b"") * 100,
    "empty members before": lambda content: gzip.compress(b"") * 100 + content,
    "a name, a comment and extra fields": lambda content: b"".join(
        [content[:3], bytes([4 | 8 | 16]), content[4:10], b"\3\0abc", b"n" * 100_000, b"\0c\0", content[10:]]
    ),
    "two members": lambda content: b"".join(
        gzip.compress(part) for part in (gzip.decompress(content)[:300], gzip.decompress(content)[300:])
    ),
    "not compressed at all": lambda content: gzip.compress(gzip.decompress(content), 0),
}  # fmt: skip


@pytest.mark.parametrize("place", ["map", "betas"])
@pytest.mark.parametrize("form", SAME)
def test_the_same_stream_in_another_form(bucket: Path, place: str, form: str) -> None:
    """What gzip allows is read as Python's own gzip reads it."""
    find, read = PLACES[place]
    path, expected = find(bucket), read(bucket)
    content = path.read_bytes()
    replace(path, SAME[form](content))
    assert gzip.decompress(path.read_bytes()) == gzip.decompress(content)
    found = read(bucket)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


NO_GZIP = {
    "a web page": b"<html><body>Sign in</body></html>" * 40,
    "a NIfTI that is not packed": None,
    "a ZIP archive": b"PK\x03\x04" + bytes(1000),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(1000),
    "another method of compression": b"\x1f\x8b\x07" + bytes(1000),
    "nothing but zeros": bytes(1000),
    "text in gzip": gzip.compress(b"session\trun\tbeta_index\tlabel\n" * 100),
    "gzip in gzip": gzip.compress(gzip.compress(bytes(1000))),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", NO_GZIP)
def test_no_packed_nifti_at_all(bucket: Path, place: str, what: str) -> None:
    find, read = PLACES[place]
    path = find(bucket)
    content = NO_GZIP[what]
    replace(path, bytes(unpacked(path)) if content is None else content)
    with refused(path):
        read(bucket)


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


def header_of(shape: tuple[int, ...], *, offset: float = 352, datatype: int = 16, like: Path | None = None) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_sform(np.eye(4), code=1)  # without any orientation it would be refused for that
    content = unpacked(like)[:352] if like else bytearray(header.binaryblock + bytes(4))
    if not like:
        field(344, "4s", b"n+1")(content)
    dims(len(shape), *shape)(content)
    field(70, "h", datatype)(content)
    field(108, "f", offset)(content)
    return bytes(content)


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


def test_the_bounds_can_be_exceeded(tmp_path: Path) -> None:
    """The measurement sees memory, time and errors: a reading of a good file of the largest grid gives a result."""
    path = tmp_path / "good.nii.gz"
    content = header_of((256, 256, 128)) + np.ones(256**2 * 128, "<f4").tobytes()
    path.write_bytes(gzip.compress(content, 1))
    missing = tmp_path / "missing.nii.gz"
    found, absent = read_all([("volume", {"path": str(path)}), ("volume", {"path": str(missing)})], folder=tmp_path)
    assert (found.classes, found.text) == ((), str(256**2 * 128))
    assert 8 * 256**2 * 128 < found.peak < BOUND_BYTES  # its indices have 8 bytes each
    assert absent.classes[0] == "FileNotFoundError"


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


def read_table(bucket: Path) -> Any:
    return open_trials("sub-01", bucket=bucket)


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
def test_texts_in_no_encoding_of_theirs(bucket: Path, kind: str, fault: str) -> None:
    """Never a result of a part of it, nor of what somebody guesses it to mean."""
    find, read = TEXTS[kind]
    path = find(bucket)
    replace(path, ENCODINGS[fault](path.read_bytes()))
    if (kind, fault) in TOLD:
        assert read(bucket) is not None
        return
    with refused(path):
        read(bucket)


SAME_TEXT: dict[str, Callable[[bytes], bytes]] = {
    "a BOM": lambda content: b"\xef\xbb\xbf" + content,
    "lines of Windows": lambda content: content.replace(b"\n", b"\r\n"),
    "empty lines at the end": lambda content: content + b"\n\n",
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("form", SAME_TEXT)
def test_texts_as_editors_leave_them(bucket: Path, kind: str, form: str) -> None:
    """The same values; only a split's sum is another."""
    find, read = TEXTS[kind]
    path, expected = find(bucket), read(bucket)
    replace(path, SAME_TEXT[form](path.read_bytes()))
    found = read(bucket)
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
def test_texts_that_lie(bucket: Path, fault: str) -> None:
    """Wrong counts, numbers that are none, entities, nesting: refused by name, before anything is made of them."""
    kind, content = FAULTS[fault]
    find, read = TEXTS[kind]
    path = find(bucket)
    if fault in CHANGED:
        fields = json.loads(path.read_text())
        CHANGED[fault](fields)
        content = json.dumps(fields).encode()
    replace(path, content)
    with refused(path):
        read(bucket)


def test_a_field_that_comes_twice(bucket: Path) -> None:
    """JSON's last one would win, and another program's first one."""
    path = split_of(bucket)
    replace(path, path.read_bytes().replace(b"{", b'{"n_train": 1, ', 1))
    with refused(path, "'n_train' twice"):
        read_split(bucket)


def test_a_label_may_list_a_vertex_twice(bucket: Path) -> None:
    """As nibabel reads it: what the file says, in its order."""
    path = label_of(bucket)
    replace(path, LABEL_HEAD + b"3\n7 0 0 0 1\n3 0 0 0 1\n7 0 0 0 1\n")
    found = read_label(bucket)
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
    with refused(path, "is no inventory"):
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


# --- keys -------------------------------------------------------------------------------------------------------------

FUNC = f"{GLM}/sub-01/ses-01/func/sub-01_ses-01_task-images_desc-SingletrialBetas_trials.tsv"
KEYS = [
    "../outside.tsv",
    f"{GLM}/sub-01/../../../../outside.tsv",
    f"{GLM}/sub-01/ses-01/func/../../../sub-03/x_trials.tsv",
    f"/{FUNC}",
    f"{GLM}//{FUNC.removeprefix(GLM)}",
    FUNC.replace("ses-01", "ses-.."),
    FUNC.replace("sub-01", "sub-.."),
    FUNC.replace("ses-01", "ses-99999"),
    FUNC.replace("ses-01", "ses-999999999999999999999"),
    FUNC.replace("ses-01", "ses-02\n"),
    FUNC.replace("ses-01", "ses-\u0660\u0662"),
    FUNC.replace("ses-01", "ses-\uff10\uff12"),
    FUNC.replace("ses-01", "ses-0\u200b2"),
    FUNC.replace("sub-01", "sub-\u043e1"),
    FUNC.replace("sub-01", "sub-01\u0301"),
    FUNC.replace("sub-01", "sub-01\x1b[2J"),
    FUNC.replace("func", "f\u00fcnc"),
    FUNC.replace("func", "fu\u0308nc"),
    FUNC.replace("/", "\\"),
    f"C:\\{FUNC}",
    f"{FUNC}\x00",
    f"{FUNC}.part",
    "derivatives/rois/sub-01/place/sub-01_space-T1w_res-1pt8_label-../x_mask.nii.gz",
    "derivatives/rois/sub-01/place/sub-01_space-T1w_res-1pt8_label-\u0420PA_mask.nii.gz",
    "derivatives/rois/sub-01/../sub-01_space-T1w_res-1pt8_label-X_mask.nii.gz",
    "derivatives/rois/sub-01/pl\u0430ce/sub-01_space-T1w_res-1pt8_label-PPA_mask.nii.gz",
    "derivatives/rois/sub-01/place\r/sub-01_space-T1w_res-1pt8_label-X_mask.nii.gz",
]


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_unusual_keys_are_no_keys(key: str) -> None:
    """Parent folders, absolute paths, control characters, look-alikes and other forms of Unicode."""
    assert layout.parse_key(key) is None


def test_unusual_keys_on_a_server(s3: Any, one_session: Path) -> None:
    """Listed among the others, none is read, and the Dataset is as without them."""
    bucket = "hostile-keys"
    s3.client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    real = [path.relative_to(one_session).as_posix() for path in sorted(one_session.rglob("*")) if path.is_file()]
    for key in real:
        s3.client.put_object(Bucket=bucket, Key=key, Body=(one_session / key).read_bytes())
    put = []
    for key in KEYS:
        if key.isprintable() or "\u200b" in key:  # the server of the tests takes no others
            s3.client.put_object(Bucket=bucket, Key=key, Body=b"hostile")
            put.append(key)
    start = s3.log.stat().st_size
    place = {"bucket": f"s3://{bucket}", "storage_options": s3.store_options}
    with pytest.warns(MissingFileWarning, match="^Left out: the folders 'ses-"):
        found = open_betas("sub-01", **place).compute(scheduler="synchronous")
    expected = read_betas(one_session)
    assert found.drop_attrs().identical(expected.drop_attrs())
    assert list(get_sessions("sub-01", **place)) == ["ses-01"]
    assert get_rois("sub-01", **place) == ["OPA", "PPA"]
    asked = re.findall(f"GET /{bucket}/([^ ?]+) ", s3.log.read_text()[start:])
    assert {unquote(one) for one in asked} <= set(real)
    assert len(asked) > 20
    assert len(put) > 20


@pytest.mark.parametrize(
    "key", [key for key in KEYS if ".." not in key and "\0" not in key and key[0] != "/"], ids=ascii
)
def test_unusual_names_on_a_disk(bucket: Path, key: str) -> None:
    """As a copy might hold them: opened as without them, in no time."""
    expected = read_table(bucket)
    path = bucket / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"hostile") if not path.exists() else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingFileWarning)  # it says what is skipped
        assert read_table(bucket).equals(expected)
    assert get_rois("sub-01", bucket=bucket, refresh=True) == ["OPA", "PPA"]


def test_folders_that_are_no_subjects(bucket: Path) -> None:
    """Their names are shown to users, and become file names of catalogs."""
    for name in ("sub-01\n", "sub-\x1b[2J", "sub-", "sub-..", "sub-\u0660\u0661", "sub-01 ", "SUB-01"):
        (bucket / GLM / name / "ses-01").mkdir(parents=True)
    assert get_subjects(bucket=bucket, refresh=True) == ["sub-01"]
    assert list(take_inventory(open_bucket(bucket)).subjects) == ["sub-01"]


def test_a_session_far_away(bucket: Path) -> None:
    """The last number that a session may have: those before are not there, and this costs no time."""
    for path in sorted((bucket / GLM / "sub-01/ses-01/func").iterdir()):
        content = path.read_bytes()
        if path.suffix == ".tsv":
            content = content.replace(b"ses-01", b"ses-9999")
        target = bucket / GLM / "sub-01/ses-9999/func" / path.name.replace("ses-01", "ses-9999")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    with pytest.warns(MissingFileWarning, match="repetition"):
        found = open_trials("sub-01", bucket=bucket)
    assert sorted(set(found["session"])) == ["ses-01", "ses-9999"]
    assert found.index[-1] > 99_990_000
