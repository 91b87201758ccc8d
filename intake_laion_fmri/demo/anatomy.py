"""Anatomical images of a subject: T1w grid, betas' grid and FreeSurfer's space.

Ground truth: tissue follows from the brain's level (see `brain`), so that images of half the voxel width show the same
head. FreeSurfer's images have the nearest voxels of the T1w, on a grid whose axes point to the left, down and to the
front of the tilted head. `head_to_world` converts the head's own axes, in which surfaces lie, to T1w millimetres.
"""

from pathlib import Path

import numpy as np

from intake_laion_fmri.demo.betas import on_grid
from intake_laion_fmri.demo.brain import VOXEL_MM, brain_level, ellipsoid
from intake_laion_fmri.demo.files import gzip_file, write, write_nifti
from intake_laion_fmri.demo.scale import Array, Doubles, Floats, generator
from intake_laion_fmri.demo.truth import SubjectTruth

_MOST_FULL_VOXELS = 1_000_000
"""Limit that excludes images of half the voxel width from the ``session`` scale, to save memory."""

_LEFT_DOWN_FRONT = np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=float)
"""From steps along FreeSurfer's i, j, k to right, front, up."""


def write_anatomy(folder: Path, truth: SubjectTruth, seed: int) -> None:
    """Write T1w, T2w and brain mask, each with a sidecar."""
    level = brain_level(truth.shape, seed, truth.subject)
    edge, rim = (float(level.flat[voxels].max()) for voxels in (truth.fitted, truth.anatomical))
    t1w, t2w = _tissue(level, edge), _tissue(level, edge, t2=True)
    noise = np.abs(generator(seed, truth.subject, "T1w").standard_normal(truth.shape, dtype=np.float32))
    images = {"T1w": t1w + 18 * noise, "T2w": t2w, "desc-brain_mask": on_grid(truth, truth.anatomical, np.uint8(1))}
    _write_images(folder, truth, "res-1pt8_", images, truth.affine)
    if 8 * level.size <= _MOST_FULL_VOXELS:
        shape = (2 * truth.shape[0], 2 * truth.shape[1], 2 * truth.shape[2])
        fine = brain_level(shape, seed, truth.subject)
        halved = np.diag([0.5, 0.5, 0.5, 1.0])
        halved[:3, 3] = -0.25
        images = {"T1w": _tissue(fine, edge), "T2w": _tissue(fine, edge, t2=True)}
        images["desc-brain_mask"] = (fine <= rim).astype(np.uint8)
        _write_images(folder, truth, "", images, truth.affine @ halved)


def _tissue(level: Doubles, edge: float, *, t2: bool = False) -> Floats:
    """Return the image intensity of a head."""
    shape = (level.shape[0], level.shape[1], level.shape[2])
    head = ellipsoid(shape, (0, 0, -0.02), (0.90 * edge, 1.08 * edge, 1.04 * edge))
    fluid, scalp, air, grey, white = (900, 500, 20, 420, 260) if t2 else (150, 760, 20, 560, 900)
    tissue = np.where(head < 0.9, fluid, np.where(head < 1, scalp, air)).astype(np.float32)
    tissue[level <= edge] = grey
    tissue[level <= 0.72 * edge] = white
    return tissue


def _write_images(folder: Path, truth: SubjectTruth, res: str, images: dict[str, Array], affine: Doubles) -> None:
    for name, values in images.items():
        path = folder / f"{truth.subject}_ses-PrismaAnat_space-T1w_{res}{name}.nii.gz"
        write_nifti(path, values if values.dtype == np.uint8 else values.astype(np.int16), affine)
        sidecar = {"SkullStripped": False, "Description": f"synthetic {name}"}
        write(path.with_name(path.name.replace(".nii.gz", ".json")), sidecar)


def head_to_world(truth: SubjectTruth) -> Doubles:
    """Return the (4, 4) matrix from head axes to T1w millimetres."""
    matrix = np.eye(4)
    matrix[:3, :3] = truth.affine[:3, :3] @ np.diag([-1, 1, 1]) / VOXEL_MM
    matrix[:3, 3] = (truth.affine @ [*((np.array(truth.shape) - 1) / 2), 1])[:3]
    return matrix


def freesurfer_affine(truth: SubjectTruth) -> tuple[int, Doubles]:
    """Return the side lengths and the affine of FreeSurfer's images."""
    n = 2 * ((max(truth.shape) + 1) // 2)
    step = VOXEL_MM * _LEFT_DOWN_FRONT
    to_head = np.eye(4)
    to_head[:3, :3], to_head[:3, 3] = step, -step @ np.full(3, n / 2)
    affine = head_to_world(truth) @ to_head
    return n, affine


def write_freesurfer_images(folder: Path, truth: SubjectTruth, seed: int) -> None:
    """Write ``orig``, ``brain`` and ``aseg`` in FreeSurfer's format."""
    import nibabel

    n, affine = freesurfer_affine(truth)
    index = np.indices((n, n, n)).reshape(3, -1)
    ijk = np.linalg.solve(truth.affine, affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    nearest = np.rint(ijk).astype(int)
    inside = ((nearest >= 0) & (nearest < np.array(truth.shape)[:, np.newaxis])).all(axis=0)
    flat = np.ravel_multi_index(tuple(nearest[:, inside]), truth.shape)
    level = brain_level(truth.shape, seed, truth.subject)
    edge = float(level.flat[truth.fitted].max())
    is_left = np.arange(truth.shape[0])[:, np.newaxis, np.newaxis] >= truth.shape[0] / 2
    cortex, white = np.where(is_left, 3, 42), np.where(is_left, 2, 41)
    parts = np.where(level <= 0.72 * edge, white, np.where(level <= edge, cortex, 0))
    head = _tissue(level, edge) / 4
    for name, values, dtype in (
        ("orig", head, np.uint8),
        ("brain", np.where(level <= edge, head, 0), np.uint8),
        ("aseg", parts, np.int32),
    ):
        volume = np.zeros(n**3, dtype=dtype)
        volume[inside] = values.reshape(-1)[flat]
        with gzip_file(folder / f"{name}.mgz") as file:
            file.write(nibabel.MGHImage(volume.reshape(n, n, n), affine).to_bytes())
