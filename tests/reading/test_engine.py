"""xarray's own way in: the same Dataset as `open_betas` gives."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest
import xarray as xr

from intake_laion_fmri import open_betas
from intake_laion_fmri.reading.engine import LaionBackend


def test_it_is_registered() -> None:
    (point,) = entry_points(group="xarray.backends", name="laion_fmri")
    assert point.load() is LaionBackend
    assert "laion_fmri" in xr.backends.list_engines()


def test_betas(tiny: Path) -> None:
    """By name and by class; read when looked at, or as blocks of sessions, joined by xarray's chunks."""
    options = {"subject": "sub-01", "roi": "face", "zscore": "session"}
    expected = open_betas(**options, bucket=tiny)  # type: ignore[arg-type]
    for engine in ("laion_fmri", LaionBackend):
        found = xr.open_dataset(tiny, engine=engine, chunks={}, **options)
        assert found["betas"].chunks == expected["betas"].chunks
        xr.testing.assert_identical(found.compute(), expected.compute())
        at_once = xr.open_dataset(tiny, engine=engine, **options)
        assert not at_once["betas"].variable._in_memory
        xr.testing.assert_identical(at_once, expected)
    cut = xr.open_dataset(tiny, engine="laion_fmri", chunks={"trial": -1}, drop_variables="in_roi", **options)
    assert cut["betas"].chunks is not None
    assert cut["betas"].chunks[0] == (expected.sizes["trial"],)
    assert "in_roi" not in cut.coords
    xr.testing.assert_equal(cut["betas"].compute(), expected["betas"].drop_vars("in_roi", errors="ignore").compute())


def test_what_it_does_not_take(tiny: Path) -> None:
    with pytest.raises(TypeError, match=r"needs subject=.*Its options are.*roi"):
        xr.open_dataset(tiny, engine="laion_fmri")
    with pytest.raises(TypeError, match=r"no option 'sbject'"):
        xr.open_dataset(tiny, engine="laion_fmri", sbject="sub-01")
    with pytest.raises(ValueError, match="Unknown subject"):
        xr.open_dataset(tiny, engine="laion_fmri", subject="sub-99")


def test_other_files_are_not_taken(tmp_path: Path) -> None:
    """It opens nothing by guessing, and breaks no other engine."""
    xr.Dataset({"x": ("i", [1.0, 2.0])}).to_netcdf(tmp_path / "x.nc")
    assert xr.open_dataset(tmp_path / "x.nc")["x"].values.tolist() == [1, 2]
    assert not LaionBackend().guess_can_open("s3://laion-fmri")
