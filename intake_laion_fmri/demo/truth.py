"""Ground truth of a subject, drawn before any file is written."""

from dataclasses import dataclass

import numpy as np

from intake_laion_fmri.demo.brain import (
    ROIS,
    VOXEL_MM,
    brain_level,
    grid_affine,
    nearest_rois,
    signal_share,
    surface_points,
    volume_rois,
)
from intake_laion_fmri.demo.scale import FULL_BRAIN, Doubles, Floats, Ints, Scale, as_scale, generator
from intake_laion_fmri.demo.trials import planned_images, session_labels

PARTICIPANT = {"sub-01": "p01", "sub-06": "p02", "sub-05": "p03", "sub-03": "p04", "sub-07": "p05"}  # not in order

_WHITE, _PIAL = 0.8, 0.98
"""Positions of the surfaces between a hemisphere's centre and its border."""

_ABSENT = {
    "sub-01": {"AFP1", "AFP2", "SPL", "EVC"},
    "sub-03": {"pSTSwords"},
    "sub-05": {"SPL", "IPCS", "SPCS"},
    "sub-06": {"AFP2", "EVC", "MST"},
    "sub-07": {"SPL", "EVC", "VWFA2"},
}


@dataclass(frozen=True, eq=False)
class SubjectTruth:
    """Ground truth of a subject's files.

    Voxel sets are ascending C-order flat indices into the grid.
    """

    subject: str
    """For example ``"sub-01"``."""
    shape: tuple[int, int, int]
    """Shape of the grid."""
    affine: Doubles
    """(4, 4) matrix from grid indices to millimetres, exact in float32, so that files store the same numbers."""
    rsquare: Ints
    """Voxels whose R2mean is neither 0 nor NaN."""
    fitted: Ints
    """Voxels that have betas: `rsquare`, and a few whose R2mean is 0 or NaN."""
    anatomical: Ints
    """The anatomical brain mask: `fitted`, and a rim where betas are 0."""
    r2: Floats
    """(n_fitted,) R2 in percent, around which the sessions' maps drift."""
    always_nan: Ints
    """Voxels whose betas are NaN in every trial, except in the int16 session, which cannot store NaN."""
    rois: dict[str, Ints]
    """From public ROI name to voxels, before any intersection with a mask."""
    surface_rois: dict[str, dict[str, Ints]]
    """From hemisphere (``"L"``, ``"R"``) and public ROI name to vertices."""
    vertices: dict[str, Doubles]
    """From hemisphere to coordinates of the white surface, (n, 3), in the head's millimetres: right, front, up."""
    pial: dict[str, Doubles]
    """The same for the pial surface."""
    planned: dict[str, int]
    """From label to its planned number of repetitions; one image of the subject is shown once less."""
    labels: dict[str, tuple[str, ...]]
    """From public session to the labels of its trials, in order."""
    drives: dict[str, Doubles]
    """From label to drives, (n_rois + 1,): of the ROIs in the order of `rois`, then of the voxels in no ROI."""
    share: Floats
    """(n_fitted,) fraction of the single-trial variance that is signal."""
    mean: Floats
    """(n_fitted,) mean response, in the voxel's unit."""
    unit: Floats
    """(n_fitted,) unit of the betas, which differs between voxels."""


def subject_truth(subject: str, *, scale: str | Scale = "small", seed: int = 0) -> SubjectTruth:
    """Return the truth of a subject of `write_demo`.

    Voxel sets, trial labels, and the drives of the betas.

    Parameters
    ----------
    subject
        A subject of the scale.
    scale, seed
        As given to `write_demo`.

    Raises
    ------
    ValueError
        The scale has no such subject, or `scale` is no known name.
    """
    scale = as_scale(scale)
    if subject not in scale.subjects:
        raise ValueError(f"subject={subject!r} is not in this scale: expected one of {', '.join(scale.subjects)}.")
    n_positive = scale.n_voxels - 11 * scale.subjects.index(subject)
    n_odd = max(6, n_positive // 500)
    fitted, anatomical, edge = _nested_masks(scale, seed, subject, n_positive + n_odd)
    rng = generator(seed, subject, "voxels")
    odd = rng.permutation(len(fitted))[:n_odd]  # with an R2 that is negative, 0 or NaN
    positive = np.delete(fitted, odd)
    centres = {name: np.array(centre) + rng.normal(0, 0.02, 3) for _, name, centre, _ in ROIS}
    rois = volume_rois(scale, edge, positive, anatomical, centres)
    rois = {name: voxels for name, voxels in rois.items() if name not in _ABSENT[subject]}
    share = signal_share(fitted, rois, seed)
    share[odd] = 0
    r2 = _mean_r2(share, odd, rng)
    always_nan = np.union1d(_some_of(rois, positive, rng), fitted[odd[::3]])

    planned = planned_images(scale, PARTICIPANT[subject])
    columns = [*(k for k, row in enumerate(ROIS) if row[1] in rois), -1]
    (vertices, pial), surface_rois = _surfaces(scale, centres, edge)
    return SubjectTruth(
        subject=subject,
        shape=scale.shape,
        affine=grid_affine(scale.shape, subject),
        rsquare=fitted[(r2 != 0) & ~np.isnan(r2)],
        fitted=fitted,
        anatomical=anatomical,
        r2=r2,
        always_nan=always_nan,
        rois=rois,
        surface_rois={hemi: {name: found[name] for name in rois} for hemi, found in surface_rois.items()},
        vertices=vertices,
        pial=pial,
        planned=planned,
        labels=session_labels(scale, seed, subject, planned),
        drives={label: generator(seed, "drives", label).standard_normal(len(ROIS) + 1)[columns] for label in planned},
        share=share,
        mean=(0.3 + share + 0.2 * rng.standard_normal(len(fitted))).astype(np.float32),
        unit=rng.uniform(0.6, 1.6, len(fitted)).astype(np.float32),
    )


def _nested_masks(scale: Scale, seed: int, subject: str, n_fitted: int) -> tuple[Ints, Ints, float]:
    """Return the fitted and anatomical voxels, and the fitted ones' edge level."""
    level = brain_level(scale.shape, seed, subject)
    inside_out = np.argsort(level, axis=None, kind="stable")
    fitted = np.sort(inside_out[:n_fitted])
    anatomical = np.sort(inside_out[: round(1.15 * n_fitted)])
    return fitted, anatomical, float(level.flat[inside_out[n_fitted]])


def _mean_r2(share: Floats, odd: Ints, rng: np.random.Generator) -> Floats:
    """Draw mean R2 of fitted voxels; few are negative, 0 or NaN."""
    r2 = 4 + 90 * share * rng.uniform(0.5, 1, len(share))
    r2[odd] = -rng.uniform(0, 3, len(odd))
    r2[odd[1]] = 0  # boundary case of the mask's rule
    r2[odd[::3]] = np.nan
    return r2.astype(np.float32)


def _some_of(rois: dict[str, Ints], positive: Ints, rng: np.random.Generator) -> Ints:
    """Draw a few of the ROIs' voxels."""
    in_rois = np.intersect1d(np.concatenate(list(rois.values())), positive)
    return rng.choice(in_rois, max(3, len(positive) // 2000), replace=False)


def _surfaces(
    scale: Scale, centres: dict[str, Doubles], edge: float
) -> tuple[list[dict[str, Doubles]], dict[str, dict[str, Ints]]]:
    """Return white and pial vertices in millimetres, and the ROIs' vertices."""
    surfaces = {hemi: surface_points(n) for hemi, n in zip("LR", scale.n_vertices, strict=True)}
    rois = {
        hemi: nearest_rois(points, centres, (2 * len(points) / FULL_BRAIN) ** 0.6, hemi)
        for hemi, points in surfaces.items()
    }
    half_mm = np.array(scale.shape) * VOXEL_MM * edge / 2
    flip = {"L": [-1, 1, 1], "R": [1, 1, 1]}
    depths = [_WHITE, _PIAL]
    return [
        {hemi: surface_points(len(xyz), depth) * half_mm * flip[hemi] for hemi, xyz in surfaces.items()}
        for depth in depths
    ], rois
