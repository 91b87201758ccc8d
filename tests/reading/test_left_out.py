"""One file that nobody asked for never keeps a subject from opening: it is left out, with one warning that names it."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from demo_files import map_file, roi_file, surface_file, volume
from tiers import sampled

from intake_laion_fmri import build_store, open_betas, open_maps, open_rois
from intake_laion_fmri.betas import roi_data
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning, NotInBucketError, UnexpectedContentWarning
from intake_laion_fmri.subject import load_subject

PPA_IS_NAMED = r"^Left out: the ROI PPA \(.*"


def on_another_grid(path: Path) -> None:
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, 0]
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)


def without_orientation(path: Path) -> None:
    image = nibabel.load(path)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, path)


def an_atlas(path: Path) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(1 + np.asarray(image.dataobj).astype("f4"), image.affine), path)


def infinite(path: Path) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) / np.float32(0), image.affine), path)


def two_volumes(path: Path) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.stack([np.asarray(image.dataobj)] * 2, axis=-1), image.affine), path)


def another_shape(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), nibabel.load(path).affine), path)


FAULTS: dict[str, Callable[[Path], object]] = {
    "a page of a proxy": lambda path: path.write_bytes(b"<html><body>Sign in</body></html>\n"),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "another grid": on_another_grid,
    "another shape": another_shape,
    "no orientation": without_orientation,
    "an atlas": an_atlas,
    "infinite": infinite,
    "two volumes": two_volumes,
}


@pytest.fixture
def broken(own_tiny: Path, request: pytest.FixtureRequest) -> Path:
    """A bucket whose volume of PPA has a fault."""
    with np.errstate(all="ignore"):
        FAULTS[request.param](roi_file(own_tiny, "sub-01", "PPA"))
    return own_tiny


@pytest.mark.parametrize("broken", sampled(FAULTS, keep=2), indirect=True)
def test_a_broken_roi_is_left_out_unless_it_is_asked_for(broken: Path, tiny: Path) -> None:
    whole = open_betas("sub-01", bucket=tiny)
    for roi in (None, "FFA1", "face", "FFA1 | (body - EBA)", ["OFA", "V1v"]):
        with pytest.warns(MissingFileWarning, match=PPA_IS_NAMED) as caught:
            found = open_betas("sub-01", roi=roi, bucket=broken)
        assert len(caught) == 1
        assert "PPA" not in found["roi"].values
        expected = open_betas("sub-01", roi=roi, bucket=tiny)
        kept = whole["roi"].values != "PPA"
        np.testing.assert_array_equal(found["in_roi"], expected["in_roi"][kept])
        np.testing.assert_array_equal(found["voxel"], expected["voxel"])
    for roi in ("PPA", "place", "all", "FFA1 | PPA", "all - face", ["FFA1", "place"]):
        with pytest.raises(DataIntegrityError, match="PPA"):
            open_betas("sub-01", roi=roi, bucket=broken)


def test_an_roi_that_is_no_file_is_left_out(own_tiny: Path) -> None:
    """The place of a mask may hold a folder, or a link that leads nowhere."""
    path = roi_file(own_tiny, "sub-01", "PPA")
    path.unlink()
    path.mkdir()
    assert open_betas("sub-01", roi="FFA1", bucket=own_tiny).sizes["voxel"] == 4


@pytest.mark.parametrize("broken", ["cut off"], indirect=True)
def test_other_ways_to_ask(broken: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.warns(MissingFileWarning, match=PPA_IS_NAMED):
        assert "PPA" not in open_rois("sub-01", bucket=broken)["roi"].values
    with pytest.warns(MissingFileWarning, match=PPA_IS_NAMED):
        every = open_rois("sub-01", format="all", bucket=broken)
    assert "PPA" in every["roi"].values, "its surfaces are there"
    assert not every["has_volume"].sel(roi="PPA")
    assert not every["in_roi"].sel(roi="PPA").any()
    assert every["has_func_gii"].sel(roi="PPA").all()
    with pytest.warns(MissingFileWarning, match=PPA_IS_NAMED):
        open_maps("sub-01", bucket=broken)
    assert set(roi_data("sub-01", "face", bucket=broken)) == {"FFA1", "FFA2", "OFA", "pSTSfaces"}
    for roi in ("PPA", "place", "all"):
        with pytest.raises(DataIntegrityError, match="PPA"):
            roi_data("sub-01", roi, bucket=broken)
    with pytest.warns(MissingFileWarning, match=PPA_IS_NAMED):
        build_store(tmp_path / "store.zarr", bucket=broken, subjects="sub-01", sessions=1)
    stored = open_betas("sub-01", session=1, store=tmp_path / "store.zarr")
    assert "PPA" not in stored["roi"].values
    np.testing.assert_array_equal(stored["betas"], open_betas("sub-01", session=1, bucket=tiny)["betas"])


def test_where_every_roi_is_broken_the_first_is_named(own_tiny: Path) -> None:
    for path in (own_tiny / "derivatives/rois/sub-01").rglob("*.nii.gz"):
        path.write_bytes(b"")
    with pytest.warns(MissingFileWarning, match=r"the ROI EBA .*; 28 more\.$"):
        assert "in_roi" not in open_betas("sub-01", bucket=own_tiny).coords
    with pytest.raises(DataIntegrityError, match="EBA"):
        open_rois("sub-01", bucket=own_tiny)


# --- two files of one ROI ---------------------------------------------------------------------------------------------


def spell_both(bucket: Path, change: Callable[[Path], object] | None = None) -> tuple[Path, Path]:
    """Put a copy of FFA-1 beside it, named FFA1, as the data set's own package names it."""
    path = roi_file(bucket, "sub-01", "FFA1")
    twin = path.with_name(path.name.replace("FFA-1", "FFA1"))
    shutil.copy(path, twin)
    os.utime(twin, ns=(1, 1))
    if change:
        change(twin)
    return path, twin


def packed_otherwise(path: Path) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj).astype("f4"), image.affine), path)


@pytest.mark.parametrize("change", sampled([packed_otherwise, None], keep=1), ids=["same values", "same bytes"])
def test_both_spellings_of_one_roi_are_one(own_tiny: Path, tiny: Path, change: Callable[[Path], object] | None) -> None:
    spell_both(own_tiny, change)
    for suffix in (".func.gii", ".label"):
        path = surface_file(own_tiny, "sub-01", "L", "FFA1", suffix)
        shutil.copy(path, path.with_name(path.name.replace("FFA-1", "FFA1")))
    for roi in (None, "FFA1", "face", "all"):
        expected = open_betas("sub-01", roi=roi, bucket=tiny)
        found = open_betas("sub-01", roi=roi, bucket=own_tiny)
        np.testing.assert_array_equal(found["voxel"], expected["voxel"])
        np.testing.assert_array_equal(found["in_roi"], expected["in_roi"])
    expected = open_rois("sub-01", format="all", bucket=tiny)
    assert open_rois("sub-01", format="all", bucket=own_tiny).equals(expected)


def test_two_spellings_that_differ_are_left_out(own_tiny: Path) -> None:
    path, twin = spell_both(own_tiny, lambda twin: shutil.copy(roi_file(own_tiny, "sub-01", "OFA"), twin))
    named = f"Two ROIs are named 'FFA1': .*{path.name} and .*{twin.name}"
    with pytest.warns(MissingFileWarning, match=named):
        found = open_betas("sub-01", roi="body", bucket=own_tiny)
    assert "FFA1" not in found["roi"].values
    for roi in ("FFA1", "FFA-1", "face", "all"):
        with pytest.raises(DataIntegrityError, match=named):
            open_betas("sub-01", roi=roi, bucket=own_tiny)


def test_an_roi_in_two_categories_is_left_out(own_tiny: Path) -> None:
    path = roi_file(own_tiny, "sub-01", "FFA1")
    shutil.copy(path, path.parent.with_name("body") / path.name.replace("FFA-1", "FFA1"))
    named = r"The ROI 'FFA1' is in two categories: .*/body/.* and .*/face/"
    for roi in (None, "PPA", "place"):
        with pytest.warns(MissingFileWarning, match=named):
            assert "FFA1" not in open_betas("sub-01", roi=roi, bucket=own_tiny)["roi"].values
    for roi in ("FFA1", "face", "body", "all"):
        with pytest.raises(DataIntegrityError, match=named):
            open_betas("sub-01", roi=roi, bucket=own_tiny)


# --- splits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_broken_split_file_is_left_out_unless_it_is_asked_for(own_tiny: Path, tiny: Path, content: bytes) -> None:
    path = own_tiny / "derivatives/splits/shared/tau.json"
    path.write_bytes(content)
    with pytest.warns(MissingFileWarning, match=r"^Left out: split_role \(.*tau\.json") as caught:
        found = open_betas("sub-01", roi="face", bucket=own_tiny)
    assert len(caught) == 1
    assert "split_role" not in found.coords
    with pytest.warns(MissingFileWarning, match="split_role"):
        some = open_betas("sub-01", roi="face", split="random_0", role="test", bucket=own_tiny)
    expected = open_betas("sub-01", roi="face", split="random_0", role="test", bucket=tiny)
    np.testing.assert_array_equal(some["trial"], expected["trial"])
    with pytest.raises(DataIntegrityError, match="tau"):
        open_betas("sub-01", roi="face", split="tau", bucket=own_tiny)


# --- maps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["a page of a proxy", "cut off", "another grid", "no orientation", "two volumes"])
def test_a_broken_map_is_left_out_unless_it_is_needed(own_tiny: Path, fault: str) -> None:
    path = map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep")
    FAULTS[fault](path)
    with pytest.warns(MissingFileWarning, match=rf"^Left out: nc_4rep \(.*{path.name}") as caught:
        found = open_betas("sub-01", roi="face", min_noise_ceiling=1, bucket=own_tiny)
    assert len(caught) == 1
    assert "nc_4rep" not in found.coords
    with pytest.warns(MissingFileWarning, match=path.name):
        assert "nc_4rep" not in open_maps("sub-01", bucket=own_tiny)
    with pytest.raises(DataIntegrityError, match=path.name):
        open_betas("sub-01", min_noise_ceiling=1, noise_ceiling="4rep", bucket=own_tiny)
    with pytest.raises(DataIntegrityError, match=path.name):
        open_maps("sub-01", maps=["nc_4rep", "nc_12rep"], bucket=own_tiny)


def test_a_broken_mask_is_an_error(own_tiny: Path) -> None:
    path = map_file(own_tiny, "sub-01", "stat-rsquare_desc-R2mean")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataIntegrityError, match=path.name):
        open_betas("sub-01", bucket=own_tiny)
    with pytest.warns(MissingFileWarning, match=r"r2_mean \("):
        open_betas("sub-01", mask="anatomical", bucket=own_tiny)


# --- grids that lie close ---------------------------------------------------------------------------------------------


def move(path: Path, voxels: float) -> None:
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += voxels * affine[:3, 0]
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)


@pytest.mark.parametrize("what", ["roi", "map", "betas"])
def test_a_grid_a_little_aside_is_read_with_a_warning(own_tiny: Path, tiny: Path, what: str) -> None:
    betas = next((own_tiny / "derivatives/glmsingle-tedana/sub-01/ses-01/func").glob("*_stat-effect_*.nii.gz"))
    path = {
        "roi": roi_file(own_tiny, "sub-01", "PPA"),
        "map": map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep"),
    }.get(what, betas)
    original = path.read_bytes()
    expected = open_betas("sub-01", session=1, roi="place", bucket=tiny).load()
    for voxels, is_said in ((0.04, False), (0.2, True)):
        path.write_bytes(original)
        move(path, voxels)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = open_betas("sub-01", session=1, roi="place", bucket=own_tiny).load()
        assert [(one.category, "0.2 voxels off" in str(one.message)) for one in caught] == (
            [(UnexpectedContentWarning, True)] if is_said else []
        )
        for name in ("betas", "in_roi", "nc_4rep", "x"):
            np.testing.assert_array_equal(found[name], expected[name])


# --- one rule for masks -----------------------------------------------------------------------------------------------

VALUES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str | None]] = {
    "NaN outside": (lambda inside: np.where(inside, 1.0, np.nan), None),
    "noise of interpolation": (lambda inside: np.where(inside, 1.0, 1e-12), None),
    "labels 7": (lambda inside: inside * 7.0, None),
    "background -1": (lambda inside: np.where(inside, 1.0, -1.0), None),
    "probabilities": (lambda inside: np.where(inside, 0.9, 0.2), "lie between 0 and 1"),
    "1 and 2": (
        lambda inside: inside * (1.0 + np.arange(inside.size).reshape(inside.shape) % 2),
        "several numbers, 1, 2",
    ),
}
NO_MASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inf inside": lambda inside: np.where(inside, np.inf, 0.0),
    "-inf outside": lambda inside: np.where(inside, 1.0, -np.inf),
    "an atlas": lambda inside: np.where(inside, 2.0, 1.0),
}


def write_both(bucket: Path, values: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write the values of OFA's mask anew, in the volume and on the left hemisphere."""
    path = roi_file(bucket, "sub-01", "OFA")
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(values(volume(path) > 0).astype("f4"), image.affine), path)
    path = surface_file(bucket, "sub-01", "L", "OFA", ".func.gii")
    numbers = values(nibabel.load(path).agg_data() > 0).astype("f4")
    array = nibabel.gifti.GiftiDataArray(numbers, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32")
    nibabel.save(nibabel.gifti.GiftiImage(darrays=[array]), path)


@pytest.mark.parametrize("case", VALUES)
def test_the_same_values_are_inside_in_volumes_and_on_surfaces(own_tiny: Path, tiny: Path, case: str) -> None:
    values, note = VALUES[case]
    write_both(own_tiny, values)
    expected = open_rois("sub-01", format="all", bucket=tiny)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = open_rois("sub-01", format="all", bucket=own_tiny)
    for name in ("in_roi", "in_roi_L"):
        np.testing.assert_array_equal(found[name], expected[name])
        assert found[name].attrs["comment"] == "inside are values above 0.5; NaN is outside"
    assert [one.category for one in caught] == ([UnexpectedContentWarning] if note else [])
    for one in caught:
        assert note in str(one.message)


@pytest.mark.parametrize("case", NO_MASKS)
def test_no_masks_are_refused_in_volumes_and_on_surfaces(own_tiny: Path, case: str) -> None:
    write_both(own_tiny, NO_MASKS[case])
    for format in ("volume", "func.gii"):
        with pytest.raises(DataIntegrityError, match=r"label-OFA_mask\..*: expected a mask"):
            open_rois("sub-01", roi="OFA", format=format, bucket=own_tiny)
        with pytest.warns(MissingFileWarning, match="the ROI OFA"):
            open_rois("sub-01", roi="PPA", format=format, bucket=own_tiny)


# --- V1 ---------------------------------------------------------------------------------------------------------------


def test_v1_is_the_union_of_its_parts(tiny: Path, own_tiny: Path) -> None:
    for area in ("V1", "V2", "V3"):
        expected = open_betas("sub-01", roi=f"{area}v | {area}d", bucket=tiny)
        found = open_betas("sub-01", roi=area, bucket=tiny)
        assert found["betas"].sizes["voxel"] > 0
        np.testing.assert_array_equal(found["voxel"], expected["voxel"])
    np.testing.assert_array_equal(
        open_betas("sub-01", roi="retinotopy - V1", bucket=tiny)["voxel"],
        open_betas("sub-01", roi="retinotopy - (V1v | V1d)", bucket=tiny)["voxel"],
    )
    assert load_subject("01", bucket=tiny).get_roi_mask("V1").any()
    assert list(roi_data("sub-01", "V1", format="volume", bucket=tiny)) == ["V1d", "V1v"]
    roi_file(own_tiny, "sub-01", "V1d").unlink()
    with pytest.raises(NotInBucketError, match="'V1' of sub-01 has no volume"):
        open_betas("sub-01", roi="V1", bucket=own_tiny)


def test_an_roi_of_its_own_comes_before_the_union(tiny: Path, own_tiny: Path) -> None:
    path = roi_file(own_tiny, "sub-01", "V1d")
    shutil.copy(path, path.with_name(path.name.replace("V1d", "V1")))
    found = open_betas("sub-01", roi="V1", bucket=own_tiny)
    np.testing.assert_array_equal(found["voxel"], open_betas("sub-01", roi="V1d", bucket=tiny)["voxel"])
