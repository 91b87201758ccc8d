"""Where voxels lie is told by the header, in millimetres; where it tells nothing usable, nothing is made up."""

from __future__ import annotations

import gzip
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from demo_files import betas_file, map_file, roi_file

from intake_laion_fmri import open_betas
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning, UnexpectedContentWarning

Edit = Callable[[bytearray], object]


def put(offset: int, form: str, *values: float) -> Edit:
    return lambda content: struct.pack_into(f"<{form}", content, offset, *values)


def both(*edits: Edit) -> Edit:
    return lambda content: [edit(content) for edit in edits]


def in_unit(code: int, per_millimetre: float) -> Edit:
    """Return what writes all lengths of a header in another unit."""

    def edit(content: bytearray) -> None:
        struct.pack_into("<B", content, 123, code | 8)
        for offset, n in ((80, 3), (268, 3), (280, 12)):
            numbers = struct.unpack_from(f"<{n}f", content, offset)
            struct.pack_into(f"<{n}f", content, offset, *(number * per_millimetre for number in numbers))

    return edit


def rewrite(path: Path, edit: Edit) -> None:
    content = bytearray(gzip.decompress(path.read_bytes()))
    edit(content)
    path.write_bytes(gzip.compress(bytes(content), 1))


def with_qform(path: Path) -> None:
    """Let a file tell the same by its qform, of code 1, as by its sform."""
    image = nibabel.load(path)
    image.set_qform(image.affine, 1)
    nibabel.save(image, path)


CODES, SFORM, UNITS = 252, 280, 123
SAME: dict[str, Edit] = {
    "metres": in_unit(1, 1e-3),
    "micrometres": in_unit(3, 1e3),
    "no unit": put(UNITS, "B", 0),
    "a unit of time alone": put(UNITS, "B", 8),
    "millimetres called metres": put(UNITS, "B", 1),
    "millimetres called micrometres": put(UNITS, "B", 3),
    "the qform alone": both(put(CODES, "2h", 1, 0), put(SFORM, "12f", *[9.0] * 12)),
    "an sform of zeros": put(SFORM, "12f", *[0.0] * 12),
    "an sform of NaN": put(SFORM, "12f", *[float("nan")] * 12),
    "a flat sform": put(SFORM, "12f", *[1.0, 1.0, 0.0, 0.0] * 3),
}
NONE: dict[str, Edit] = {
    "no codes": put(CODES, "2h", 0, 0),
    "an sform of zeros alone": both(put(CODES, "2h", 0, 1), put(SFORM, "12f", *[0.0] * 12)),
    "a flat sform alone": both(put(CODES, "2h", 0, 1), put(SFORM, "12f", *[1.0, 1.0, 0.0, 0.0] * 3)),
    "a quaternion that is none": both(put(CODES, "2h", 1, 0), put(256, "3f", 3.0, 3.0, 3.0)),
    "no lengths": both(put(CODES, "2h", 1, 0), put(80, "3f", 0.0, 0.0, 0.0)),
}


def volumes(bucket: Path) -> list[Path]:
    return [path for path in bucket.rglob("*.nii.gz") if "sub-01" in path.name and "ses-31" not in path.name]


@pytest.mark.parametrize("case", SAME)
def test_the_same_places_however_they_are_told(own_tiny: Path, tiny: Path, case: str) -> None:
    expected = open_betas("sub-01", session=1, roi="face", bucket=tiny)
    for path in (
        map_file(own_tiny, "sub-01", "stat-rsquare_desc-R2mean"),
        map_file(own_tiny, "sub-01", "desc-Noiseceiling12rep"),
        roi_file(own_tiny, "sub-01", "OFA"),
        betas_file(own_tiny, "sub-01", "ses-01"),
    ):
        with_qform(path)
        rewrite(path, SAME[case])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = open_betas("sub-01", session=1, roi="face", bucket=own_tiny)
    assert [(one.category, "gives lengths in" in str(one.message)) for one in caught] == (
        [(UnexpectedContentWarning, True)] if "metres" in case else []
    )
    for name in "xyz":
        np.testing.assert_allclose(found[name], expected[name], atol=1e-3)
        assert found[name].attrs["units"] == "mm"
    np.testing.assert_array_equal(found["betas"], expected["betas"])


@pytest.mark.parametrize("case", NONE)
def test_no_place_is_made_up(own_tiny: Path, case: str) -> None:
    path = map_file(own_tiny, "sub-01", "stat-rsquare_desc-R2mean")
    with_qform(path)
    rewrite(path, NONE[case])
    with pytest.raises(DataIntegrityError, match=f"{path.name}: no usable orientation"):
        open_betas("sub-01", bucket=own_tiny)


def test_files_without_orientation_beside_a_mask_that_has_one(own_tiny: Path) -> None:
    """Of a map or an ROI: left out; of the betas: an error when they are computed."""
    for path in (map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep"), roi_file(own_tiny, "sub-01", "OFA")):
        rewrite(path, NONE["no codes"])
    with pytest.warns(
        MissingFileWarning, match=r"nc_4rep .*no usable orientation.*the ROI OFA .*no usable orientation"
    ):
        open_betas("sub-01", roi="FFA1", bucket=own_tiny)
    with pytest.raises(DataIntegrityError, match="no usable orientation"):
        open_betas("sub-01", roi="OFA", bucket=own_tiny)
    path = betas_file(own_tiny, "sub-01", "ses-01")
    rewrite(path, NONE["no codes"])
    with pytest.warns(MissingFileWarning):
        found = open_betas("sub-01", session=1, roi="FFA1", bucket=own_tiny)
    with pytest.raises(DataIntegrityError, match=f"{path.name}: no usable orientation"):
        found.load()
