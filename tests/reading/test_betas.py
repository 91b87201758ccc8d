"""The Dataset of the contract, against nibabel, pandas and NumPy on the demo bucket."""

from __future__ import annotations

import gzip
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import dask
import dask.array
import nibabel
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from contract import CONTRACT
from counting import CountingFileSystem
from demo_files import betas_file, brain, map_file, roi_file, trials_file, volume
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import examples

from intake_laion_fmri import open_betas, open_noise_ceilings, open_rois, open_trials

# --- the contract -----------------------------------------------------------------------------------------------------


def test_the_dataset_has_the_coordinates_of_the_contract(tiny: Path) -> None:
    ds = open_betas("sub-01", bucket=tiny)
    assert {name: (array.dims, str(array.dtype)) for name, array in ds.coords.items()} == CONTRACT
    assert list(ds.data_vars) == ["betas"]
    assert (ds.betas.dims, ds.betas.dtype) == (("trial", "voxel"), np.float32)
    assert isinstance(ds.betas.data, dask.array.Array)
    assert set(ds.indexes) == {"trial", "voxel", "roi", "pool", "split"}
    assert {"long_name", "units"} <= set(ds.betas.attrs)
    assert ds.betas.attrs["grid_mapping"] == "grid"
    assert all(ds[name].attrs["units"] == "percent" for name in ("nc_12rep", "nc_4rep", "nc_all"))
    assert all(ds[name].attrs["units"] == "mm" for name in "xyz")


def test_arithmetic_with_numbers_does_not_overflow(tiny: Path) -> None:
    """Nor of what a store of narrower types gives back."""
    ds = open_betas("sub-01", roi="face", bucket=tiny)
    np.testing.assert_array_equal(ds.run * 10_000, [int(run) * 10_000 for run in ds.run])
    np.testing.assert_array_equal(
        (ds.i * 143 + ds.j) * 143 + ds.k,
        [(int(i) * 143 + int(j)) * 143 + int(k) for i, j, k in zip(ds.i, ds.j, ds.k, strict=True)],
    )
    np.testing.assert_array_equal(
        ds.n_repeats * 100 + ds.repetition * 1000,
        [int(n) * 100 + int(r) * 1000 for n, r in zip(ds.n_repeats, ds.repetition, strict=True)],
    )
    frame = open_trials("sub-01", bucket=tiny)
    assert [str(dtype) for dtype in frame[["run", "beta_index", "n_repeats", "repetition"]].dtypes] == ["int64"] * 4


def test_the_attributes(tiny: Path) -> None:
    ds = open_betas("01", roi="FFA1", session=2, bucket=tiny)
    image = nibabel.load(betas_file(tiny, "sub-01", "ses-02"))
    np.testing.assert_allclose(np.reshape(ds.attrs["affine"], (4, 4)), image.affine, atol=1e-5)
    assert ds.attrs["grid_shape"] == list(image.shape[:3])
    assert ds.attrs["mask"] == "rsquare"
    assert "neither 0 nor NaN" in ds.attrs["mask_rule"]
    assert ds.attrs["license"] == "CC0-1.0"
    assert ds.attrs["space"] == "T1w"
    sources = {entry["key"]: entry for entry in json.loads(ds.attrs["sources"])}
    betas = betas_file(tiny, "sub-01", "ses-02")
    assert sources[betas.relative_to(tiny).as_posix()]["size"] == betas.stat().st_size
    assert all(entry["etag"] for entry in sources.values())
    assert not [key for key in sources if "ses-03" in key]


def test_values_and_labels_are_those_of_the_files(tiny: Path) -> None:
    """Every subject, session, trial and voxel: nibabel's values, pandas' table, in the same order."""
    for subject in ("sub-01", "sub-03"):
        ds = open_betas(subject, bucket=tiny).compute()
        np.testing.assert_array_equal(ds.voxel, brain(tiny, subject))
        start = 0
        for number, session in enumerate(("ses-01", "ses-02", "ses-03"), 1):
            table = pd.read_csv(trials_file(tiny, subject, session), sep="\t", keep_default_na=False)
            part = ds.isel(trial=slice(start, start + len(table)))
            start += len(table)
            values = volume(betas_file(tiny, subject, session))[ds.i.values, ds.j.values, ds.k.values].T
            np.testing.assert_array_equal(part.betas, values)
            assert part.label.values.tolist() == table["label"].tolist()
            assert part.trial.values.tolist() == [number * 10_000 + row for row in range(len(table))]
            assert part.run.values.tolist() == [int(str(run).removeprefix("run-")) for run in table["run"]]
            assert set(part.session.values) == {session}
        assert start == ds.sizes["trial"]
        assert np.isnan(ds.betas.values).any(), "the demo has NaNs, and they are kept"


def test_maps_and_memberships_are_those_of_the_files(tiny: Path) -> None:
    ds = open_betas("sub-03", bucket=tiny)
    flat = brain(tiny, "sub-03")
    for name, key in {"12rep": "Noiseceiling12rep", "4rep": "Noiseceiling4rep", "all": "NoiseceilingAllrep"}.items():
        expected = volume(map_file(tiny, "sub-03", f"desc-{key}")).reshape(-1)[flat]
        np.testing.assert_array_equal(ds[f"nc_{name}"], expected)
    np.testing.assert_array_equal(
        ds.r2_mean, volume(map_file(tiny, "sub-03", "stat-rsquare_desc-R2mean")).reshape(-1)[flat]
    )
    assert ds.sizes["roi"] == 43
    for name in ds.roi.values:
        np.testing.assert_array_equal(
            ds.in_roi.sel(roi=name), volume(roi_file(tiny, "sub-03", name)).reshape(-1)[flat] > 0, err_msg=name
        )
        assert ds.roi_category.sel(roi=name).item() == roi_file(tiny, "sub-03", name).parent.name


def test_world_coordinates(tiny: Path) -> None:
    ds = open_betas("sub-01", bucket=tiny)
    affine = nibabel.load(betas_file(tiny, "sub-01", "ses-01")).affine
    expected = nibabel.affines.apply_affine(affine, np.stack([ds.i, ds.j, ds.k], axis=1))
    np.testing.assert_allclose(np.stack([ds.x, ds.y, ds.z], axis=1), expected, atol=1e-3)
    np.testing.assert_array_equal(ds.voxel, np.ravel_multi_index((ds.i, ds.j, ds.k), ds.attrs["grid_shape"]))


# --- selections -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sessions"),
    [
        ("all", ["ses-01", "ses-02", "ses-03"]),
        ("ses-02", ["ses-02"]),
        ("02", ["ses-02"]),
        (2, ["ses-02"]),
        (np.int64(2), ["ses-02"]),
        ([3, "ses-01", "01"], ["ses-01", "ses-03"]),
        ((1, 2), ["ses-01", "ses-02"]),
        (range(1, 3), ["ses-01", "ses-02"]),
        (np.array([2, 1]), ["ses-01", "ses-02"]),
        (np.array(2), ["ses-02"]),
        ({2}, ["ses-02"]),
    ],
)
def test_sessions(tiny: Path, given: Any, sessions: list[str]) -> None:
    """Ascending and each once, however they are given; a trial keeps its number, repetition and values."""
    everything = open_betas("sub-01", roi="FFA1", bucket=tiny).compute()
    found = open_betas("sub-01", roi="FFA1", session=given, bucket=tiny).compute()
    expected = everything.isel(trial=np.isin(everything.session, sessions))
    assert_same(found, expected)


def assert_same(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Identical but for the list of files that were used."""
    xr.testing.assert_identical(found.assign_attrs(sources=""), expected.assign_attrs(sources=""))


def test_repetitions_are_counted_over_all_sessions(tiny: Path) -> None:
    tables = [
        pd.read_csv(trials_file(tiny, "sub-01", f"ses-0{number}"), sep="\t", keep_default_na=False)
        for number in (1, 2, 3)
    ]
    labels = pd.concat(tables)["label"].tolist()
    expected = [labels[:row].count(label) for row, label in enumerate(labels)][-len(tables[2]) :]
    assert open_betas("sub-01", session=3, bucket=tiny).repetition.values.tolist() == expected
    assert max(expected) > 3


@pytest.mark.parametrize("roi", ["FFA1", "FFA-1", "face", "all", ["PPA", "face"], "laionventral - (V1v | V1d | hV4)"])
def test_rois(tiny: Path, roi: Any) -> None:
    """The voxels of an ROI are those of the whole mask that its membership names."""
    everything = open_betas("sub-01", bucket=tiny).compute()
    member = {name: everything.in_roi.sel(roi=name).values for name in everything.roi.values}
    face = everything.in_roi.values[everything.roi_category.values == "face"].any(axis=0)
    expected = {
        "FFA1": member["FFA1"],
        "FFA-1": member["FFA1"],
        "face": face,
        "all": everything.in_roi.values.any(axis=0),
        "('PPA', 'face')": member["PPA"] | face,
        "laionventral - (V1v | V1d | hV4)": member["laionventral"] & ~(member["V1v"] | member["V1d"] | member["hV4"]),
    }[str(tuple(roi)) if isinstance(roi, list) else roi]
    assert 0 < expected.sum() < len(expected)
    assert_same(open_betas("sub-01", roi=roi, bucket=tiny).compute(), everything.isel(voxel=expected))


@pytest.mark.parametrize("which", ["12rep", "4rep", "all"])
@pytest.mark.parametrize("threshold", [0, 1, 30, 55.5])
def test_noise_ceiling_threshold(tiny: Path, which: str, threshold: float) -> None:
    everything = open_betas("sub-01", bucket=tiny).compute()
    found = open_betas("sub-01", min_noise_ceiling=threshold, noise_ceiling=which, bucket=tiny).compute()
    expected = everything.isel(voxel=(everything[f"nc_{which}"] >= threshold).values)
    assert 0 < expected.sizes["voxel"] < everything.sizes["voxel"]
    assert_same(found, expected)


@pytest.mark.parametrize("stimuli", ["shared", "unique", "ood"])
def test_stimuli(tiny: Path, stimuli: str) -> None:
    everything = open_betas("sub-01", roi="PPA", bucket=tiny).compute()
    is_shared = np.array([label.startswith("shared_") for label in everything.label.values])
    is_ood = np.array([label.startswith("shared_4rep_OOD_") for label in everything.label.values])
    expected = everything.isel(trial={"shared": is_shared, "unique": ~is_shared, "ood": is_ood}[stimuli])
    assert_same(open_betas("sub-01", roi="PPA", stimuli=stimuli, bucket=tiny).compute(), expected)


def test_anatomical_mask(tiny: Path) -> None:
    ds = open_betas("sub-01", mask="anatomical", bucket=tiny)
    (path,) = (tiny / "derivatives/anatomical/sub-01").rglob("*_res-1pt8_desc-brain_mask.nii.gz")
    np.testing.assert_array_equal(ds.voxel, np.flatnonzero(volume(path)))
    narrow = open_betas("sub-01", bucket=tiny)
    assert set(narrow.voxel.values) < set(ds.voxel.values)
    assert ds.attrs["mask"] == "anatomical" != narrow.attrs["mask"]
    assert_same(
        ds.compute().sel(voxel=narrow.voxel).assign_attrs(narrow.attrs),
        narrow.compute(),
    )


@settings(max_examples=examples(40))
@given(st.data())
def test_selections_together(tiny: Path, data: st.DataObject) -> None:
    """Whatever is selected at opening equals selecting from everything afterwards."""
    everything = EVERYTHING.setdefault(str(tiny), open_betas("sub-01", bucket=tiny).compute())
    sessions = data.draw(st.sets(st.integers(1, 3), min_size=1), label="session")
    rois = data.draw(st.none() | st.lists(st.sampled_from(everything.roi.values.tolist()), min_size=1), label="roi")
    threshold = data.draw(st.none() | st.integers(1, 100), label="threshold")
    stimuli = data.draw(st.sampled_from([None, "shared", "unique", "ood"]), label="stimuli")
    trials = np.isin(everything.session, [f"ses-0{number}" for number in sessions])
    if stimuli is not None:
        trials &= {"ood": everything.dataset == "OOD", "shared": everything.shared, "unique": ~everything.shared}[
            stimuli
        ].values
    voxels = np.ones(everything.sizes["voxel"], dtype=bool)
    if rois is not None:
        voxels &= everything.in_roi.sel(roi=rois).values.any(axis=0)
    if threshold is not None:
        voxels &= (everything.nc_12rep >= threshold).values
    found = open_betas(
        "sub-01", session=list(sessions), roi=rois, min_noise_ceiling=threshold, stimuli=stimuli, bucket=tiny
    )
    assert_same(found.compute(), everything.isel(trial=trials, voxel=voxels))


EVERYTHING: dict[str, xr.Dataset] = {}


def test_a_selection_that_leaves_nothing(tiny: Path) -> None:
    """A Dataset of length 0 with all its coordinates; nothing is read for it."""
    nowhere = open_betas("sub-01", roi="V1v & MPA & FFA1", bucket=tiny)
    assert nowhere.sizes["voxel"] == 0
    assert nowhere.compute().betas.shape == (nowhere.sizes["trial"], 0)
    assert set(nowhere.coords) == set(CONTRACT)


# --- laziness ---------------------------------------------------------------------------------------------------------


def test_opening_reads_no_beta(tiny: Path, counted: str) -> None:
    ds = open_betas("sub-01", bucket=counted)
    repr(ds), ds._repr_html_()
    assert not [name for name in CountingFileSystem.read if "stat-effect" in name]
    # Each small file once: 3 trial tables and that of stimuli, 4 maps, 40 ROIs; and the splits of two pools, which have
    # the same names.
    read = {name: size for name, size in CountingFileSystem.read.items() if not name.endswith(".json")}
    assert (len(read), len(CountingFileSystem.read)) == (48, 48 + 11)
    assert all(size == next(tiny.rglob(name)).stat().st_size for name, size in read.items())


def test_computing_reads_the_chosen_sessions_once(tiny: Path, counted: str) -> None:
    open_betas("sub-01", session=[1, 3], roi="face", bucket=counted).compute()
    read = {name: size for name, size in CountingFileSystem.read.items() if "stat-effect" in name}
    expected = [betas_file(tiny, "sub-01", session) for session in ("ses-01", "ses-03")]
    assert read == {path.name: path.stat().st_size for path in expected}


def test_a_session_without_a_chosen_trial_is_not_read(own_tiny: Path, counted: str) -> None:
    """Nor has it a chunk."""
    table = trials_file(own_tiny, "sub-01", "ses-02")
    lines = table.read_text().splitlines()
    unique = next(line.split("\t")[3] for line in lines if "\tunique_" in line)
    table.write_text("\n".join([lines[0], *("\t".join([*line.split("\t")[:3], unique]) for line in lines[1:])]) + "\n")
    ds = open_betas("sub-01", roi="PPA", stimuli="ood", bucket=f"counted://{own_tiny}")
    assert len(ds.betas.chunks[0]) == 2
    ds.compute()
    assert betas_file(own_tiny, "sub-01", "ses-02").name not in CountingFileSystem.read
    assert betas_file(own_tiny, "sub-01", "ses-03").name in CountingFileSystem.read


def test_the_graph_is_small(tiny: Path) -> None:
    """At most three tasks per session, the voxels stored once."""
    ds = open_betas("sub-01", bucket=tiny)
    assert len(ds.betas.__dask_graph__()) <= 3 * 3
    assert ds.betas.data.numblocks == (3, 1)
    voxels = ds.sizes["voxel"] * 8
    assert len(pickle.dumps(ds.betas.data)) < voxels + 10_000


def test_the_same_opening_has_the_same_keys(tiny: Path) -> None:
    """So that a cluster computes a session once; another selection has others."""
    one, other = (open_betas("sub-01", roi="face", bucket=tiny).betas.data.name for _ in range(2))
    assert one == other
    assert open_betas("sub-01", roi="PPA", bucket=tiny).betas.data.name != one
    assert open_betas("sub-01", roi="face", stimuli="ood", bucket=tiny).betas.data.name != one


def test_a_changed_file_has_another_key(own_tiny: Path) -> None:
    before = open_betas("sub-01", roi="face", session=1, bucket=own_tiny).betas.data.name
    path = betas_file(own_tiny, "sub-01", "ses-01")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 9))
    assert open_betas("sub-01", roi="face", session=1, bucket=own_tiny).betas.data.name != before


# --- what survives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selection", [{}, {"roi": "V1v & MPA & FFA1"}])
def test_netcdf_keeps_everything(tiny: Path, tmp_path: Path, selection: dict[str, Any]) -> None:
    ds = open_betas("sub-01", bucket=tiny, **selection)
    ds.to_netcdf(tmp_path / "file.nc")
    with xr.open_dataset(tmp_path / "file.nc") as again:
        xr.testing.assert_identical(again.compute(), ds.compute())


def test_pickling_keeps_everything(tiny: Path) -> None:
    ds = open_betas("sub-01", roi="face", bucket=tiny)
    xr.testing.assert_identical(pickle.loads(pickle.dumps(ds)).compute(), ds.compute())


def test_a_worker_in_another_folder_reads_the_same(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative bucket is meant relative to where it was opened."""
    monkeypatch.chdir(tiny.parent)
    ds = open_betas("sub-01", roi="face", bucket="tiny")
    monkeypatch.chdir(tmp_path)
    assert np.isfinite(ds.betas.mean().compute())


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_schedulers_agree(tiny: Path, scheduler: str) -> None:
    ds = open_betas("sub-01", roi="face", bucket=tiny)
    with dask.config.set(scheduler=scheduler, num_workers=2):
        found = ds.betas.mean("trial").compute()
    np.testing.assert_allclose(found, ds.compute().betas.mean("trial"), rtol=1e-5)


def test_a_full_read_prints_no_warning(tiny: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        repr(open_betas("sub-01", bucket=tiny).compute())
    assert not caught


# --- the parts --------------------------------------------------------------------------------------------------------


def test_trials_are_the_coordinates_of_the_betas(tiny: Path) -> None:
    ds = open_betas("sub-03", session=[2, 3], stimuli="shared", bucket=tiny)
    table = open_trials("sub-03", session=[2, 3], stimuli="shared", bucket=tiny)
    assert table.index.name == "trial"
    assert table.index.tolist() == ds.trial.values.tolist()
    assert table.columns.tolist() == [name for name, (dims, _) in CONTRACT.items() if dims == ("trial",)][1:]
    for name in table.columns:
        assert table[name].tolist() == ds[name].values.tolist()


def test_rois_are_the_coordinates_of_the_betas(tiny: Path) -> None:
    ds, rois = (function("sub-03", roi="face", bucket=tiny) for function in (open_betas, open_rois))
    assert list(rois.data_vars) == ["in_roi"]
    expected = ds.in_roi.drop_vars(["in_roi", *MAPS]).assign_attrs(grid_mapping="grid")
    xr.testing.assert_identical(rois.in_roi, expected)


MAPS = ["nc_12rep", "nc_4rep", "nc_all", "r2_mean"]


def test_noise_ceilings_are_the_coordinates_of_the_betas(tiny: Path) -> None:
    ds, maps = (function("sub-03", roi="face", bucket=tiny) for function in (open_betas, open_noise_ceilings))
    assert list(maps.data_vars) == MAPS
    for name in MAPS:
        np.testing.assert_array_equal(maps[name], ds[name])
