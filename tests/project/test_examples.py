"""The example of `make demo`, run as a user would, from a folder and from an S3 server."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import intake
import nibabel
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from tiers import full
from versions import STRICT, prints_as_pinned

if TYPE_CHECKING:
    from conftest import S3

FIRST_LIGHT = Path(__file__).parents[2] / "examples" / "first_light.py"
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
