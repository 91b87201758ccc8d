"""The lazy betas are ordinary Dask arrays: whatever stands beside them, whoever computes them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from counting import CountingFileSystem
from demo_files import betas_file
from tiers import full, sampled

from intake_laion_fmri import build_store, open_betas, open_maps
from intake_laion_fmri.drivers import open_catalog
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.formats.nifti import VolumeReader
from intake_laion_fmri.reading.blocks import SessionBlock
from intake_laion_fmri.reading.lazy_arrays import load_each
from intake_laion_fmri.subject import load_subject


def loaded(array: dask.array.Array) -> np.ndarray:
    return load_each([array])[0]


@pytest.fixture
def ds(tiny: Path) -> xr.Dataset:
    return open_betas("sub-01", roi="face", bucket=tiny)


def scored(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(scored=(ds.betas - ds.betas.mean("trial")) / ds.betas.std("trial"))


def test_the_array_is_an_ordinary_one_also_from_a_store(ds: xr.Dataset, tiny: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", bucket=tiny, subjects="sub-01", sessions=1)
    stored = open_betas("sub-01", session=1, store=tmp_path / "store", bucket=tiny)
    maps = open_maps("sub-01", session="all", bucket=tiny)
    direct = open_betas("sub-01", session=1, bucket=tiny)
    assert {name: array.dtype for name, array in stored.variables.items()} == {
        name: array.dtype for name, array in direct.variables.items()
    }
    for array in (ds.betas, ds.betas[:0], stored.betas, maps.r2):
        assert type(array.data) is dask.array.Array


DERIVED: dict[str, Callable[[xr.Dataset], xr.Dataset | xr.DataArray]] = {
    "assign": scored,
    "merge": lambda ds: xr.merge([ds, ds.betas.std("trial").rename("s")]),
    "where": lambda ds: xr.where(ds.betas.isnull(), ds.betas.mean(), ds.betas),
    "fillna": lambda ds: ds.betas.fillna(ds.betas.mean("trial")),
    "apply_ufunc": lambda ds: xr.apply_ufunc(
        np.subtract, ds.betas, ds.betas.mean("trial"), dask="parallelized", output_dtypes=[np.float32]
    ),
    "map_blocks": lambda ds: xr.map_blocks(lambda part: part * 2, scored(ds).unify_chunks()),
    "map_blocks over voxels": lambda ds: xr.map_blocks(lambda part: part * 2, ds[["betas"]].chunk(trial=-1, voxel=7)),
    "concat": lambda ds: xr.concat([ds.betas, ds.betas * 2], "twice"),
    "dot": lambda ds: xr.dot(ds.betas, ds.betas.mean("trial"), dim="voxel"),
    "groupby": lambda ds: ds.assign(scored=ds.betas.groupby("session").map(lambda b: b - b.mean("trial"))),
    "sortby": lambda ds: scored(ds).sortby("label"),
    "drop": lambda ds: ds.where(ds.nc_12rep > 30, drop=True),
    "rolling": lambda ds: ds.betas.rolling(trial=3).mean(),
    "chunk": lambda ds: scored(ds).chunk(trial=20),
    "deep copy": lambda ds: scored(ds).copy(deep=True),
}


@pytest.mark.parametrize("how", sampled(DERIVED, keep=6))
def test_lazy_beside_lazy(ds: xr.Dataset, how: str) -> None:
    """As from values in memory, which NumPy computes."""
    found, expected = DERIVED[how](ds), DERIVED[how](ds.compute())
    assert dask.is_dask_collection(found)
    xr.testing.assert_allclose(found.compute(), expected, rtol=1e-4)
    xr.testing.assert_allclose(found.persist(), expected, rtol=1e-4)


@pytest.mark.parametrize("how", ["zarr", "netcdf"])
def test_saving_lazy_beside_lazy(ds: xr.Dataset, tmp_path: Path, how: str) -> None:
    both = scored(ds.assign(betas=ds.betas.variable.chunk(trial=50)))
    if how == "zarr":
        both.to_zarr(tmp_path / "saved", consolidated=False)
        found = xr.open_zarr(tmp_path / "saved", consolidated=False)
    else:
        both.to_netcdf(tmp_path / "saved")
        found = xr.open_dataset(tmp_path / "saved")
    with found:
        xr.testing.assert_allclose(found, both.compute())


def test_subjects_beside_each_other(tiny: Path) -> None:
    """In a tree, and aligned by their images."""
    one, other = (open_betas(name, roi="face", stimuli="shared", bucket=tiny) for name in ("sub-01", "sub-03"))
    tree = xr.DataTree.from_dict({"sub-01": scored(one), "sub-03": scored(other)})
    xr.testing.assert_allclose(tree.compute()["sub-03"].to_dataset(), scored(other.compute()), atol=1e-4)
    means = [ds.betas.groupby("label").mean() for ds in (one, other)]
    aligned = xr.align(*means, join="inner", exclude="voxel")
    assert aligned[0].label.values.tolist() == aligned[1].label.values.tolist()
    joined = xr.concat([part.drop_vars(set(part.coords) - {"label"}) for part in aligned], "voxel")
    np.testing.assert_allclose(joined.compute()[:, : one.sizes["voxel"]], aligned[0], rtol=1e-5)


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x @ dask.array.ones((x.shape[1], 90), chunks=(-1, 30)),
        lambda x: x.T @ x,
        lambda x: x[:, :, np.newaxis] * dask.array.ones(8, chunks=2),
        lambda x: (x - x.mean(0)) / x.std(0),
        lambda x: x.rechunk((10, 5)),
        lambda x: dask.array.concatenate([x[:7], x[7:20], x[20:]]),
        lambda x: x[np.arange(len(x))[::-1]],
    ],
)
def test_a_session_is_read_once_in_a_computation(counted: str, use: Callable[..., dask.array.Array]) -> None:
    """Though many blocks are made of it: a stream is unpacked for each reading."""
    x = open_betas("sub-01", roi="face", bucket=counted).betas.data
    use(x).compute()
    read = {name: size for name, size in CountingFileSystem.read.items() if "stat-effect" in name}
    folder = Path(counted.removeprefix("counted://"))
    expected = [betas_file(folder, "sub-01", f"ses-0{number}") for number in (1, 2, 3)]
    assert read == {path.name: path.stat().st_size for path in expected}


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [1, "all"])
@pytest.mark.parametrize("how", ["source", "subject", "array"])
def test_loading_fills_one_array(tiny: Path, monkeypatch: pytest.MonkeyPatch, how: str, session: int | str) -> None:
    """Each session is read into its rows of the result: nothing is copied or joined afterwards."""
    parts = []
    take = VolumeReader.take

    def noted(*args: object) -> np.ndarray:
        parts.append(take(*args))  # type: ignore[arg-type]
        return parts[-1]

    monkeypatch.setattr(VolumeReader, "take", noted)
    if how == "source":
        found = open_catalog(bucket=tiny).betas(subject="sub-01", session=session).read().betas.values
    elif how == "subject":
        each = load_subject("sub-01", bucket=tiny).get_betas(session=session, mask_source="rsquare")
        arrays = list(each.values()) if isinstance(each, dict) else [each]
        betas = [part for part in parts if len(part) > 1]
        assert [sum(np.shares_memory(found, part) for part in betas) for found in arrays] == [1] * len(arrays)
        found = np.concatenate(arrays)
    else:
        found = loaded(open_betas("sub-01", session=session, bucket=tiny).betas.data)
    betas = [part for part in parts if len(part) > 1]
    if how != "subject":  # of which each session is an array of its own
        assert [np.shares_memory(found, part) for part in betas] == [True] * (1 if session == 1 else 3)
    assert sum(part.nbytes for part in betas) == found.nbytes
    monkeypatch.undo()
    np.testing.assert_array_equal(found, open_betas("sub-01", session=session, bucket=tiny).betas.compute())


@pytest.mark.parametrize("roi", sampled(["face", None], keep=1))
def test_loading_from_a_store_fills_one_array(tiny: Path, tmp_path: Path, roi: str | None) -> None:
    build_store(tmp_path / "store", bucket=tiny, subjects="sub-01")
    array = open_betas("sub-01", roi=roi, store=tmp_path / "store", bucket=tiny).betas.data
    np.testing.assert_array_equal(loaded(array), open_betas("sub-01", roi=roi, bucket=tiny).betas.compute())


@full("processes start slowly; the fast tier loads by threads")
def test_loading_by_processes(tiny: Path) -> None:
    lazy = open_betas("sub-01", roi="face", bucket=tiny)
    with dask.config.set(scheduler="processes", num_workers=2):
        found = loaded(lazy.betas.data)
    np.testing.assert_array_equal(found, lazy.betas.compute())


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_loading_by_any_scheduler(tiny: Path, scheduler: str) -> None:
    lazy = open_betas("sub-01", roi="face", bucket=tiny)
    expected = lazy.betas.compute()
    for array in (lazy.betas, lazy.betas.isel(trial=slice(3, 90)), lazy.betas * 2, lazy.betas.isel(trial=[])):
        with dask.config.set(scheduler=scheduler, num_workers=2):
            np.testing.assert_array_equal(loaded(array.data), array)
    np.testing.assert_array_equal(loaded(lazy.betas.persist().data), expected)


def test_loading_a_broken_session_is_an_error(own_tiny: Path) -> None:
    path = betas_file(own_tiny, "sub-01", "ses-02")
    path.write_bytes(path.read_bytes()[:-100])
    source = open_catalog(bucket=own_tiny).betas(subject="sub-01", roi="face")
    with pytest.raises(DataIntegrityError, match=path.name):
        source.read()


def test_what_was_computed_is_nobody_elses(tiny: Path) -> None:
    """A persisted block is a part of a graph: writing into a result does not change the next."""
    plain = (dask.array.zeros(3, chunks=3) + 1).persist()
    plain.compute()[:] = 0
    if not plain.compute().all():
        pytest.skip("this version of Dask hands over its own blocks")
    persisted = open_betas("sub-01", roi="face", session=1, bucket=tiny).persist()
    for load in (lambda: persisted.betas.compute().values, lambda: loaded(persisted.betas.data)):
        first = load()
        before = first.copy()
        first[:] = 0
        np.testing.assert_array_equal(load(), before)


# --- other ways of Dask -----------------------------------------------------------------------------------------------


def test_keys_and_tokens_are_the_same_in_every_process(tiny: Path) -> None:
    code = f"""
import dask.base
from intake_laion_fmri import open_betas
dask.config.set({{"tokenize.ensure-deterministic": True}})
ds = open_betas("sub-01", roi="face", bucket={str(tiny)!r})
print(ds.betas.data.name, dask.base.tokenize(ds.betas.data))
"""
    first, second = (run(code) for _ in range(2))
    assert first == second
    assert first.split()[0] == open_betas("sub-01", roi="face", bucket=tiny).betas.data.name


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=os.environ | environment, capture_output=True, text=True
    )
    assert not done.stderr, done.stderr
    return done.stdout


@full("a process of its own, for a setting that Dask has off")
@pytest.mark.skipif(find_spec("dask.array._array_expr") is None, reason="this version of Dask has none")
def test_with_array_expressions(tiny: Path) -> None:
    """Dask's other arrays can do less so far; what they can, ours can."""
    code = f"""
import pickle, warnings
import dask, dask.array as da, numpy as np
from intake_laion_fmri import open_betas, open_maps
dask.config.set({{"tokenize.ensure-deterministic": True}})
ds, other = (open_betas("sub-01", roi="face", bucket={str(tiny)!r}) for _ in range(2))
assert hasattr(da.Array, "expr") and type(ds.betas.data) is da.Array
values = ds.betas.compute().values
again = pickle.loads(pickle.dumps(ds))
assert again.betas.data.name == ds.betas.data.name == other.betas.data.name
np.testing.assert_array_equal((again.betas[3:60, 2:5] * 2).compute(), values[3:60, 2:5] * 2)
maps = open_maps("sub-01", session="all", grid="volume", bucket={str(tiny)!r})
assert maps.r2.compute().shape == maps.r2.shape
print(ds.betas.data.npartitions if hasattr(ds.betas.data, "npartitions") else 3, float(np.nansum(values, dtype=float)))
"""
    blocks, total = run(code, DASK_ARRAY__QUERY_PLANNING="True").split()
    assert blocks == "3"
    expected = open_betas("sub-01", roi="face", bucket=tiny).betas.compute().values
    np.testing.assert_allclose(float(total), np.nansum(expected, dtype=float))


def test_a_graph_of_many_sessions_is_small(tiny: Path) -> None:
    """A description a session, the voxels once, also after arithmetic; it can be drawn and optimised."""
    ds = open_betas("sub-01", bucket=tiny)
    (optimised,) = dask.optimize(ds.betas.data)
    assert optimised.numblocks == (3, 1)
    assert sum(isinstance(task[1], SessionBlock) for task in dict(ds.betas.data.dask).values() if len(task) == 3) == 3
    assert len(pickle.dumps(ds.betas.data + 1)) < ds.sizes["voxel"] * 8 + 10_000
