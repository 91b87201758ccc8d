"""The examples, run as users would: that of `make demo` from a folder and an S3 server, and those for clusters."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import intake
import nibabel
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.image import imread
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from tiers import full
from versions import STRICT, prints_as_pinned

from intake_laion_fmri import open_betas

if TYPE_CHECKING:
    from conftest import S3

EXAMPLES = Path(__file__).parents[2] / "examples"
FIRST_LIGHT = EXAMPLES / "first_light.py"
MEANS = re.compile(r"^(shared_12rep_.+)\nmean response: EBA (\S+) SD, PPA (\S+) SD$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """What the example left behind."""

    printed: str
    picture: Path


def run(folder: Path, *arguments: str) -> Run:
    """Run the example in a folder, every warning being an error."""
    command = [sys.executable, *STRICT, str(FIRST_LIGHT), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.returncode == 0
    printed, picture = done.stdout.split("\nPicture: ")
    return Run(printed, Path(picture.strip()))


@pytest.fixture(scope="module")
def from_disk(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("disk"), str(tiny))


def expected_means(bucket: Path) -> pd.DataFrame:
    """Compute (label, half) × ROI mean responses from the files, with nibabel and NumPy alone."""
    derivatives = bucket / "derivatives"

    def volume(pattern: str) -> Any:
        (path,) = derivatives.glob(pattern)
        return np.asarray(nibabel.load(path).dataobj)

    brain = volume("glmsingle-tedana/sub-01/*desc-R2mean_statmap.nii.gz") > 0
    masks = {roi: brain & (volume(f"rois/sub-01/*/*res-1pt8_label-{roi}_mask.nii.gz") > 0) for roi in ("EBA", "PPA")}
    parts = []
    for session in ("ses-01", "ses-02", "ses-03"):
        stem = f"glmsingle-tedana/sub-01/{session}/func/*SingletrialBetas"
        betas = volume(f"{stem}_statmap.nii.gz").astype(float)
        (table,) = derivatives.glob(f"{stem}_trials.tsv")
        part = pd.read_csv(table, sep="\t")
        for roi, mask in masks.items():
            voxels = betas[mask]
            voxels = voxels[np.isfinite(voxels).any(axis=1)]  # some are NaN always, others in single trials
            scaled = (voxels - np.nanmean(voxels, 1, keepdims=True)) / np.nanstd(voxels, 1, keepdims=True)
            part[roi] = np.nanmean(scaled, axis=0)
        parts.append(part)
    trials = pd.concat(parts)
    trials["half"] = trials.groupby("label").cumcount() % 2
    trials = trials[trials.label.str.startswith("shared_12rep")]
    return trials.groupby(["half", "label"])[["EBA", "PPA"]].mean()


def test_the_job_is_done_right(tiny: Path, from_disk: Run) -> None:
    """The Dataset is lazy, and the images and means printed are those that NumPy finds in the files."""
    assert from_disk.printed.startswith("<xarray.Dataset>")
    assert re.search(r"betas +\(trial, voxel\) float32 .+ dask\.array<", from_disk.printed)

    means = expected_means(tiny)
    contrast = means.loc[0].EBA - means.loc[0].PPA
    found = MEANS.findall(from_disk.printed)
    assert [label for label, *_ in found] == [contrast.idxmax(), contrast.idxmin()]
    for label, *values in found:
        np.testing.assert_allclose([float(v) for v in values], means.loc[1, label], atol=0.0051)


def test_the_picture_shows_something(from_disk: Run) -> None:
    """The PNG is where git ignores it, and each row holds anatomy, responses of both signs, and the outlines."""
    assert from_disk.picture.parts[-2:] == ("demo-output", "first_light.png")
    red, green, blue = np.moveaxis(imread(from_disk.picture)[..., :3], -1, 0)
    grey = (np.ptp([red, green, blue], axis=0) < 0.02) & (red > 0.1) & (red < 0.9)
    colours = {
        "anatomy": grey,
        "positive": (red > blue + 0.3) & (red > green + 0.3),
        "negative": (blue > red + 0.3) & (blue > green),
        "EBA's outline": (red > 0.95) & (abs(green - 0.84) < 0.05) & (blue < 0.1),
        "PPA's outline": (abs(red - 0.2) < 0.05) & (abs(green - 0.8) < 0.05) & (abs(blue - 0.2) < 0.05),
    }
    # The rows of slices, without the title, and the colour bar and the legend at the right.
    slices = np.s_[:, : int(0.85 * red.shape[1])]
    half = red.shape[0] // 2
    for row in (np.s_[:half], np.s_[half:]):
        n_pixels = {name: int(shown[slices][row].sum()) for name, shown in colours.items()}
        assert n_pixels.pop("anatomy") > 10_000
        assert min(n_pixels.values()) > 100, n_pixels


@full("the job once more, ten seconds; test_s3 reads from the same server")
def test_from_s3_as_from_disk(s3: S3, from_disk: Run, tmp_path: Path) -> None:
    """An S3 URL is all that changes: the same text, the same picture."""
    from_s3 = run(tmp_path, s3.url, "--endpoint-url", s3.endpoint)
    assert from_s3.picture != from_disk.picture
    assert from_s3.printed == from_disk.printed
    np.testing.assert_array_equal(imread(from_s3.picture), imread(from_disk.picture))


@prints_as_pinned("xarray")
def test_the_readme_shows_what_is_printed(small: Path) -> None:
    """The first example's output is that of the bucket that `make demo` writes."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"(?s)(<xarray\.Dataset>.*?)\n```", text)
    assert shown
    ds = intake.cat.laion_fmri.betas(subject="sub-01", roi="face", bucket=str(small)).to_dask()
    assert repr(ds) == shown[1]


def run_here(name: str, folder: Path, *arguments: Any) -> Any:
    """Run what an example does, by the threads of this process."""
    return runpy.run_path(str(EXAMPLES / name))["main"](*arguments, folder / "store", folder / "output")


@full("two processes and their libraries, 20 seconds each; the tests below run the same without a cluster")
@pytest.mark.parametrize(
    ("name", "n_lines", "files"),
    [("encoding_model.py", 13, {".nc", ".png"}), ("noise_ceilings.py", 4, {".gz"})],
)
def test_on_a_cluster(tiny: Path, tmp_path: Path, name: str, n_lines: int, files: set[str]) -> None:
    """Nothing but the table is printed."""
    command = [sys.executable, *STRICT, str(EXAMPLES / name), str(tiny)]
    # On a busy machine distributed logs that processes take long to end.
    env = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert (done.stderr, done.returncode, done.stdout.count("\n")) == ("", 0, n_lines)
    assert {path.suffix for path in (tmp_path / "demo-output").iterdir() if path.is_file()} == files


def expected_correlations(bucket: Path) -> pd.Series:
    """Fit ridge regressions on averages of all the subject's images, a voxel's penalty by shuffled folds."""
    ds = open_betas("sub-01", bucket=bucket).compute()
    trials = pd.DataFrame(ds.betas.values.astype(float), [ds.session.values, ds.label.values], ds.voxel.values)
    scaled = trials.groupby(level=0).transform(lambda betas: (betas - betas.mean()) / betas.std(ddof=0))
    images = scaled.groupby(level=1).mean().dropna(axis="columns")
    roles = pd.Series(ds.split_role.sel(split="tau", pool="sub-01").values, ds.label.values).groupby(level=0).first()
    with h5py.File(bucket / "stimuli/task-images_desc-CLIP_embeddings.h5") as file:
        x = pd.DataFrame(file["embedding"][:].astype(float), file["image_ids"].asstr()[:]).loc[images.index]
    x_train, y_train, x_test, y_test = (data[roles == role].to_numpy() for role in (1, 2) for data in (x, images))
    alphas = np.logspace(-3, 5, 17)
    losses = np.zeros((len(alphas), images.shape[1]))
    for train, test in KFold(5, shuffle=True, random_state=0).split(x_train):
        for number, alpha in enumerate(alphas):
            predicted = Ridge(alpha).fit(x_train[train], y_train[train]).predict(x_train[test])
            losses[number] += ((predicted - y_train[test]) ** 2).mean(axis=0)
    each = np.array([Ridge(alpha).fit(x_train, y_train).predict(x_test) for alpha in alphas])
    best = each[losses.argmin(axis=0), :, np.arange(images.shape[1])]
    return pd.DataFrame(best.T).corrwith(pd.DataFrame(y_test)).set_axis(images.columns)


def test_encoding_models(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Correlations are those of scikit-learn; below a ceiling of 10 percent nothing is normalised."""
    run_here("encoding_model.py", tmp_path, str(tiny), "sub-01", ["CLIP"], None)
    assert re.search(r"roi +\n(?:\S+(?: +-?\d\.\d+){4}\n){10}$", capsys.readouterr().out)
    scores = xr.load_dataset(tmp_path / "output/encoding_model.nc")
    of_subject = scores.sel(pool="subject").sortby("voxel")
    expected = expected_correlations(tiny)
    known = np.isfinite(of_subject.r.values)
    assert of_subject.voxel.values[known].tolist() == expected.index.tolist()
    apart = abs(of_subject.r.values[known] - expected.values)
    assert (np.quantile(apart, [0.5, 0.95]) < [1e-4, 1e-2]).all()  # in float32; two penalties may be equally good
    np.testing.assert_array_equal(np.isfinite(scores.normalised), np.isfinite(scores.r) & (scores.ceiling > 10))
    assert (abs(scores.normalised) >= abs(scores.r)).where(np.isfinite(scores.normalised), True).all()
    assert np.ptp(imread(tmp_path / "output/encoding_model.png")[..., :3], axis=-1).max() > 0.5


def test_noise_ceilings(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the whole subject are the maps of the bucket."""
    run_here("noise_ceilings.py", tmp_path, str(tiny), "sub-01")
    table = re.findall(r"(?m)^(\S+) .* (\S+)$", capsys.readouterr().out)
    assert table == [("12rep", "0.0"), ("4rep", "0.0"), ("all", "0.0")]
    for found, published in (("12rep", "12rep"), ("4rep", "4rep"), ("all", "Allrep")):
        (path,) = tiny.glob(f"derivatives/glmsingle-tedana/sub-01/*desc-Noiseceiling{published}_statmap.nii.gz")
        expected = np.asarray(nibabel.load(path).dataobj)
        ours = nibabel.load(tmp_path / f"output/sub-01_desc-Noiseceiling{found}_statmap.nii.gz").get_fdata()
        inside = ours != 0
        np.testing.assert_allclose(ours[inside], expected[inside], atol=1e-3)
        assert inside.sum() > 100


@pytest.mark.parametrize(
    ("models", "roi", "message"),
    [
        (["CLIPP"], None, "'CLIPP'. Did you mean 'CLIP'"),
        (["CLIP"], "SPL", "SPL"),
        (["CLIP"], "FFA1 - face", "voxel"),
    ],
)
def test_what_an_encoding_model_cannot_be_of(
    tiny: Path, tmp_path: Path, models: list[str], roi: str | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_here("encoding_model.py", tmp_path, str(tiny), "sub-01", models, roi)
