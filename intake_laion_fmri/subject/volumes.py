"""A subject's voxels in space: masks, coordinates, volumes, anatomical files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiSelection
from intake_laion_fmri.axes.volumes import to_nifti
from intake_laion_fmri.axes.voxels import MASKS, Mask
from intake_laion_fmri.errors import NotInBucketError, check_option
from intake_laion_fmri.mirror.one_file import path_of_object
from intake_laion_fmri.reading.anatomy import Resolution, check_resolution, open_anatomy
from intake_laion_fmri.reading.contents import expect_object
from intake_laion_fmri.remote.atomic import write_whole
from intake_laion_fmri.subject.reader import Flags, SubjectReader

if TYPE_CHECKING:
    import nibabel
    import xarray as xr


class Volumes:
    """Accessors of `Subject` that need the grid."""

    _reader: SubjectReader

    def get_brain_mask(self, source: Mask = "anatomical", res: Resolution = "1pt8") -> NDArray[np.bool_]:
        """Read a mask over its whole grid, flat, in C order.

        Parameters
        ----------
        source : {"anatomical", "rsquare"}, default "anatomical"
            The mask; see `Subject`.
        res : {"1pt8", None}, default "1pt8"
            Resolution of the anatomical mask: that of the betas, or None for 0.8 mm. The R2 mask only exists at that
            of the betas.
        """
        check_option("source", source, valid=MASKS)
        if check_resolution(res) is None and source == "anatomical":
            return self._full_brain_mask()
        axis = self._reader.brain(None, None, source)[1].axis
        inside = np.zeros(axis.grid.size, dtype=bool)
        inside[axis.index] = True
        return inside

    def get_n_voxels(self, source: Mask = "anatomical", res: Resolution = "1pt8") -> int:
        """Count a mask's voxels, reading its file alone; see `get_brain_mask`."""
        check_option("source", source, valid=MASKS)
        if check_resolution(res) is None and source == "anatomical":
            return int(self._full_brain_mask().sum())
        return len(self._reader.brain(None, None, source)[1].axis)

    def get_voxel_coordinates(
        self, roi: RoiSelection | None = None, mask: Flags | None = None, mask_source: Mask = "anatomical"
    ) -> NDArray[np.float64]:
        """Return voxel coordinates in T1w millimetres, shape (voxel, 3).

        T1w is the subject's own space; the coordinates are neither in MNI space nor grid indices.
        """
        axis = self._reader.brain(roi, mask, mask_source)[1].axis
        matrix = axis.grid.matrix()
        return np.ascontiguousarray(axis.ijk().T.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3])

    def to_nifti(
        self,
        values: NDArray[Any],
        output_path: str | os.PathLike[str] | None = None,
        roi: RoiSelection | None = None,
        mask: Flags | None = None,
        mask_source: Mask = "anatomical",
        *,
        fill: float = 0.0,
    ) -> nibabel.Nifti1Image | None:
        """Convert values on voxels to a NIfTI image.

        Parameters
        ----------
        values : array, shape (voxel,) or (other, voxel)
            In the order of the voxels that `roi`, `mask` and `mask_source` select.
        output_path : str or path, optional
            A file ``.nii.gz`` or ``.nii`` to write atomically; an existing file is replaced.
        roi, mask, mask_source
            The voxels: see `Subject`.
        fill : float, default 0
            Value of all other voxels.

        Returns
        -------
        nibabel.Nifti1Image or None
            float32, shape (i, j, k) or (i, j, k, other); None if a file was written.

        Raises
        ------
        ValueError
            If the number of values is not that of the voxels, or the file's extension is another one.
        """
        name = None if output_path is None else os.fspath(output_path)
        if name is not None and not name.endswith((".nii.gz", ".nii")):
            raise ValueError(f"output_path={name!r}: expected a file name that ends in .nii.gz or .nii.")
        labelled = self._reader.labelled(values, self._reader.brain(roi, mask, mask_source)[1].axis)
        image = to_nifti(labelled, fill=fill)
        if name is None:
            return image
        content = image.to_bytes()
        write_whole(name, gzip.compress(content, 6, mtime=0) if name.endswith(".gz") else content)
        return None

    def has_anatomical(self) -> bool:
        """Return True if the bucket has the subject's anatomical files."""
        return bool(self._reader.bucket.find(layout.ANATOMY.folder(self._reader.subject)))

    def get_anatomical_dir(self) -> Path:
        """Return the local folder of anatomical files, or raise NotInBucketError."""
        return self._folder_of(layout.ANATOMY)

    def has_freesurfer(self) -> bool:
        """Return True if the bucket has the subject's FreeSurfer files."""
        return bool(self._reader.bucket.find(layout.FREESURFER.folder(self._reader.subject)))

    def get_freesurfer_dir(self) -> Path:
        """Return the local folder of FreeSurfer's files, or raise NotInBucketError."""
        return self._folder_of(layout.FREESURFER)

    def _folder_of(self, tree: layout.Tree) -> Path:
        """Return the local folder of a tree's files."""
        bucket, folder = self._reader.bucket, tree.folder(self._reader.subject)
        listing = bucket.find(folder)
        if not listing:
            raise bucket.missing(f"{folder}/", listing)
        for key, info in listing.items():
            path = Path(bucket.path(info.key)) if bucket.is_local else bucket.copies.path_of(info)
            if path is not None:
                return path.parents[key.removeprefix(f"{folder}/").count("/")]
        raise NotInBucketError(
            f"{bucket.locate(folder)} has no local path: it is not on this machine. Copy it with 'intake-laion-fmri "
            f"mirror --to FOLDER --subject {self._reader.subject} --group {tree.rest}', then open the subject with "
            "mirror=FOLDER."
        )

    def get_t1w(self, *, res: Resolution = None) -> Path:
        """Return the path of the T1-weighted image.

        Its resolution is 0.8 mm; with ``res="1pt8"`` it is on the grid of the betas. A remote file is downloaded once,
        to the mirror if there is one, otherwise to the user's cache.

        Raises
        ------
        NotInBucketError
            If there is no such file, or no folder to keep it in.
        """
        return self._anatomical_path("t1w", res)

    def get_t2w(self, *, res: Resolution = None) -> Path:
        """Return the path of the T2-weighted image; see `get_t1w`."""
        return self._anatomical_path("t2w", res)

    def get_anatomical_brain_mask(self, *, res: Resolution = None) -> Path:
        """Return the path of the brain mask; see `get_t1w` and `get_brain_mask`."""
        return self._anatomical_path("brain_mask", res)

    def open_t1w(self, *, res: Resolution = None) -> xr.Dataset:
        """Open the T1-weighted image lazily; see `intake_laion_fmri.open_anatomy`."""
        return self._open_anatomy("T1w", res)

    def open_t2w(self, *, res: Resolution = None) -> xr.Dataset:
        """Open the T2-weighted image lazily; see `open_t1w`."""
        return self._open_anatomy("T2w", res)

    def open_anatomical_brain_mask(self, *, res: Resolution = None) -> xr.Dataset:
        """Open the anatomical brain mask lazily; see `open_t1w`."""
        return self._open_anatomy("brain_mask", res)

    def _open_anatomy(self, image: str, res: Resolution) -> xr.Dataset:
        return open_anatomy(self._reader.subject, image=image, res=res, bucket=self._reader.bucket)

    def _anatomical_path(self, image: str, res: object) -> Path:
        bucket, subject = self._reader.bucket, self._reader.subject
        key = layout.key(image if check_resolution(res) else f"full_{image}", subject=subject)
        return path_of_object(bucket, expect_object(bucket, key, bucket.find(layout.ANATOMY.folder(subject))))

    def _full_brain_mask(self) -> NDArray[np.bool_]:
        ds = self._open_anatomy("brain_mask", None)
        return np.asarray(ds["brain_mask"].values.reshape(-1), dtype=bool)
