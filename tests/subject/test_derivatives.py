"""Paths of the localizers' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import S3

from intake_laion_fmri.derivatives import localizer_effect_path, localizer_statmap_path
from intake_laion_fmri.errors import NotInBucketError

ROOT = "derivatives/localizers/sub-01"
FLOC: dict[str, Any] = {"subject": "01", "task": "floc", "session": "4BarScreenfLoc"}
NAME = "sub-01_ses-4BarScreenfLoc_task-floc"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"hemi": "L"}, "_hemi-L_space-fsnative_contrast-faceVsObject_stat-z_statmap.func.gii"),
        ({"space": "T1w"}, "_space-T1w_res-1pt5_contrast-faceVsObject_stat-z_statmap.nii.gz"),
        ({"space": "T1w", "res": "1pt8"}, "_space-T1w_res-1pt8_contrast-faceVsObject_stat-z_statmap.nii.gz"),
    ],
)
def test_contrasts(own_tiny: Path, given: dict[str, Any], name: str) -> None:
    expected = own_tiny / f"{ROOT}/ses-4BarScreenfLoc/func/{NAME}{name}"
    expected.touch()
    assert localizer_statmap_path(**FLOC, contrast="faceVsObject", **given, bucket=own_tiny) == expected


def test_effects(own_tiny: Path) -> None:
    name = f"{NAME}_run-02_space-T1w_res-1pt8_contrast-face_stat-effect_statmap.nii.gz"
    expected = own_tiny / ROOT / "ses-4BarScreenfLoc/func" / name
    expected.touch()
    for run in (2, "02", "run-02"):
        assert (
            localizer_effect_path(**FLOC, condition="face", run=run, space="T1w", res="1pt8", bucket=own_tiny)
            == expected
        )
    with pytest.raises(ValueError, match="MotionLoc' pools two tasks"):
        localizer_effect_path("01", "MotionLoc", "moving", "MotionLocBarsSML", 1, hemi="L", bucket=own_tiny)


@pytest.mark.parametrize("wrong", [{"task": "flok"}, {"space": "MNI"}, {"res": "2"}, {"hemi": "left"}, {"hemi": None}])
def test_what_there_is_not(tiny: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Unknown {next(iter(wrong))}"):
        localizer_statmap_path(**{**FLOC, "contrast": "faceVsObject", "hemi": "L", "bucket": tiny, **wrong})
    with pytest.raises(NotInBucketError, match="contrast-faceVsHouse"):
        localizer_statmap_path(**FLOC, contrast="faceVsHouse", hemi="L", bucket=tiny)


def test_from_a_server_into_the_folder(s3: S3, tiny: Path, tmp_path: Path) -> None:
    given = {**FLOC, "contrast": "faceVsObject", "space": "T1w", "res": "1pt8", "data_dir": tmp_path}
    path = localizer_statmap_path(**given, bucket=s3.url, storage_options=s3.storage_options)
    assert path.is_relative_to(tmp_path)
    assert path.read_bytes() == (tiny / path.relative_to(tmp_path)).read_bytes()
    assert localizer_statmap_path(**given, mirror_only=True) == path
