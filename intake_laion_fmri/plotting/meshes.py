"""Values and regions on a surface's vertices, projected from voxels or given as such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.selecting import voxels_of
from intake_laion_fmri.axes.vertices import HEMISPHERES, named
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import NotInBucketError, check_option, unknown_value
from intake_laion_fmri.plotting.values import beside, on_voxels, subject_of
from intake_laion_fmri.reading.arguments import ALL, chosen
from intake_laion_fmri.reading.origins import bucket_of
from intake_laion_fmri.reading.surfaces import open_surfaces
from intake_laion_fmri.reading.templates import NATIVE, to_fsaverage
from intake_laion_fmri.reading.templates.fsaverage import DENSITIES

if TYPE_CHECKING:
    import xarray as xr

_SHOWN, _INSIDE = "shown", "inside"

_OF_NILEARN = {"inflated": "infl", "pial": "pial", "white": "white", "sphere": "sphere", "flat": "flat"}
"""From a surface to its name in nilearn's fsaverage data."""

_SIDES = {"L": "left", "R": "right"}


@dataclass(frozen=True, eq=False)
class Mesh:
    """A hemisphere with the values and regions to draw."""

    hemi: str
    """``L`` or ``R``."""
    xyz: NDArray[Any]
    """Shape (vertex, 3)."""
    faces: NDArray[Any]
    """Shape (face, 3): rows of `xyz`."""
    sulc: NDArray[Any] | None
    """Shape (vertex,): depth, the background."""
    values: NDArray[Any]
    """Shape (vertex,), NaN where there are none."""
    inside: Mapping[str, NDArray[np.bool_]]
    """From ROI to flags of its vertices, shape (vertex,)."""

    @property
    def shade(self) -> NDArray[Any]:
        """Depth as a grey from 0 to 1.

        Gyri are light and sulci dark, but less so than values.
        """
        if self.sulc is None or not np.isfinite(self.sulc).any():
            return np.full(len(self.xyz), 0.45)
        depth = np.nan_to_num(self.sulc)
        deep = float(np.percentile(np.abs(depth), 90)) or 1.0
        return np.asarray(np.clip(depth / deep, -1, 1) * 0.2 + 0.45)

    @property
    def side(self) -> str:
        """The hemisphere's name in nilearn."""
        return _SIDES[self.hemi]


def meshes(
    data: xr.Dataset | xr.DataArray,
    values: Any,
    rois: Sequence[str],
    surface: str,
    space: str | None,
    hemi: str,
    where: Mapping[str, Any],
) -> tuple[list[Mesh], xr.DataArray | None]:
    """Return the hemispheres to draw, and the values with their attributes.

    Parameters
    ----------
    data, values, rois, surface, space, hemi
        As in `plot_surface`.
    where : mapping
        Location of the bucket, as arguments of openers.
    """
    sides = chosen("hemi", hemi, HEMISPHERES)
    check_option("space", space, valid=(NATIVE, *DENSITIES), optional=True)
    if VOXEL in data.dims:
        target = space or NATIVE
        shown = on_voxels(data, values)
        if shown is not None and shown.ndim == 2:
            raise ValueError(f"Expected one map, found {shown.shape[0]} along {shown.dims[0]!r}. Select one first.")
        on_surface = _projected(data, shown, rois, target, sides, where)
    else:
        if rois:
            raise ValueError("rois= needs data along 'voxel' with in_roi. Pass the Dataset of open_betas.")
        on_surface, shown, target = _on_vertices(data, values, space, where)
    drawn = _surfaces(data, surface, target, sides, where)
    found = []
    for side in sides:
        xyz, faces, sulc, vertices = drawn[side]
        flags = {name: _full(on_surface, f"{_INSIDE}{n}_{side}", vertices) >= 0.5 for n, name in enumerate(rois)}
        found.append(Mesh(side, xyz, faces, sulc, _full(on_surface, f"{_SHOWN}_{side}", vertices), flags))
    return found, shown


def _projected(
    data: xr.Dataset | xr.DataArray,
    shown: xr.DataArray | None,
    rois: Sequence[str],
    target: str,
    sides: Sequence[str],
    where: Mapping[str, Any],
) -> xr.Dataset:
    """Project values and ROIs from voxels to vertices."""
    import xarray as xr

    maps = {f"{_INSIDE}{n}": beside(data, voxels_of(data, name).astype("f4")) for n, name in enumerate(rois)}
    if shown is not None:
        maps[_SHOWN] = beside(shown, shown.values.astype("f4"))
    elif not rois:
        maps[_SHOWN] = beside(data, np.ones(data.sizes[VOXEL], dtype="f4"))
    hemi: Any = sides[0] if len(sides) == 1 else ALL
    on_grid = xr.Dataset(maps).assign_attrs(data.attrs)
    density: Any = target
    return to_fsaverage(on_grid, density, hemi=hemi, subject=subject_of(data), **bucket_of(data, where))


def _on_vertices(
    data: xr.Dataset | xr.DataArray, values: Any, space: str | None, where: Mapping[str, Any]
) -> tuple[xr.Dataset, xr.DataArray, str]:
    """Return values on vertices, one of their arrays, and their surface."""
    import xarray as xr

    dataset = data.to_dataset(name=data.name or "values_") if isinstance(data, xr.DataArray) else data
    names = {
        (str(name).removesuffix(f"_{side}"), side): str(name)
        for name, array in dataset.variables.items()
        for side in HEMISPHERES
        if array.dims == (named("vertex", side),) and array.dtype.kind in "fiub" and name != named("vertex", side)
    }
    variables = {stem for stem, side in names if names[stem, side] in dataset.data_vars}
    if values is None and len(variables) == 1:
        (values,) = variables
    if not isinstance(values, str) or values not in {stem for stem, _ in names}:
        raise unknown_value("values on vertices", values, sorted({stem for stem, _ in names}))
    given = {side: dataset[name] for (stem, side), name in names.items() if stem == values}
    found = xr.Dataset({named(_SHOWN, side): array.compute() for side, array in given.items()})
    own = str(data.attrs.get("space", NATIVE))
    own = own if own in DENSITIES else NATIVE
    if space not in (None, own):
        density: Any = space
        found = to_fsaverage(found, density, subject=subject_of(data), **bucket_of(data, where))
    return found, xr.DataArray(next(iter(given.values())), name=values), space or own


def _full(on_surface: xr.Dataset, name: str, vertices: NDArray[np.int64]) -> NDArray[Any]:
    """Return the values of all vertices, with NaN for missing ones."""
    if name not in on_surface:
        return np.full(len(vertices), np.nan)
    (dim,) = on_surface[name].dims
    return np.asarray(on_surface[name].astype(float).reindex({dim: vertices}).values)


_Surface = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, NDArray[np.int64]]
"""Coordinates, triangles, depth and vertex numbers of a surface."""


def _surfaces(
    data: xr.Dataset | xr.DataArray, surface: str, space: str, sides: Sequence[str], where: Mapping[str, Any]
) -> dict[str, _Surface]:
    """Read a surface of each hemisphere."""
    if space != NATIVE:
        return {side: _template(surface, space, side) for side in sides}
    subject = subject_of(data)
    if subject is None:
        raise ValueError(
            "Expected data of a single subject, to draw its surface. Select one, and keep the coordinate 'subject'."
        )
    hemi: Any = sides[0] if len(sides) == 1 else ALL
    opened = open_surfaces(subject, surface=surface, hemi=hemi, **bucket_of(data, where))
    found = {}
    for side in sides:
        sulc = opened[named("sulc", side)].values if named("sulc", side) in opened.coords else None
        xyz, faces = (opened[named(variable, side)].values for variable in ("xyz", "faces"))
        found[side] = xyz, faces, sulc, opened[named("vertex", side)].values
    return found


def _template(surface: str, space: str, side: str) -> _Surface:
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_data, load_surf_mesh

    check_option("surface", surface, valid=_OF_NILEARN)
    try:
        files: Any = fetch_surf_fsaverage(space)
    except OSError as error:
        raise NotInBucketError(
            f"The surfaces of {space} are not on this machine, and nilearn cannot download them ({error}). Use "
            "space='fsaverage5', which nilearn includes, or call nilearn.datasets.fetch_surf_fsaverage with a network "
            "connection first."
        ) from error
    mesh = load_surf_mesh(files[f"{_OF_NILEARN[surface]}_{_SIDES[side]}"])
    sulc = np.asarray(load_surf_data(files[f"sulc_{_SIDES[side]}"]))
    return mesh.coordinates, mesh.faces, sulc, np.arange(len(mesh.coordinates))
