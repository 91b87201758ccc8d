"""Surfaces: what is drawn on the vertices is compared with what the projections and files give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import TriMesh
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from intake_laion_fmri import open_betas, open_localizers, open_surfaces, to_fsaverage


@pytest.fixture(scope="module")
def ds(tiny: Path) -> xr.Dataset:
    return open_betas("sub-01", bucket=tiny)


@pytest.fixture(scope="module")
def contrast(tiny: Path) -> xr.Dataset:
    return open_localizers("sub-01", task="floc", space="fsnative", bucket=tiny).isel(contrast=0)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def solid(figure: Any) -> list[np.ndarray]:
    """Return the colours of the triangles of each panel."""
    parts = [one for axes in figure.axes for one in axes.collections if isinstance(one, Poly3DCollection)]
    return [part.get_facecolor() for part in parts]


def test_a_surface_has_the_colours_of_its_vertices(ds: xr.Dataset, tiny: Path) -> None:
    """Of each triangle the mean of its corners, sulci where there is none; hemispheres are not exchanged."""
    values = ds.nc_12rep.where(ds.x < 0)
    figure = ds.laion.plot_surface(values, "white", view="medial", vmin=0, vmax=100)
    there = to_fsaverage(values, "fsnative", bucket=tiny)
    surface = open_surfaces("sub-01", surface="white", bucket=tiny)
    for colours, side in zip(solid(figure), "LR", strict=True):
        corners = there[f"nc_12rep_{side}"].values[surface[f"faces_{side}"].values]
        known = np.isfinite(corners).all(axis=1)
        wanted = plt.get_cmap("viridis")(corners[known].mean(axis=1) / 100)
        # matplotlib sorts triangles by distance: those that are not grey are compared in order of brightness
        own = colours[np.ptp(colours[:, :3], axis=1) > 0.05]
        assert len(own) == known.sum()
        assert (known.mean() > 0.4) == (side == "L")
        np.testing.assert_allclose(np.sort(own[:, :3].sum(axis=1)), np.sort(wanted[:, :3].sum(axis=1)), atol=0.03)


def test_views_are_rows(contrast: xr.Dataset) -> None:
    """Values on vertices need no voxels."""
    figure = contrast.laion.plot_surface("z_value", view=["lateral", "medial", "ventral"])
    assert len(solid(figure)) == 6
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["sub-01 left", "sub-01 right"]
    assert any("z-value" in axes.get_ylabel().replace("\n", " ") for axes in figure.axes)


def test_a_patch_holds_its_vertices(contrast: xr.Dataset, tiny: Path) -> None:
    figure = contrast.laion.plot_flat("z_value", hemi="R")
    _, mesh = (one for one in figure.axes[0].collections if isinstance(one, TriMesh))
    patch = open_surfaces("sub-01", surface="flat", hemi="R", bucket=tiny)
    wanted = contrast.z_value_R.sel(vertex_R=patch.vertex_R).values
    known = np.isfinite(wanted)
    np.testing.assert_allclose(np.asarray(mesh.get_array())[known], wanted[known], rtol=1e-6)
    np.testing.assert_allclose(mesh._triangulation.x, patch.xyz_R[:, 0])


def test_outlines_on_surfaces(ds: xr.Dataset) -> None:
    """Inside are the vertices that the voxels reach; an ROI of other voxels is named as absent."""
    figure = ds.laion.plot_flat(rois={"laiongeneral": "gold", "V1 - V1": "red"}, hemi="L")
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert shown == ["laiongeneral", "V1 - V1 (none here)"]
    assert len(solid(ds.laion.plot_surface("nc_12rep", rois=["laiongeneral"], hemi="L"))) >= 1


def test_the_template(contrast: xr.Dataset, tiny: Path) -> None:
    """Values of the subject's own vertices, or of voxels, are carried to fsaverage."""
    colours = solid(contrast.laion.plot_surface("z_value", space="fsaverage5", hemi="L"))
    assert [len(one) for one in colours] == [20_480]
    there = to_fsaverage(contrast, bucket=tiny)
    again = solid(there.laion.plot_surface("z_value", hemi="L"))
    np.testing.assert_allclose(again[0], colours[0], atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_a_hemisphere_without_values(ds: xr.Dataset, value: float) -> None:
    """It is drawn without a warning, and values without a name have a bar too."""
    numbers = np.where(ds.x < 0, value, np.nan)
    figure = ds.laion.plot_surface(numbers)
    assert len(solid(figure)) == 2
    assert len(figure.axes) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds, c: ds.laion.plot_surface("nc_12rep", view="left"), "Unknown view: 'left'"),
        (lambda ds, c: ds.laion.plot_surface("nc_12rep", space="MNI152"), "Unknown space: 'MNI152'"),
        (lambda ds, c: ds.laion.plot_surface("nc_12rep", "inflate"), "Did you mean 'inflated'"),
        (lambda ds, c: ds.laion.plot_surface(ds.betas[:2]), "Expected one map, found 2 along 'trial'"),
        (lambda ds, c: c.laion.plot_surface("z_val"), "Unknown values on vertices: 'z_val'. Did you mean 'z_value'"),
        (lambda ds, c: c.laion.plot_flat("z_value", rois="V1"), "rois= needs data along 'voxel'"),
        (lambda ds, c: c.drop_vars("subject").laion.plot_flat("z_value"), "data of a single subject"),
    ],
)
def test_wrong_arguments(ds: xr.Dataset, contrast: xr.Dataset, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(ds, contrast)
    assert plt.get_fignums() == []


def test_a_page_to_be_turned(ds: xr.Dataset, contrast: xr.Dataset, tmp_path: Path) -> None:
    """Both hemispheres in one page that asks nobody for anything."""
    pytest.importorskip("plotly", reason="nilearn asks for it from 0.14 on")
    ds.laion.view("nc_12rep").save_as_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "noise ceiling from images shown 12 times (%)" in text
    assert 'src="http' not in text


def test_a_picture_of_both_hemispheres_is_six_listings(s3: Any) -> None:
    """Three for the values' way to the surface, three for the surfaces, whether one is drawn or both."""
    ds = open_betas("sub-01", bucket=s3.url, storage_options=s3.storage_options)
    for hemi in ("L", "all"):
        with s3.requests() as counts:
            ds.laion.plot_surface("nc_12rep", hemi=hemi)
        assert counts["LIST"] == 6
