"""The NumPy-style facade: the arrays of the Datasets, no second reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from intake_laion_fmri import open_betas, open_noise_ceilings, open_trials
from intake_laion_fmri.errors import AccessDeniedError, NotInBucketError
from intake_laion_fmri.subject import Subject, load_subject


@pytest.fixture
def sub(tiny: Path) -> Subject:
    return load_subject("01", bucket=tiny)


def test_what_there_is(sub: Subject) -> None:
    assert sub.get_sessions() == ["ses-01", "ses-02", "ses-03"]
    assert len(sub.get_available_rois()) == 40
    assert sub.get_available_rois("face") == ["FFA1", "FFA2", "OFA", "pSTSfaces"]
    assert len(sub.get_available_categories()) == 8
    assert "sub-01" in repr(sub)


def test_trials(sub: Subject, tiny: Path) -> None:
    table = sub.get_trial_info("ses-02")
    assert table.columns.tolist() == ["session", "run", "beta_index", "label"]
    assert table["label"].tolist() == open_trials("sub-01", session=2, bucket=tiny)["label"].tolist()
    assert len(sub.get_trial_info()) > len(table)


def test_betas_of_one_set_of_voxels_are_an_array(sub: Subject, tiny: Path) -> None:
    """A name, an expression, or the whole mask."""
    for roi in ("FFA1", "FFA-1", "face & V1v", "laionventral - V1v", None):
        found = sub.get_betas(session=1, roi=roi)
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, open_betas("sub-01", session=1, roi=roi, bucket=tiny).betas.values)


@pytest.mark.parametrize(
    ("roi", "names"),
    [
        ("face", ["FFA1", "FFA2", "OFA", "pSTSfaces"]),
        (["PPA", "FFA-1", "PPA"], ["PPA", "FFA1"]),
        (["place", "V1v | V1d"], ["MPA", "OPA", "PPA", "V1v | V1d"]),
        ("all", None),
    ],
)
def test_betas_of_several_are_a_dictionary(sub: Subject, tiny: Path, roi: str | list[str], names: list[str]) -> None:
    found = sub.get_betas(session=[1, 2], roi=roi)
    assert isinstance(found, dict)
    assert list(found) == (names or sub.get_available_rois())
    for name in list(found)[:6]:
        expected = open_betas("sub-01", session=[1, 2], roi=name, bucket=tiny).betas.values
        np.testing.assert_array_equal(found[name], expected)


def test_betas_with_every_selection(sub: Subject, tiny: Path) -> None:
    found = sub.get_betas("all", roi="PPA", mask="anatomical", nc_threshold=20, stimuli="shared")
    expected = open_betas(
        "sub-01", roi="PPA", mask="anatomical", min_noise_ceiling=20, stimuli="shared", bucket=tiny
    ).betas.values
    np.testing.assert_array_equal(found, expected)


def test_masks_and_coordinates(sub: Subject, tiny: Path) -> None:
    ds = open_betas("sub-01", bucket=tiny)
    assert sub.get_n_voxels() == ds.sizes["voxel"]
    assert sub.get_n_voxels("FFA1") == int(ds.in_roi.sel(roi="FFA1").sum())
    np.testing.assert_array_equal(sub.get_roi_mask("FFA1"), ds.in_roi.sel(roi="FFA1"))
    np.testing.assert_array_equal(sub.get_voxel_coordinates(), np.stack([ds.x, ds.y, ds.z], axis=1))
    volume = sub.get_brain_mask("anatomical")
    assert volume.shape == tuple(ds.attrs["grid_shape"])
    np.testing.assert_array_equal(np.flatnonzero(volume), open_betas("sub-01", mask="anatomical", bucket=tiny).voxel)


def test_noise_ceilings(sub: Subject, tiny: Path) -> None:
    maps = open_noise_ceilings("sub-01", bucket=tiny)
    for desc in ("12rep", "4rep", "all"):
        np.testing.assert_array_equal(sub.get_noise_ceiling(desc), maps[f"nc_{desc}"])
    (path,) = tiny.rglob("sub-01_ses-02_*desc-Noiseceiling_statmap.nii.gz")
    volume = np.asarray(nibabel.load(path).dataobj, dtype=np.float32).reshape(-1)
    np.testing.assert_array_equal(sub.get_noise_ceiling(session="ses-02"), volume[maps.voxel])
    with pytest.raises(ValueError, match="Did you mean '12rep'"):
        sub.get_noise_ceiling("12")


@pytest.mark.parametrize(
    ("session", "names"),
    [
        ("all", ["ses-01", "ses-02", "ses-03"]),
        (["ses-02", "ses-01"], ["ses-02", "ses-01"]),
        ((3,), ["ses-03"]),
        (np.array([2, 1]), ["ses-02", "ses-01"]),
    ],
)
def test_noise_ceilings_of_several_sessions(sub: Subject, session: Any, names: list[str]) -> None:
    """A map of each, in the order that was asked for."""
    found = sub.get_noise_ceiling(session=session, roi="face")
    assert isinstance(found, dict)
    assert list(found) == names
    for name, values in found.items():
        np.testing.assert_array_equal(values, sub.get_noise_ceiling(session=name, roi="face"))
    assert len({values.tobytes() for values in found.values()}) == len(names)


def test_back_to_a_volume(sub: Subject) -> None:
    values = np.arange(sub.get_n_voxels("PPA"), dtype=float)
    image = sub.to_nifti(values, "PPA", fill=-1)
    found = np.asarray(image.dataobj)
    inside = np.zeros(found.shape, dtype=bool)
    inside[sub.get_brain_mask()] = sub.get_roi_mask("PPA")
    np.testing.assert_array_equal(found[inside], values)
    assert (found[~inside] == -1).all()
    assert sub.to_nifti(np.zeros((3, len(values))), "PPA").shape == (*found.shape, 3)
    with pytest.raises(ValueError, match=r"found shape \(2,\)"):
        sub.to_nifti(np.zeros(2), "PPA")


def test_stimuli(own_tiny: Path) -> None:
    """Absent in early releases, and said so; read where they are."""
    sub = load_subject("sub-01", bucket=own_tiny)
    assert not sub.has_stimuli()
    with pytest.raises(NotInBucketError, match=r"stimuli/task-images_metadata\.csv is not in the bucket"):
        sub.get_stimulus_metadata()
    (own_tiny / "stimuli").mkdir()
    header = "image_name,dataset,participant,unique_or_shared,n_reps\n"
    (own_tiny / "stimuli/task-images_metadata.csv").write_text(header + "a b+c.jpg,NA,p01,unique,4\n")
    assert sub.has_stimuli()
    assert sub.get_stimulus_metadata().iloc[0].tolist() == ["a b+c.jpg", "NA", "p01", "unique", 4]


def test_wrong_names(sub: Subject, tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown subject of .*'sub-02'"):
        load_subject("sub-02", bucket=tiny)
    with pytest.raises(ValueError, match=r"Did you mean .*'FFA1'"):
        sub.get_betas(session=1, roi="FFA3")
    with pytest.raises(AccessDeniedError):
        sub.get_betas(session=31, roi="FFA1")
    with pytest.raises(NotInBucketError):
        load_subject("sub-01", bucket=tiny / "nowhere")
