"""Surfaces, against nibabel on the demo bucket and on the real fsaverage5 that nilearn brings."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import nibabel
import nibabel.freesurfer as fs
import numpy as np
import pytest
import xarray as xr
from conftest import S3
from tiers import sampled

from intake_laion_fmri import mirror_bucket, open_catalog, open_rois, open_surfaces
from intake_laion_fmri.demo import subject_truth
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning, NotInBucketError
from intake_laion_fmri.formats.lta import read_lta
from intake_laion_fmri.formats.surfaces import read_annotation, read_geometry, read_patch, read_values

FREESURFER = "derivatives/freesurfer"


def surf(bucket: Path, name: str, subject: str = "sub-01") -> Path:
    return bucket / FREESURFER / subject / "surf" / name


# --- what is read -----------------------------------------------------------------------------------------------------


def test_white(tiny: Path) -> None:
    """Positions in T1w millimetres: through the volume's affine to those of the voxels; triangles, values, regions."""
    ds = open_surfaces("sub-03", annotation="aparc", label=["cortex"], bucket=tiny)
    image = nibabel.load(tiny / FREESURFER / "sub-03/mri/orig.mgz")
    for hemi, side in (("L", "lh"), ("R", "rh")):
        xyz, faces, info = fs.read_geometry(surf(tiny, f"{side}.white", "sub-03"), read_metadata=True)
        assert info["cras"].shape == (3,)
        voxels = nibabel.affines.apply_affine(np.linalg.inv(image.header.get_vox2ras_tkr()), xyz)
        world = nibabel.affines.apply_affine(image.affine, voxels)
        np.testing.assert_allclose(ds[f"xyz_{hemi}"], world, atol=1e-3)
        np.testing.assert_array_equal(ds[f"faces_{hemi}"], faces)
        for name in ("sulc", "curv", "thickness"):
            expected = fs.read_morph_data(surf(tiny, f"{side}.{name}", "sub-03"))
            np.testing.assert_array_equal(ds[f"{name}_{hemi}"], expected)
        labels = tiny / FREESURFER / "sub-03/label"
        index, _, names = fs.read_annot(labels / f"{side}.aparc.annot")
        assert ds[f"aparc_{hemi}"].values.tolist() == [names[number].decode() for number in index]
        inside = fs.read_label(labels / f"{side}.cortex.label")
        np.testing.assert_array_equal(np.flatnonzero(ds[f"cortex_{hemi}"]), np.sort(inside))
    assert ds.xyz_L.attrs["space"] == "T1w"
    truth = subject_truth("sub-03", scale="tiny")
    ijk = nibabel.affines.apply_affine(np.linalg.inv(truth.affine), ds.xyz_L)
    brain = np.stack(np.unravel_index(truth.anatomical, truth.shape), axis=1)
    assert (ijk.min(0) > brain.min(0) - 1).all()
    assert (ijk.max(0) < brain.max(0) + 1).all()
    assert ijk[:, 0].min() > truth.shape[0] / 2 - 1  # i runs to the left


@pytest.mark.parametrize("surface", ["inflated", "sphere", "sphere.reg"])
def test_others_are_as_their_file_has_them(tiny: Path, surface: str) -> None:
    ds = open_surfaces("sub-01", surface=surface, hemi="R", bucket=tiny)
    xyz, _ = fs.read_geometry(surf(tiny, f"rh.{surface}"))
    np.testing.assert_array_equal(ds.xyz_R, xyz.astype(np.float32))
    assert (ds.xyz_R.attrs["space"], "xyz_L" in ds) == (surface, False)


def test_midthickness(tiny: Path) -> None:
    """The mean of white and pial, in the brain as these are."""
    middle, white, pial = (open_surfaces("sub-01", surface=s, bucket=tiny) for s in ("midthickness", "white", "pial"))
    np.testing.assert_allclose(middle.xyz_L, (white.xyz_L + pial.xyz_L) / 2, atol=1e-4)
    np.testing.assert_allclose(middle.thickness_L, np.linalg.norm(pial.xyz_L - white.xyz_L, axis=1), atol=1e-4)


@pytest.mark.parametrize("surface", ["flat", "full.flat.patch.3d"])
def test_flat(tiny: Path, surface: str) -> None:
    """The vertices that were left keep their numbers, so that other data align; triangles refer to rows."""
    ds = open_surfaces("sub-01", surface=surface, annotation="aparc", bucket=tiny)
    whole, rois = open_surfaces("sub-01", bucket=tiny), open_rois("sub-01", format="func.gii", bucket=tiny)
    content = surf(tiny, "lh.full.flat.patch.3d").read_bytes()
    rows = np.array(list(struct.iter_unpack(">ifff", content[8:])))
    order = np.argsort(np.abs(rows[:, 0]))
    np.testing.assert_array_equal(ds.vertex_L, np.abs(rows[order, 0]) - 1)
    np.testing.assert_array_equal(ds.xyz_L, rows[order, 1:].astype(np.float32))
    np.testing.assert_array_equal(ds.cut_L, rows[order, 0] < 0)
    assert 0 < ds.cut_L.sum() < ds.sizes["vertex_L"] < whole.sizes["vertex_L"]
    assert (ds.xyz_L.sel(axis="z") == 0).all()
    kept = np.isin(whole.faces_L, ds.vertex_L).all(axis=1)
    np.testing.assert_array_equal(ds.vertex_L.values[ds.faces_L], whole.faces_L[kept])
    np.testing.assert_array_equal(ds.sulc_L, whole.sulc_L.sel(vertex_L=ds.vertex_L))
    assert xr.align(ds, rois, join="inner")[1].sizes["vertex_L"] == ds.sizes["vertex_L"]
    assert "unknown" not in ds.aparc_L


def test_everywhere(s3: S3, tiny: Path, tmp_path: Path) -> None:
    expected = open_surfaces("sub-01", surface="flat", bucket=tiny)
    found = open_surfaces("sub-01", surface="flat", bucket=s3.url, storage_options=s3.storage_options)
    xr.testing.assert_equal(found, expected)
    mirror_bucket(tmp_path / "mirror", subjects="sub-01", kinds=["freesurfer"], bucket=tiny)
    offline = open_surfaces("sub-01", surface="flat", mirror=tmp_path / "mirror", mirror_only=True)
    xr.testing.assert_equal(offline, expected)
    entry = open_catalog(bucket=tiny)["sub-01"].surfaces(surface="flat", hemi="L")
    left = open_surfaces("sub-01", surface="flat", hemi="L", bucket=tiny)
    xr.testing.assert_equal(entry.read(), left)
    assert "vertex_R" not in left.variables


def test_it_can_be_saved(tiny: Path, tmp_path: Path) -> None:
    ds = open_surfaces("sub-01", surface="flat", annotation="aparc", bucket=tiny)
    ds.to_netcdf(tmp_path / "flat.nc")
    xr.testing.assert_equal(xr.open_dataset(tmp_path / "flat.nc"), ds)


# --- what is not there ------------------------------------------------------------------------------------------------


def test_what_is_not_there(own_tiny: Path) -> None:
    """One clear error each; what nobody asked for is left out with one warning."""
    with pytest.raises(ValueError, match=r"Unknown surface.*Did you mean 'inflated'"):
        open_surfaces("sub-01", surface="inflate", bucket=own_tiny)
    with pytest.raises(ValueError, match=r"Unknown annotation.*Did you mean 'aparc'"):
        open_surfaces("sub-01", annotation="aparcs", bucket=own_tiny)
    with pytest.raises(ValueError, match=r"Unknown label.*Valid: cortex"):
        open_surfaces("sub-01", label="V1", bucket=own_tiny)
    with pytest.raises(ValueError, match=r"Unknown surface.*'sulc'\. Valid: full\.flat\.patch\.3d, inflated"):
        open_surfaces("sub-01", surface="sulc", bucket=own_tiny)
    surf(own_tiny, "lh.thickness").unlink()
    surf(own_tiny, "lh.curv").write_bytes(b"\xff\xff\xff")
    with pytest.warns(MissingFileWarning, match=r"thickness_L \(no .*curv_L \(") as warned:
        ds = open_surfaces("sub-01", bucket=own_tiny)
    assert len(warned) == 1
    assert {"curv_L", "thickness_L"} & set(ds.variables) == set()
    second = surf(own_tiny, "lh.occip.flat.patch.3d")
    second.write_bytes(surf(own_tiny, "lh.full.flat.patch.3d").read_bytes())
    with pytest.raises(ValueError, match=r"surface='flat' matches full\.flat\.patch\.3d, occip"):
        open_surfaces("sub-01", surface="flat", hemi="L", bucket=own_tiny)
    surf(own_tiny, "lh.white").unlink()
    for surface in ("occip.flat.patch.3d", "midthickness", "white"):
        with pytest.raises(NotInBucketError, match=r"lh\.white"):
            open_surfaces("sub-01", surface=surface, hemi="L", bucket=own_tiny)


def test_a_surface_that_is_nowhere_in_the_brain(own_tiny: Path) -> None:
    """Without its volume nobody knows where white lies; for the sphere that does not matter."""
    for name in ("lh.white", "lh.sphere"):
        path = surf(own_tiny, name)
        path.write_bytes(path.read_bytes().partition(struct.pack(">iii", 2, 0, 20))[0])
    with pytest.raises(DataIntegrityError, match="position in the brain is unknown"):
        open_surfaces("sub-01", hemi="L", bucket=own_tiny)
    assert open_surfaces("sub-01", surface="sphere", hemi="L", bucket=own_tiny).sizes["vertex_L"] == 642
    path = surf(own_tiny, "lh.white")
    path.write_bytes(path.read_bytes() + struct.pack(">iii", 2, 1, 20))  # it says that these are world millimetres
    xyz, _ = fs.read_geometry(path)
    np.testing.assert_array_equal(open_surfaces("sub-01", hemi="L", bucket=own_tiny).xyz_L, xyz.astype(np.float32))


# --- broken files -----------------------------------------------------------------------------------------------------

GEOMETRY = b"\xff\xff\xfe" + b"made\n\n" + struct.pack(">ii9f3i", 3, 1, *range(9), 0, 1, 2)
VALUES = b"\xff\xff\xff" + struct.pack(">iii3f", 3, 1, 1, 0, 1, 2)
PATCH = struct.pack(">ii", -1, 2) + struct.pack(">ifff", -3, 0, 1, 0) + struct.pack(">ifff", 1, 2, 3, 0)
RED = 255


def annotation(colours: tuple[int, ...] = (RED, 0, RED), *, old: bool = False, n_regions: int = 1) -> bytes:
    pairs = b"".join(struct.pack(">ii", vertex, colour) for vertex, colour in enumerate(colours))
    head = struct.pack(">i", len(colours)) + pairs + struct.pack(">i", 1)
    name, region = struct.pack(">i4s", 4, b"tab\0"), struct.pack(">i4s4i", 4, b"one\0", 255, 0, 0, 0)
    if old:
        return head + struct.pack(">i", n_regions) + name + region
    return head + struct.pack(">ii", -2, n_regions) + name + struct.pack(">ii", 1, 0) + region


def test_the_smallest_files() -> None:
    """The files that are broken below are read when they are whole."""
    assert read_geometry(GEOMETRY, name="x").faces.tolist() == [[0, 1, 2]]
    assert read_values(VALUES, name="x", n_vertices=3).tolist() == [0, 1, 2]
    patch = read_patch(PATCH, name="x", n_vertices=3)
    assert (patch.vertices.tolist(), patch.is_cut.tolist()) == ([0, 2], [False, True])
    for old in (False, True):
        found = read_annotation(annotation(old=old), name="x", n_vertices=3)
        assert (found.names, found.texts().tolist()) == (("one",), ["one", "", "one"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "surface of triangles"),
        (VALUES, "values at vertices"),
        (PATCH, "found a patch"),
        (b"\xff\xff\xfe" + b"x" * 50, "comment"),
        (GEOMETRY[:9], "bytes for 0"),
        (GEOMETRY[:-1], "expected 3 corners of faces, as its header declares, found bytes for 2"),
        (b"\xff\xff\xfe\n\n" + struct.pack(">ii", 2**31 - 1, 1), "10000000 vertices, found 2147483647"),
        (b"\xff\xff\xfe\n\n" + struct.pack(">ii", 9_000_000, 1), "expected 27000000 coordinates"),
        (b"\xff\xff\xfe\n\n" + struct.pack(">ii", -1, 1), "found -1"),
        (GEOMETRY[:17] + struct.pack(">f", np.nan) + GEOMETRY[21:], "finite"),
        (GEOMETRY[:-4] + struct.pack(">i", 3), "faces of vertices from 0 to 2, found"),
        (GEOMETRY[:-4] + struct.pack(">i", -1), "faces of vertices"),
    ],
)
def test_broken_geometry(content: bytes, message: str) -> None:
    with pytest.raises(DataIntegrityError, match=message):
        read_geometry(content, name="lh.white")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GEOMETRY, "a number for each vertex"),
        (VALUES[:-1], "expected 3 values, as its header declares, found bytes for 2"),
        (VALUES + b"x", "1 more"),
        (b"\xff\xff\xff" + struct.pack(">iii", 4, 1, 1), "each of 3 vertices, found 1 for each of 4"),
        (b"\xff\xff\xff" + struct.pack(">iii", 3, 1, 2), "found 2 for each of 3"),
    ],
)
def test_broken_values(content: bytes, message: str) -> None:
    """nibabel returns what is there of truncated ones."""
    with pytest.raises(DataIntegrityError, match=message):
        read_values(content, name="lh.sulc", n_vertices=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GEOMETRY, "expected a patch"),
        (PATCH[:-1], "expected 2 vertices"),
        (PATCH + b"x", "1 more"),
        (struct.pack(">ii", -1, 2_000_000_000), "1 to 3 vertices"),
        (struct.pack(">ii", -1, 0), "1 to 3 vertices, found 0"),
        (PATCH[:8] + struct.pack(">i", 4) + PATCH[12:], "from 1 to 3, found 4"),
        (PATCH[:8] + struct.pack(">i", 0) + PATCH[12:], "from 1 to 3, found 0"),
        (PATCH[:8] + struct.pack(">i", 1) + PATCH[12:], "found a repeated one"),
        (PATCH[:12] + struct.pack(">f", np.inf) + PATCH[16:], "finite"),
    ],
)
def test_broken_patches(content: bytes, message: str) -> None:
    with pytest.raises(DataIntegrityError, match=message):
        read_patch(content, name="lh.flat", n_vertices=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (annotation((RED, 7, RED)), "colours from its table of 1 regions, found 7"),
        (annotation((RED, RED)), "expected 3 vertices, found 2"),
        (annotation()[:-3], "parts of a colour"),
        (annotation(n_regions=10**9), "regions, found 1000000000"),
        (annotation(old=True, n_regions=10**9), "at most 100000 regions"),
        (annotation(old=True, n_regions=9), "found bytes for 0"),
        (annotation()[:4] + struct.pack(">i", 1) + annotation()[8:], "each vertex from 0 to 2 once"),
        (annotation()[:28], "marks of a table"),
    ],
)
def test_broken_annotations(content: bytes, message: str) -> None:
    """nibabel gives a vertex with an unknown colour to another region."""
    with pytest.raises(DataIntegrityError, match=message):
        read_annotation(content, name="lh.aparc.annot", n_vertices=3)


# --- real surfaces ----------------------------------------------------------------------------------------------------


def test_real_surfaces(tmp_path: Path) -> None:
    """fsaverage5, written by nibabel as FreeSurfer's tools would."""
    from nilearn.datasets import fetch_surf_fsaverage

    files: Any = fetch_surf_fsaverage("fsaverage5")
    xyz, faces = (array.data for array in nibabel.load(files["white_left"]).darrays)
    fs.write_geometry(tmp_path / "lh.white", xyz, faces, volume_info=None)
    found = read_geometry((tmp_path / "lh.white").read_bytes(), name="lh.white")
    np.testing.assert_array_equal(found.xyz, xyz.astype(np.float32))
    np.testing.assert_array_equal(found.faces, faces)
    assert (len(found.xyz), found.to_world) == (10_242, None)
    sulc = nibabel.load(files["sulc_left"]).darrays[0].data
    fs.write_morph_data(tmp_path / "lh.sulc", sulc, len(faces))
    content = (tmp_path / "lh.sulc").read_bytes()
    np.testing.assert_array_equal(read_values(content, name="lh.sulc", n_vertices=10_242), sulc.astype(np.float32))
    names = ["unknown", "deep", "flat"]
    table = np.array([[25, 5, 25, 0, 0], [200, 0, 0, 0, 0], [0, 200, 0, 0, 0]])
    regions = np.digitize(sulc, [-3, 3]) - 1
    fs.write_annot(tmp_path / "lh.x.annot", regions, table, names, fill_ctab=True)
    parts = read_annotation((tmp_path / "lh.x.annot").read_bytes(), name="lh.x.annot", n_vertices=10_242)
    np.testing.assert_array_equal(parts.regions, regions)
    assert parts.names == tuple(names)


@pytest.mark.parametrize("seed", sampled(range(3), keep=1))
def test_damaged_anyhow(tiny: Path, seed: int) -> None:
    """Whatever a byte becomes, or wherever a file ends: it is read, or it is an error of ours."""
    rng = np.random.default_rng(seed)
    folder = tiny / FREESURFER / "sub-01"
    readers: dict[str, Any] = {
        "surf/lh.white": lambda content: read_geometry(content, name="x"),
        "surf/lh.sulc": lambda content: read_values(content, name="x", n_vertices=642),
        "surf/lh.full.flat.patch.3d": lambda content: read_patch(content, name="x", n_vertices=642),
        "label/lh.aparc.annot": lambda content: read_annotation(content, name="x", n_vertices=642),
        "mri/transforms/talairach.lta": lambda content: read_lta(content, name="x"),
    }
    for name, read in readers.items():
        whole = (folder / name).read_bytes()
        refused = 0
        for _ in range(100):
            content = bytearray(whole)
            for at in rng.integers(0, min(len(whole), rng.choice([60, len(whole)])), rng.integers(1, 5)):
                content[at] = rng.integers(256)
            try:
                read(bytes(content[: rng.integers(len(content))] if rng.random() < 0.3 else content))
            except DataIntegrityError:
                refused += 1
        assert refused > 20
