"""Charts of results: bars, bins and matrices are compared with NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from intake_laion_fmri import open_betas


@pytest.fixture(scope="module")
def ds(tiny: Path) -> xr.Dataset:
    return open_betas("sub-01", roi=["face", "V1"], bucket=tiny).load()


@pytest.fixture(scope="module")
def images(ds: xr.Dataset) -> xr.Dataset:
    return ds.laion.zscore().laion.average()


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def test_a_carpet_has_voxels_by_trials(ds: xr.Dataset) -> None:
    """Rows by ROI, those in two of them twice; sessions parted; NaN are not drawn."""
    panel = ds.laion.plot_trials(["FFA1", "V1"]).axes[0]
    wanted = np.concatenate([ds.laion.roi(name).betas.values.T for name in ("FFA1", "V1")])
    shown = panel.images[0].get_array()
    np.testing.assert_array_equal(np.ma.filled(shown, np.nan), np.where(np.isfinite(wanted), wanted, np.nan))
    assert [text.get_text() for text in panel.get_yticklabels()] == ["FFA1", "V1"]
    sessions, starts = np.unique(ds.session, return_index=True)
    assert [text.get_text() for text in panel.get_xticklabels()] == list(sessions)
    assert {line.get_xdata()[0] for line in panel.lines} >= set(starts[1:] - 0.5)


def test_a_carpet_of_images(images: xr.Dataset) -> None:
    panel = images.laion.plot_trials().axes[0]
    assert panel.images[0].get_array().shape == (images.sizes["voxel"], images.sizes["image"])
    assert panel.get_xlabel() == "image"
    assert panel.images[0].norm.vmin == -panel.images[0].norm.vmax


def test_distances(images: xr.Dataset) -> None:
    """Of a Dataset, or as they were computed; few images have labels."""
    matrix = images.laion.rdm()
    for figure in (images.laion.plot_rdm(), matrix.laion.plot_rdm()):
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), matrix.values)
        assert figure.axes[1].get_ylabel() == "correlation distance"
    few = images.isel(image=slice(3)).laion.plot_rdm().axes[0]
    assert [text.get_text() for text in few.get_yticklabels()] == list(images.image.values[:3])


def test_histograms_of_ceilings(ds: xr.Dataset) -> None:
    panel = ds.laion.plot_ceiling(["FFA1", "V1"], bins=[0, 50, 75, 100]).axes[0]
    for steps, name in zip(panel.patches, ("FFA1", "V1"), strict=True):
        numbers = ds.laion.roi(name).nc_12rep.values
        numbers = numbers[np.isfinite(numbers)]
        np.testing.assert_allclose(
            steps.get_data().values, np.histogram(numbers, [0, 50, 75, 100])[0] / len(numbers) * 100
        )
        assert steps.get_label() == f"{name}: {len(numbers)} voxels, median {np.median(numbers):.3g}"
    assert panel.get_xlabel() == "noise ceiling from images shown 12 times (%)"


def test_splits_add_up(ds: xr.Dataset, images: xr.Dataset) -> None:
    """Each bar has the trials of each role."""
    panel = ds.laion.plot_split().axes[0]
    bars = {one.get_label(): [bar.get_height() for bar in one] for one in panel.containers}
    roles = ds.split_role.sel(pool="shared")
    assert bars["train"] == (roles == 1).sum("trial").values.tolist()
    assert bars["test"] == (roles == 2).sum("trial").values.tolist()
    assert np.sum(list(bars.values()), axis=0).tolist() == [ds.sizes["trial"]] * ds.sizes["split"]
    (one,) = {bars.patches[0].get_height() for bars in images.laion.plot_split("tau").axes[0].containers[1:2]}
    assert one == (images.split_role.sel(pool="shared", split="tau") == 2).sum()


def test_nothing_but_nan(ds: xr.Dataset) -> None:
    empty = ds.assign(betas=ds.betas * np.nan).assign_coords(nc_12rep=ds.nc_12rep * np.nan)
    for figure in (empty.laion.plot_trials(), empty.laion.plot_ceiling("V1")):
        figure.canvas.draw()


def test_flags_are_counted_without_a_warning(ds: xr.Dataset) -> None:
    figure = ds.laion.plot_ceiling(values=ds.nc_12rep > 50)
    assert figure.axes[0].get_legend() is not None


def test_rows_of_few_voxels_have_whole_numbers(ds: xr.Dataset) -> None:
    ticks = ds.isel(voxel=[5]).laion.plot_trials().axes[0].get_yticks()
    assert all(tick == round(tick) for tick in ticks)


def test_axes_of_ones_own(ds: xr.Dataset, images: xr.Dataset) -> None:
    figure, grid = plt.subplots(2, 2)
    ds.laion.plot_trials(axes=grid[0, 0])
    images.laion.plot_rdm(axes=grid[0, 1])
    ds.laion.plot_ceiling(axes=grid[1, 0])
    assert ds.laion.plot_split("tau", axes=grid[1, 1]) is figure
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: ds.laion.plot_split("taw"), "Unknown split.*Did you mean 'tau'"),
        (lambda ds: ds.laion.plot_split(pool="all"), "Unknown pool"),
        (lambda ds: ds.drop_vars("split_role").laion.plot_split(), "no coordinate split_role"),
        (lambda ds: ds.nc_12rep.laion.plot_rdm(), "Expected the result of rdm, along 'image' and 'image_2'"),
        (lambda ds: ds.laion.plot_trials(["V1", "V1 - V1"]), "no voxels of V1 - V1. Choose other ROIs"),
        (lambda ds: ds.laion.plot_ceiling("V9"), "Unknown ROI"),
        (lambda ds: ds.laion.plot_ceiling(values=ds.betas[:2]), "Expected a single map"),
    ],
)
def test_wrong_arguments(ds: xr.Dataset, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(ds)
    assert plt.get_fignums() == []
