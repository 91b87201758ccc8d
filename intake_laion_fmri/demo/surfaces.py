"""Surfaces in FreeSurfer's formats, written without a library.

The bytes follow FreeSurfer's ``read_….m``, not this package's reader.

Ground truth for vertex ``v`` at ``p`` on the unit sphere (right, front, up; the left hemisphere is mirrored)
    ``white`` and ``pial`` are ellipsoids, ``thickness`` is the distance between them, ``sulc = sin(3 p_y)``,
    ``curv = cos(2 p_z)``. ``sphere`` is ``100 p``, ``sphere.reg`` is ``sphere`` rotated by `registration`, and
    ``inflated`` is an ellipsoid. The cut surrounds the medial side: the flat patch has the vertices whose ``p_x``,
    towards the lateral side, exceeds -0.5, laid out by their angle from the lateral pole. Regions of ``aparc`` follow
    from ``p_y``. ``talairach.lta`` is `talairach`, which scales the head to a box of ±(68, 86, 62) mm about
    (0, -18, 8); it is stored for millimetres, in sub-03 for voxels.
"""

import functools
from pathlib import Path

import numpy as np

from intake_laion_fmri.demo.anatomy import freesurfer_affine, head_to_world
from intake_laion_fmri.demo.brain import VOXEL_MM, rotations, sphere_points
from intake_laion_fmri.demo.files import write
from intake_laion_fmri.demo.rois import label_text
from intake_laion_fmri.demo.scale import Array, Bools, Doubles, Floats, Ints
from intake_laion_fmri.demo.truth import SubjectTruth

_REGIONS = (("unknown", 25, 5, 25), ("occipital", 220, 20, 100), ("parietal", 20, 180, 140), ("frontal", 180, 40, 120))
_BY_VOXELS = ("sub-03",)
_NEIGHBOURS, _CLOSE = 16, 10


def write_surfaces(folder: Path, truth: SubjectTruth) -> None:
    """Write ``surf/``, ``label/`` and the transform of a subject."""
    for hemi, white in truth.vertices.items():
        side, n = f"{hemi.lower()}h", len(white)
        flip = [-1, 1, 1] if hemi == "L" else [1, 1, 1]
        points, faces = sphere_points(n) * flip, sphere_faces(n)[:, :: -1 if hemi == "L" else 1]
        pial = truth.pial[hemi]
        meshes = {
            "white": white,
            "pial": pial,
            "inflated": points * [40, 70, 50],
            "sphere": points * 100,
            "sphere.reg": points @ registration(truth.subject).T * 100,
        }
        for name, xyz in meshes.items():
            write(folder / f"surf/{side}.{name}", _geometry(xyz, faces, truth))
        values = {"sulc": np.sin(3 * points[:, 1]), "curv": np.cos(2 * points[:, 2])}
        values["thickness"] = np.linalg.norm(pial - white, axis=1)
        for name, numbers in values.items():
            write(folder / f"surf/{side}.{name}", _values(numbers.astype(np.float32), len(faces)))
        lateral = points[:, 0] * (-1 if hemi == "L" else 1)
        kept = lateral > -0.5
        write(folder / f"surf/{side}.full.flat.patch.3d", _patch(kept, _flat(points, lateral), faces))
        regions = np.where(kept, np.digitize(points[:, 1], [-0.4, 0.2]) + 1, 0)
        write(folder / f"label/{side}.aparc.annot", _annotation(regions))
        write(folder / f"label/{side}.cortex.label", label_text(truth.subject, np.flatnonzero(kept), white, 0))
    write(folder / "mri/transforms/talairach.lta", _transform(truth))


@functools.cache
def sphere_faces(n: int) -> Ints:
    """Return the hull of `sphere_points` as triangles, (2 n - 4, 3).

    Vertices are anticlockwise as seen from outside.
    """
    # Idea: a triangle of neighbouring points belongs to the hull if no other neighbour lies beyond its plane.
    points = sphere_points(n)
    near = np.argsort(-(points @ points.T), axis=1, kind="stable")[:, 1 : _NEIGHBOURS + 1]
    offsets = points[near] - points[:, np.newaxis]
    close = offsets[:, :_CLOSE]
    normals = np.cross(close[:, :, np.newaxis], close[:, np.newaxis])
    beyond = np.einsum("abcx,apx->abcp", normals, offsets).max(axis=3)
    outward = np.einsum("abcx,ax->abc", normals, points) > 0
    a, b, c = np.nonzero((beyond < 1e-12) & outward)
    found = np.stack([a, near[a, b], near[a, c]], axis=1)
    return np.unique(found[(found[:, 0] < found[:, 1]) & (found[:, 0] < found[:, 2])], axis=0)


def registration(subject: str) -> Doubles:
    """Return the rotation of a subject's sphere to fsaverage, (3, 3)."""
    about_x, about_y, about_z = rotations(np.deg2rad([4.0, -3.0, 2.0]) * (1 + int(subject[-2:]) / 10))
    return about_x @ about_y @ about_z


def talairach(truth: SubjectTruth) -> Doubles:
    """Return the matrix from T1w to MNI305 millimetres, (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(np.array([68, 86, 62]) / (np.array(truth.shape) * VOXEL_MM / 2))
    matrix[:3, 3] = (0, -18, 8)
    return matrix @ np.linalg.inv(head_to_world(truth))


def _flat(points: Doubles, lateral: Doubles) -> Floats:
    angle = np.arccos(np.clip(lateral, -1, 1))[:, np.newaxis]
    length = np.maximum(np.linalg.norm(points[:, 1:], axis=1), 1e-9)[:, np.newaxis]
    return np.hstack([60 * angle * points[:, 1:] / length, np.zeros((len(points), 1))]).astype(np.float32)


def _geometry(xyz: Doubles, faces: Ints, truth: SubjectTruth) -> bytes:
    head = b"\xff\xff\xfe" + b"created by intake_laion_fmri.demo on no day\n\n"
    counts = np.array([len(xyz), len(faces)], dtype=">i4").tobytes()
    tag = np.array([2, 0, 20], dtype=">i4").tobytes()
    n, affine = freesurfer_affine(truth)
    return (
        head + counts + xyz.astype(">f4").tobytes() + faces.astype(">i4").tobytes() + tag + _volume(n, affine).encode()
    )


def _volume(n: int, affine: Doubles, filename: str = "../mri/orig.mgz") -> str:
    size = np.linalg.norm(affine[:3, :3], axis=0)
    centre = affine[:3, :3] @ np.full(3, n / 2) + affine[:3, 3]
    rows = [*(affine[:3, :3] / size).T, centre]
    lines = ["valid = 1  # volume info valid", f"filename = {filename}", f"volume = {n} {n} {n}"]
    lines += ["voxelsize = " + " ".join(f"{width:.15e}" for width in size)]
    names = ("xras  ", "yras  ", "zras  ", "cras  ")
    lines += [f"{name} = " + " ".join(f"{x:.15e}" for x in row) for name, row in zip(names, rows, strict=True)]
    return "\n".join(lines) + "\n"


def _values(numbers: Floats, n_faces: int) -> bytes:
    return (
        b"\xff\xff\xff" + np.array([len(numbers), n_faces, 1], dtype=">i4").tobytes() + numbers.astype(">f4").tobytes()
    )


def _patch(kept: Bools, xyz: Floats, faces: Ints) -> bytes:
    is_split = kept[faces].any(axis=1) & ~kept[faces].all(axis=1)
    border = np.zeros(len(kept), dtype=bool)
    border[faces[is_split]] = True
    vertices = np.flatnonzero(kept)
    rows = np.empty(len(vertices), dtype=[("vertex", ">i4"), ("xyz", ">f4", 3)])
    rows["vertex"] = np.where(border[vertices], -(vertices + 1), vertices + 1)
    rows["xyz"] = xyz[vertices]
    return np.array([-1, len(vertices)], dtype=">i4").tobytes() + rows.tobytes()


def _annotation(regions: Array) -> bytes:
    colours = np.array([r + (g << 8) + (b << 16) for _, r, g, b in _REGIONS])
    pairs = np.stack([np.arange(len(regions)), colours[regions]], axis=1)

    def text(name: str) -> bytes:
        return np.array([len(name) + 1], dtype=">i4").tobytes() + name.encode() + b"\0"

    def numbers(*values: int) -> bytes:
        return np.array(values, dtype=">i4").tobytes()

    parts = [numbers(len(regions)), pairs.astype(">i4").tobytes(), numbers(1, -2, len(_REGIONS)), text("demo.ctab")]
    parts.append(numbers(len(_REGIONS)))
    for number, (name, *colour) in enumerate(_REGIONS):
        parts += [numbers(number), text(name), numbers(*colour, 0)]
    return b"".join(parts)


def _transform(truth: SubjectTruth) -> str:
    n, affine = freesurfer_affine(truth)
    template = np.array([[-1, 0, 0, 128], [0, 0, 1, -128], [0, -1, 0, 128], [0, 0, 0, 1]], dtype=float)
    matrix, by_voxels = talairach(truth), truth.subject in _BY_VOXELS
    if by_voxels:
        matrix = np.linalg.inv(template) @ matrix @ affine
    lines = ["# synthetic", f"type      = {0 if by_voxels else 1}", "nxforms   = 1", "mean      = 0.0 0.0 0.0"]
    lines += ["sigma     = 10000.0", "1 4 4", *(" ".join(f"{x:.15e}" for x in row) for row in matrix)]
    ends = "src volume info\n" + _volume(n, affine) + "dst volume info\n" + _volume(256, template, "mni305.cor.mgz")
    return "\n".join(lines) + "\n" + ends + "subject fsaverage\nfscale 0.15\n"
