"""The sphere of fsaverage, from FreeSurfer's subjects folder or nilearn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.errors import NotInBucketError, check_option
from intake_laion_fmri.formats.surfaces import read_geometry
from intake_laion_fmri.remote.access import open_bucket

DENSITIES = {"fsaverage5": 10_242, "fsaverage6": 40_962, "fsaverage7": 163_842}
"""Density → vertices per hemisphere. Coarser meshes are the first vertices of finer ones."""

_FOLDERS = {"fsaverage5": ("fsaverage5", "fsaverage"), "fsaverage6": ("fsaverage6", "fsaverage")}


def template_sphere(density: str, hemi: str, freesurfer: str | os.PathLike[str] | None = None) -> NDArray[np.float32]:
    """Return fsaverage's sphere vertices, shape (vertex, 3).

    Parameters
    ----------
    density : {"fsaverage5", "fsaverage6", "fsaverage7"}
        Name of the mesh.
    hemi : {"L", "R"}
        The hemisphere.
    freesurfer : str or path, optional
        FreeSurfer's subjects folder with ``fsaverage``. By default ``$SUBJECTS_DIR``, then
        ``$FREESURFER_HOME/subjects``, then nilearn, which includes fsaverage5 and downloads the others once.

    Raises
    ------
    NotInBucketError
        If the sphere is in none of these.
    """
    check_option("density", density, valid=DENSITIES)
    tried = []
    for folder in _folders(freesurfer):
        found = _in_folder(folder, density, hemi)
        if found is not None:
            return found
        tried.append(folder)
    found = None if freesurfer is not None else _of_nilearn(density, hemi)
    if found is None:
        looked = f"it is not in {', '.join(tried)}" if tried else "neither $SUBJECTS_DIR nor $FREESURFER_HOME is set"
        nilearn = "" if freesurfer is not None else ", and nilearn could not download it"
        raise NotInBucketError(
            f"The sphere of {density} was not found on this machine: {looked}{nilearn}. Pass FreeSurfer's subjects "
            "folder as freesurfer=, call nilearn.datasets.fetch_surf_fsaverage on a machine with a network, or choose "
            "density='fsaverage5', which nilearn includes."
        )
    return found


def _folders(freesurfer: str | os.PathLike[str] | None) -> Iterator[str]:
    if freesurfer is not None:
        yield os.fspath(freesurfer)
        return
    if os.environ.get("SUBJECTS_DIR"):
        yield os.environ["SUBJECTS_DIR"]
    if os.environ.get("FREESURFER_HOME"):
        yield f"{os.environ['FREESURFER_HOME']}/subjects"


def _in_folder(folder: str, density: str, hemi: str) -> NDArray[np.float32] | None:
    bucket, side = open_bucket(folder), {"L": "lh", "R": "rh"}[hemi]
    for subject in _FOLDERS.get(density, ("fsaverage",)):
        try:
            content = bucket.read(key := f"{subject}/surf/{side}.sphere.reg")
        except NotInBucketError:
            continue
        xyz = read_geometry(content, name=bucket.locate(key)).xyz
        if len(xyz) >= DENSITIES[density]:
            return xyz[: DENSITIES[density]]
    return None


def _of_nilearn(density: str, hemi: str) -> NDArray[np.float32] | None:
    """Return nilearn's sphere; None without nilearn, or if a download fails."""
    try:
        from nilearn.datasets import fetch_surf_fsaverage
        from nilearn.surface import load_surf_mesh
    except ImportError:
        return None
    try:
        files: Any = fetch_surf_fsaverage(density)
    except OSError:  # no network, or no disk
        return None
    xyz: NDArray[Any] = load_surf_mesh(files[{"L": "sphere_left", "R": "sphere_right"}[hemi]]).coordinates
    return np.asarray(xyz, dtype=np.float32) if len(xyz) == DENSITIES[density] else None
