"""Localizers: contrasts in both spaces, and effects of conditions in runs.

How a contrast is made
    Voxels or vertices of the ROIs driven by the first condition of a contrast have a z-value of 5, others of 0, plus
    standard normal noise; effects are a tenth of that. Values are rounded to eighths. Volumes are NaN outside the
    fitted voxels. Maps at 1.5 mm have the nearest values of those on the betas' grid.

As in the bucket, ``MotionLoc`` has no runs, a run of ``floc`` is missing in sub-01, and ``oloc`` is public although it
belongs to a held-out session. There are fewer contrasts and runs than in the bucket, and few maps at 1.5 mm.
"""

from pathlib import Path

import numpy as np

from intake_laion_fmri.demo.brain import CATEGORY
from intake_laion_fmri.demo.files import write, write_nifti
from intake_laion_fmri.demo.rois import at_1pt5, write_gifti
from intake_laion_fmri.demo.scale import Floats, generator
from intake_laion_fmri.demo.truth import SubjectTruth

_MOTION = ("movingVsStatic", "movingVsBaseline", "staticVsBaseline")
_FLOC = ("faceVsOthers", "faceVsObject", "bodyVsObject", "placeVsObject", "characterVsFace", "objectVsOthers")
_OLOC = ("objectVsScrambled", "objectVsBaseline", "scrambledVsBaseline")

# Task, session, contrasts, conditions with effects, runs.
_TASKS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[int, ...]], ...] = (
    ("floc", "4BarScreenfLoc", _FLOC, ("face", "object"), (1, 2, 3)),
    ("oloc", "31", _OLOC, ("object", "scrambled"), (1, 2)),
    ("MotionLoc", "MotionLocBarsSML", _MOTION, (), ()),
    ("MotionLeft", "MotionLocBarsSML", _MOTION[:1], (), ()),
    ("MotionRight", "MotionLocBarsSML", _MOTION[:1], (), ()),
)
_DRIVEN = {"moving": "motion"}  # from condition to category of ROIs, where the names differ
_FITTED = ("faceVsObject", "placeVsObject")  # contrasts with maps at 1.5 mm, too
_MISSING_RUN = ("sub-01", "floc", 2)


def write_localizers(root: Path, truth: SubjectTruth, seed: int) -> None:
    """Write the localizers of a subject below ``derivatives/localizers``."""
    for task, session, contrasts, conditions, runs in _TASKS:
        folder = root / truth.subject / f"ses-{session}" / "func"
        stem = f"{truth.subject}_ses-{session}_task-{task}_"
        for contrast in contrasts:
            _write_map(folder, stem, truth, (contrast, "z"), seed)
        sidecar = f"{stem}space-T1w_res-1pt8_contrast-{contrasts[0]}_stat-z_statmap.json"
        write(
            folder / sidecar, {"Description": "Synthetic z-values", "Sources": [f"bids::{truth.subject}/ses-{session}"]}
        )
        for run in runs:
            if (truth.subject, task, run) != _MISSING_RUN:
                for condition in conditions:
                    _write_map(folder, f"{stem}run-{run:02d}_", truth, (condition, "effect"), seed)


def _write_map(folder: Path, stem: str, truth: SubjectTruth, what: tuple[str, str], seed: int) -> None:
    """Write a map in all of its formats."""
    contrast, stat = what
    ending, first = f"_contrast-{contrast}_stat-{stat}_statmap", contrast.partition("Vs")[0]
    driven = [name for name in truth.rois if CATEGORY[name] == _DRIVEN.get(first, first)]
    rng = generator(seed, stem, contrast)

    def values(chosen: list[np.ndarray], positions: np.ndarray) -> Floats:
        inside = np.isin(positions, np.concatenate([*chosen, np.empty(0, dtype=np.int64)]))
        found = (5 * inside + rng.standard_normal(len(positions))) * (1 if stat == "z" else 0.1)
        return np.asarray(np.round(8 * found) / 8, dtype=np.float32)

    volume = np.full(truth.shape, np.nan, dtype=np.float32)
    volume.reshape(-1)[truth.fitted] = values([truth.rois[name] for name in driven], truth.fitted)
    write_nifti(folder / f"{stem}space-T1w_res-1pt8{ending}.nii.gz", volume, truth.affine)
    if contrast in _FITTED:
        write_nifti(folder / f"{stem}space-T1w_res-1pt5{ending}.nii.gz", *at_1pt5(volume, truth.affine))
    for hemi, vertices in truth.vertices.items():
        on_surface = values([truth.surface_rois[hemi][name] for name in driven], np.arange(len(vertices)))
        write_gifti(folder / f"{stem}hemi-{hemi}_space-fsnative{ending}.func.gii", hemi, on_surface)
