"""Files that lie, are broken, or are made to do harm, through the functions that users call.

Each case is a real file in a real bucket. It is an error of the contract that names the file, or the values of an
oracle; within a time and a memory that are stated here, whatever the file says or unpacks to.
"""

from __future__ import annotations

import gzip
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nibabel
import numpy as np
import pytest
from demo_files import GLM, volume
from hostile import (
    BOUND_BYTES,
    betas_of,
    dims,
    field,
    header_of,
    map_of,
    mask_of,
    read_table,
    refused,
    replace,
    roi_of,
    session_map_of,
    unpacked,
)
from limits import read_all
from tiers import sampled

from intake_laion_fmri import layout, open_betas, open_rois, open_trials
from intake_laion_fmri.betas import open_maps
from intake_laion_fmri.catalog.inventory import take_inventory
from intake_laion_fmri.discovery import get_rois, get_sessions, get_subjects
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning
from intake_laion_fmri.formats.grid import Gather
from intake_laion_fmri.formats.nifti import VolumeReader
from intake_laion_fmri.remote.access import open_bucket

pytest_plugins = ["hostile_fixtures"]


def read_or_refuse(read: Callable[[], Any], path: Path) -> Any:
    """Return what is read, or None where it is refused by an error that names the file."""
    try:
        return read()
    except DataIntegrityError as error:
        if path.name not in str(error):
            raise
        return None


# --- NIfTI ------------------------------------------------------------------------------------------------------------


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


def pack(path: Path, content: bytes | bytearray) -> None:
    replace(path, gzip.compress(bytes(content), 1))


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
def test_a_header_that_lies(hostile_bucket: Path, place: str, fault: str) -> None:
    """Wherever the file stands, nothing is read by such a header, and it is named."""
    find, read = PLACES[place]
    path = find(hostile_bucket)
    content = unpacked(path)
    HEADERS[fault](content)
    pack(path, content)
    if (place, fault) in CONTRADICTED:
        with refused(map_of(hostile_bucket), "unlike the subject's mask"):
            read(hostile_bucket)
        return
    with refused(path):
        read(hostile_bucket)


@pytest.mark.parametrize("fault", ["slope NaN", "slope infinite", "slope 0", "both 0", "negative slope"])
def test_slopes_are_taken_as_nibabel_does(hostile_bucket: Path, fault: str) -> None:
    """A slope that is no number, or 0, means that the values are as they are stored."""
    slope = {"slope NaN": NAN, "slope infinite": INF, "slope 0": 0.0, "both 0": 0.0, "negative slope": -2.0}[fault]
    path = map_of(hostile_bucket)
    content = unpacked(path)
    field(112, "2f", slope, 0.0 if fault == "both 0" else 3.0)(content)
    pack(path, content)
    found = read_map(hostile_bucket)
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
def test_unusual_and_valid(hostile_bucket: Path, form: str) -> None:
    """All files of a subject in another form: the same values."""
    expected = read_betas(hostile_bucket)
    paths = [mask_of(hostile_bucket), map_of(hostile_bucket), roi_of(hostile_bucket), betas_of(hostile_bucket)]
    for path in paths:
        of_other_form(path, form)
        assert nibabel.load(path).shape
    found = read_betas(hostile_bucket)
    for name in ("betas", "nc_12rep", "in_roi", "voxel"):
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize(("slope", "inter"), [(1.7e308, 0.0), (1.7e308, -1.7e308), (-1.7e308, 1.7e308), (1e-320, 1e39)])
def test_slopes_beyond_all_give_infinite_values(hostile_bucket: Path, slope: float, inter: float) -> None:
    """Without a warning, which would tell a user nothing; the values are nibabel's."""
    path = map_of(hostile_bucket)
    of_other_form(path, "NIfTI-2")
    content = unpacked(path)
    field(176, "2d", slope, inter)(content)
    pack(path, content)
    with np.errstate(all="ignore"):
        expected = volume(path).ravel()
    found = read_map(hostile_bucket)
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
def test_a_header_of_the_second_kind_that_lies(hostile_bucket: Path, place: str, fault: str) -> None:
    """Its lengths and offsets have 64 bits."""
    find, read = PLACES[place]
    path = find(hostile_bucket)
    of_other_form(path, "NIfTI-2")
    content = unpacked(path)
    NIFTI2[fault](content)
    pack(path, content)
    with refused(path):
        read(hostile_bucket)


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
def test_truncated_at_every_layer(hostile_bucket: Path, place: str, part: str, where: str) -> None:
    """From nothing at all to a single byte that is missing."""
    find, read = PLACES[place]
    path = find(hostile_bucket)
    content = path.read_bytes()
    start, stop = layers(content)[part]
    length = {"start": start, "middle": (start + stop) // 2, "last byte": stop - 1}[where]
    replace(path, content[:length])
    with refused(path):
        read(hostile_bucket)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", sampled(PARTS[1:], keep=2))
def test_flipped_at_every_layer(hostile_bucket: Path, place: str, part: str) -> None:
    """A bit of each byte in turn, eight a part: the checksum sees what the header's check does not."""
    find, read = PLACES[place]
    path = find(hostile_bucket)
    content = path.read_bytes()
    start, stop = layers(content)[part]
    expected = read(hostile_bucket)
    for position in sorted({int(one) for one in np.linspace(start, stop - 1, 8)}):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        replace(path, damaged)
        found = read_or_refuse(lambda: read(hostile_bucket), path)
        if found is not None:  # a bit that means nothing, such as one of the padding at the end of a block
            assert gzip.decompress(bytes(damaged)) == gzip.decompress(content)
            for name, values in expected.items():
                np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("volumes", [(0,), (0, 1, 5), (20,)])
def test_flipped_where_few_trials_are_wanted(hostile_bucket: Path, volumes: tuple[int, ...]) -> None:
    """Before them, among them or behind them: the checksum is at the end of the stream, and is looked at."""
    content = betas_of(hostile_bucket).read_bytes()
    shape = nibabel.load(betas_of(hostile_bucket)).shape[:3]
    gather = Gather.from_voxels(np.arange(int(np.prod(shape))), shape)

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
def test_flipped_in_the_header_of_gzip(hostile_bucket: Path, position: int) -> None:
    """Each bit of its ten bytes: an error, or the same values where it is a time, a system or a level."""
    path = map_of(hostile_bucket)
    content, expected = path.read_bytes(), read_map(hostile_bucket)
    for bit in range(8):
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        replace(path, damaged)
        found = read_or_refuse(lambda: read_map(hostile_bucket), path)
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
def test_something_behind_the_stream(hostile_bucket: Path, place: str, what: str) -> None:
    """A second member, or garbage."""
    find, read = PLACES[place]
    path = find(hostile_bucket)
    content = path.read_bytes()
    replace(path, content + BEHIND.get(what, content))
    with refused(path):
        read(hostile_bucket)


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
def test_the_same_stream_in_another_form(hostile_bucket: Path, place: str, form: str) -> None:
    """What gzip allows is read as Python's own gzip reads it."""
    find, read = PLACES[place]
    path, expected = find(hostile_bucket), read(hostile_bucket)
    content = path.read_bytes()
    replace(path, SAME[form](content))
    assert gzip.decompress(path.read_bytes()) == gzip.decompress(content)
    found = read(hostile_bucket)
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
def test_no_packed_nifti_at_all(hostile_bucket: Path, place: str, what: str) -> None:
    find, read = PLACES[place]
    path = find(hostile_bucket)
    content = NO_GZIP[what]
    replace(path, bytes(unpacked(path)) if content is None else content)
    with refused(path):
        read(hostile_bucket)


# --- bombs ------------------------------------------------------------------------------------------------------------


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
    where = {"bucket": f"s3://{bucket}", "storage_options": s3.store_options}
    with pytest.warns(MissingFileWarning, match="^Left out: the folders 'ses-"):
        found = open_betas("sub-01", **where).compute(scheduler="synchronous")
    expected = read_betas(one_session)
    assert found.drop_attrs().identical(expected.drop_attrs())
    assert list(get_sessions("sub-01", **where)) == ["ses-01"]
    assert get_rois("sub-01", **where) == ["OPA", "PPA"]
    asked = re.findall(f"GET /{bucket}/([^ ?]+) ", s3.log.read_text()[start:])
    assert {unquote(one) for one in asked} <= set(real)
    assert len(asked) > 20
    assert len(put) > 20


@pytest.mark.parametrize(
    "key", [key for key in KEYS if ".." not in key and "\0" not in key and key[0] != "/"], ids=ascii
)
def test_unusual_names_on_a_disk(hostile_bucket: Path, key: str) -> None:
    """As a copy might hold them: opened as without them, in no time."""
    expected = read_table(hostile_bucket)
    path = hostile_bucket / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"hostile") if not path.exists() else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingFileWarning)  # it says what is skipped
        assert read_table(hostile_bucket).equals(expected)
    assert get_rois("sub-01", bucket=hostile_bucket, refresh=True) == ["OPA", "PPA"]


def test_folders_that_are_no_subjects(hostile_bucket: Path) -> None:
    """Their names are shown to users, and become file names of catalogs."""
    for name in ("sub-01\n", "sub-\x1b[2J", "sub-", "sub-..", "sub-\u0660\u0661", "sub-01 ", "SUB-01"):
        (hostile_bucket / GLM / name / "ses-01").mkdir(parents=True)
    assert get_subjects(bucket=hostile_bucket, refresh=True) == ["sub-01"]
    assert list(take_inventory(open_bucket(hostile_bucket)).subjects) == ["sub-01"]


def test_a_session_far_away(hostile_bucket: Path) -> None:
    """The last number that a session may have: those before are not there, and this costs no time."""
    for path in sorted((hostile_bucket / GLM / "sub-01/ses-01/func").iterdir()):
        content = path.read_bytes()
        if path.suffix == ".tsv":
            content = content.replace(b"ses-01", b"ses-9999")
        target = hostile_bucket / GLM / "sub-01/ses-9999/func" / path.name.replace("ses-01", "ses-9999")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    with pytest.warns(MissingFileWarning, match="repetition"):
        found = open_trials("sub-01", bucket=hostile_bucket)
    assert sorted(set(found["session"])) == ["ses-01", "ses-9999"]
    assert found.index[-1] > 99_990_000
