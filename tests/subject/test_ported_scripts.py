"""Scripts that were written for the data set's own package, with the import replaced: the numbers of plain NumPy.

Six in the manner of its gallery, and two pipelines of its users: one that packages responses for Brain-Score, and one
that a laboratory loads its responses with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import plain_arrays as oracle
import pytest
import s3fs
import xarray as xr
from conftest import S3
from demo_files import betas_file
from tiers import sampled

from intake_laion_fmri import layout

FACE = ["FFA1", "FFA2", "OFA", "pSTSfaces"]
SESSIONS = ["ses-01", "ses-02", "ses-03"]

Run = Callable[..., dict[str, Any]]


@pytest.fixture(params=sampled(["folder", "s3"], keep=1))
def run(request: pytest.FixtureRequest, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """Run a script where the bucket is a folder, or on a server; return its variables."""
    monkeypatch.chdir(tmp_path)
    if request.param == "s3":
        s3: S3 = request.getfixturevalue("s3")
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()  # a client keeps the address that it was made with
        monkeypatch.setenv("LAION_FMRI_SPLITS", str(tiny / layout.SPLITS_ROOT))
    else:
        monkeypatch.setenv("LAION_FMRI_BUCKET", str(tiny))

    def script(text: str, **given: Any) -> dict[str, Any]:
        text = re.sub(r"^import laion_fmri$", "import intake_laion_fmri as laion_fmri", text, flags=re.MULTILINE)
        exec(re.sub(r"^from laion_fmri\b", "from intake_laion_fmri", text, flags=re.MULTILINE), given)
        return given

    yield script
    s3fs.S3FileSystem.clear_instance_cache()


QUICK_START = """
import os
from laion_fmri.config import dataset_initialize
from laion_fmri.download import download
from laion_fmri.subject import load_subject

os.makedirs("data", exist_ok=True)
dataset_initialize("data")
download(subject="sub-01", ses="ses-01", n_jobs=2)

sub = load_subject("sub-01")
trials = sub.get_trial_info(session="ses-01")
betas = sub.get_betas(session="ses-01", roi="face", nc_threshold=10)
selectivity = betas[trials["label"].str.startswith("shared_")].mean(axis=0) - betas.mean(axis=0)
sub.to_nifti(sub.get_betas(session="ses-01", roi="face").mean(axis=0), output_path="mean.nii.gz", roi="face")
"""


def test_quick_start(run: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(QUICK_START)
    index = oracle.roi(tiny, FACE)
    reliable = index[oracle.session_ceiling(tiny, "ses-01", index) >= 10]
    betas = oracle.betas(tiny, "ses-01", reliable)
    np.testing.assert_array_equal(found["betas"], betas)
    shared = [label.startswith("shared_") for label in oracle.labels(tiny, "ses-01")]
    np.testing.assert_allclose(found["selectivity"], betas[shared].mean(axis=0) - betas.mean(axis=0), atol=1e-6)
    image = nibabel.load("mean.nii.gz")
    np.testing.assert_array_equal(image.affine, nibabel.load(betas_file(tiny, "sub-01", "ses-01")).affine)
    expected = np.zeros(image.shape).reshape(-1)
    expected[index] = oracle.betas(tiny, "ses-01", index).mean(axis=0)
    np.testing.assert_allclose(np.asarray(image.dataobj).reshape(-1), expected, atol=1e-6)
    assert "Copied " in capsys.readouterr().out


QUERYING = """
import laion_fmri
from laion_fmri.discovery import describe, get_rois, get_subjects, inspect_bucket

inspect_bucket()
describe()
subjects = get_subjects()
faces = get_rois(category="face")
sub = laion_fmri.load_subject(subjects[0])
per_category = {category: sub.get_available_rois(category) for category in sub.get_available_categories()}
voxels = {source: sub.get_n_voxels(source=source) for source in ("anatomical", "rsquare")}
trials = sub.get_trial_info(session=sub.get_sessions())
counts = {session: len(table) for session, table in trials.items()}
"""


def test_querying(run: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(QUERYING)
    assert (found["subjects"], found["faces"]) == (["sub-01", "sub-03"], FACE)
    assert found["per_category"]["face"] == FACE
    assert sum(map(len, found["per_category"].values())) == 40
    assert found["voxels"] == {source: len(oracle.mask(tiny, source)) for source in found["voxels"]}
    assert found["counts"] == {session: len(oracle.labels(tiny, session)) for session in SESSIONS}
    assert "LAION-fMRI Dataset" in capsys.readouterr().out


LOADING = """
import numpy as np
from laion_fmri.subject import load_subject

sub = load_subject("sub-01")
by_session = sub.get_betas(session=["ses-01", "ses-02"], roi=["FFA1", "PPA"])
stacked = np.concatenate(list(by_session.values()))
shared = sub.get_betas(session="ses-01", roi="MT", stimuli="shared")

ceiling = sub.get_noise_ceiling(desc="Noiseceiling12rep")
best = ceiling >= np.nanpercentile(ceiling, 90)
betas = sub.get_betas(session="ses-01", mask=best, streaming=True)

volume = np.zeros(sub.get_brain_mask().shape, dtype=np.float32)
volume[sub.get_brain_mask()] = ceiling
per_session = sub.get_noise_ceiling(session=["ses-01", "ses-03"], roi="face")
"""


def test_loading_data(run: Run, tiny: Path) -> None:
    found = run(LOADING)
    index = oracle.roi(tiny, ["FFA1", "PPA"])
    expected = np.concatenate([oracle.betas(tiny, session, index) for session in SESSIONS[:2]])
    np.testing.assert_array_equal(found["stacked"], expected)
    rows = [label.startswith("shared_") for label in oracle.labels(tiny, "ses-01")]
    np.testing.assert_array_equal(found["shared"], oracle.betas(tiny, "ses-01", oracle.roi(tiny, ["MT"]))[rows])
    brain = oracle.mask(tiny)
    ceiling = oracle.ceiling(tiny, "12rep", brain)
    chosen = brain[ceiling >= np.nanpercentile(ceiling, 90)]
    np.testing.assert_array_equal(found["betas"], oracle.betas(tiny, "ses-01", chosen))
    np.testing.assert_array_equal(found["volume"][brain], ceiling)
    assert found["volume"].size == np.prod(nibabel.load(betas_file(tiny, "sub-01", "ses-01")).shape[:3])
    for session, values in found["per_session"].items():
        np.testing.assert_array_equal(values, oracle.session_ceiling(tiny, session, oracle.roi(tiny, FACE)))


ROIS = """
from laion_fmri.subject import load_subject

sub = load_subject("sub-01")
masks = sub.get_roi_masks(sub.get_available_rois("face") + ["face"])
overlap = {name: int((masks[name] & masks["face"]).sum()) for name in masks}
data = sub.get_roi_data("FFA1")
vertices = {hemi: data["FFA1"]["gii"][hemi]["func.gii"].sum() for hemi in ("hemi-L", "hemi-R")}
indices = {hemi: len(data["FFA1"]["gii"][hemi]["label"]) for hemi in ("hemi-L", "hemi-R")}
centre = sub.get_voxel_coordinates(roi="FFA1").mean(axis=0)
"""


def test_rois_and_surfaces(run: Run, tiny: Path) -> None:
    found = run(ROIS)
    for name in FACE:
        np.testing.assert_array_equal(found["masks"][name], oracle.flags(tiny, [name]))
        assert found["overlap"][name] == oracle.flags(tiny, [name]).sum()
    assert found["vertices"] == found["indices"]
    assert min(found["vertices"].values()) > 0
    image = nibabel.load(betas_file(tiny, "sub-01", "ses-01"))
    ijk = np.array(np.unravel_index(oracle.roi(tiny, ["FFA1"]), image.shape[:3])).T
    np.testing.assert_allclose(found["centre"], nibabel.affines.apply_affine(image.affine, ijk).mean(axis=0))


SPLITS = """
import numpy as np
from laion_fmri.splits import get_split_masks, get_train_test_ids, list_pools, list_splits, load_split
from laion_fmri.subject import load_subject

sub = load_subject("sub-01")
names = {pool: list_splits(pool) for pool in list_pools()}
trials = sub.get_trial_info(session="ses-01")
betas = sub.get_betas(session="ses-01", roi="face")
train, test = get_split_masks(trials, "tau", "sub-01")
train_ids, test_ids = get_train_test_ids("tau", "sub-01")
split = load_split("tau", "sub-01")
mean, sd = betas[train].mean(axis=0), betas[train].std(axis=0)
X_test = (betas[test] - mean) / sd
"""


def test_splits(run: Run, tiny: Path) -> None:
    found = run(SPLITS)
    assert {"tau", "ood"} <= set(found["names"]["sub-01"])
    assert (found["split"].n_train, found["split"].n_test) == (len(found["train_ids"]), len(found["test_ids"]))
    labels = oracle.labels(tiny, "ses-01")
    rows = {side: np.isin(labels, found[f"{side}_ids"]) for side in ("train", "test")}
    betas = oracle.betas(tiny, "ses-01", oracle.roi(tiny, FACE))
    train = betas[rows["train"]]
    expected = (betas[rows["test"]] - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(found["X_test"], expected, atol=1e-4)
    assert min(len(train), len(found["X_test"])) > 0


GROUP = """
import numpy as np
from laion_fmri.group import load_subjects

group = load_subjects(["sub-01", "sub-03"])
betas = group.get_shared_betas(session="ses-01", roi="face")
responses = {}
for name, sub in group:
    labels = sub.get_trial_info(session="ses-01")["label"]
    labels = labels[labels.str.startswith("shared_")].to_numpy()
    responses[name] = {label: betas[name][labels == label].mean(axis=0) for label in np.unique(labels)}
common = sorted(set(responses["sub-01"]) & set(responses["sub-03"]))
matrices = {name: np.stack([each[label] for label in common]) for name, each in responses.items()}
"""


@pytest.mark.filterwarnings("ignore:Rows of get_shared_betas are not aligned")
def test_a_group_and_its_shared_images(run: Run, tiny: Path) -> None:
    found = run(GROUP)
    assert found["common"]
    for name in ("sub-01", "sub-03"):
        rois = found["group"][name].get_available_rois("face")
        betas = oracle.betas(tiny, "ses-01", oracle.roi(tiny, rois, subject=name), name)
        labels = oracle.labels(tiny, "ses-01", name)
        expected = [betas[labels == label].mean(axis=0) for label in found["common"]]
        np.testing.assert_allclose(found["matrices"][name], np.stack(expected), atol=1e-6)


# --- two users' pipelines ---------------------------------------------------------------------------------------------

AREAS = {"V1": ["V1v", "V1d"], "V2": ["V2v", "V2d"], "V3": ["V3v", "V3d"], "V4": ["hV4"]}
VENTRAL = "laionventral"

BRAIN_SCORE = """
import numpy as np
import pandas as pd
import xarray as xr
from laion_fmri.splits import get_train_test_ids
from laion_fmri.subject import load_subject

sub = load_subject("sub-01")
masks = sub.get_roi_masks([roi for rois in AREAS.values() for roi in rois] + [VENTRAL])
region = np.full(sub.get_n_voxels(), "", dtype=object)
roi_of = np.full(sub.get_n_voxels(), "", dtype=object)
early = np.zeros(sub.get_n_voxels(), dtype=bool)
for area, rois in AREAS.items():
    for roi in rois:
        region[masks[roi]], roi_of[masks[roi]] = area, roi
        early |= masks[roi]
it = masks[VENTRAL] & ~early
region[it], roi_of[it] = "IT", VENTRAL
keep = region != ""

blocks, tables = [], []
for session in sub.get_sessions():
    betas = sub.get_betas(session=session, mask=keep)
    with np.errstate(all="ignore"):
        mean, sd = np.nanmean(betas, axis=0), np.nanstd(betas, axis=0)
    sd[(sd == 0) | np.isnan(sd)] = 1
    blocks.append(np.nan_to_num((betas - mean) / sd, nan=0, posinf=0, neginf=0).astype(np.float32))
    tables.append(sub.get_trial_info(session=session))
table = pd.concat(tables, ignore_index=True)
table["repetition"] = table.groupby("label").cumcount().astype(np.int64)

ceilings = {f"nc_{name}": sub.get_noise_ceiling(desc=f"Noiseceiling{desc}", mask=keep)
            for name, desc in (("4rep", "4rep"), ("12rep", "12rep"), ("allrep", "Allrep"))}
assembly = xr.DataArray(
    np.concatenate(blocks), dims=("presentation", "neuroid"), name="data",
    coords={
        "stimulus_id": ("presentation", table["label"].to_numpy()),
        "repetition": ("presentation", table["repetition"].to_numpy()),
        "region": ("neuroid", region[keep]),
        "roi": ("neuroid", roi_of[keep]),
        "voxel_index_in_brain_mask": ("neuroid", np.flatnonzero(keep).astype(np.int32)),
        **{name: ("neuroid", values) for name, values in ceilings.items()},
    },
)
sides = [*get_train_test_ids("tau", "shared"), get_train_test_ids("ood", "shared")[1]]
wanted = {label for side in sides for label in side}
shared = assembly.isel(presentation=np.isin(assembly.stimulus_id, list(wanted)))
reliable = shared.isel(neuroid=shared.nc_12rep.to_numpy() > 30)
averaged = reliable.groupby("stimulus_id").mean()
ceiling = float(np.sqrt(np.median(reliable.nc_12rep) / 100))
"""


def zscored(tiny: Path, session: str, index: np.ndarray) -> np.ndarray:
    """Betas z-scored over a session's trials, one voxel after the other."""
    betas = oracle.betas(tiny, session, index)
    columns = []
    for values in betas.T:
        finite = values[~np.isnan(values)]
        mean, sd = (finite.mean(), finite.std()) if finite.size else (np.float32(np.nan), np.float32(0))
        columns.append((values - mean) / (sd if sd > 0 else 1))
    return np.array(columns).T


@pytest.mark.filterwarnings("ignore:.*(Mean of empty slice|Degrees of freedom):RuntimeWarning")
def test_packaging_for_brain_score(run: Run, tiny: Path) -> None:
    found = run(BRAIN_SCORE, AREAS=AREAS, VENTRAL=VENTRAL)
    brain = oracle.mask(tiny)
    names: dict[int, tuple[str, str]] = dict.fromkeys(oracle.roi(tiny, [VENTRAL]), ("IT", VENTRAL))
    for area, rois in AREAS.items():
        for roi in rois:
            names |= dict.fromkeys(oracle.roi(tiny, [roi]), (area, roi))
    index = np.array(sorted(names))
    assembly = found["assembly"]
    assert list(zip(assembly.region.values, assembly.roi.values, strict=True)) == [names[one] for one in index]
    np.testing.assert_array_equal(brain[assembly.voxel_index_in_brain_mask], index)
    expected = np.concatenate([zscored(tiny, session, index) for session in SESSIONS])
    np.testing.assert_allclose(assembly, np.nan_to_num(expected, posinf=0, neginf=0), atol=1e-4)
    assert (assembly.dtype, bool(np.isnan(expected).any())) == (np.float32, True)
    labels = np.concatenate([oracle.labels(tiny, session) for session in SESSIONS])
    assert assembly.stimulus_id.values.tolist() == labels.tolist()
    seen: dict[str, int] = {}
    for label, number in zip(labels, assembly.repetition.values, strict=True):
        assert number == seen.get(label, 0)
        seen[label] = number + 1
    for name, desc in (("nc_4rep", "4rep"), ("nc_12rep", "12rep"), ("nc_allrep", "Allrep")):
        np.testing.assert_array_equal(assembly[name], oracle.ceiling(tiny, desc, index))
    reliable = oracle.ceiling(tiny, "12rep", index) > 30
    kept = [label in found["wanted"] for label in labels]
    assert set(np.unique(labels[kept])) == set(found["averaged"].stimulus_id.values)
    label = found["averaged"].stimulus_id.values[0]
    mean = np.nan_to_num(expected, posinf=0, neginf=0)[labels == label][:, reliable].mean(axis=0)
    np.testing.assert_allclose(found["averaged"][0], mean, atol=1e-4)
    assert 0 < found["ceiling"] <= 1


LABORATORY = """
import numpy as np
import pandas as pd
import xarray as xr
from laion_fmri.subject import load_subject

sub = load_subject("sub-01")
sessions = sub.get_sessions()
betas = sub.get_betas(session=sessions, roi=ROI)
tables = sub.get_trial_info(session=sessions)
for session in sessions:
    values = betas[session]
    with np.errstate(all="ignore"):
        betas[session] = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
data = np.concatenate(list(betas.values()))
table = pd.concat(list(tables.values()), ignore_index=True)
table["trial"] = table.groupby("session").cumcount()
table["repetition"] = table.groupby("label").cumcount()
finite = np.isfinite(data).all(axis=0)
xyz = sub.get_voxel_coordinates(roi=ROI)[finite]
keep = ~table["label"].str.contains("_OOD_")
order = table[keep].sort_values(["label", "repetition"]).index
rows = table.loc[order]
responses = xr.DataArray(
    data[order][:, finite], dims=("presentation", "neuroid"),
    coords={
        "stimulus": ("presentation", rows["label"].to_numpy()),
        "repetition": ("presentation", rows["repetition"].to_numpy(np.uint8)),
        "session": ("presentation", rows["session"].str[4:].to_numpy(np.uint8)),
        "trial": ("presentation", rows["trial"].to_numpy(np.uint16)),
        "run": ("presentation", rows["run"].to_numpy(np.uint8)),
        **{axis: ("neuroid", xyz[:, number]) for number, axis in enumerate("xyz")},
    },
).set_index(presentation=["stimulus", "repetition"], neuroid=["x", "y", "z"])
"""


@pytest.mark.filterwarnings("ignore:.*(Mean of empty slice|Degrees of freedom):RuntimeWarning")
def test_a_laboratory_loader(run: Run, tiny: Path) -> None:
    found = run(LABORATORY, ROI="face")["responses"]
    index = oracle.roi(tiny, FACE)
    data = np.concatenate([zscored(tiny, session, index) for session in SESSIONS])
    finite = np.isfinite(data).all(axis=0)
    rows = []
    seen: dict[str, int] = {}
    for session in SESSIONS:
        for trial, label in enumerate(oracle.labels(tiny, session)):
            rows.append((label, seen.get(label, 0), int(session[4:]), trial, len(rows)))
            seen[label] = seen.get(label, 0) + 1
    rows = sorted(row for row in rows if "_OOD_" not in row[0])
    assert found.indexes["presentation"].tolist() == [row[:2] for row in rows]
    assert list(zip(found.session.values, found.trial.values, strict=True)) == [row[2:4] for row in rows]
    np.testing.assert_allclose(found, data[[row[-1] for row in rows]][:, finite], atol=1e-4)
    image = nibabel.load(betas_file(tiny, "sub-01", "ses-01"))
    ijk = np.array(np.unravel_index(index[finite], image.shape[:3])).T
    np.testing.assert_allclose(found.indexes["neuroid"].to_frame(), nibabel.affines.apply_affine(image.affine, ijk))
    assert isinstance(found, xr.DataArray)
    assert isinstance(found.indexes["presentation"], pd.MultiIndex)
