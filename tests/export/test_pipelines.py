"""Two published pipelines, in a few lines each, against nibabel, NumPy and pandas on the same files."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from demo_files import GLM, betas_file, map_file, roi_file, sessions, trials, trials_file, volume
from tiers import full

from intake_laion_fmri import open_betas, presets, to_brainscore
from intake_laion_fmri.demo import SCALES, write_demo

RETINOTOPIC = {"V1v": "V1", "V1d": "V1", "V2v": "V2", "V2d": "V2", "V3v": "V3", "V3d": "V3", "hV4": "V4"}


def plain_trials(bucket: Path, subject: str) -> pd.DataFrame:
    table = pd.concat([pd.DataFrame(trials(bucket, subject, name)) for name in sessions(bucket, subject)])
    table = table.reset_index(drop=True)
    table["run"] = table["run"].str.removeprefix("run-").astype(int)
    table["repetition"] = table.groupby("label").cumcount()
    return table


def plain_zscores(bucket: Path, subject: str, index: np.ndarray) -> np.ndarray:
    """All trials of some voxels; NaN where there is no standard deviation."""
    scaled = []
    for name in sessions(bucket, subject):
        image = np.asarray(nibabel.load(betas_file(bucket, subject, name)).dataobj, dtype=np.float64)
        betas = image.reshape(-1, image.shape[-1])[index].T
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # of a voxel without any value
            scaled.append((betas - np.nanmean(betas, axis=0)) / np.nanstd(betas, axis=0))
    return np.concatenate(scaled)


def split_ids(bucket: Path, pool: str, name: str) -> tuple[list[str], list[str]]:
    (found,) = bucket.rglob(f"{pool}/{name}.json")
    variant = json.loads(found.read_text())["variants"][0]
    return variant["train_ids"], variant["test_ids"]


def plain_regions(bucket: Path, subject: str) -> dict[str, np.ndarray]:
    """Positions on the mask, regions and ROIs, as Brain-Score's packaging assigns them."""
    brain = np.flatnonzero(volume(map_file(bucket, subject, "stat-rsquare_desc-R2mean")) != 0)
    inside = {name: volume(roi_file(bucket, subject, name)).reshape(-1)[brain] > 0 for name in RETINOTOPIC}
    region = np.full(len(brain), "", dtype=object)
    roi = region.copy()
    for name, members in inside.items():
        region[members], roi[members] = RETINOTOPIC[name], name
    rest = (volume(roi_file(bucket, subject, "laionventral")).reshape(-1)[brain] > 0) & (region == "")
    region[rest], roi[rest] = "IT", "laionventral"
    positions = np.flatnonzero(region != "")
    return {"voxel": brain[positions], "position": positions, "region": region[positions], "roi": roi[positions]}


@pytest.mark.parametrize(("subject", "kind"), [("sub-01", "shared"), ("sub-03", "subject")])
def test_brain_score(tiny: Path, tmp_path: Path, subject: str, kind: Any) -> None:
    """Through the file that is published: one variable, no MultiIndex, nothing dropped, nothing missing."""
    to_brainscore(subject, kind, splits=splits_of(tiny), bucket=tiny).to_netcdf(tmp_path / "file.nc")
    table, regions = plain_trials(tiny, subject), plain_regions(tiny, subject)
    pool = "shared" if kind == "shared" else subject
    train, test = split_ids(tiny, pool, "tau")
    rows = table["label"].isin({*train, *test, *split_ids(tiny, pool, "ood")[1]}).to_numpy()
    values = np.nan_to_num(plain_zscores(tiny, subject, regions["voxel"]), nan=0, posinf=0, neginf=0)
    kept = table[rows]

    with xr.open_dataset(tmp_path / "file.nc") as found:
        assert list(found.data_vars) == ["data"]
        assert found["data"].dims == ("presentation", "neuroid")
        assert found["data"].dtype == np.float32
        np.testing.assert_allclose(found["data"].values, values[rows], atol=1e-5)
        assert found["stimulus_id"].values.tolist() == kept["label"].tolist()
        assert found["repetition"].values.tolist() == kept.groupby("label").cumcount().tolist()
        assert found["repetition"].dtype == np.int64
        here = {"session", "run", "beta_index"} & set(found.coords)
        assert here == (set() if kind == "shared" else {"session", "run", "beta_index"})
        for name in here:
            assert found[name].values.astype(str).tolist() == kept[name].astype(str).tolist()
        for name in ("region", "roi"):
            assert found[name].values.tolist() == regions[name].tolist()
        assert found["voxel_index_in_brain_mask"].values.tolist() == regions["position"].tolist()
        assert found["voxel_index_in_brain_mask"].dtype == np.int32
        assert set(found["subject_id"].values) == {subject}
        for name, there in {"nc_4rep": "4rep", "nc_12rep": "12rep", "nc_allrep": "Allrep"}.items():
            ceiling = volume(map_file(tiny, subject, f"desc-Noiseceiling{there}")).reshape(-1)[regions["voxel"]]
            np.testing.assert_array_equal(found[name].values, ceiling)
            assert found[name].dtype == np.float32


def splits_of(bucket: Path) -> Path:
    (found,) = bucket.rglob("shared/tau.json")
    return found.parents[1]


def test_brain_score_of_what_was_opened(tiny: Path) -> None:
    """Lazy or not, scaled or not, the same as from the bucket."""
    expected = to_brainscore("sub-01", bucket=tiny)
    whole = open_betas("sub-01", mask="rsquare_or_nan", bucket=tiny)
    assert whole.laion.to_brainscore(bucket=tiny).chunks
    for given in (whole, whole.compute(), open_betas("01", mask="anatomical", zscore="session", bucket=tiny)):
        found = given.laion.to_brainscore(bucket=tiny)
        xr.testing.assert_allclose(found.drop_attrs(), expected.drop_attrs(), atol=1e-6)
    few = open_betas("sub-01", mask="rsquare_or_nan", stimuli="shared", zscore="session", bucket=tiny)
    xr.testing.assert_identical(few.laion.to_brainscore(bucket=tiny).drop_attrs(), expected.drop_attrs())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.isel(trial=slice(1, None)), r"lacks 1 of the 135 required trials"),
        (lambda ds: ds.laion.trials(stimuli="shared"), r"lacks \d+ of the 135 required trials.* open all sessions"),
        (lambda ds: ds.laion.roi("face"), r"lacks \d+ of the 139 required voxels.*mask='rsquare_or_nan'"),
        (lambda ds: ds.laion.zscore("run"), "scaled within each run"),
        (lambda ds: ds.laion.average(), "betas with dimensions trial and voxel"),
        (lambda ds: ds.drop_vars("subject"), "betas of a single subject"),
        (lambda ds: ds.assign_coords(label=ds.label[::-1].variable), "labels of the Dataset's trials differ"),
    ],
)
def test_what_brain_score_cannot_be_given(tiny: Path, change: Callable[[xr.Dataset], xr.Dataset], message: str) -> None:
    whole = open_betas("sub-01", mask="rsquare_or_nan", bucket=tiny)
    with pytest.raises(ValueError, match=message):
        change(whole).laion.to_brainscore(bucket=tiny)


def test_wrong_words(tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"'persubject'.*subject"):
        to_brainscore("sub-01", "persubject", bucket=tiny)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Unknown subject.*sub-02"):
        to_brainscore("sub-02", bucket=tiny)


def test_the_published_pools(own_tiny: Path, reference: Path) -> None:
    """Of a subject who saw every image: 1,492 shared ones, and 6,204 in all. No beta is read for that."""
    pool = {label for name in ("tau", "ood") for side in split_ids(reference, "sub-01", name) for label in side}
    rows = [f"ses-01\t1\t{n}\t{label}" for n, label in enumerate(sorted(pool))]
    trials_file(own_tiny, "sub-01", "ses-01").write_text("\n".join(["session\trun\tbeta_index\tlabel", *rows, ""]))
    for name in sessions(own_tiny, "sub-01")[1:]:
        shutil.rmtree(own_tiny / GLM / "sub-01" / name)
    for kind, n in (("shared", 1492), ("subject", 6204)):
        found = to_brainscore("sub-01", kind, splits=reference, bucket=own_tiny)  # type: ignore[arg-type]
        assert len(set(found["stimulus_id"].values)) == found.sizes["presentation"] == n


@full("a bucket with the grid of the data set takes 15 s; the same regions of a small brain are in the fast tier")
def test_the_published_regions(tmp_path: Path) -> None:
    """A brain with as many voxels in each ROI as sub-01 has."""
    few = {"shared_12rep": (1, 1), "shared_4rep": (1, 1), "unique_4rep": (1, 0, 0), "n_trials": 16}
    write_demo(tmp_path / "demo", scale=dataclasses.replace(SCALES["session"], n_vertices=(642, 650), **few))
    found = to_brainscore("sub-01", "subject", bucket=tmp_path / "demo")
    counts = pd.Series(found["region"].values).value_counts()
    assert counts.to_dict() == {"V1": 1300, "V2": 1305, "V3": 1016, "V4": 372, "IT": 3401}


def test_a_labs_loader(tiny: Path) -> None:
    found = presets.lab_xarray(open_betas("sub-01", roi="laion", bucket=tiny))

    table = plain_trials(tiny, "sub-01")
    table["trial"] = table.groupby("session", sort=False).cumcount()
    whole = open_betas("sub-01", roi="laion", bucket=tiny)
    values = plain_zscores(tiny, "sub-01", whole["voxel"].values)
    known = np.isfinite(values).all(axis=0)
    assert 0 < known.sum() < len(known)
    table = table[~table["label"].isin(split_ids(tiny, "shared", "ood")[1])].sort_values(["label", "repetition"])
    assert found.dims == ("presentation", "neuroid")
    np.testing.assert_allclose(found.values, values[table.index][:, known], atol=1e-5)
    expected = {
        "session": (table["session"].str[4:].astype(np.uint8), "uint8"),
        "trial": (table["trial"], "uint16"),
        "run": (table["run"], "uint8"),
        "stimulus": (table["label"], None),
        "repetition": (table["repetition"], "uint8"),
    }
    for name, (column, dtype) in expected.items():
        assert found[name].values.tolist() == column.tolist()
        assert dtype is None or found[name].dtype == dtype
    grid = nibabel.load(betas_file(tiny, "sub-01", "ses-01"))
    ijk = np.array(np.unravel_index(whole["voxel"].values[known], grid.shape[:3]))
    xyz = nibabel.affines.apply_affine(grid.affine, ijk.T)
    np.testing.assert_allclose(np.array([found[name].values for name in "xyz"]).T, xyz, atol=1e-3)
    assert [index.names for index in (found.indexes["presentation"], found.indexes["neuroid"])] == [
        ["stimulus", "repetition"],
        ["x", "y", "z"],
    ]
    label = table["label"].iloc[0]
    assert found.sel(stimulus=label).sizes["repetition"] == (table["label"] == label).sum()


def test_a_labs_loader_of_scaled_and_of_selected_betas(tiny: Path, tiny_store: Path) -> None:
    expected = presets.lab_xarray(open_betas("sub-03", roi="face", bucket=tiny))
    scaled = open_betas("sub-03", roi="face", zscore="session", bucket=tiny)
    xr.testing.assert_allclose(presets.lab_xarray(scaled), expected, atol=1e-6)
    blocks = open_betas("sub-03", roi="face", chunks={"voxel": 1}, store=tiny_store, bucket=tiny)
    xr.testing.assert_allclose(presets.lab_xarray(blocks), expected, atol=1e-6)
    for betas, message in (
        (scaled.laion.trials(stimuli="unique"), "Open whole sessions"),
        (scaled.isel(trial=slice(0, 0)), "Open whole sessions"),
        (scaled.laion.average(), "betas with dimensions trial and voxel"),
        (open_betas("sub-03", roi="face", zscore="run", bucket=tiny), "scaled within each run"),
    ):
        with pytest.raises(ValueError, match=message):
            presets.lab_xarray(betas)
