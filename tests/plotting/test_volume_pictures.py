"""Slices: what the pictures hold is compared with the Dataset and with files, not how they look."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pytest
import scipy.ndimage
import xarray as xr
from matplotlib.colors import to_rgba

from intake_laion_fmri import open_anatomy, open_betas
from intake_laion_fmri.errors import MissingFileWarning, NotInBucketError
from intake_laion_fmri.formats.grid import Grid
from intake_laion_fmri.plotting import plot

ANATOMY = "derivatives/anatomical/sub-01/ses-PrismaAnat/anat"


@pytest.fixture(scope="module")
def ds(tiny: Path) -> xr.Dataset:
    return open_betas("sub-01", bucket=tiny)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def cuts(figure: Any) -> list[Any]:
    """Return the axes of the slices; the others are frames and bars."""
    return [axes for axes in figure.axes if axes.images and axes.get_axes_locator()]


def drawn(axes: Any) -> np.ndarray:
    """Return the values of a slice's map that are not transparent."""
    return np.ma.compressed(axes.images[-1].get_array())


def world(image: Any, axis: str, where: float) -> np.ndarray:
    """Return the millimetres of each pixel of a slice, shape (row, column, 3); extents are those of centres."""
    (left, right, bottom, top), (height, width) = image.get_extent(), image.get_array().shape
    across, up = np.linspace(left, right, width), np.linspace(bottom, top, height)
    up = up if image.origin == "lower" else up[::-1]
    columns, rows = np.meshgrid(across, up)
    parts = {axis: np.full_like(columns, where)}
    parts |= dict(zip([one for one in "xyz" if one != axis], (columns, rows), strict=True))
    return np.stack([parts[one] for one in "xyz"], axis=-1)


def on_straight_grid(ds: xr.Dataset) -> xr.Dataset:
    """Return the Dataset on a grid along the axes, which nilearn need not resample; it runs to the left, as in LAS."""
    affine = np.diag([-2.0, 2, 2, 1])
    affine[:3, 3] = [30, -20, -10]
    straight = ds.drop_vars([*"xyz"])
    straight = straight.assign_coords(Grid(tuple(ds.grid_shape), tuple(affine.ravel())).coordinate("T1w"))
    ijk = np.array([ds[one].values for one in "ijk"])
    xyz = affine[:3, :3] @ ijk + affine[:3, 3:]
    return straight.assign_coords({one: ("voxel", at) for one, at in zip("xyz", xyz, strict=True)})


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_slice_holds_the_voxels_that_lie_there(ds: xr.Dataset, axis: str) -> None:
    """At each millimetre the voxel's own value, left at the left; zeros are values, NaN are none."""
    straight = on_straight_grid(ds)
    values = straight.nc_12rep.where(ds.voxel % 3 > 0).copy()
    values[::7] = 0
    cut = float(straight[axis][100])
    (slices,) = cuts(straight.laion.plot(values, on=None, display_mode=axis, cut_coords=[cut]))
    image = slices.images[-1]
    places = zip(*(straight[one].values for one in "xyz"), strict=True)
    known = dict(zip(places, values.values, strict=True))
    wanted = [known.get(tuple(at), np.nan) for at in world(image, axis, cut).reshape(-1, 3)]
    assert 10 < np.isfinite(wanted).sum() < (straight[axis] == cut).sum()
    np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan).ravel(), wanted, atol=1e-3)


def test_the_background_is_the_subjects_own(ds: xr.Dataset, tiny: Path) -> None:
    (path,) = (tiny / ANATOMY).glob("*res-1pt8_T1w.nii.gz")
    there = np.asarray(nibabel.load(path).dataobj, dtype=float)
    (slices,) = cuts(ds.laion.plot("nc_12rep", display_mode="z", cut_coords=[0]))
    image = slices.images[1]
    ijk = nibabel.affines.apply_affine(np.linalg.inv(np.reshape(ds.affine, (4, 4))), world(image, "z", 0))
    inside = ((ijk > 1) & (ijk < np.array(there.shape) - 2)).all(axis=-1)
    wanted = scipy.ndimage.map_coordinates(there, ijk[inside].T, order=1)
    assert np.corrcoef(wanted, np.asarray(image.get_array())[inside])[0, 1] > 0.95


def test_rows_share_a_scale_and_are_named(ds: xr.Dataset) -> None:
    values = ds.betas.isel(trial=[0, 5, 9])
    figure = ds.laion.plot(values, display_mode="z", cut_coords=1)
    slices = cuts(figure)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [str(trial) for trial in values.trial.values]
    assert len({(one.images[-1].norm.vmin, one.images[-1].norm.vmax) for one in slices}) == 1
    assert [len(drawn(one)) > 0 for one in slices] == [True] * 3


@pytest.mark.parametrize(
    ("name", "cmap", "is_symmetric", "label"),
    [
        ("nc_12rep", "viridis", False, "noise ceiling from images shown 12 times (%)"),
        ("contrast", "RdBu_r", True, "faces against bodies (SD)"),
    ],
)
def test_colours_and_units(ds: xr.Dataset, name: str, cmap: str, is_symmetric: bool, label: str) -> None:
    contrast = (ds.nc_12rep - ds.nc_12rep.mean()).assign_attrs(long_name="faces against bodies", units="SD")
    figure = ds.assign_coords(contrast=contrast).laion.plot(name)
    image = cuts(figure)[0].images[-1]
    assert image.get_cmap().name == cmap
    assert (image.norm.vmin == -image.norm.vmax) is is_symmetric
    (bar,) = [axes for axes in figure.axes if axes.get_ylabel()]
    assert bar.get_ylabel().replace("\n", " ") == label


def test_an_outline_surrounds_its_voxels(ds: xr.Dataset) -> None:
    """In its colour and in no other's; an ROI without voxels here says so."""
    roi = ds.laion.roi("FFA1")
    z = float(roi.z[0])
    figure = ds.laion.roi("FFA1").laion.plot(
        rois={"FFA1": "gold", "V1 - FFA1": "red"}, display_mode="z", cut_coords=[z]
    )
    (slices,) = cuts(figure)
    lines = {tuple(one.get_edgecolor()[0]): one for one in slices.collections if len(one.get_edgecolor())}
    assert set(lines) == {to_rgba("black"), to_rgba("gold")}
    path = lines[to_rgba("gold")].get_paths()[0]
    box, here = path.get_extents(), roi.isel(voxel=np.isclose(roi.z, z))
    assert (box.x0, box.y0) <= (here.x.min(), here.y.min())
    assert (box.x1, box.y1) >= (here.x.max(), here.y.max())
    texts = [text.get_text() for axes in figure.axes if axes.get_legend() for text in axes.get_legend().get_texts()]
    assert texts == ["FFA1", "V1 - FFA1 (none here)"]


def test_cuts_go_through_what_is_to_be_seen(ds: xr.Dataset) -> None:
    """Through the ROI, whatever else is bright; along an axis not beyond it."""
    roi = ds.laion.roi("FFA1")
    for axes in cuts(ds.laion.plot("nc_12rep", "FFA1", display_mode="y")):
        assert any(len(one.get_paths()[0].vertices) for one in axes.collections)
    best = int(np.nanargmax(ds.nc_12rep))
    bright = ds.nc_12rep.where(ds.voxel == ds.voxel[best], 0)
    texts = [text.get_text() for axes in cuts(plot(ds, bright)) for text in axes.texts]
    found = [float(text.split("=")[1]) for text in sorted(texts) if "=" in text]
    np.testing.assert_allclose(found, [ds[one][best].item() for one in "xyz"], atol=1)
    assert roi.sizes["voxel"] > 0


@pytest.mark.parametrize(
    "case", ["one voxel", "all NaN", "zeros", "infinite", "huge", "flags", "numbers", "nothing", "whole"]
)
def test_odd_values_are_drawn(ds: xr.Dataset, case: str) -> None:
    """Without a warning, and with as many voxels as have a number."""
    nc = ds.nc_12rep
    given: dict[str, Any] = {
        "one voxel": nc[[3]],
        "all NaN": nc * np.nan,
        "zeros": nc * 0,
        "infinite": nc.where(nc > 50, np.inf),
        "huge": xr.full_like(nc, 3e38),
        "flags": nc > 50,
        "numbers": nc.values,
        "nothing": None,
        "whole": (nc // 10).fillna(-1).astype(int).assign_attrs(valid_range=[0, 10]),
    }
    figure = ds.laion.plot(given[case], display_mode="z", cut_coords=[float(ds.z[3])])
    figure.canvas.draw()
    (slices,) = cuts(figure)
    assert len(slices.images) == (2 if case in ("all NaN", "flags", "nothing") else 3)
    if case == "whole":
        assert drawn(slices).min() >= 0
        assert slices.images[-1].get_cmap().name == "viridis"


def test_axes_of_ones_own(ds: xr.Dataset) -> None:
    figure, grid = plt.subplots(2, 1)
    assert ds.laion.plot(ds.betas[:2], axes=grid, cut_coords=[0, 0, 0]) is figure
    assert plt.get_fignums() == [figure.number]
    with pytest.raises(ValueError, match="Expected axes= for 2 panels, found 1"):
        ds.laion.plot(ds.betas[:2], axes=grid[0])


def test_a_notebook_shows_a_figure_once(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the value of a cell it leaves pyplot, which would show it again at the cell's end."""
    monkeypatch.setattr(plt, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    figure = ds.laion.plot("nc_12rep")
    assert plt.get_fignums() == [figure.number]
    with pytest.raises(NotImplementedError):
        figure._ipython_display_()
    assert plt.get_fignums() == []


def test_without_the_anatomy(ds: xr.Dataset, own_tiny: Path, tmp_path: Path) -> None:
    """What was not asked for is left out with a warning; what was asked for is an error, None is silent."""
    shutil.rmtree(own_tiny / ANATOMY)
    poor = open_betas("sub-01", bucket=own_tiny)
    with pytest.warns(MissingFileWarning, match=r"the voxels as background: .*T1w") as caught:
        figure = poor.laion.plot("nc_12rep", display_mode="z", cut_coords=[float(ds.z[3])])
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]
    _, background, shown = cuts(figure)[0].images
    assert ((np.asarray(background.get_array()) > 0.5) >= ~np.ma.getmaskarray(shown.get_array())).all()
    with pytest.raises(NotInBucketError, match="T1w"):
        poor.laion.plot("nc_12rep", on="T1w")
    poor.laion.plot("nc_12rep", on=None)


def test_the_bucket_is_found_or_named(ds: xr.Dataset, own_tiny: Path, tmp_path: Path) -> None:
    """Results know where they come from; a saved one is told, or asks the default bucket."""
    mean = ds.betas.mean("trial").compute()
    assert len(cuts(mean.laion.plot(on="T1w"))) == 3
    mean.to_netcdf(tmp_path / "mean.nc")
    saved = xr.open_dataarray(tmp_path / "mean.nc")
    assert len(cuts(saved.laion.plot(on="T1w", bucket=own_tiny))) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = nibabel.load(next((own_tiny / ANATOMY).glob("*res-1pt8_T1w.nii.gz")))
        assert len(cuts(saved.laion.plot(on=image))) == 3
    assert open_anatomy("sub-01", bucket=own_tiny).T1w.shape == image.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": "nc_12"}, r"Unknown values: 'nc_12'. Did you mean 'nc_12rep'"),
        ({"values": np.zeros(3)}, r"one value for each of the \d+ voxels .* found shape \(3,\)"),
        ({"values": "betas"}, r"Expected 1 to 12 rows, found \d+ along 'trial'\. Average or select first"),
        ({"rois": ["FFA9"]}, r"Unknown ROI of sub-01: 'FFA9'. Did you mean 'FFA"),
        ({"display_mode": "w"}, r"Unknown display_mode: 'w'"),
        ({"on": "T3w", "values": "nc_12rep"}, "Unknown image"),
        ({"values": xr.DataArray(["a"], dims="voxel")}, "Expected numeric values"),
    ],
)
def test_wrong_arguments(ds: xr.Dataset, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ds.laion.plot(**arguments)
    assert plt.get_fignums() == []


def test_nothing_to_draw(ds: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="There are no voxels to draw: expected dimension 'voxel'"):
        ds.isel(voxel=[]).laion.plot("nc_12rep")
    with pytest.raises(TypeError, match="on must be the name of an image, a nibabel image, or None, found 3"):
        ds.laion.plot(on=3)


@pytest.mark.parametrize("missing", ["matplotlib.pyplot", "nilearn.plotting"])
def test_without_the_extra(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'intake-laion-fmri\[plot\]'"):
        ds.laion.plot("nc_12rep")
