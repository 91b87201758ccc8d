"""Localizers on voxels, in volumes and on surfaces, against nibabel on the demo bucket."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import dask.array
import nibabel
import numpy as np
import pytest
import xarray as xr
from counting import CountingFileSystem as Counting
from demo_files import brain, roi_file, volume

from intake_laion_fmri import open_betas, open_localizers, open_maps, to_nifti
from intake_laion_fmri.errors import AccessDeniedError, DataIntegrityError, MissingFileWarning, NotInBucketError

SESSIONS = {"floc": "4BarScreenfLoc", "oloc": "31"}


def map_of(bucket: Path, subject: str, task: str, contrast: str, form: str, *, run: int | None = None) -> Path:
    session = SESSIONS.get(task, "MotionLocBarsSML")
    stat, of_run = ("z", "") if run is None else ("effect", f"run-{run:02d}_")
    ending = "func.gii" if "hemi" in form else "nii.gz"
    name = f"{subject}_ses-{session}_task-{task}_{of_run}{form}_contrast-{contrast}_stat-{stat}_statmap.{ending}"
    return bucket / "derivatives/localizers" / subject / f"ses-{session}" / "func" / name


def on_voxels(bucket: Path, subject: str, task: str, contrast: str, run: int | None = None) -> np.ndarray:
    found = volume(map_of(bucket, subject, task, contrast, "space-T1w_res-1pt8", run=run))
    return found.reshape(-1)[brain(bucket, subject)]


def test_contrasts_on_the_voxels_of_the_betas(tiny: Path) -> None:
    """Every contrast and voxel, with the coordinates of the maps; the parts of a pooled task are not among them."""
    ds = open_localizers("sub-03", bucket=tiny)
    assert isinstance(ds.z_value.data, dask.array.Array)
    assert (ds.z_value.dims, ds.z_value.dtype) == (("contrast", "voxel"), np.float32)
    assert sorted(set(ds.localizer_task.values)) == ["MotionLoc", "floc", "oloc"]
    assert len(set(ds.contrast.values)) == ds.sizes["contrast"] == 12
    for contrast, values in zip(ds.contrast, ds.z_value.compute(), strict=True):
        task, name = str(contrast.localizer_task.values), str(contrast.values)
        assert contrast.localizer_session == f"ses-{SESSIONS.get(task, 'MotionLocBarsSML')}"
        np.testing.assert_array_equal(values, on_voxels(tiny, "sub-03", task, name))
    maps = open_maps("sub-03", bucket=tiny)
    for name in (*"ijkxyz", "voxel", "in_roi", "roi", "roi_category", "subject", "grid"):
        xr.testing.assert_identical(ds[name].reset_coords(drop=True), maps[name].reset_coords(drop=True))
    image = to_nifti(ds.z_value.sel(contrast="faceVsObject"))
    assert image.shape == tuple(ds.attrs["grid_shape"])


def test_selections(tiny: Path) -> None:
    """A task, contrasts in the order asked, an ROI, a mask; NaN where nothing was fitted."""
    names = ["placeVsObject", "faceVsObject"]
    ds = open_localizers("sub-01", task="floc", contrast=names, roi="FFA1", bucket=tiny)
    assert ds.contrast.values.tolist() == names
    inside = np.intersect1d(np.flatnonzero(volume(roi_file(tiny, "sub-01", "FFA1"))), brain(tiny, "sub-01"))
    np.testing.assert_array_equal(ds.voxel, inside)
    assert (ds.z_value.sel(contrast="faceVsObject") > 0).all()
    one = open_localizers("sub-01", task="MotionLeft", mask="anatomical", bucket=tiny)
    assert one.contrast.values.tolist() == ["movingVsStatic"]
    assert one.attrs["mask"] == "anatomical"
    assert np.isnan(one.z_value).any()


def test_effects_have_runs(tiny: Path) -> None:
    """One run of sub-01 is missing; the others keep their numbers."""
    for subject, runs in (("sub-01", [1, 3]), ("sub-03", [1, 2, 3])):
        ds = open_localizers(subject, task="floc", stat="effect", bucket=tiny)
        assert ds.effect.dims == ("contrast", "run", "voxel")
        assert ds.run.values.tolist() == runs
        assert ds.effect.units == "percent"
        found = ds.effect.compute()
        for run in runs:
            expected = on_voxels(tiny, subject, "floc", "object", run)
            np.testing.assert_array_equal(found.sel(contrast="object", run=run), expected)


@pytest.mark.parametrize("roi", [None, "face - FFA1"])
@pytest.mark.parametrize("run", [None, 3])
def test_vertices(tiny: Path, roi: str | None, run: int | None) -> None:
    """Both hemispheres, all vertices or those of an ROI."""
    stat, name, contrast = ("z", "z_value", "faceVsObject") if run is None else ("effect", "effect", "face")
    ds = open_localizers("sub-01", task="floc", stat=stat, space="fsnative", roi=roi, bucket=tiny)  # type: ignore[arg-type]
    assert ds.attrs["surface_space"] == "fsnative"
    for hemi in "LR":
        found = ds[f"{name}_{hemi}"].sel(contrast=contrast)
        path = map_of(tiny, "sub-01", "floc", contrast, f"hemi-{hemi}_space-fsnative", run=run)
        expected = nibabel.load(path).agg_data()
        found = found if run is None else found.sel(run=run)
        np.testing.assert_array_equal(found, expected[ds[f"vertex_{hemi}"]])
        if roi is None:
            assert found.sizes == {f"vertex_{hemi}": len(expected)}
        else:
            inside = ds[f"in_roi_{hemi}"]
            assert not inside.sel(roi="FFA1").any()
            assert inside.isel(roi=ds.roi_category.values == "face").any("roi").all()
    one = open_localizers("sub-01", task="floc", space="fsnative", hemi="R", bucket=tiny)
    assert list(one.data_vars) == ["z_value_R"]


def test_volumes_as_they_were_fitted(tiny: Path) -> None:
    """On a grid of their own, whole."""
    ds = open_localizers("sub-01", task="floc", contrast="faceVsObject", res="1pt5", bucket=tiny)
    path = map_of(tiny, "sub-01", "floc", "faceVsObject", "space-T1w_res-1pt5")
    np.testing.assert_array_equal(ds.z_value[0], volume(path))
    np.testing.assert_allclose(np.reshape(ds.grid.attrs["affine"], (4, 4)), nibabel.load(path).affine, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"task": "oloc", "contrast": "faceVsObject"}, ValueError, "belongs to task 'floc'. Choose task='floc'"),
        ({"contrast": "faceVsObjects"}, ValueError, "Did you mean 'faceVsObject'"),
        ({"contrast": []}, ValueError, "is not a contrast"),
        ({"task": "fLoc"}, ValueError, "Did you mean 'floc'"),
        ({"task": 3}, ValueError, "not a task"),
        ({"stat": "effect"}, ValueError, "choose task= from floc, oloc"),
        ({"stat": "effect", "task": "MotionLoc"}, NotInBucketError, "no maps of task 'MotionLoc' with stat='effect'"),
        ({"res": "1pt5", "roi": "V1"}, ValueError, "a different one"),
        ({"res": "2"}, ValueError, "1pt8"),
        ({"space": "MNI"}, ValueError, "fsnative"),
        ({"subject": "sub-02"}, ValueError, "sub-01"),
    ],
)
def test_what_is_refused(tiny: Path, arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        open_localizers(**{"subject": "sub-01", "bucket": tiny, **arguments})


def test_held_out_tasks(own_tiny: Path) -> None:
    """The object localizer of a held-out session is public, no other task of such a session is."""
    path = map_of(own_tiny, "sub-01", "oloc", "objectVsScrambled", "space-T1w_res-1pt8")
    hidden = Path(str(path).replace("task-oloc", "task-new").replace("objectVsScrambled", "aVsB"))
    hidden.write_bytes(b"held out")
    open_localizers("sub-01", bucket=own_tiny).compute()
    with pytest.raises(AccessDeniedError, match="ses-31, which is held out"):
        open_localizers("sub-01", task="new", bucket=own_tiny)


def test_what_is_missing(own_tiny: Path) -> None:
    """A run that lacks a condition, and a contrast that lacks a hemisphere, are left out unless they are named."""
    map_of(own_tiny, "sub-03", "floc", "object", "space-T1w_res-1pt8", run=2).unlink()
    with pytest.warns(MissingFileWarning, match="run 2 .no map of object in run 2"):
        ds = open_localizers("sub-03", task="floc", stat="effect", bucket=own_tiny)
    assert ds.run.values.tolist() == [1, 3]
    ds = open_localizers("sub-03", task="floc", stat="effect", contrast="face", bucket=own_tiny)
    assert ds.run.values.tolist() == [1, 2, 3]
    map_of(own_tiny, "sub-03", "floc", "bodyVsObject", "hemi-R_space-fsnative").unlink()
    with pytest.warns(MissingFileWarning, match="contrast bodyVsObject"):
        ds = open_localizers("sub-03", task="floc", space="fsnative", bucket=own_tiny)
    assert "bodyVsObject" not in ds.contrast
    with pytest.raises(NotInBucketError, match="bodyVsObject on hemisphere R"):
        open_localizers("sub-03", task="floc", contrast="bodyVsObject", space="fsnative", bucket=own_tiny)
    shutil.rmtree(own_tiny / "derivatives/localizers/sub-03")
    with pytest.raises(NotInBucketError, match="holds no localizer map"):
        open_localizers("sub-03", bucket=own_tiny)


def test_broken_files(own_tiny: Path) -> None:
    """A map on another grid, of another hemisphere or surface, twice."""
    right = map_of(own_tiny, "sub-01", "oloc", "objectVsScrambled", "hemi-R_space-fsnative")
    left = map_of(own_tiny, "sub-01", "oloc", "objectVsBaseline", "hemi-L_space-fsnative")
    shutil.copy(right, left)
    ds = open_localizers("sub-01", task="oloc", space="fsnative", hemi="R", bucket=own_tiny)
    ds.compute()
    with pytest.raises(DataIntegrityError, match="expected hemisphere L"):
        open_localizers("sub-01", task="oloc", space="fsnative", hemi="L", bucket=own_tiny).compute()
    good = map_of(own_tiny, "sub-01", "oloc", "objectVsScrambled", "space-T1w_res-1pt8")
    again = own_tiny / "derivatives/localizers/sub-01/ses-32x/func" / good.name.replace("ses-31", "ses-32x")
    again.parent.mkdir(parents=True)
    shutil.copy(good, again)
    with pytest.raises(DataIntegrityError, match="files of the same contrast"):
        open_localizers("sub-01", task="oloc", bucket=own_tiny)
    shutil.rmtree(again.parents[1])
    shutil.copy(map_of(own_tiny, "sub-01", "floc", "faceVsObject", "space-T1w_res-1pt5"), good)
    with pytest.raises(DataIntegrityError, match="expected a grid"):
        open_localizers("sub-01", task="oloc", bucket=own_tiny).compute()


def test_nothing_is_read_before_it_is_computed(counted: str) -> None:
    """Opening reads the mask and the ROIs; a chosen contrast costs its own file."""
    ds = open_localizers("sub-01", bucket=counted)
    assert not [name for name in Counting.read if "contrast" in name]
    ds.z_value.sel(contrast="faceVsObject").compute()
    (found,) = [name for name in Counting.read if "contrast" in name]
    assert "contrast-faceVsObject" in found
    Counting.read.clear()
    open_localizers("sub-01", task="floc", space="fsnative", bucket=counted)
    assert len(Counting.read) == 2  # how many vertices a hemisphere has


@pytest.mark.parametrize("stored", [False, True])
def test_a_coordinate_of_the_betas(tiny: Path, tiny_store: Path, stored: bool) -> None:
    """The contrasts beside the betas, from the bucket also where these come from a store; all else stays the same."""
    arguments: dict[str, Any] = {"roi": "face", "bucket": tiny, **({"store": tiny_store} if stored else {})}
    plain, ds = (open_betas("sub-01", **arguments, localizers=task) for task in (None, "floc"))
    expected = open_localizers("sub-01", task="floc", roi="face", bucket=tiny)
    assert isinstance(ds.localizer.data, np.ndarray)
    np.testing.assert_array_equal(ds.localizer, expected.z_value)
    assert ds.betas.data.name == plain.betas.data.name
    added = ["localizer", "contrast", "localizer_task", "localizer_session"]
    dropped = ds.drop_vars(added).assign_attrs(sources="")
    xr.testing.assert_identical(dropped, plain.assign_attrs(sources=""))
    keys = {entry["key"] for entry in json.loads(ds.attrs["sources"])} - {
        entry["key"] for entry in json.loads(plain.attrs["sources"])
    }
    assert len(keys) == expected.sizes["contrast"]
    chosen = ds.isel(voxel=ds.localizer.sel(contrast="faceVsObject", drop=True) > 3)
    assert chosen.sizes["voxel"] > 0
    with pytest.raises(ValueError, match="Did you mean 'floc'"):
        open_betas("sub-01", **arguments, localizers="flok")


def test_from_s3_and_offline(s3: Any, tiny: Path, tmp_path: Path) -> None:
    """The same Dataset from a server, and from a mirror without one."""
    expected = open_localizers("sub-01", task="oloc", bucket=tiny).compute()
    found = open_localizers("sub-01", task="oloc", bucket=s3.url, storage_options=s3.storage_options).compute()
    xr.testing.assert_equal(found, expected)
    mirror = shutil.copytree(tiny, tmp_path / "mirror")
    offline = open_localizers("sub-01", task="oloc", mirror=mirror, mirror_only=True).compute()
    xr.testing.assert_equal(offline, expected)
