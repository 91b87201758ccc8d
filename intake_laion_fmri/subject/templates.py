"""A subject's values in templates: fsaverage and MNI305."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.vertices import HEMISPHERES, Hemisphere
from intake_laion_fmri.axes.volumes import to_nifti
from intake_laion_fmri.axes.voxels import Mask
from intake_laion_fmri.errors import check_option, unknown_value
from intake_laion_fmri.reading.templates import Density, to_fsaverage, to_mni305
from intake_laion_fmri.remote.atomic import write_whole
from intake_laion_fmri.subject.reader import SubjectReader

if TYPE_CHECKING:
    import nibabel

__all__ = ["Templates", "to_fsaverage", "to_mni305"]

Surfaces: TypeAlias = "NDArray[np.float32] | dict[str, NDArray[np.float32]]"
"""Values on one hemisphere, or on each: ``"L"`` and ``"R"``."""

_FSAVERAGE, _MNI305 = "fsaverage", "MNI305"
_WORDS = {"fsaverage5": "10k", "fsaverage6": "41k", "fsaverage7": "164k"}
_SIDES = {"L": "CortexLeft", "R": "CortexRight"}


class Templates:
    """Accessors of `Subject` for templates."""

    _reader: SubjectReader

    def to_template(
        self,
        values: Any,
        target: str,
        *,
        hemi: Hemisphere | None = None,
        route: Literal["auto", "surface", "volume"] = "auto",
        surface: str = "white",
        fsaverage_density: Density = "fsaverage5",
        fslr_density: str = "32k",
        interpolation: str = "linear",
        output_dir: str | os.PathLike[str] | None = None,
        desc: str | None = None,
        session: str | None = None,
        mask_source: Mask = "anatomical",
    ) -> Surfaces | nibabel.Nifti1Image:
        """Project values on a mask's voxels to a template.

        Parameters
        ----------
        values : array, shape (voxel,) or (trial, voxel)
            One value for each voxel of the mask.
        target : {"fsaverage", "MNI305"}
            The template. The data set has no warp to MNI152 or fsLR.
        hemi : {"L", "R"}, optional
            A single hemisphere of fsaverage; by default both.
        route : {"auto", "surface", "volume"}, default "auto"
            Must be that of the target, ``"surface"`` for fsaverage and ``"volume"`` for MNI305, or ``"auto"``.
        surface : {"white"}, default "white"
            The surface on which the volume is sampled.
        fsaverage_density : {"fsaverage5", "fsaverage6", "fsaverage7"}, default "fsaverage5"
            As in `templates.to_fsaverage`.
        fslr_density : str
            Not used: fsLR is not supported.
        interpolation : {"linear"}, default "linear"
            Interpolation of the volume for fsaverage. MNI305 uses the nearest voxel.
        output_dir : str or path, optional
            Folder to write files to as well, named by subject, session, template and `desc`.
        desc, session : str, optional
            Entities of the file names.
        mask_source : {"anatomical", "rsquare"}, default "anatomical"
            The mask; see `Subject`.

        Returns
        -------
        array, dict of arrays, or nibabel.Nifti1Image
            For fsaverage float32 of shape (vertex,) or (trial, vertex), of one hemisphere or as ``{"L": …, "R": …}``;
            for MNI305 an image, with trials along its last dimension.

        Raises
        ------
        ValueError
            If the number of values is not that of the voxels, or an argument is not supported.
        NotInBucketError, DataIntegrityError, ImportError
            As in `templates.to_fsaverage` and `templates.to_mni305`.
        """
        _check_target(target)
        check_option("route", route, valid=("auto", "surface", "volume"))
        check_option("surface", surface, valid=("white",))
        check_option("interpolation", interpolation, valid=("linear",))
        check_option("hemi", hemi, valid=HEMISPHERES, optional=True)
        if route == ("volume" if target == _FSAVERAGE else "surface"):
            raise ValueError(f"route={route!r} does not lead to {target}: omit route=, or choose another target.")
        labelled = self._reader.labelled(values, self._reader.brain(None, None, mask_source)[1].axis)
        where = self._where()
        writer = None if output_dir is None else _Writer(Path(output_dir), self._reader.subject, session, desc)
        if target == _MNI305:
            image = to_nifti(to_mni305(labelled, **where)["values"])
            if writer:
                writer.volume(image)
            return image
        found = to_fsaverage(labelled, fsaverage_density, hemi=hemi or "all", **where)
        arrays = {side: found[f"values_{side}"].values for side in ([hemi] if hemi else HEMISPHERES)}
        if writer:
            writer.surfaces(arrays, _WORDS[fsaverage_density])
        return arrays[hemi] if hemi else arrays

    def volume_to_surface(self, values: Any, target: str = _FSAVERAGE) -> Surfaces:
        """Project values on the anatomical mask to fsaverage5; see `to_template`."""
        check_option("target", target, valid=(_FSAVERAGE,))
        return self.to_template(values, target)

    def volume_to_template(self, values: Any, target: str) -> nibabel.Nifti1Image:
        """Resample values on the anatomical mask to MNI305; see `to_template`."""
        if target != _FSAVERAGE:
            _check_target(target)
        check_option("target", target, valid=(_MNI305,))
        return self.to_template(values, target)

    def surface_to_template(
        self,
        values: Any,
        target: str = _FSAVERAGE,
        *,
        hemi: Hemisphere | None = None,
        fsaverage_density: Density = "fsaverage5",
    ) -> Surfaces:
        """Project values on a subject's vertices to fsaverage.

        Parameters
        ----------
        values : array, or mapping of hemisphere to array
            Shape (vertex,) or (trial, vertex), of the hemisphere `hemi`, or as ``{"L": …, "R": …}``.
        target : {"fsaverage"}, default "fsaverage"
            The template.
        hemi : {"L", "R"}, optional
            The hemisphere of an array.
        fsaverage_density : {"fsaverage5", "fsaverage6", "fsaverage7"}, default "fsaverage5"
            As in `templates.to_fsaverage`.
        """
        import xarray as xr

        check_option("target", target, valid=(_FSAVERAGE,))
        given = dict(values) if isinstance(values, Mapping) else {check_option("hemi", hemi, valid=HEMISPHERES): values}
        arrays = {}
        for side, array in given.items():
            check_option("hemi", side, valid=HEMISPHERES)
            rows, name = np.asarray(array), f"vertex_{side}"
            if rows.ndim not in (1, 2):
                raise ValueError(f"Expected values of shape (vertex,) or (trial, vertex), found {rows.shape}.")
            axis = {name: np.arange(rows.shape[-1])}
            labelled = xr.DataArray(rows, dims=("row", name)[-rows.ndim :], coords=axis, name=f"values_{side}")
            found = to_fsaverage(labelled, fsaverage_density, **self._where())
            arrays[str(side)] = found[f"values_{side}"].values
        return arrays if isinstance(values, Mapping) else arrays[str(hemi)]

    def _where(self) -> dict[str, Any]:
        return {"subject": self._reader.subject, "bucket": self._reader.bucket}


def _check_target(target: object) -> None:
    """Raise ValueError for an unsupported template."""
    if target in (_FSAVERAGE, _MNI305):
        return
    text = str(target).casefold()
    if "152" in text or text == "mni":
        raise ValueError(
            f"target={target!r}: the data set has no warp to MNI152. Use target='MNI305', the space of FreeSurfer's "
            "talairach.lta, which differs from MNI152 by some millimetres."
        )
    if text == "fslr":
        raise ValueError(
            f"target={target!r} is not supported: the data set has no spheres of fsLR. Use target='fsaverage', then "
            "resample with HCP's workbench and its fs_LR-deformed_to-fsaverage spheres."
        )
    raise unknown_value("target", target, (_FSAVERAGE, _MNI305))


class _Writer:
    """Writer of files with the data set's own names."""

    def __init__(self, folder: Path, subject: str, session: str | None, desc: str | None) -> None:
        self._folder, self._desc = folder, f"_desc-{desc}" if desc else ""
        self._stem = subject + (f"_{layout.session_name(session)}" if session else "")

    def volume(self, image: nibabel.Nifti1Image) -> None:
        """Write an image in MNI305."""
        path = self._folder / f"{self._stem}_space-{_MNI305}{self._desc}_statmap.nii.gz"
        write_whole(path, gzip.compress(image.to_bytes(), 6, mtime=0))

    def surfaces(self, arrays: Mapping[str, NDArray[np.float32]], density: str) -> None:
        """Write a GIFTI file per hemisphere, with an array per row."""
        import nibabel.gifti

        for hemi, values in arrays.items():
            meta = nibabel.gifti.GiftiMetaData({"AnatomicalStructurePrimary": _SIDES[hemi]})
            rows = [
                nibabel.gifti.GiftiDataArray(row, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32")
                for row in np.atleast_2d(values)
            ]
            name = f"{self._stem}_space-{_FSAVERAGE}_den-{density}_hemi-{hemi}{self._desc}_statmap.func.gii"
            write_whole(self._folder / name, nibabel.gifti.GiftiImage(darrays=rows, meta=meta).to_bytes())
