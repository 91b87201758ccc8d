"""Loading: the same values as Dask's, in memory, in the user's array or in a file, and nothing half-written."""

from __future__ import annotations

import errno
import inspect
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from dask.base import is_dask_collection
from demo_files import betas_file
from tiers import full, sampled

from intake_laion_fmri import load_betas, open_betas
from intake_laion_fmri.errors import DataIntegrityError


@pytest.fixture
def ds(tiny: Path) -> xr.Dataset:
    return open_betas("sub-01", roi="face", bucket=tiny)


LAZY: dict[str, Callable[[xr.Dataset], xr.Dataset | xr.DataArray]] = {
    "as opened": lambda ds: ds,
    "an array": lambda ds: ds.betas,
    "an array without a name": lambda ds: (ds.betas * 2).rename(None),
    "selected": lambda ds: ds.isel(trial=slice(3, 90, 2)),
    "averages": lambda ds: ds.laion.average(),
    "z-scores beside betas": lambda ds: ds.assign(score=ds.laion.zscore().betas),
    "twice the same": lambda ds: ds.assign(again=ds.betas),
    "lazy coordinates": lambda ds: ds.assign_coords(mean=ds.betas.mean("voxel"), one=ds.betas[0, 0].variable),
    "other lazy data": lambda ds: ds.assign(texts=("trial", dask.array.from_array(ds.label.values, chunks=7))),
    "nothing lazy": lambda ds: ds.compute(),
    "no trial": lambda ds: ds.isel(trial=[]),
    "no variable": lambda ds: ds.drop_vars("betas"),
}


@pytest.mark.parametrize("how", LAZY)
def test_loaded_is_computed(ds: xr.Dataset, how: str) -> None:
    lazy = LAZY[how](ds)
    found = lazy.laion.load()
    xr.testing.assert_identical(found, lazy.compute())
    assert not is_dask_collection(found)
    assert is_dask_collection(lazy) is (how not in {"nothing lazy", "no variable"})


def test_load_betas_has_the_arguments_of_open_betas(tiny: Path) -> None:
    arguments = [*inspect.signature(open_betas).parameters, "out", "progress"]
    assert list(inspect.signature(load_betas).parameters) == arguments
    expected = open_betas("sub-01", session=2, zscore="run", bucket=tiny).compute()
    xr.testing.assert_identical(load_betas("sub-01", session=2, zscore="run", bucket=tiny), expected)
    with pytest.raises(TypeError, match="sesion"):
        load_betas("sub-01", sesion=2, bucket=tiny)


@pytest.mark.parametrize("chunks", ["session", {"voxel": 50}])
def test_from_a_store(tiny: Path, tiny_store: Path, chunks: Any) -> None:
    lazy = open_betas("sub-01", store=tiny_store, bucket=tiny, chunks=chunks)
    xr.testing.assert_identical(lazy.laion.load(), lazy.compute())


@pytest.mark.parametrize("scheduler", sampled(["sync", "threads", "processes"], keep=2))
def test_what_two_arrays_need_is_read_once(ds: xr.Dataset, tmp_path: Path, scheduler: str) -> None:
    """As Dask does it: also of betas beside what was made of them."""
    calls = tmp_path / "calls"

    def noted(block: np.ndarray) -> np.ndarray:
        with calls.open("a") as file:
            file.write("x")
        return block

    lazy = ds.assign(betas=ds.betas.copy(data=ds.betas.data.map_blocks(noted, meta=np.empty((0, 0), "float32"))))
    with dask.config.set(scheduler=scheduler, num_workers=2):
        found = lazy.assign(twice=lazy.betas * 2).laion.load()
    np.testing.assert_array_equal(found.twice, found.betas * 2)
    assert len(calls.read_text()) == ds.betas.data.npartitions


# --- somewhere else ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("how", ["as opened", "averages", "nothing lazy"])
def test_into_an_array(ds: xr.Dataset, how: str, order: Any) -> None:
    lazy = LAZY[how](ds)
    shape = lazy.betas.shape
    if order == "strided":
        out = np.full((2 * shape[0], shape[1]), 7, "float32")[::2]
    else:
        out = np.full(shape, 7, lazy.betas.dtype, order=order)
    found = lazy.laion.load(out=out.astype(lazy.betas.dtype, copy=False))
    xr.testing.assert_identical(found, lazy.compute())
    if out.dtype == lazy.betas.dtype:
        np.testing.assert_array_equal(out, lazy.betas)
        assert np.shares_memory(found.betas.values, out)


@pytest.mark.parametrize("how", ["as opened", "an array", "averages", "nothing lazy", "no trial"])
def test_into_a_file(ds: xr.Dataset, tmp_path: Path, how: str) -> None:
    lazy = LAZY[how](ds)
    expected = lazy.compute()
    for _ in range(2):  # its own file is replaced
        found = lazy.laion.load(out=tmp_path / "new" / "b.npy")
        xr.testing.assert_identical(found, expected)
    assert os.listdir(tmp_path / "new") == ["b.npy"]
    values = found if isinstance(found, xr.DataArray) else found.betas
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "b.npy"), values)
    if values.size:
        values[:] = 0  # in memory
        assert np.load(tmp_path / "new" / "b.npy").any()


def test_a_file_of_somebody_else_stays(ds: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "b.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(FileExistsError, match=r"b\.npy is not an array that this package wrote"):
        ds.laion.load(out=path)
    np.testing.assert_array_equal(np.load(path), np.zeros(3))
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(FileExistsError, match="a folder"):
        ds.laion.load(out=tmp_path / "folder.npy")
    assert sorted(os.listdir(tmp_path)) == ["b.npy", "folder.npy"]


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (lambda: np.zeros((3, 3), "float32"), ValueError, r"shape \(135, 16\) and type float32, found shape \(3, 3\)"),
        (lambda: np.zeros((135, 16)), ValueError, r"found shape \(135, 16\) and type float64"),
        (lambda: np.broadcast_to(np.float32(0), (135, 16)), ValueError, "read-only"),
        (lambda: "b.txt", ValueError, r"ends in \.npy, found 'b\.txt'"),
        (lambda: "s3://mine/b.npy", ValueError, "local file"),
        (lambda: 3, TypeError, "found int"),
    ],
)
def test_what_out_cannot_be(ds: xr.Dataset, out: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ds.laion.load(out=out())


def test_out_takes_one_variable(ds: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one variable, but the Dataset has 2: 'betas', 'score'"):
        ds.assign(score=ds.betas).laion.load(out=tmp_path / "b.npy")
    with pytest.raises(TypeError, match="numbers"):
        ds.label.laion.load(out=tmp_path / "b.npy")
    assert not os.listdir(tmp_path)


def test_a_folder_of_somebody_else(ds: xr.Dataset) -> None:
    with pytest.raises(
        OSError, match=r"out='/proc/b\.npy' cannot be written .*: choose a file in a folder that you can write to"
    ):
        ds.laion.load(out="/proc/b.npy")


def test_a_full_disk(ds: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is set aside first: a map of a file on a full disk kills the process."""
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"b\.npy needs \d+ bytes .* has 1000 .* free") as raised:
        ds.laion.load(out=tmp_path / "b.npy")
    assert raised.value.errno == errno.ENOSPC
    assert not os.listdir(tmp_path)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_broken_session_leaves_nothing(own_tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    load_betas("sub-01", roi="face", bucket=own_tiny, out=folder / "b.npy")
    before = (folder / "b.npy").read_bytes()
    path = betas_file(own_tiny, "sub-01", "ses-02")
    path.write_bytes(path.read_bytes()[:-100])
    for name in ("b.npy", "c.npy"):
        with pytest.raises(DataIntegrityError, match=path.name):
            load_betas("sub-01", roi="face", bucket=own_tiny, out=folder / name)
    assert os.listdir(folder) == ["b.npy"]
    assert (folder / "b.npy").read_bytes() == before


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
import dask.array as da, numpy as np, xarray as xr
import intake_laion_fmri.accessor
def slow(block):
    os.write(1, b"begun\\n")  # whole, whatever other threads write
    time.sleep(0.2)
    return block
lazy = xr.DataArray(da.zeros((1000, 3), chunks=(1, 3)).map_blocks(slow, meta=np.empty((0, 0))), dims=("a", "b"))
lazy.laion.load(out={str(tmp_path / "b.npy")!r})
"""
    # Not at the first block: while Python's pools start their threads, an interrupt leaves one that nobody ends.
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert [process.stdout.readline() for _ in range(8)] == [b"begun\n"] * 8
            assert [name.partition(".npy.")[0] for name in os.listdir(tmp_path)] == ["b"]
            process.send_signal(signal.SIGINT)
            assert b"KeyboardInterrupt" in process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert os.listdir(tmp_path) == []


def test_other_threads_stop_with_the_first_failure(ds: xr.Dataset) -> None:
    """Nothing writes into the user's array once the error is raised."""
    failed, late = threading.Event(), threading.Event()

    def block(values: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info[0]["chunk-location"][0] == 0:
            raise RuntimeError("broken")
        failed.wait(60)
        return values + 1

    lazy = xr.DataArray(dask.array.zeros((2, 5), chunks=(1, 5)).map_blocks(block, dtype=float), dims=("a", "b"))
    out = np.zeros((2, 5))
    with dask.config.set(num_workers=2), pytest.raises(RuntimeError, match="broken"):
        lazy.laion.load(out=out)
    failed.set()
    late.wait(0.2)
    assert not out.any()


# --- clusters ---------------------------------------------------------------------------------------------------------


@full("a cluster of two processes takes seconds to start")
def test_through_a_cluster(tiny: Path, own_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks come in slabs, and its workers read; a failure there is the same error here."""
    from distributed import Client, LocalCluster

    from intake_laion_fmri.reading import lazy_arrays

    monkeypatch.setattr(lazy_arrays, "SLAB_BYTES", 10_000)
    ds = open_betas("sub-01", roi="face", bucket=tiny)
    expected = {how: LAZY[how](ds).compute() for how in ("as opened", "averages", "twice the same", "no trial")}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        for how, values in expected.items():
            xr.testing.assert_identical(LAZY[how](ds).laion.load(), values)
        xr.testing.assert_identical(ds.laion.load(out=tmp_path / "out" / "b.npy"), expected["as opened"])
        path = betas_file(own_tiny, "sub-01", "ses-02")
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(DataIntegrityError, match=path.name):
            load_betas("sub-01", roi="face", bucket=own_tiny, out=tmp_path / "out" / "c.npy")
        assert os.listdir(tmp_path / "out") == ["b.npy"]
        deadline = time.monotonic() + 30
        while any(client.who_has().values()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(client.who_has().values())
