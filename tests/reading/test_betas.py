"""The Dataset of the contract, against nibabel, pandas and NumPy on the demo bucket."""

from __future__ import annotations

import gzip
import json
import math
import pickle
import re
import shutil
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
from counting import CountingFileSystem
from demo_files import GLM, betas_file, brain, map_file, rewrite, roi_file, trials_file, volume
from hypothesis import given, settings
from hypothesis import strategies as st

from intake_laion_fmri import open_betas, open_noise_ceilings, open_rois, open_trials
from intake_laion_fmri.errors import (
    AccessDeniedError,
    DataIntegrityError,
    MissingFileWarning,
    NotInBucketError,
)

# --- the contract -----------------------------------------------------------------------------------------------------

CONTRACT = {
    "trial": (("trial",), "int64"),
    "session": (("trial",), "object"),
    "run": (("trial",), "int64"),
    "beta_index": (("trial",), "int64"),
    "label": (("trial",), "object"),
    "shared": (("trial",), "bool"),
    "dataset": (("trial",), "object"),
    "ood_type": (("trial",), "object"),
    "n_repeats": (("trial",), "int64"),
    "repetition": (("trial",), "int64"),
    "voxel": (("voxel",), "int64"),
    "i": (("voxel",), "int32"),
    "j": (("voxel",), "int32"),
    "k": (("voxel",), "int32"),
    "x": (("voxel",), "float32"),
    "y": (("voxel",), "float32"),
    "z": (("voxel",), "float32"),
    "nc_12rep": (("voxel",), "float32"),
    "nc_4rep": (("voxel",), "float32"),
    "nc_all": (("voxel",), "float32"),
    "r2_mean": (("voxel",), "float32"),
    "in_roi": (("roi", "voxel"), "bool"),
    "roi": (("roi",), "object"),
    "roi_category": (("roi",), "object"),
    "split_role": (("pool", "split", "trial"), "int8"),
    "pool": (("pool",), "object"),
    "split": (("split",), "object"),
    "subject": ((), "object"),
    "grid": ((), "object"),
}


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
    assert "> 0" in ds.attrs["mask_rule"]
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
    (path,) = (tiny / "derivatives/anatomical/sub-01").rglob("*_desc-brain_mask.nii.gz")
    np.testing.assert_array_equal(ds.voxel, np.flatnonzero(volume(path)))
    narrow = open_betas("sub-01", bucket=tiny)
    assert set(narrow.voxel.values) < set(ds.voxel.values)
    assert ds.attrs["mask"] == "anatomical" != narrow.attrs["mask"]
    assert_same(
        ds.compute().sel(voxel=narrow.voxel).assign_attrs(narrow.attrs),
        narrow.compute(),
    )


@settings(max_examples=40)
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
    # Each small file once: 3 tables, 4 maps, 40 ROIs; and the splits of two pools, which have the same names.
    read = {name: size for name, size in CountingFileSystem.read.items() if not name.endswith(".json")}
    assert (len(read), len(CountingFileSystem.read)) == (47, 47 + 11)
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


# --- missing files ----------------------------------------------------------------------------------------------------


def test_a_missing_map_leaves_its_coordinate_out(own_tiny: Path) -> None:
    """One warning that names everything missing; a selection that needs it is an error."""
    map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep").unlink()
    shutil.rmtree(own_tiny / "derivatives/rois/sub-01")
    with pytest.warns(MissingFileWarning) as caught:
        ds = open_betas("sub-01", bucket=own_tiny)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert re.search(r"nc_4rep .*Noiseceiling4rep.*in_roi .*derivatives/rois/sub-01", str(caught[0].message))
    assert set(CONTRACT) - set(ds.coords) == {"nc_4rep", "in_roi", "roi", "roi_category"}
    with pytest.raises(NotInBucketError, match=r"Noiseceiling4rep_statmap\.nii\.gz is not in the bucket\. Beside it: "):
        open_betas("sub-01", min_noise_ceiling=10, noise_ceiling="4rep", bucket=own_tiny)
    with pytest.raises(NotInBucketError, match="holds no ROI volume"):
        open_betas("sub-01", roi="FFA1", bucket=own_tiny)
    with pytest.raises(NotInBucketError, match="holds no ROI volume"), pytest.warns(MissingFileWarning):
        open_rois("sub-01", bucket=own_tiny)


def test_missing_r2_with_the_other_mask(own_tiny: Path) -> None:
    map_file(own_tiny, "sub-01", "stat-rsquare_desc-R2mean").unlink()
    with pytest.raises(NotInBucketError, match=r"R2mean_statmap\.nii\.gz is not in the bucket"):
        open_betas("sub-01", bucket=own_tiny)
    with pytest.warns(MissingFileWarning, match="r2_mean"):
        ds = open_betas("sub-01", mask="anatomical", bucket=own_tiny)
    assert "r2_mean" not in ds.coords


def test_all_noise_ceilings_missing(own_tiny: Path) -> None:
    for name in ("12rep", "4rep", "Allrep"):
        map_file(own_tiny, "sub-01", f"desc-Noiseceiling{name}").unlink()
    with pytest.raises(NotInBucketError, match="Noiseceiling12rep"), pytest.warns(MissingFileWarning):
        open_noise_ceilings("sub-01", bucket=own_tiny)


def test_a_partial_copy_counts_no_repetitions(own_tiny: Path) -> None:
    """Without the first sessions' tables nobody knows; what comes later does not matter."""
    shutil.rmtree(own_tiny / GLM / "sub-01/ses-02")
    assert "repetition" in open_betas("sub-01", session=1, bucket=own_tiny).coords
    with pytest.warns(MissingFileWarning, match=r"repetition .*ses-02"):
        ds = open_betas("sub-01", bucket=own_tiny)
    assert "repetition" not in ds.coords
    assert sorted(set(ds.session.values)) == ["ses-01", "ses-03"]


def test_a_table_without_betas(own_tiny: Path) -> None:
    """Left out of "all" with a warning; an error where it is asked for."""
    betas_file(own_tiny, "sub-01", "ses-03").unlink()
    with pytest.warns(MissingFileWarning, match="ses-03"):
        ds = open_betas("sub-01", bucket=own_tiny)
    assert set(ds.session.values) == {"ses-01", "ses-02"}
    with pytest.raises(NotInBucketError, match=r"ses-03_.*statmap\.nii\.gz is not in the bucket"):
        open_betas("sub-01", session=3, bucket=own_tiny)


def test_betas_without_a_table(own_tiny: Path) -> None:
    trials_file(own_tiny, "sub-01", "ses-02").unlink()
    with pytest.raises(NotInBucketError, match=r"ses-02_.*trials\.tsv is not in the bucket"):
        open_betas("sub-01", bucket=own_tiny)


def test_a_subject_without_betas(own_tiny: Path) -> None:
    """ROIs are there, nothing else."""
    shutil.rmtree(own_tiny / GLM / "sub-01")
    with pytest.raises(NotInBucketError, match="is not in the bucket"):
        open_betas("sub-01", bucket=own_tiny)


# --- wrong arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subject": "sub-02"}, "Unknown subject of .*'sub-02'. Did you mean .*sub-01"),
        ({"subject": "nobody"}, "Unknown subject of .*'sub-nobody'"),
        ({"subject": ""}, "Not a subject: ''"),
        ({"subject": None}, "Not a subject: None"),
        ({"subject": ["sub-01"]}, "Not a subject"),
        ({"session": "ses-4"}, "Unknown session of sub-01 in .*'ses-04'"),
        ({"session": "ses-99"}, "Unknown session of sub-01 in .*'ses-99'"),
        ({"session": "averages"}, "Not a session: 'averages'"),
        ({"session": []}, "names no session"),
        ({"session": 1.5}, "Not a session: 1.5"),
        ({"session": None}, "Not a session: None"),
        ({"session": True}, "Not a session: True"),
        ({"session": b"01"}, "Not a session: b'01'"),
        ({"mask": np.array(["rsquare"])}, "Unknown mask"),
        ({"roi": "FFA3"}, "Unknown ROI of sub-01 in .*'FFA3'. Did you mean .*FFA1"),
        ({"roi": "ffa1"}, "Did you mean 'FFA1'"),
        ({"roi": "faces"}, "Did you mean .*'face'"),
        ({"roi": "V1 |"}, "cannot be read"),
        ({"roi": []}, "names no ROI"),
        ({"mask": "rsqare"}, "Unknown mask: 'rsqare'. Did you mean 'rsquare'"),
        ({"noise_ceiling": "12"}, "Unknown noise_ceiling: '12'. Did you mean '12rep'"),
        ({"stimuli": "OOD"}, "Unknown stimuli: 'OOD'. Did you mean 'ood'"),
        ({"min_noise_ceiling": 0.3}, "Write 30 for 30 %"),
        ({"min_noise_ceiling": -1}, "from 0 to 100, found -1"),
        ({"min_noise_ceiling": 101}, "from 0 to 100, found 101"),
        ({"min_noise_ceiling": math.nan}, "from 0 to 100, found nan"),
        ({"min_noise_ceiling": "30"}, "from 0 to 100, found '30'"),
        ({"min_noise_ceiling": True}, "from 0 to 100, found True"),
    ],
)
def test_a_wrong_argument(tiny: Path, arguments: dict[str, Any], message: str) -> None:
    """ValueError with the value, what is valid, and the nearest of it."""
    with pytest.raises(ValueError, match=message):
        open_betas(**{"subject": "sub-01", "bucket": tiny, **arguments})


@pytest.mark.parametrize("roi", [3, b"FFA1", {"FFA1": 1}.values(), [1]])
def test_a_selection_of_the_wrong_type(tiny: Path, roi: Any) -> None:
    with pytest.raises(TypeError, match="roi must be a text"):
        open_betas("sub-01", roi=roi, bucket=tiny)


def test_a_typo_in_an_arguments_name(tiny: Path) -> None:
    with pytest.raises(TypeError, match="rois"):
        open_betas("sub-01", rois="FFA1", bucket=tiny)  # type: ignore[call-arg]


def test_a_held_out_session(tiny: Path) -> None:
    """Its keys are listed, and it is in the folder: it is refused all the same, and never part of "all"."""
    assert betas_file(tiny, "sub-01", "ses-31").exists()
    with pytest.raises(AccessDeniedError, match=r"ses-31 of sub-01 is held out .*ask the data set's authors"):
        open_betas("sub-01", session=31, bucket=tiny)
    with pytest.raises(AccessDeniedError, match="ses-34"):
        open_betas("sub-01", session=["ses-01", "ses-34"], bucket=tiny)


def test_no_such_bucket(tmp_path: Path) -> None:
    with pytest.raises(NotInBucketError, match="There is no bucket or folder"):
        open_betas("sub-01", bucket=tmp_path / "nowhere")
    with pytest.raises(NotInBucketError, match="holds no 'derivatives/glmsingle-tedana'"):
        open_betas("sub-01", bucket=tmp_path)


# --- broken files -----------------------------------------------------------------------------------------------------


def break_betas(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncated":
        del content[-100:]
    elif how == "flipped":
        content[len(content) // 2] ^= 4
    elif how == "empty":
        content.clear()
    elif how == "a second member":
        content += gzip.compress(b"more")
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty", "a second member"])
def test_broken_betas(own_tiny: Path, how: str) -> None:
    """Found when they are computed, on the whole or in part; the file is named."""
    path = betas_file(own_tiny, "sub-01", "ses-02")
    break_betas(path, how)
    ds = open_betas("sub-01", roi="face", bucket=own_tiny)
    with pytest.raises(DataIntegrityError, match=path.name):
        ds.compute()
    assert np.isfinite(ds.betas.sel(trial=10000).mean().compute()), "the other sessions stay readable"


def test_betas_on_another_grid(own_tiny: Path) -> None:
    path = betas_file(own_tiny, "sub-01", "ses-02")
    rewrite(path, srow_x=[1.0, 0, 0, 0])
    with pytest.raises(
        DataIntegrityError, match=f"{path.name}: expected the affine .* found .* unlike the subject's mask"
    ):
        open_betas("sub-01", session=2, roi="face", bucket=own_tiny).compute()


def test_a_roi_on_another_grid(own_tiny: Path) -> None:
    path = roi_file(own_tiny, "sub-01", "PPA")
    other = nibabel.Nifti1Image(np.ones((3, 4, 5), dtype=np.uint8), nibabel.load(path).affine)
    nibabel.save(other, path)
    with pytest.raises(DataIntegrityError, match=rf"{path.name}: expected a grid of .* found \(3, 4, 5\)"):
        open_betas("sub-01", roi="PPA", bucket=own_tiny)


def test_a_map_on_another_grid(own_tiny: Path) -> None:
    path = map_file(own_tiny, "sub-01", "desc-Noiseceiling12rep")
    rewrite(path, srow_z=[0, 0, 9.0, 0])
    with pytest.raises(DataIntegrityError, match=f"{path.name}: expected the affine"):
        open_betas("sub-01", min_noise_ceiling=1, bucket=own_tiny)


def test_a_map_of_several_volumes(own_tiny: Path) -> None:
    path = map_file(own_tiny, "sub-01", "desc-Noiseceiling12rep")
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.stack([volume(path)] * 2, axis=-1), image.affine, image.header), path)
    with pytest.raises(DataIntegrityError, match=f"{path.name}: expected one volume, found 2"):
        open_betas("sub-01", min_noise_ceiling=1, bucket=own_tiny)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_table_with_another_number_of_rows(own_tiny: Path, change: int) -> None:
    """It is the betas' file that is named, with both numbers."""
    table = trials_file(own_tiny, "sub-01", "ses-02")
    lines = table.read_text().splitlines()
    rows = len(lines) - 1
    if change < 0:
        lines.pop()
    else:
        fields = lines[-1].split("\t")
        lines.append("\t".join([fields[0], fields[1], str(rows), fields[3]]))
    table.write_text("\n".join(lines) + "\n")
    ds = open_betas("sub-01", session=2, roi="face", bucket=own_tiny)
    message = f"ses-02_.*: expected {rows + change} volumes, one per row of its trial table, found {rows}"
    with pytest.raises(DataIntegrityError, match=message):
        ds.compute()


def test_a_table_of_another_subject(own_tiny: Path) -> None:
    """Files mixed up in a copy: the codes of unique images tell."""
    content = trials_file(own_tiny, "sub-03", "ses-01").read_text()
    trials_file(own_tiny, "sub-01", "ses-01").write_text(content)
    with pytest.raises(DataIntegrityError, match="expected an image of participant p01"):
        open_trials("sub-01", bucket=own_tiny)


def test_a_broken_roi(own_tiny: Path) -> None:
    path = roi_file(own_tiny, "sub-01", "PPA")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataIntegrityError, match=path.name):
        open_betas("sub-01", roi="PPA", bucket=own_tiny)


def test_clean_names_in_a_copy(own_tiny: Path) -> None:
    """Copies made by the data set's own package have the names without hyphens."""
    for path in list((own_tiny / "derivatives/rois/sub-01").rglob("*_label-*_mask.nii.gz")):
        head, _, tail = path.name.partition("_label-")
        label, _, rest = tail.partition("_mask")
        path.rename(path.with_name(f"{head}_label-{label.replace('-', '')}_mask{rest}"))
    ds = open_betas("sub-01", roi="FFA-1", bucket=own_tiny)
    assert ds.sizes["voxel"] > 0
    assert ds.in_roi.sel(roi="FFA1").all()
