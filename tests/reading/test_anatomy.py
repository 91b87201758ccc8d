"""Images of the anatomy, against nibabel on the demo bucket."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import dask.array
import nibabel
import numpy as np
import pytest
from conftest import S3
from counting import CountingFileSystem as Counting

from intake_laion_fmri import mirror_bucket, open_anatomy, open_betas, open_catalog, to_nifti
from intake_laion_fmri.demo import subject_truth
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError
from intake_laion_fmri.formats.nifti import VolumeReader

IMAGES = {"T1w": "T1w", "T2w": "T2w", "brain_mask": "desc-brain_mask"}


def anatomical(bucket: Path, image: str, res: str | None, subject: str = "sub-01") -> Path:
    folder = bucket / "derivatives/anatomical" / subject / "ses-PrismaAnat/anat"
    return folder / f"{subject}_ses-PrismaAnat_space-T1w_{f'res-{res}_' if res else ''}{IMAGES[image]}.nii.gz"


def mgz(bucket: Path, image: str, subject: str = "sub-01") -> Path:
    return bucket / "derivatives/freesurfer" / subject / f"mri/{image}.mgz"


@pytest.mark.parametrize("res", ["1pt8", None])
@pytest.mark.parametrize("image", IMAGES)
def test_images(tiny: Path, image: str, res: Any) -> None:
    """Values, type, affine and the way back, at both resolutions."""
    ds = open_anatomy("sub-01", image=image, res=res, bucket=tiny)
    (name,) = ds.data_vars
    oracle = nibabel.load(anatomical(tiny, image, res))
    values = np.asarray(oracle.dataobj, dtype=np.float32)
    assert (name, ds[name].dims, ds[name].dtype) == (image, ("i", "j", "k"), bool if image == "brain_mask" else "f4")
    assert isinstance(ds[name].data, dask.array.Array)
    np.testing.assert_array_equal(ds[name], values)
    assert nibabel.aff2axcodes(oracle.affine) == ("L", "A", "S")
    back = ds[name].laion.to_nifti()
    np.testing.assert_array_equal(back.get_fdata(), values)
    np.testing.assert_allclose(back.affine, oracle.affine, atol=1e-5)


@pytest.mark.parametrize("image", ["orig", "brain", "aseg.mgz"])
def test_images_of_freesurfer(tiny: Path, image: str) -> None:
    """In their own order of axes; in millimetres they show the same head as the T1w."""
    name = image.removesuffix(".mgz")
    ds, oracle = open_anatomy("sub-03", image=image, bucket=tiny), nibabel.load(mgz(tiny, name, "sub-03"))
    assert nibabel.aff2axcodes(oracle.affine) == ("L", "I", "A")
    stored = np.asarray(oracle.dataobj)
    assert ds[name].dtype == stored.dtype.newbyteorder("=")
    np.testing.assert_array_equal(ds[name], stored)
    np.testing.assert_allclose(to_nifti(ds[name]).affine, oracle.affine, atol=1e-4)
    if name == "orig":  # of the whole head
        return
    truth = subject_truth("sub-03", scale="tiny")
    outside = np.argwhere(stored > 0)
    ijk = nibabel.affines.apply_affine(np.linalg.inv(truth.affine) @ oracle.affine, outside)
    brain = np.stack(np.unravel_index(truth.anatomical, truth.shape), axis=1)
    assert (ijk.min(0) > brain.min(0) - 1).all()
    assert (ijk.max(0) < brain.max(0) + 1).all()


def test_parts_of_a_volume_find_their_place(tiny: Path) -> None:
    """A slice knows where it was, and an image lies on the betas' grid."""
    t1w = open_anatomy("sub-01", bucket=tiny).T1w
    part = to_nifti(t1w.isel(k=slice(3, 5), i=[7, 2]), fill=-1).get_fdata()
    whole = t1w.values
    np.testing.assert_array_equal(part[[7, 2], :, 3:5], whole[[7, 2], :, 3:5])
    assert (np.delete(part, [2, 7], axis=0) == -1).all()
    betas = open_betas("sub-01", bucket=tiny)
    assert t1w.grid.item() == betas.grid.item()
    assert (betas.nc_12rep.isel(voxel=0) + t1w).dims == ("i", "j", "k")
    both = to_nifti(t1w.expand_dims(session=2))
    assert both.shape == (*whole.shape, 2)
    with pytest.raises(ValueError, match="or its coordinate"):
        to_nifti(t1w.isel(i=[1, 2]).drop_vars("i"))
    with pytest.raises(ValueError, match="does not fit"):
        to_nifti(t1w.assign_coords(i=t1w.i + 5))
    with pytest.raises(ValueError, match="at most one more"):
        to_nifti(t1w.expand_dims(a=2, b=2))


def test_nothing_is_read_before_it_is_computed(counted: str, tiny: Path) -> None:
    """But the first bytes, for the grid; then one stream."""
    ds = open_anatomy("sub-01", res=None, bucket=counted)
    name, size = anatomical(tiny, "T1w", None).name, anatomical(tiny, "T1w", None).stat().st_size
    assert set(Counting.read) == {name}
    assert Counting.read[name] <= min(size, 32 * 1024)
    Counting.read.clear()
    pickle.loads(pickle.dumps(ds)).compute(scheduler="synchronous")
    assert dict(Counting.read) == {name: size}


def test_everywhere(s3: S3, tiny: Path, tmp_path: Path) -> None:
    """From S3, from a mirror without a network, and by both generations of Intake."""
    expected = nibabel.load(mgz(tiny, "aseg")).get_fdata()
    here = {"bucket": s3.url, "storage_options": s3.storage_options}
    np.testing.assert_array_equal(open_anatomy("sub-01", image="aseg", **here).aseg, expected)
    mirror_bucket(tmp_path / "mirror", subjects="sub-01", kinds=["anatomy", "freesurfer"], bucket=tiny)
    offline = open_anatomy("sub-01", image="aseg", mirror=tmp_path / "mirror", mirror_only=True)
    np.testing.assert_array_equal(offline.aseg, expected)
    entry = open_catalog(bucket=tiny)["sub-01"].anatomy(image="T2w", res=None)
    np.testing.assert_array_equal(entry.read().T2w, nibabel.load(anatomical(tiny, "T2w", None)).get_fdata())


def test_what_is_not_there(own_tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown image.*Did you mean 'aseg'.*Valid: T1w, T2w, brain_mask, aseg"):
        open_anatomy("sub-01", image="asseg", bucket=own_tiny)
    with pytest.raises(ValueError, match=r"Unknown res: '0pt8'"):
        open_anatomy("sub-01", res="0pt8", bucket=own_tiny)  # type: ignore[arg-type]
    anatomical(own_tiny, "T2w", None).unlink()
    with pytest.raises(NotInBucketError, match=r"space-T1w_T2w\.nii\.gz"):
        open_anatomy("sub-01", image="T2w", res=None, bucket=own_tiny)
    for path in (own_tiny / "derivatives/freesurfer/sub-01/mri").glob("*.mgz"):
        path.unlink()
    with pytest.raises(NotInBucketError, match="aseg"):
        open_anatomy("sub-01", image="aseg", bucket=own_tiny)


def damaged(name: str, content: bytes) -> bytes:
    values = bytearray(content)
    if name == "version":
        values[3] = 2
    elif name == "shape":
        values[4:8] = (30_000).to_bytes(4, "big")
    elif name == "frames":
        values[16:20] = (2).to_bytes(4, "big")
    elif name == "type":
        values[23] = 9
    elif name == "unplaced":
        values[28:30] = bytes(2)
    elif name == "flat":
        values[42:54] = values[54:66]
    elif name == "short":
        del values[-100_000 // 300 :]
        del values[1000:]
    elif name == "long":
        values += bytes(5_000_000)
    return bytes(values)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("version", "version 2"),
        ("shape", "can hold"),
        ("frames", "expected one volume, found 2"),
        ("type", "the type 9"),
        ("unplaced", "positions of the voxels"),
        ("flat", "positions of the voxels"),
        ("short", "ends within volume 0"),
        ("long", "continues after"),
    ],
)
def test_broken_volumes_of_freesurfer(own_tiny: Path, name: str, message: str) -> None:
    """nibabel reads some of these without a word."""
    path = mgz(own_tiny, "aseg")
    path.write_bytes(gzip.compress(damaged(name, gzip.decompress(path.read_bytes()))))
    with pytest.raises(DataIntegrityError, match=message):
        open_anatomy("sub-01", image="aseg", bucket=own_tiny).compute(scheduler="synchronous")


def test_a_truncated_image(own_tiny: Path) -> None:
    path = anatomical(own_tiny, "T1w", "1pt8")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataIntegrityError, match="truncated"):
        open_anatomy("sub-01", bucket=own_tiny).compute(scheduler="synchronous")


def test_an_image_that_was_replaced(own_tiny: Path) -> None:
    """Between opening and computing."""
    ds = open_anatomy("sub-01", bucket=own_tiny)
    path = anatomical(own_tiny, "T1w", "1pt8")
    path.write_bytes(anatomical(own_tiny, "T1w", None).read_bytes())
    with pytest.raises(DataIntegrityError, match="replaced"):
        ds.compute(scheduler="synchronous")


def test_the_reader_knows_no_file_of_ours(tiny: Path) -> None:
    """A NIfTI is no volume of FreeSurfer, and the other way round."""
    with mgz(tiny, "aseg").open("rb") as file, pytest.raises(DataIntegrityError, match="expected a NIfTI"):
        VolumeReader(file, name="aseg")
