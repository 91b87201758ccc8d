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
from numpy.typing import NDArray
from tiers import sampled

from intake_laion_fmri import open_betas


@pytest.fixture
def ds(tiny: Path) -> xr.Dataset:
    """Three lazy sessions of different lengths."""
    return open_betas("sub-01", roi="face", bucket=tiny)


def saved(ds: xr.Dataset, folder: Path, **how: Any) -> int:
    """Save, expect the same back, and return the number of files of the betas."""
    ds.to_zarr(folder, consolidated=False, **how)
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
)
def test_whatever_was_made_of_it_and_loaded_is_a_file(
    tiny: Path, tmp_path: Path, make: Callable[[xr.Dataset], xr.Dataset]
) -> None:
    """What the sessions' lengths have in common does not outlive them: it was 1, and every trial a file."""
    ds = open_betas("sub-01", roi="face", bucket=tiny)
    assert saved(make(ds).load(), tmp_path / "loaded") == 1
    assert saved(make(ds.load()), tmp_path / "made of the loaded") == 1


def test_the_variable_is_xarrays_own(ds: xr.Dataset) -> None:
    """And what is not set does not grow stale: pydata/xarray#5219."""
    assert type(ds.variables["betas"]) is xr.Variable
    assert ds.betas.encoding == {}


def test_lazy_sessions_of_one_length_are_saved_as_they_are(tiny: Path, tmp_path: Path) -> None:
    assert saved(open_betas("sub-01", session=2, bucket=tiny), tmp_path / "one") == 1
    nothing = open_betas("sub-01", roi="V1v & MPA & FFA1", session=2, bucket=tiny)
    assert saved(nothing, tmp_path / "nothing") == 0


LAZY: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "as opened": lambda ds: ds,
    "trials": lambda ds: ds.isel(trial=(ds.dataset != "OOD").values),
    "all but one": lambda ds: ds.isel(trial=slice(1, None)),
    "voxels": lambda ds: ds.isel(voxel=slice(0, 5)),
    "dropna": lambda ds: ds.dropna("voxel", subset=["betas"]),
    "sorted": lambda ds: ds.sortby("label"),
    "z-scored": lambda ds: ds.assign(betas=ds.betas.groupby("session").map(lambda b: b - b.mean("trial"))),
    "transposed": lambda ds: ds.transpose("voxel", "trial", ...),
    "pickled": lambda ds: pickle.loads(pickle.dumps(ds)),
    "copied": lambda ds: ds.copy(deep=True),
}


@pytest.mark.parametrize("how", sampled(LAZY, keep=3))
@pytest.mark.parametrize("selection", [{}, {"stimuli": "shared"}])
def test_lazy_sessions_of_different_lengths(tiny: Path, tmp_path: Path, how: str, selection: dict[str, Any]) -> None:
    """With the chunks that README gives them, or loaded: in a file where they fit one."""
    ds = LAZY[how](open_betas("sub-01", roi="face", bucket=tiny, **selection))
    assert saved(ds.assign(betas=ds.betas.chunk(trial=1000)), tmp_path / "chunked") == 1
    assert saved(ds.compute(), tmp_path / "loaded") == 1


def test_lazy_sessions_that_xarray_aligns(ds: xr.Dataset, tmp_path: Path) -> None:
    chunks = {"betas": {"chunks": (100, 16)}}
    assert saved(ds, tmp_path / "aligned", encoding=chunks, align_chunks=True) == 2


def test_lazy_sessions_of_different_lengths_ask_for_chunks(ds: xr.Dataset, tmp_path: Path) -> None:
    """By xarray's own error, before a beta is read or written."""
    lengths = ds.betas.chunks[0]  # type: ignore[index]
    assert len(set(lengths[:-1])) > 1
    with pytest.raises(ValueError, match=r"uniform chunk sizes .* Consider rechunking using `chunk\(\)`"):
        ds.to_zarr(tmp_path / "none", consolidated=False)
    assert not (tmp_path / "none" / "betas").exists()
    assert saved(ds.assign(betas=ds.betas.chunk(trial=100)), tmp_path / "in two") == 2


def test_an_encoding_of_the_user_stays(tiny: Path, tmp_path: Path) -> None:
    ds = open_betas("sub-01", roi="face", bucket=tiny).load()
    ds.betas.encoding["chunks"] = (50, 16)
    assert saved(ds, tmp_path / "store") == 3


def test_thirty_lazy_sessions(tmp_path: Path) -> None:
    """Of 1,044 or 1,066 trials, which have 2 in common: in few files, and each session is read once."""
    lengths = (1044, 1066) * 15
    read: list[int] = []

    def session(block_info: Any) -> NDArray[np.float32]:
        (start, stop), _ = block_info[None]["array-location"]
        read.append(start)
        return np.arange(start * 4, stop * 4, dtype="float32").reshape(-1, 4)

    betas = dask.array.map_blocks(session, chunks=(lengths, 4), dtype="float32", meta=np.empty((0, 0), "float32"))
    ds = xr.Dataset({"betas": (("trial", "voxel"), betas)})
    ds.assign(betas=ds.betas.chunk(trial=8000)).to_zarr(tmp_path / "chunked", consolidated=False)
    assert sorted(read) == np.cumsum([0, *lengths[:-1]]).tolist()
    assert saved(ds.assign(betas=ds.betas.chunk(trial=8000)), tmp_path / "four") == 4
    assert saved(ds.load(), tmp_path / "loaded") < 10


def test_labels_are_saved_without_a_pickle(tiny: Path, tmp_path: Path) -> None:
    """Texts are objects; NumPy needs them of fixed width, to be read without executing anything."""
    ds = open_betas("sub-01", roi="face", session=1, bucket=tiny)
    np.savez(tmp_path / "betas.npz", betas=ds.betas, label=ds.label.astype(str))
    with np.load(tmp_path / "betas.npz") as again:
        assert again["label"].tolist() == ds.label.values.tolist()
