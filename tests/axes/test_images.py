"""The image axis: what may be given for `images`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from intake_laion_fmri.axes.images import choose_images, image_coordinate

SHARED = "shared_12rep_LAION_cluster_1003_i0.jpg"
OOD = "shared_4rep_OOD_unusual_Screenshot 2024-05-06 at 14.45.09.jpg"
OF_03 = "unique_THINGS+_108_ambulance_p04.jpg"  # sub-03 is p04
OF_01 = "unique_LAION_fillup_cluster_1002_i3_p01.jpg"
ODD = "https%3A_.png"
KNOWN = [OF_03, SHARED, ODD, OOD, OF_01]
TRIALS = xr.Dataset({"betas": ("trial", [1.0, 2, 3])}, coords={"trial": [1, 2, 3], "label": ("trial", [OOD, ODD, OOD])})
IMAGES = xr.Dataset({"betas": ("image", [1.0, 2])}, coords={"image": [OF_01, ODD]})
TABLE = pd.DataFrame({"row": range(5)}, index=pd.Index(KNOWN, name="image_name"))


@pytest.mark.parametrize(
    ("images", "rows"),
    [
        (None, [0, 1, 2, 3, 4]),
        ("shared", [1, 3]),
        ("unique", [0, 4]),
        ("ood", [3]),
        ("sub-03", [0, 1, 3]),
        ("sub-01", [1, 3, 4]),
        ("sub-06", [1, 3]),
        (ODD, [2]),
        ([OF_01, SHARED, OF_01], [4, 1, 4]),
        ((), []),
        (np.array([OF_01, ODD]), [4, 2]),
        (np.array([OF_01.encode()]), [4]),
        ({OOD: 1}.keys(), [3]),
        (pd.Index([ODD]), [2]),
        (pd.Series([ODD, OOD]), [2, 3]),
        (TABLE[::-2], [4, 2, 0]),
        (pd.DataFrame({"label": [OOD, OOD]}), [3, 3]),
        (pd.DataFrame({"image_name": [OOD]}), [3]),
        (TRIALS, [3, 2, 3]),
        (TRIALS.betas, [3, 2, 3]),
        (TRIALS.label, [3, 2, 3]),
        (TRIALS.isel(trial=1), [2]),
        (IMAGES, [4, 2]),
        (IMAGES.betas, [4, 2]),
        (IMAGES.image, [4, 2]),
        (xr.DataArray([OOD]), [3]),
    ],
)
def test_images_are_found(images: Any, rows: list[int]) -> None:
    """In the order that was asked for, repeats kept."""
    selection = choose_images(images, KNOWN, where="the bucket")
    assert selection.rows.tolist() == rows
    assert selection.labels.tolist() == [KNOWN[row] for row in rows]
    assert len(selection) == len(rows)


@pytest.mark.parametrize(
    ("images", "error", "text"),
    [
        ("shraed", ValueError, "'shraed'"),
        (SHARED.replace("i0", "i1"), ValueError, f"Did you mean {SHARED!r}"),
        ([OF_01, "a", "b"], ValueError, "'a', and 1 others"),
        ("sub-02", ValueError, "not known. Valid: sub-01"),
        (3, TypeError, "found a int"),
        ([3], TypeError, "found 3"),
        ([OF_01, None], TypeError, r"stimulus_table\(\)\.index"),
        ({OF_01: 1}, TypeError, "found a dict"),
        (pd.DataFrame({"a": [1]}), TypeError, "found a DataFrame"),
        (xr.Dataset({"a": ("b", [1])}), TypeError, "found a Dataset"),
        (xr.DataArray([1.0]), TypeError, "found a DataArray"),
    ],
)
def test_wrong_images_are_errors(images: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        choose_images(images, KNOWN, where="the bucket")


def test_the_index_joins_with_averaged_betas() -> None:
    """Labels are the index, and texts of any length stay objects."""
    rows = choose_images([ODD, SHARED], KNOWN, where="the bucket")
    found = xr.Dataset(coords=image_coordinate(rows.labels))
    assert found.image.dtype == object
    betas, images = xr.align(IMAGES, found, join="inner")
    assert betas.image.values.tolist() == images.image.values.tolist() == [ODD]
