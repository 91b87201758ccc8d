"""Positions of voxels on one mask, saved long ago, are found again on another."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import plain_arrays as oracle
import pytest
from demo_files import map_file, volume

from intake_laion_fmri.analysis import convert_positions
from intake_laion_fmri.axes.voxels import Mask
from intake_laion_fmri.errors import NotInBucketError


def voxels(bucket: Path, mask: str) -> np.ndarray:
    if mask != "rsquare_or_nan":
        return oracle.mask(bucket, mask)
    return np.flatnonzero(volume(map_file(bucket, "sub-01", "stat-rsquare_desc-R2mean")) != 0)


@pytest.mark.parametrize("from_mask", get_args(Mask))
@pytest.mark.parametrize("to_mask", get_args(Mask))
def test_the_same_voxels_on_another_mask(tiny: Path, from_mask: Any, to_mask: Any) -> None:
    """In their order, those that are there."""
    here, there = voxels(tiny, from_mask), voxels(tiny, to_mask)
    given = np.random.default_rng(0).permutation(len(here))
    found = convert_positions(given, from_mask, to_mask, "01", missing="drop", bucket=tiny)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(there[found], [voxel for voxel in here[given] if voxel in set(there)])
    common = np.flatnonzero(np.isin(here, there))[:6].reshape(2, 3)
    same = convert_positions(common, from_mask, to_mask, "sub-01", bucket=tiny)
    np.testing.assert_array_equal(there[same], here[common])


def test_the_masks_are_three(tiny: Path) -> None:
    """NaN voxels are what two of them differ by; the third is wider."""
    sizes = {mask: len(voxels(tiny, mask)) for mask in get_args(Mask)}
    assert sizes["rsquare"] < sizes["rsquare_or_nan"] < sizes["anatomical"]


def test_positions_that_cannot_be_converted(tiny: Path, own_tiny: Path) -> None:
    here = voxels(tiny, "rsquare_or_nan")
    lost = np.flatnonzero(~np.isin(here, voxels(tiny, "rsquare")))
    text = rf"{len(lost)} of {len(here)} voxels are not on the mask 'rsquare', the first at position {lost[0]} of"
    with pytest.raises(ValueError, match=text):
        convert_positions(range(len(here)), "rsquare_or_nan", "rsquare", "sub-01", bucket=tiny)
    for wrong in (-1, len(here)):
        with pytest.raises(ValueError, match=rf"Position {wrong} is not on the mask 'rsquare_or_nan'"):
            convert_positions([0, wrong], "rsquare_or_nan", "rsquare", "sub-01", bucket=tiny)
    with pytest.raises(TypeError, match=r"found bool\. For flags, use numpy\.flatnonzero"):
        convert_positions([True, False], "rsquare_or_nan", "rsquare", "sub-01", bucket=tiny)
    with pytest.raises(ValueError, match="Unknown to_mask: 'r2'"):
        convert_positions([0], "rsquare", "r2", "sub-01", bucket=tiny)  # type: ignore[arg-type]
    (own_tiny / oracle.BRAIN_MASK.format("sub-01")).unlink()
    with pytest.raises(NotInBucketError, match="desc-brain_mask"):
        convert_positions([0], "rsquare", "anatomical", "sub-01", bucket=own_tiny)
