"""A brain of two ellipsoids, its regions and its surfaces."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from intake_laion_fmri.demo.scale import FULL_BRAIN, Bools, Doubles, Floats, Ints, Scale, generator

VOXEL_MM = 1.778
_HEMISPHERE_CENTRE, _HEMISPHERE_RADII = (0.31, 0.02, 0.10), (0.42, 0.84, 0.62)

# Category, name, centre in brain units (distance from the midline, front, up), number of voxels in a full-size brain.
# Within a category, ROIs take voxels in this order and do not overlap; ROIs of different categories do.
ROIS: tuple[tuple[str, str, tuple[float, float, float], int], ...] = (
    ("retinotopy", "V1v", (0.10, -0.70, -0.02), 650),
    ("retinotopy", "V1d", (0.10, -0.70, 0.14), 650),
    ("retinotopy", "V2v", (0.16, -0.64, -0.12), 652),
    ("retinotopy", "V2d", (0.18, -0.64, 0.24), 653),
    ("retinotopy", "V3v", (0.24, -0.58, -0.18), 508),
    ("retinotopy", "V3d", (0.26, -0.56, 0.32), 508),
    ("retinotopy", "hV4", (0.34, -0.50, -0.26), 372),
    ("retinotopy", "VO1", (0.24, -0.40, -0.30), 180),
    ("retinotopy", "VO2", (0.24, -0.30, -0.32), 160),
    ("retinotopy", "LO1", (0.46, -0.50, 0.00), 260),
    ("retinotopy", "LO2", (0.52, -0.42, -0.04), 260),
    ("retinotopy", "TO1", (0.56, -0.34, 0.02), 180),
    ("retinotopy", "TO2", (0.58, -0.26, 0.00), 180),
    ("retinotopy", "V3A", (0.26, -0.46, 0.46), 280),
    ("retinotopy", "V3B", (0.34, -0.44, 0.38), 200),
    ("retinotopy", "IPS0", (0.26, -0.34, 0.54), 260),
    ("retinotopy", "IPCS", (0.42, 0.22, 0.42), 140),
    ("retinotopy", "SPCS", (0.26, 0.20, 0.58), 140),
    ("retinotopy", "EVC", (0.10, -0.70, 0.06), 0),
    ("body", "EBA", (0.56, -0.36, 0.08), 700),
    ("body", "FBA", (0.36, -0.28, -0.34), 250),
    ("character", "VWFA1", (0.42, -0.34, -0.30), 120),
    ("character", "VWFA2", (0.44, -0.22, -0.30), 120),
    ("character", "mfswords", (0.40, -0.28, -0.32), 100),
    ("character", "pSTSwords", (0.56, -0.20, 0.12), 150),
    ("face", "FFA1", (0.38, -0.34, -0.34), 160),
    ("face", "FFA2", (0.38, -0.22, -0.36), 140),
    ("face", "OFA", (0.46, -0.52, -0.18), 180),
    ("face", "pSTSfaces", (0.56, -0.22, 0.16), 200),
    ("face", "AFP1", (0.38, -0.02, -0.34), 90),
    ("face", "AFP2", (0.36, 0.10, -0.30), 80),
    ("motion", "MT", (0.54, -0.34, 0.04), 200),
    ("motion", "MST", (0.56, -0.28, 0.08), 120),
    ("object", "lobjects", (0.50, -0.44, -0.04), 800),
    ("object", "vobjects", (0.34, -0.34, -0.32), 700),
    ("place", "MPA", (0.10, -0.42, 0.12), 250),
    ("place", "OPA", (0.36, -0.48, 0.34), 250),
    ("place", "PPA", (0.22, -0.28, -0.28), 350),
    ("place", "SPL", (0.22, -0.30, 0.60), 200),
    ("laion", "laionEVC", (0.10, -0.70, 0.06), 0),
    ("laion", "laiondorsal", (0.28, -0.40, 0.48), 2000),
    ("laion", "laionlateral", (0.54, -0.36, 0.04), 1800),
    ("laion", "laionventral", (0.36, -0.26, -0.32), 3401),  # IT; the union below adds the early areas
    ("laion", "laiongeneral", (0.36, -0.26, -0.32), 0),
)
_V1_TO_V3 = ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d")
_UNIONS = {
    "EVC": _V1_TO_V3,
    "laionEVC": _V1_TO_V3,
    "laionventral": (*_V1_TO_V3, "hV4"),
    "laiongeneral": ("laionEVC", "laiondorsal", "laionlateral", "laionventral"),
}
CATEGORY = {name: category for category, name, _, _ in ROIS}

_OFF_MASK_ROI = "OPA"  # extends beyond the voxels with a positive R2, so that readers must intersect it with the mask


def ellipsoid(shape: tuple[int, int, int], centre: Sequence[float], radii: Sequence[float], fold: int = 1) -> Doubles:
    """Return relative distances from an ellipsoid's centre, 1 on its surface.

    With ``fold=2`` there are two mirrored ellipsoids.
    """
    u, v, w = np.ix_(*((np.arange(n) - (n - 1) / 2) / (n / 2) for n in shape))
    if fold == 2:
        u = np.abs(u)
    (a, b, c), (ra, rb, rc) = centre, radii
    return np.asarray(np.sqrt(((u - a) / ra) ** 2 + ((v - b) / rb) ** 2 + ((w - c) / rc) ** 2))


def brain_level(shape: tuple[int, int, int], seed: int, subject: str) -> Doubles:
    """Return a slightly folded map that increases outwards from the brain's centre.

    The brain consists of two hemispheres and a cerebellum.
    """
    level = ellipsoid(shape, _HEMISPHERE_CENTRE, _HEMISPHERE_RADII, fold=2)
    np.minimum(level, ellipsoid(shape, (0, -0.50, -0.50), (0.48, 0.34, 0.28)), out=level)
    phases = generator(seed, subject, "folds").uniform(0, 2 * np.pi, 3)
    waves = (np.sin(14 * np.linspace(-1, 1, n) + phase) for n, phase in zip(shape, phases, strict=True))
    u, v, w = np.ix_(*waves)
    level += 0.07 * (u * v * w)
    return level


def grid_affine(shape: tuple[int, int, int], subject: str) -> Doubles:
    """Return the affine of a subject's grid.

    The index i increases to the left, the head is tilted, and subjects are shifted slightly.
    """
    about_x, about_y, about_z = rotations(np.deg2rad([7.0, -4.0, 9.0]))
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x @ np.diag([-VOXEL_MM, VOXEL_MM, VOXEL_MM])
    affine[:3, 3] = 0.37 * int(subject[-2:]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine.astype(np.float32).astype(np.float64)


def rotations(angles: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Return the rotations about x, y and z, (3, 3) each."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_x, about_y, np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])


def nearest_rois(points: Doubles, centres: dict[str, Doubles], size: float, hemi: str) -> dict[str, Ints]:
    """Draw every ROI of one hemisphere, including unions.

    Each ROI takes the `points`, shape (n, 3), nearest to its centre.
    """
    taken: dict[str, Bools] = defaultdict(lambda: np.zeros(len(points), dtype=bool))
    found: dict[str, Bools] = {}
    for category, name, _, n_full in ROIS:
        members = np.zeros(len(points), dtype=bool)
        for part in _UNIONS.get(name, ()):
            members |= found[part]
        n_both = max(4, round(n_full * size)) if n_full else 0
        distance = np.square(points - centres[name]).sum(axis=1)
        distance[taken[category] | members] = np.inf
        blob = np.argsort(distance, kind="stable")[: (n_both + (hemi == "L")) // 2]
        taken[category][blob] = True
        members[blob] = True
        found[name] = members
    return {name: np.flatnonzero(members) for name, members in found.items()}


def volume_rois(
    scale: Scale, edge: float, positive: Ints, anatomical: Ints, centres: dict[str, Doubles]
) -> dict[str, Ints]:
    """Return the voxels of each ROI, as flat indices into the grid."""

    def brain_units(voxels: Ints) -> Doubles:
        ijk, shape = np.stack(np.unravel_index(voxels, scale.shape), axis=1), np.array(scale.shape)
        return np.asarray((ijk - (shape - 1) / 2) / (shape / 2 * edge))

    points = brain_units(positive)
    left = points[:, 0] >= 0
    size = (scale.n_voxels / FULL_BRAIN) ** 0.6  # ROIs of small brains are relatively larger, so that none is empty
    rois: dict[str, Ints] = {name: np.empty(0, dtype=np.int64) for name in centres}
    for hemi, half in (("L", left), ("R", ~left)):
        for name, found in nearest_rois(points[half] * [1 if hemi == "L" else -1, 1, 1], centres, size, hemi).items():
            rois[name] = np.union1d(rois[name], positive[half][found])
    outside = np.setdiff1d(anatomical, positive)
    distance = np.square(brain_units(outside) - centres[_OFF_MASK_ROI]).sum(axis=1)
    rois[_OFF_MASK_ROI] = np.union1d(rois[_OFF_MASK_ROI], outside[np.argsort(distance, kind="stable")[:4]])
    return rois


def surface_points(n: int, depth: float = 1.0) -> Doubles:
    """Return `n` points spread over a hemisphere, (n, 3), in brain units.

    With `depth` below 1, they lie inside the hemisphere.
    """
    return np.asarray(_HEMISPHERE_CENTRE + depth * sphere_points(n) * _HEMISPHERE_RADII)


def sphere_points(n: int) -> Doubles:
    """Return a Fibonacci lattice of `n` points on the unit sphere."""
    k = np.arange(n) + 0.5
    height, turn = 1 - 2 * k / n, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)


def signal_share(fitted: Ints, rois: dict[str, Ints], seed: int) -> Floats:
    """Return each voxel's mean reliability over its ROIs (3 % without)."""
    reliability = dict(zip(CATEGORY, generator(seed, "reliability").uniform(0.10, 0.45, len(ROIS)), strict=True))
    total, count = np.zeros(len(fitted)), np.zeros(len(fitted))
    for name, voxels in rois.items():
        inside = np.isin(fitted, voxels, assume_unique=True)
        total[inside] += reliability[name]
        count[inside] += 1
    return np.where(count > 0, total / np.maximum(count, 1), 0.03).astype(np.float32)
