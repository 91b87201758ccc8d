"""Where the files of the demo bucket are, and what nibabel reads from them: the oracle of several tests."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pandas as pd
from PIL import Image

GLM = "derivatives/glmsingle-tedana"


def session_file(bucket: Path, subject: str, session: str, rest: str) -> Path:
    return bucket / GLM / subject / session / "func" / f"{subject}_{session}_task-images_{rest}"


def betas_file(bucket: Path, subject: str, session: str) -> Path:
    return session_file(bucket, subject, session, "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz")


def trials_file(bucket: Path, subject: str, session: str) -> Path:
    return session_file(bucket, subject, session, "desc-SingletrialBetas_trials.tsv")


def map_file(bucket: Path, subject: str, rest: str) -> Path:
    return bucket / GLM / subject / f"{subject}_task-images_space-T1w_{rest}_statmap.nii.gz"


def roi_file(bucket: Path, subject: str, name: str) -> Path:
    """Find an ROI's volume by its public name."""
    (found,) = [
        path
        for path in (bucket / "derivatives/rois" / subject).rglob("*_space-T1w_res-1pt8_label-*_mask.nii.gz")
        if re.search(r"label-(.+)_mask", path.name)[1].replace("-", "") == name
    ]
    return found


def surface_file(bucket: Path, subject: str, hemi: str, name: str, suffix: str) -> Path:
    """Find an ROI's surface file by its public name."""
    (found,) = [
        path
        for path in (bucket / "derivatives/rois" / subject).rglob(f"*_hemi-{hemi}_*{suffix}")
        if re.search(r"label-(.+)_mask", path.name)[1].replace("-", "") == name
    ]
    return found


def volume(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj, dtype=np.float32)


def brain(bucket: Path, subject: str) -> np.ndarray:
    """Flat indices of the default mask."""
    r2 = volume(map_file(bucket, subject, "stat-rsquare_desc-R2mean"))
    return np.flatnonzero((r2 != 0) & ~np.isnan(r2))


def rewrite(path: Path, **header: Any) -> None:
    """Write a NIfTI again with fields of its header changed."""
    content = gzip.decompress(path.read_bytes())
    raw = nibabel.Nifti1Header(content[:348], check=False)
    for name, value in header.items():
        raw[name] = value
    path.write_bytes(gzip.compress(raw.binaryblock + content[348:]))


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def subjects(root: Path) -> list[str]:
    return sorted(path.name for path in (root / GLM).iterdir())


def sessions(root: Path, subject: str) -> list[str]:
    found = (root / GLM / subject).glob("ses-*")
    return sorted(path.name for path in found if path.name < "ses-31")


def glm(root: Path, subject: str, rest: str, session: str | None = None) -> Path:
    folder = root / GLM / subject
    if session is None:
        return folder / f"{subject}_task-images_{rest}"
    return folder / session / "func" / f"{subject}_{session}_task-images_{rest}"


def trials(root: Path, subject: str, session: str) -> list[dict[str, str]]:
    path = glm(root, subject, "desc-SingletrialBetas_trials.tsv", session)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def all_labels(root: Path, subject: str) -> list[str]:
    return [row["label"] for session in sessions(root, subject) for row in trials(root, subject, session)]


def encoded_images(bucket: Path) -> dict[str, bytes]:
    """Label → image as the file of images holds it."""
    labels = pd.read_csv(bucket / "stimuli/task-images_metadata.csv", keep_default_na=False)["image_name"]
    with h5py.File(bucket / "stimuli/task-images_stimuli.h5") as file:
        return {label: bytes(content) for label, content in zip(labels, file["images"], strict=True)}


def as_shown(content: bytes) -> Image.Image:
    """What Pillow makes of an image, over grey."""
    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, (128, 128, 128, 255)), picture).convert("RGB")
