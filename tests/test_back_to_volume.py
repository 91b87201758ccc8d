"""Values go back into the volume of the subject that they are of, and into no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from intake_laion_fmri import open_betas, to_nifti


@pytest.fixture
def one(tiny: Path) -> xr.Dataset:
    return open_betas("sub-01", session=1, roi="face", bucket=tiny).load()


@pytest.fixture
def other(tiny: Path) -> xr.Dataset:
    return open_betas("sub-03", session=1, roi="face", bucket=tiny).load()


def moved(dataset: xr.Dataset, millimetres: float) -> xr.Dataset:
    """Return a Dataset whose grid lies elsewhere; its coordinates are left as they are."""
    affine = np.reshape(dataset.attrs["affine"], (4, 4)).copy()
    affine[0, 3] += millimetres
    return dataset.assign_attrs(affine=affine.ravel().tolist())


def test_of_another_subject(one: xr.Dataset, other: xr.Dataset) -> None:
    mean = one["betas"].mean("trial")
    with pytest.raises(ValueError, match="The values are of sub-01, and like= is of sub-03"):
        to_nifti(mean, other)
    np.testing.assert_allclose(to_nifti(mean, one).affine.ravel(), one.attrs["affine"], rtol=1e-6)


@pytest.mark.parametrize("dropped", [["subject"], ["subject", "x"], ["subject", "x", "y", "z"]])
def test_of_another_grid_where_no_subject_is_told(one: xr.Dataset, dropped: list[str]) -> None:
    """What is left of the coordinates and attributes tells it."""
    mean = one["betas"].mean("trial").drop_vars(dropped)
    with pytest.raises(ValueError, match=r"The coordinate . of the values|do not fit"):
        to_nifti(mean, one.assign_attrs(grid_shape=one.attrs["grid_shape"][::-1]))
    values = mean.assign_attrs(affine=one.attrs["affine"], grid_shape=one.attrs["grid_shape"])
    with pytest.raises(ValueError, match=r"another grid than like=.*voxels away|The coordinate . of the values"):
        to_nifti(values, moved(one, 5.0))


def test_places_tell_it_alone(one: xr.Dataset) -> None:
    mean = one["betas"].mean("trial").drop_vars("subject")
    with pytest.raises(ValueError, match="The coordinate x of the values is not that of the same voxels in like="):
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
