"""What is made of a Dataset can be saved as it is, in as many files as its size asks for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray as xr
from tiers import sampled

from intake_laion_fmri import open_betas
from intake_laion_fmri.reading.session_chunks import SessionVariable


def saved(ds: xr.Dataset, folder: Path) -> int:
    """Save, expect the same back, and return the number of files of the betas."""
    ds.to_zarr(folder, consolidated=False)
    with xr.open_zarr(folder, consolidated=False) as again:
        xr.testing.assert_identical(again.compute(), ds.compute())
    return sum(path.is_file() and path.name != "zarr.json" for path in (folder / "betas").rglob("*"))


@pytest.mark.parametrize("selection", [{}, {"roi": "V1v & MPA & FFA1"}, {"stimuli": "ood", "session": 1}])
def test_zarr_keeps_everything(tiny: Path, tmp_path: Path, selection: dict[str, Any]) -> None:
    """Without a warning."""
    assert saved(open_betas("sub-01", bucket=tiny, **selection).load(), tmp_path / "store") == (
        0 if selection.get("roi") else 1
    )


@pytest.mark.parametrize(
    "make",
    sampled(
        [
            lambda ds: ds.isel(trial=(ds.dataset != "OOD").values),
            lambda ds: ds.isel(trial=slice(1, None)),
            lambda ds: ds.isel(voxel=slice(0, 5)),
            lambda ds: ds.dropna("voxel", subset=["betas"]),
            lambda ds: ds.sortby("label"),
            lambda ds: ds.transpose("voxel", "trial", ...),
            lambda ds: ds.assign(betas=ds.betas.groupby("session").map(lambda b: b - b.mean("trial"))),
            lambda ds: ds.assign(betas=ds.betas.variable.chunk(trial=-1)),
        ],
        keep=3,
    ),
)
def test_whatever_was_made_of_it_and_loaded_is_a_file(
    tiny: Path, tmp_path: Path, make: Callable[[xr.Dataset], xr.Dataset]
) -> None:
    """What the sessions' lengths have in common does not outlive them: it was 1, and every trial a file."""
    ds = open_betas("sub-01", roi="face", bucket=tiny)
    assert saved(make(ds).load(), tmp_path / "loaded") == 1
    assert saved(make(ds.load()), tmp_path / "made of the loaded") == 1


def test_lazy_sessions_of_one_length_are_saved_as_they_are(tiny: Path, tmp_path: Path) -> None:
    assert saved(open_betas("sub-01", session=2, bucket=tiny), tmp_path / "one") == 1
    lengths = open_betas("sub-01", bucket=tiny).betas.chunks[0]
    assert len(set(lengths[:-1])) > 1
    nothing = open_betas("sub-01", roi="V1v & MPA & FFA1", bucket=tiny)
    assert saved(nothing, tmp_path / "nothing") == 0


LAZY: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "as opened": lambda ds: ds,
    "trials": lambda ds: ds.isel(trial=(ds.dataset != "OOD").values),
    "all but one": lambda ds: ds.isel(trial=slice(1, None)),
    "voxels": lambda ds: ds.isel(voxel=slice(0, 5)),
    "dropna": lambda ds: ds.dropna("voxel", subset=["betas"]),
    "sorted": lambda ds: ds.sortby("label"),
    "transposed": lambda ds: ds.transpose("voxel", "trial", ...),
    "pickled": lambda ds: pickle.loads(pickle.dumps(ds)),
    "copied": lambda ds: ds.copy(deep=True),
}


@pytest.mark.parametrize("how", sampled(LAZY, keep=3))
@pytest.mark.parametrize("selection", sampled([{"stimuli": "shared"}, {}], keep=1))
def test_lazy_sessions_of_different_lengths(tiny: Path, tmp_path: Path, how: str, selection: dict[str, Any]) -> None:
    """Zarr's chunks are of one length: they divide the blocks, for as long as these are there."""
    ds = LAZY[how](open_betas("sub-01", roi="face", bucket=tiny, **selection))
    assert saved(ds, tmp_path / "lazy") <= ds.sizes["trial"]
    assert saved(ds.compute(), tmp_path / "loaded") == 1
    assert saved(ds.assign(betas=ds.betas.variable.chunk(trial=100)), tmp_path / "rechunked") <= 2


def test_an_encoding_of_the_user_stays(tiny: Path, tmp_path: Path) -> None:
    ds = open_betas("sub-01", roi="face", bucket=tiny).load()
    ds.betas.encoding["chunks"] = (50, 16)
    assert saved(ds, tmp_path / "store") == 3


def test_many_lazy_sessions_ask_for_chunks(tmp_path: Path) -> None:
    """30 sessions of 1,044 or 1,066 trials would be 15,825 files of two trials each: xarray says what to do instead."""
    lengths = (1044, 1066) * 15
    betas = dask.array.zeros((sum(lengths), 4), chunks=(lengths, 4), dtype="float32")
    ds = xr.Dataset({"betas": SessionVariable(("trial", "voxel"), betas)})
    with pytest.raises(ValueError, match=r"uniform chunk sizes .* Consider rechunking"):
        ds.to_zarr(tmp_path / "none", consolidated=False)
    assert saved(ds.assign(betas=ds.betas.variable.chunk(trial=8000)), tmp_path / "four") == 4
    assert saved(ds.load(), tmp_path / "loaded") < 10
    two = xr.Dataset({"betas": SessionVariable(("trial", "voxel"), betas[:2110])})
    assert saved(two, tmp_path / "two") == 3


def test_labels_are_saved_without_a_pickle(tiny: Path, tmp_path: Path) -> None:
    """Texts are objects; NumPy needs them of fixed width, to be read without executing anything."""
    ds = open_betas("sub-01", roi="face", session=1, bucket=tiny)
    np.savez(tmp_path / "betas.npz", betas=ds.betas, label=ds.label.astype(str))
    with np.load(tmp_path / "betas.npz") as again:
        assert again["label"].tolist() == ds.label.values.tolist()
