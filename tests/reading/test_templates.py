"""Templates: against nilearn's sampling, plain NumPy on every triangle, and the known transform of the demo."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dask.array
import nibabel
import nibabel.freesurfer as fs
import numpy as np
import pytest
import xarray as xr

from intake_laion_fmri import load_subject, open_betas, open_surfaces, templates, to_nifti
from intake_laion_fmri.axes.projection import Projection, between_spheres, from_volume
from intake_laion_fmri.demo import subject_truth
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError
from intake_laion_fmri.formats.grid import Grid
from intake_laion_fmri.formats.lta import read_lta
from intake_laion_fmri.reading import templates as reading_templates
from intake_laion_fmri.reading.templates import MNI305, fsaverage
from intake_laion_fmri.templates import to_fsaverage, to_mni305

SURF = "derivatives/freesurfer/{}/surf/{}"
LTA = "derivatives/freesurfer/{}/mri/transforms/talairach.lta"


def nilearn_spheres() -> dict[str, np.ndarray]:
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_mesh

    files: Any = fetch_surf_fsaverage("fsaverage5")
    return {hemi: load_surf_mesh(files[f"sphere_{side}"]).coordinates for hemi, side in (("L", "left"), ("R", "right"))}


def ray_weights(sphere: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Solve for each point and triangle: the weights of the corners at which the point's ray meets the plane."""
    dense = np.zeros((len(points), len(sphere)))
    inverses = np.linalg.inv(sphere[faces].transpose(0, 2, 1))
    for row, point in enumerate(points):
        weights = inverses @ point
        best = (weights / weights.sum(axis=1, keepdims=True)).min(axis=1)
        best[weights.sum(axis=1) < 0] = -np.inf  # on the far side
        face = best.argmax()
        dense[row, faces[face]] = weights[face] / weights[face].sum()
    return dense


# --- weights ----------------------------------------------------------------------------------------------------------


def test_sampling_is_nilearns(tiny: Path) -> None:
    """All vertices of the white surface, on an image without a gap."""
    from nilearn.surface import InMemoryMesh, vol_to_surf

    ds = open_surfaces("sub-01", hemi="L", bucket=tiny)
    truth = subject_truth("sub-01", scale="tiny")
    volume = np.random.default_rng(0).standard_normal((*truth.shape, 2)).astype(np.float32)
    grid = Grid(truth.shape, tuple(truth.affine.ravel()))
    found = from_volume(ds.xyz_L.values, grid, np.arange(grid.size))(volume.reshape(-1, 2).T)
    mesh = InMemoryMesh(coordinates=ds.xyz_L.values, faces=ds.faces_L.values)
    image = nibabel.Nifti1Image(volume, truth.affine)
    expected = vol_to_surf(image, mesh, kind="line", depth=[0.0], interpolation="linear").T
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.isfinite(expected).all()


def test_points_on_and_outside_the_grid() -> None:
    """The last voxel has a value, what lies beyond it has none, in a plane of one voxel too."""
    grid = Grid((3, 2, 1), tuple(np.diag([2.0, 2, 2, 1]).ravel()))
    values = np.arange(6.0)
    points = np.array([[0, 0, 0], [4, 2, 0], [1, 1, 0], [4.1, 0, 0], [0, -0.1, 0], [0, 0, 0.5]])
    found = from_volume(points, grid, np.arange(6))(values)
    np.testing.assert_array_equal(found, [0, 5, 1.5, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("subject", ["sub-01", "sub-03"])
def test_spheres(tiny: Path, subject: str) -> None:
    """Barycentric weights, by trying every triangle."""
    xyz, faces = fs.read_geometry(tiny / SURF.format(subject, "rh.sphere.reg"))
    points = nilearn_spheres()["R"][::40]
    found = between_spheres(xyz, faces, points).weights.toarray()
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    expected = ray_weights(xyz / np.linalg.norm(xyz, axis=1, keepdims=True), faces, unit)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_a_sphere_on_itself() -> None:
    """fsaverage5 on fsaverage5 changes nothing."""
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_mesh

    files: Any = fetch_surf_fsaverage("fsaverage5")
    mesh = load_surf_mesh(files["sphere_left"])
    values = np.random.default_rng(1).standard_normal((3, 10_242)).astype(np.float32)
    found = between_spheres(mesh.coordinates, mesh.faces, mesh.coordinates)(values)
    np.testing.assert_allclose(found, values, atol=1e-4)


def test_what_is_nan_is_weighted_anew() -> None:
    """From half of the weight on; in each row by its own gaps, and alike in any block of rows."""
    from scipy.sparse import csr_array

    weights = np.array([[0.5, 0.5, 0], [0.6, 0.2, 0.2], [0, 0, 0], [0.4, 0.3, 0.3]], dtype=np.float32)
    rows = np.array([[1, 2, 3], [np.nan, 2, 3], [1, np.nan, np.inf], [np.nan] * 3], dtype=np.float64)
    expected = np.full((4, 4), np.nan)
    for number, row in enumerate(rows):
        known = np.isfinite(row)
        share = weights[:, known].sum(axis=1)
        kept = share >= 0.5 - 1e-6
        expected[number, kept] = weights[kept][:, known] @ row[known] / share[kept]
    projection = Projection(csr_array(weights))
    np.testing.assert_allclose(projection(rows), expected, rtol=1e-6)
    np.testing.assert_allclose(projection(np.tile(rows, (20, 1))), np.tile(expected, (20, 1)), rtol=1e-6)
    np.testing.assert_allclose(projection(rows[1]), expected[1], rtol=1e-6)
    assert projection.n_reached == 3


# --- fsaverage --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def betas(tiny: Path) -> xr.Dataset:
    return open_betas("sub-03", session=[1, 2], bucket=tiny)


def test_to_fsaverage(tiny: Path, betas: xr.Dataset) -> None:
    """Through both steps, by nilearn and by every triangle; lazily, with the coordinates of the trials."""
    found = to_fsaverage(betas.betas, bucket=tiny)
    assert isinstance(found.betas_L.data, dask.array.Array)
    assert found.betas_L.dims == ("trial", "vertex_L")
    xr.testing.assert_equal(found.label, betas.label.drop_vars("grid"))
    rows = betas.betas[[0, 50]].values
    volume = np.full((2, betas.grid.attrs["shape"][0] * 15 * 11), np.nan)
    volume[:, betas.voxel] = rows
    grid = Grid(tuple(betas.grid.attrs["shape"]), tuple(betas.grid.attrs["affine"]))
    for hemi, side in (("L", "lh"), ("R", "rh")):
        surface = open_surfaces("sub-03", hemi=hemi, bucket=tiny)
        first = from_volume(surface[f"xyz_{hemi}"].values, grid, np.arange(grid.size)).weights.toarray()
        xyz, faces = fs.read_geometry(tiny / SURF.format("sub-03", f"{side}.sphere.reg"))
        points = nilearn_spheres()[hemi][::97].astype(float)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        weights = ray_weights(xyz / np.linalg.norm(xyz, axis=1, keepdims=True), faces, points) @ first
        known = np.isfinite(volume)
        share = known @ weights.T
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = np.where(known, volume, 0) @ weights.T / share
        computed = found[f"betas_{hemi}"][[0, 50], ::97].compute().values
        sure = np.abs(share - 0.5) > 1e-3
        np.testing.assert_array_equal(np.isnan(computed)[sure], (share < 0.5)[sure])
        kept = (share > 0.501) & ~np.isnan(computed)
        np.testing.assert_allclose(computed[kept], expected[kept], atol=2e-4)
        assert kept.mean() > 0.8
        attrs = found[f"betas_{hemi}"].attrs
        assert "weight" in attrs["comment"]
        assert 0 < attrs["vertices_without_value"] < 2000
        assert "grid_mapping" not in attrs


def test_weights_are_kept(own_tiny: Path, betas: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same voxels find the weights of the call before; other voxels, or another surface, do not."""
    built: list[str] = []
    build = reading_templates._Surfaces._built
    monkeypatch.setattr(reading_templates, "_kept", {})
    monkeypatch.setattr(
        reading_templates._Surfaces, "_built", lambda self, hemi, *rest: built.append(hemi) or build(self, hemi, *rest)
    )
    mean = betas.betas.mean("trial").compute()
    first = to_fsaverage(mean, bucket=own_tiny)
    xr.testing.assert_identical(to_fsaverage(mean, bucket=own_tiny), first)
    assert built == ["L", "R"]
    half = to_fsaverage(mean[::2], bucket=own_tiny)
    assert built == ["L", "R"] * 2
    assert not half.identical(first)
    path = own_tiny / SURF.format(betas.subject.item(), "lh.white")
    xyz, faces, *info = fs.read_geometry(path, read_metadata=True)
    fs.write_geometry(path, xyz + 3, faces, volume_info=info[0])
    moved = to_fsaverage(mean, bucket=own_tiny)
    assert built == [*["L", "R"] * 2, "L"]
    assert not moved.identical(first)
    to_fsaverage(mean[::3], bucket=own_tiny)
    assert len(reading_templates._kept) == reading_templates.MOST_KEPT


def test_more_maps_at_once(tiny: Path, betas: xr.Dataset, tmp_path: Path) -> None:
    """A Dataset's variables, one hemisphere, the subject's own surface; results can be saved."""
    ds = xr.Dataset(
        {"mean": betas.betas.mean("trial"), "nc": betas.nc_12rep.drop_vars("nc_12rep"), "name": betas.label}
    )
    both = to_fsaverage(ds, bucket=tiny)
    assert set(both.data_vars) == {"mean_L", "nc_L", "mean_R", "nc_R"}
    left = to_fsaverage(ds["nc"], hemi="L", bucket=tiny)
    np.testing.assert_array_equal(left.nc_L, both.nc_L)
    assert "vertex_R" not in left.variables
    native = to_fsaverage(ds["nc"], "fsnative", bucket=tiny)
    assert (native.sizes["vertex_L"], native.sizes["vertex_R"]) == (642, 650)
    again = to_fsaverage(native, bucket=tiny)
    assert set(again.data_vars) == {"nc_L", "nc_R"}
    known = np.isfinite(again.nc_L) & np.isfinite(left.nc_L)
    assert np.corrcoef(again.nc_L[known], left.nc_L[known])[0, 1] > 0.95
    part = to_fsaverage(native.nc_L.isel(vertex_L=slice(0, 600)), bucket=tiny)
    assert set(part.data_vars) == {"nc_L"}
    assert part.nc_L.isnull().sum() > again.nc_L.isnull().sum()
    left.to_netcdf(tmp_path / "left.nc")
    xr.testing.assert_equal(xr.open_dataset(tmp_path / "left.nc"), left)


def test_a_folder_of_freesurfer(tiny: Path, tmp_path: Path, betas: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, then the environment; a finer fsaverage begins with the vertices of a coarser one."""
    (tmp_path / "fsaverage/surf").mkdir(parents=True)
    rng = np.random.default_rng(2)
    for hemi, side in (("L", "lh"), ("R", "rh")):
        more = np.concatenate([nilearn_spheres()[hemi], rng.standard_normal((30_720, 3))])
        fs.write_geometry(tmp_path / f"fsaverage/surf/{side}.sphere.reg", more, np.zeros((1, 3), dtype=int))
    values = betas.nc_12rep
    expected = to_fsaverage(values, bucket=tiny)
    xr.testing.assert_allclose(to_fsaverage(values, freesurfer=tmp_path, bucket=tiny), expected)
    monkeypatch.setenv("SUBJECTS_DIR", str(tmp_path))
    assert to_fsaverage(values, "fsaverage6", bucket=tiny).sizes["vertex_L"] == 40_962
    monkeypatch.setattr(fsaverage, "_of_nilearn", lambda *_: None)
    with pytest.raises(NotInBucketError, match=r"fsaverage7 was not found .*: it is not in \S+.*freesurfer="):
        to_fsaverage(values, "fsaverage7", bucket=tiny)
    monkeypatch.delenv("SUBJECTS_DIR")
    with pytest.raises(NotInBucketError, match=r"neither \$SUBJECTS_DIR nor"):
        to_fsaverage(values, "fsaverage6", bucket=tiny)


def test_wrong_values(own_tiny: Path, betas: xr.Dataset) -> None:
    """One clear error each."""
    values = betas.nc_12rep
    with pytest.raises(ValueError, match=r"Unknown density.*Did you mean .*'fsaverage5'"):
        to_fsaverage(values, "fsaverage4", bucket=own_tiny)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Subject\.to_template"):
        to_fsaverage(values.values, bucket=own_tiny)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pass subject="):
        to_fsaverage(values.drop_vars("subject"), bucket=own_tiny)
    with pytest.raises(ValueError, match="have no grid"):
        to_fsaverage(values.drop_vars("grid"), bucket=own_tiny)
    with pytest.raises(ValueError, match="along 'voxel' or 'vertex_L'"):
        to_fsaverage(betas.repetition, bucket=own_tiny)
    with pytest.raises(ValueError, match="each voxel once"):
        to_mni305(xr.concat([values, values], dim="voxel"), bucket=own_tiny)
    with pytest.raises(ValueError, match="already"):
        to_fsaverage(to_fsaverage(values, "fsnative", bucket=own_tiny), "fsnative", bucket=own_tiny)
    path = own_tiny / SURF.format("sub-03", "lh.sphere.reg")
    path.write_bytes((own_tiny / SURF.format("sub-03", "rh.sphere.reg")).read_bytes())
    with pytest.raises(DataIntegrityError, match="expected the 642 vertices of the white surface, found 650"):
        to_fsaverage(values, bucket=own_tiny)
    path.unlink()
    with pytest.raises(ValueError, match=r"Unknown surface.*'sphere\.reg'"):
        to_fsaverage(values, bucket=own_tiny)


# --- MNI305 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["sub-01", "sub-03"])
def test_to_mni305(tiny: Path, subject: str) -> None:
    """By the known transform, whether the file has it in millimetres or in voxels: the nearest voxel, or NaN."""
    from intake_laion_fmri.demo.surfaces import talairach

    ds = open_betas(subject, session=1, bucket=tiny)
    truth = subject_truth(subject, scale="tiny")
    found = to_mni305(ds.betas, bucket=tiny)
    assert isinstance(found.betas.data, dask.array.Array)
    assert found.betas.dims == ("trial", "i", "j", "k")
    rng = np.random.default_rng(3)
    ijk = np.stack([rng.integers(0, n, 4000) for n in MNI305.shape], axis=1)
    ijk = np.vstack(
        [ijk, np.stack([rng.integers(60, 110, 2000), rng.integers(80, 130, 2000), rng.integers(50, 90, 2000)], 1)]
    )
    there = nibabel.affines.apply_affine(
        np.linalg.inv(truth.affine) @ np.linalg.inv(talairach(truth)) @ MNI305.matrix(), ijk
    )
    nearest = np.rint(there).astype(int)
    inside = ((nearest >= 0) & (nearest < truth.shape)).all(axis=1)
    flat = np.ravel_multi_index(tuple(np.where(inside[:, None], nearest, 0).T), truth.shape)
    volume = np.full(np.prod(truth.shape), np.nan)
    volume[ds.voxel] = ds.betas[3].values
    expected = np.where(inside, volume[flat], np.nan)
    image = found.betas[3].compute()
    sure = np.abs(there - np.floor(there) - 0.5).min(axis=1) > 1e-3
    np.testing.assert_array_equal(image.values[tuple(ijk[sure].T)], expected[sure].astype(np.float32))
    assert np.isfinite(expected).sum() > 300
    np.testing.assert_allclose(to_nifti(image).affine, MNI305.matrix())
    assert image.grid.attrs["space"] == "MNI305"


def test_transforms_of_others(own_tiny: Path, betas: xr.Dataset) -> None:
    """Nobody else notices a transform that leads the other way, or is another subject's."""
    path = own_tiny / LTA.format("sub-03")
    whole = path.read_text()
    head, source, target = (
        whole.partition("src volume info")[0],
        *whole.partition("src volume info")[2].split("dst volume info"),
    )
    path.write_text(f"{head}src volume info{target}dst volume info{source}")
    with pytest.raises(DataIntegrityError, match="the opposite transform"):
        to_mni305(betas.nc_12rep, bucket=own_tiny)
    path.write_bytes((own_tiny / LTA.format("sub-01")).read_bytes())
    with pytest.raises(DataIntegrityError, match="another subject's"):
        to_mni305(betas.nc_12rep, bucket=own_tiny)
    path.unlink()
    with pytest.raises(NotInBucketError, match=r"talairach\.lta"):
        to_mni305(betas.nc_12rep, bucket=own_tiny)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("type      = 1", "type      = 14", "of type 14"),
        ("nxforms   = 1", "nxforms   = 2", "found 2 of type 1"),
        ("1 4 4", "1 3 4", "a matrix"),
        ("src volume info", "volume info", "source and target"),
        ("valid = 1", "valid = 0", "a valid source volume"),
        ("cras", "cros", "'cras' of its source"),
        ("\nvolume = ", "\nvolume = -", "with separate voxels"),
        ("e+00 ", "e+00 x ", "a matrix"),
    ],
)
def test_broken_transforms(tiny: Path, old: str, new: str, message: str) -> None:
    text = (tiny / LTA.format("sub-01")).read_text()
    assert old in text
    with pytest.raises(DataIntegrityError, match=message):
        read_lta(text.replace(old, new, 1).encode(), name="talairach.lta")


# --- the names of the data set's own package --------------------------------------------------------------------------


def test_to_template(tiny: Path, tmp_path: Path) -> None:
    """Arrays and an image, of one map or many; files under the names that it gives them."""
    sub = load_subject("sub-01", bucket=tiny)
    values = np.random.default_rng(4).standard_normal((2, sub.get_n_voxels())).astype(np.float32)
    found = sub.to_template(values, "fsaverage", output_dir=tmp_path, desc="x", session="ses-01")
    assert {side: array.shape for side, array in found.items()} == dict.fromkeys("LR", (2, 10_242))
    np.testing.assert_array_equal(sub.to_template(values[1], "fsaverage", hemi="R"), found["R"][1])
    np.testing.assert_array_equal(sub.volume_to_surface(values)["L"], found["L"])
    (name,) = tmp_path.glob("*hemi-L*")
    assert name.name == "sub-01_ses-01_space-fsaverage_den-10k_hemi-L_desc-x_statmap.func.gii"
    np.testing.assert_array_equal(nibabel.load(name).agg_data(), found["L"])
    image = sub.to_template(values[1], "MNI305", output_dir=tmp_path)
    assert image.shape == (172, 220, 156)
    written = nibabel.load(tmp_path / "sub-01_space-MNI305_statmap.nii.gz")
    np.testing.assert_array_equal(written.dataobj, image.dataobj)
    native = {"L": np.ones(642), "R": np.arange(650.0)}
    both = sub.surface_to_template(native)
    np.testing.assert_allclose(both["L"], 1, atol=1e-5)
    np.testing.assert_array_equal(sub.surface_to_template(native["R"], hemi="R"), both["R"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "MNI152NLin6Asym"}, "no warp to MNI152"),
        ({"target": "fsLR"}, "no spheres of fsLR"),
        ({"target": "fsaverage5"}, "Unknown target"),
        ({"target": "MNI305", "route": "surface"}, "does not lead to MNI305"),
        ({"target": "fsaverage", "surface": "pial"}, "Unknown surface"),
        ({"target": "fsaverage", "values": np.zeros(3)}, "Expected values for the 421 chosen voxels of sub-01"),
    ],
)
def test_what_leads_nowhere(tiny: Path, options: dict[str, Any], message: str) -> None:
    sub = load_subject("sub-01", bucket=tiny)
    given = {"values": np.zeros(sub.get_n_voxels()), **options}
    with pytest.raises(ValueError, match=message):
        sub.to_template(**given)


def test_the_module_is_cheap() -> None:
    assert templates.__all__ == ["to_fsaverage", "to_mni305"]
    with warnings.catch_warnings(action="error"):
        assert to_fsaverage is templates.to_fsaverage


def test_the_bucket_of_the_values_is_known(s3: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a Dataset, a variable and a mean, with the options of its opening; a bucket that is named wins."""
    monkeypatch.setenv("LAION_FMRI_BUCKET", str(tiny / "nowhere"))
    ds = open_betas("sub-01", roi="face", bucket=s3.url, storage_options=s3.storage_options)
    for values in (ds[["nc_12rep"]], ds.nc_12rep, ds.betas.mean("trial")):
        with s3.requests() as counts:
            found = to_fsaverage(values, hemi="L")
        assert counts["LIST"] == 3
        xr.testing.assert_identical(found, to_fsaverage(values, hemi="L", bucket=tiny))
    with s3.requests() as counts:
        xr.testing.assert_identical(to_mni305(ds.nc_12rep), to_mni305(ds.nc_12rep, bucket=tiny))
    assert counts["LIST"] == 3
    with pytest.raises(NotInBucketError, match="nowhere"):
        to_fsaverage(ds.nc_12rep, bucket=tiny / "nowhere")
