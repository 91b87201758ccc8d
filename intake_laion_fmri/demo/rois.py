"""ROIs in all formats, with all irregularities of the real bucket."""

from pathlib import Path

import nibabel
import numpy as np

from intake_laion_fmri.demo.betas import on_grid
from intake_laion_fmri.demo.brain import CATEGORY, VOXEL_MM
from intake_laion_fmri.demo.files import write, write_nifti
from intake_laion_fmri.demo.scale import Array, Doubles, Floats, Ints
from intake_laion_fmri.demo.truth import SubjectTruth

_HYPHENATED_KEYS = (
    *("FFA-1", "FFA-2", "AFP-1", "AFP-2", "pSTS-faces", "pSTS-words"),
    *("mfs-words", "VWFA-1", "VWFA-2", "laion-dorsal", "laion-ventral"),
)
_HYPHENATED = {key.replace("-", ""): key for key in _HYPHENATED_KEYS}
_CLEAN_KEYS = ("sub-06",)  # keys without hyphens, so that readers must find keys by listing, not by a rule
_OTHER_GRID_ROIS = ("V1v", "FFA1", "PPA")  # also written at 1.5 mm: readers must not use these
_FLOAT_CATEGORIES = ("laion", "face")  # volumes stored as float32; the others are uint8


def write_rois(folder: Path, truth: SubjectTruth) -> None:
    """Write a subject's ROIs in every format of the bucket."""
    for name, voxels in truth.rois.items():
        within = folder / CATEGORY[name]
        label = name if truth.subject in _CLEAN_KEYS else _HYPHENATED.get(name, name)
        one = np.float32(1) if CATEGORY[name] in _FLOAT_CATEGORIES else np.uint8(1)
        mask = on_grid(truth, voxels, one)
        write_nifti(within / f"{truth.subject}_space-T1w_res-1pt8_label-{label}_mask.nii.gz", mask, truth.affine)
        if name in _OTHER_GRID_ROIS:
            other = within / f"{truth.subject}_space-T1w_res-1pt5_label-{label}_mask.nii.gz"
            write_nifti(other, *at_1pt5(mask, truth.affine))
        for hemi, positions in truth.vertices.items():
            surface = within / f"{truth.subject}_hemi-{hemi}_space-fsnative_label-{label}_mask"
            vertices = truth.surface_rois[hemi][name]
            inside = np.zeros(len(positions), dtype=np.float32)
            inside[vertices] = 1
            write_gifti(surface.with_suffix(".func.gii"), hemi, inside)
            write(surface.with_suffix(".label"), label_text(truth.subject, vertices, positions, 1))


def at_1pt5(mask: Array, affine: Doubles) -> tuple[Array, Doubles]:
    """Resample a box to the nearest voxels of a 1.5 mm grid."""
    step = 1.5 / VOXEL_MM
    nearest = [((np.arange(int(n / step)) + 0.5) * step).astype(int) for n in mask.shape]
    to_1pt8 = np.diag([step, step, step, 1.0])
    to_1pt8[:3, 3] = (step - 1) / 2
    return mask[np.ix_(*nearest)], affine @ to_1pt8


def write_gifti(path: Path, hemi: str, values: Floats) -> None:
    """Write a number for each vertex of a hemisphere as GIfTI."""
    array = nibabel.gifti.GiftiDataArray(values, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32")
    side = {"L": "CortexLeft", "R": "CortexRight"}[hemi]
    meta = nibabel.gifti.GiftiMetaData({"AnatomicalStructurePrimary": side})
    write(path, nibabel.gifti.GiftiImage(darrays=[array], meta=meta).to_bytes())


def label_text(subject: str, vertices: Ints, xyz: Doubles, value: float) -> str:
    """Return a FreeSurfer label of some vertices, given the coordinates of all."""
    rows = zip(vertices, xyz[vertices], strict=True)
    lines = [f"{v}  {x:.3f}  {y:.3f}  {z:.3f} {value:.10f}" for v, (x, y, z) in rows]
    return "\n".join([f"#!ascii label  , from subject {subject} vox2ras=TkReg", str(len(vertices)), *lines, ""])
