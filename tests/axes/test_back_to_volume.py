"""Values go back into the volume of the subject that they are of, and into no other."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import xarray as xr
from demo_files import map_file

from intake_laion_fmri import open_betas, open_maps, open_noise_ceilings, open_rois, to_nifti


@pytest.fixture
def one(tiny: Path) -> xr.Dataset:
    return open_betas("sub-01", session=1, roi="face", bucket=tiny).load()


@pytest.fixture
def other(tiny: Path) -> xr.Dataset:
    return open_betas("sub-03", session=1, roi="face", bucket=tiny).load()


def moved(dataset: xr.Dataset, millimetres: float) -> xr.Dataset:
    """Return a Dataset whose grid lies elsewhere, as its attributes tell; its other coordinates are as they were."""
    affine = np.reshape(dataset.attrs["affine"], (4, 4)).copy()
    affine[0, 3] += millimetres
    return dataset.drop_vars("grid").assign_attrs(affine=affine.ravel().tolist())


def test_of_another_subject(one: xr.Dataset, other: xr.Dataset) -> None:
    mean = one["betas"].mean("trial")
    with pytest.raises(ValueError, match="The values belong to sub-01, but like= to sub-03"):
        to_nifti(mean, other)
    np.testing.assert_allclose(to_nifti(mean, one).affine.ravel(), one.attrs["affine"], rtol=1e-6)


@pytest.mark.parametrize("dropped", [["subject"], ["subject", "x"], ["subject", "x", "y", "z"]])
def test_of_another_grid_where_no_subject_is_told(one: xr.Dataset, dropped: list[str]) -> None:
    """What is left of the coordinates and attributes tells it."""
    mean = one["betas"].mean("trial").drop_vars(["grid", *dropped])
    with pytest.raises(ValueError, match=r"The coordinate . of the values|do not fit"):
        to_nifti(mean, one.drop_vars("grid").assign_attrs(grid_shape=one.attrs["grid_shape"][::-1]))
    values = mean.assign_attrs(affine=one.attrs["affine"], grid_shape=one.attrs["grid_shape"])
    with pytest.raises(ValueError, match=r"a different grid than like=.*voxels away|The coordinate . of the values"):
        to_nifti(values, moved(one, 5.0))


def test_places_tell_it_alone(one: xr.Dataset) -> None:
    mean = one["betas"].mean("trial").drop_vars(["subject", "grid"])
    with pytest.raises(ValueError, match="The coordinate x of the values contradicts the grid of like="):
        to_nifti(mean, moved(one, 5.0))
    assert np.isfinite(np.asarray(to_nifti(mean, moved(one, 0.01)).dataobj)).any()


def test_names_that_a_user_gave_to_something_else(one: xr.Dataset) -> None:
    """A z-score named z is no place, nor is a text named x."""
    mean = one["betas"].mean("trial")
    scored = mean.drop_vars("z").assign_coords(x=("voxel", np.array(["a"] * one.sizes["voxel"])))
    assert np.isfinite(np.asarray(to_nifti(scored, one).dataobj)).sum() == one.sizes["voxel"]


def test_another_selection_of_the_same_subject(one: xr.Dataset, tiny: Path) -> None:
    whole = open_betas("sub-01", session=2, bucket=tiny)
    assert np.isfinite(np.asarray(to_nifti(one["nc_12rep"], whole).dataobj)).any()


MADE: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "mean": lambda ds: ds.betas.mean("trial"),
    "arithmetic": lambda ds: ((ds.betas - ds.betas.mean("trial")) / ds.betas.std("trial")).isel(trial=0),
    "by label": lambda ds: ds.betas.groupby("label").mean().isel(label=0),
    "by session": lambda ds: ds.betas.groupby("session").map(lambda b: b - b.mean("trial")).mean("trial"),
    "difference of maps": lambda ds: ds.nc_12rep - ds.r2_mean,
    "membership": lambda ds: ds.in_roi.sel(roi="FFA1").astype("float32"),
    "reduced Dataset": lambda ds: ds.mean("trial").betas,
    "apply_ufunc": lambda ds: xr.apply_ufunc(np.abs, ds.betas.mean("trial"), dask="parallelized"),
    "without attributes": lambda ds: ds.drop_attrs(deep=False).betas.mean("trial"),
}


@pytest.mark.parametrize("how", MADE)
def test_what_is_computed_finds_its_way_back(one: xr.Dataset, how: str) -> None:
    """By the scalar coordinate `grid`, without like=."""
    values = MADE[how](one)
    found = to_nifti(values)
    np.testing.assert_array_equal(found.affine, np.reshape(one.grid.attrs["affine"], (4, 4)))
    assert found.shape == tuple(one.grid.attrs["shape"])
    np.testing.assert_array_equal(found.get_fdata().reshape(-1)[one.voxel], values.values.astype("float32"))


@pytest.mark.parametrize("how", ["zarr", "netcdf4", "scipy", "pickle"])
def test_the_grid_is_saved(one: xr.Dataset, tmp_path: Path, how: str) -> None:
    """With a result alone, too."""
    mean = one.betas.mean("trial").rename("mean")
    if how == "zarr":
        mean.to_zarr(tmp_path / "mean", consolidated=False)
        again = xr.open_dataarray(tmp_path / "mean", engine="zarr", consolidated=False).load()
    elif how == "pickle":
        again = pickle.loads(pickle.dumps(mean))
    else:
        mean.to_netcdf(tmp_path / "mean", engine=how)  # type: ignore[call-overload]
        again = xr.load_dataarray(tmp_path / "mean", engine=how)
    xr.testing.assert_identical(again, mean)
    np.testing.assert_array_equal(to_nifti(again).get_fdata(), to_nifti(mean, one).get_fdata())


def test_the_grid_of_every_opener(tiny: Path) -> None:
    """What lies on it names it, as CF's grid mappings are named; its attributes are those of a file."""
    opened = [
        open_betas("sub-01", roi="face", bucket=tiny),
        open_rois("sub-01", bucket=tiny),
        open_maps("sub-01", bucket=tiny),
        open_maps("sub-01", grid="volume", session="all", bucket=tiny),
        open_noise_ceilings("sub-01", bucket=tiny),
    ]
    image = nibabel.load(map_file(tiny, "sub-01", "desc-Noiseceiling12rep"))
    for ds in opened:
        assert ds.grid.shape == ()
        assert ds.grid.attrs["shape"] == list(image.shape)
        assert ds.grid.attrs["space"] == "T1w"
        np.testing.assert_allclose(np.reshape(ds.grid.attrs["affine"], (4, 4)), image.affine, atol=1e-5)
        assert {variable.attrs["grid_mapping"] for variable in ds.data_vars.values()} == {"grid"}
        assert ds.grid.item() == opened[0].grid.item()
    assert "grid" not in open_rois("sub-01", format="func.gii", bucket=tiny).coords


def test_values_of_two_grids(one: xr.Dataset, other: xr.Dataset) -> None:
    """Of two subjects: combined they lie on no grid, beside each other on that of none."""
    assert one.grid.item() != other.grid.item()
    both = one.betas.mean().reset_coords(drop=True) + other.betas.mean("trial")
    assert both.grid.item() == other.grid.item()
    difference = one.nc_12rep.drop_vars("voxel") - other.nc_12rep.drop_vars("voxel").isel(
        voxel=slice(0, one.sizes["voxel"])
    )
    assert "grid" not in difference.coords
    beside = xr.concat(
        [one.betas.mean("trial"), other.betas.mean("trial")], "voxel", coords="different", compat="equals"
    )
    assert set(beside.grid.values) == {one.grid.item(), other.grid.item()}
    alone = beside.isel(voxel=(beside.grid == other.grid.item()).values)
    with pytest.raises(ValueError, match="The grid is unknown: pass like="):
        to_nifti(alone)
    np.testing.assert_array_equal(to_nifti(alone, other).get_fdata(), to_nifti(other.betas.mean("trial")).get_fdata())


def test_a_grid_that_its_name_does_not_fit(one: xr.Dataset) -> None:
    """Attributes that were changed are not believed; nor are those of another Dataset that came along."""
    mean = one.betas.mean("trial")
    mean.grid.attrs["affine"] = [2.0 * number for number in mean.grid.attrs["affine"]]
    with pytest.raises(ValueError, match="The grid is unknown: pass like="):
        to_nifti(mean)
