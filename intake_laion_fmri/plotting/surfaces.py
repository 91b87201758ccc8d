"""Values on a cortical surface: static, flat, or interactive."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from intake_laion_fmri.errors import check_each
from intake_laion_fmri.plotting.figures import (
    Scale,
    coloured,
    figure_of,
    label_of,
    legend,
    outline_styles,
    panels,
    pyplot,
)
from intake_laion_fmri.plotting.meshes import Mesh, meshes
from intake_laion_fmri.plotting.values import subject_of, titles
from intake_laion_fmri.reading.arguments import ALL

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_flat", "plot_surface", "view"]

_VIEWS = ("lateral", "medial", "dorsal", "ventral", "anterior", "posterior")
_APART = 5.0
"""Millimetres between the hemispheres in a view of both."""


def plot_surface(
    data: xr.Dataset | xr.DataArray,
    values: Any = None,
    surface: str = "inflated",
    *,
    space: str | None = None,
    hemi: str = ALL,
    view: str | Sequence[str] = "lateral",
    rois: str | Sequence[str] | Mapping[str, Any] = (),
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    title: str | None = None,
    axes: Any = None,
    bucket: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> Figure:
    """Draw values on the cortical surface.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Data of this package along ``voxel``; or a Dataset along ``vertex_L`` and ``vertex_R``, as returned by
        `open_localizers` and `to_fsaverage`.
    values : str, xarray.DataArray or array, optional
        A map as in `plot`. For values on vertices, the name without the hemisphere, such as ``"z_value"``.
    surface : str, default "inflated"
        As in `open_surfaces`: ``"inflated"``, ``"white"``, ``"pial"``, ``"sphere"``.
    space : {"fsnative", "fsaverage5", "fsaverage6", "fsaverage7"}, optional
        The subject's own surface, or that of a template, to which values are projected with `to_fsaverage`. By default
        the surface that the values are on, or the subject's own for voxels.
    hemi : {"L", "R", "all"}, default "all"
        Hemispheres to draw side by side.
    view : str or sequence of str, default "lateral"
        Views, with a row for each: ``"lateral"``, ``"medial"``, ``"dorsal"``, ``"ventral"``, ``"anterior"``,
        ``"posterior"``.
    rois : str, sequence of str, or mapping, optional
        Outlines as in `plot`, of the voxels of `data`, projected to the surface like the values.
    cmap, vmin, vmax, title, bucket, storage_options, mirror, mirror_only
        As in `plot`.
    axes : array of matplotlib Axes with ``projection="3d"``, optional
        Where to draw: a panel for each view and hemisphere.

    Returns
    -------
    matplotlib.figure.Figure
        Vertices without a value show the depth of the sulci.

    Raises
    ------
    ValueError, NotInBucketError, BucketUnreachableError, DataIntegrityError
        As in `open_surfaces` and `to_fsaverage`; ValueError also for unknown values, ROIs or options.
    ImportError
        As in `plot`.

    Notes
    -----
    Reads some 30 MB of surfaces. A panel of a real subject takes about 1.5 s, one of 10,242 vertices 0.1 s.
    """
    pyplot()
    views = check_each("view", view, valid=_VIEWS)
    colours = coloured(rois)
    where = {"bucket": bucket, "storage_options": storage_options, "mirror": mirror, "mirror_only": mirror_only}
    found, shown = meshes(data, values, list(colours), surface, space, hemi, where)
    scale = _scale(found, shown, cmap=cmap, vmin=vmin, vmax=vmax)
    kind: dict[str, Any] = {"subplot_kw": {"projection": "3d"}}
    grid = panels(axes, len(views), len(found), size=(2.8 * len(found) + 1.2, 2.6), right=1.0, **kind)
    for number, panel in enumerate(grid):
        row, column = divmod(number, len(found))
        _solid(panel, found[column], views[row], scale, colours)
    return _finished(data, grid, None if shown is None else scale, colours, title, found)


def plot_flat(
    data: xr.Dataset | xr.DataArray,
    values: Any = None,
    rois: str | Sequence[str] | Mapping[str, Any] = (),
    *,
    surface: str = "flat",
    space: str | None = None,
    hemi: str = ALL,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    title: str | None = None,
    axes: Any = None,
    bucket: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> Figure:
    """Draw values on the flattened cortex.

    Parameters
    ----------
    data, values, rois, space, hemi, cmap, vmin, vmax, title, bucket, storage_options, mirror, mirror_only
        As in `plot_surface`.
    surface : str, default "flat"
        Name of the patch, for subjects that have several.
    axes : sequence of matplotlib Axes, optional
        Where to draw: one for each hemisphere.

    Returns
    -------
    matplotlib.figure.Figure
        Triangles with a vertex without a value show the depth of the sulci.

    Raises
    ------
    ValueError, NotInBucketError, BucketUnreachableError, DataIntegrityError, ImportError
        As in `plot_surface`; NotInBucketError also if the subject has no flat patch.
    """
    pyplot()
    colours = coloured(rois)
    where = {"bucket": bucket, "storage_options": storage_options, "mirror": mirror, "mirror_only": mirror_only}
    found, shown = meshes(data, values, list(colours), surface, space, hemi, where)
    scale = _scale(found, shown, cmap=cmap, vmin=vmin, vmax=vmax)
    grid = panels(axes, 1, len(found), size=(3.2 * len(found) + 1.2, 3.4), right=1.0)
    for panel, mesh in zip(grid, found, strict=True):
        _flat(panel, mesh, scale, colours)
    return _finished(data, grid, None if shown is None else scale, colours, title, found)


def view(
    data: xr.Dataset | xr.DataArray,
    values: Any = None,
    surface: str = "inflated",
    *,
    space: str | None = None,
    hemi: str = ALL,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    title: str | None = None,
    bucket: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> Any:
    """Show values on an interactive surface, in a notebook or browser.

    Parameters
    ----------
    data, values, surface, space, hemi, cmap, vmin, vmax, title, bucket, storage_options, mirror, mirror_only
        As in `plot_surface`. Both hemispheres are shown side by side.

    Returns
    -------
    nilearn.plotting.surface.html_surface.SurfaceView
        Notebooks display it; ``save_as_html(file)`` writes a page that needs no network, ``open_in_browser()`` opens
        one. Vertices without a value show the depth of the sulci.

    Raises
    ------
    ValueError, NotInBucketError, BucketUnreachableError, DataIntegrityError, ImportError
        As in `plot_surface`.

    Notes
    -----
    The page has some 5 MB, or 13 MB for both hemispheres of a real subject.
    """
    pyplot()
    from nilearn.plotting import view_surf

    where = {"bucket": bucket, "storage_options": storage_options, "mirror": mirror, "mirror_only": mirror_only}
    found, shown = meshes(data, values, (), surface, space, hemi, where)
    scale = _scale(found, shown, cmap=cmap, vmin=vmin, vmax=vmax)
    xyz, faces, shade, numbers = _joined(found)
    name = titles(data, None)[0] if title is None else title
    numbers, least = scale.lifted(numbers)
    try:
        return view_surf(
            [xyz, faces],
            numbers,
            bg_map=shade,
            threshold=least,
            cmap=scale.cmap,
            vmin=scale.vmin,
            vmax=scale.vmax,
            symmetric_cmap=False,
            colorbar_fontsize=14,
            title=": ".join(part for part in (name, scale.label) if part),
            title_fontsize=16,
            **_darkness(view_surf),
        )
    except ImportError as error:  # nilearn requires plotly from 0.14 on
        raise ImportError(f"{error} Install it with pip install 'intake-laion-fmri[plot]'.") from error


def _scale(found: Sequence[Mesh], shown: xr.DataArray | None, **given: Any) -> Scale:
    numbers = np.concatenate([mesh.values for mesh in found])
    return Scale.of(numbers, "" if shown is None else label_of(shown), **given)


def _darkness(function: Any) -> dict[str, Any]:
    """Return the argument that silences a warning of nilearn until 0.12."""
    return {"darkness": None} if "darkness" in signature(function).parameters else {}


def _solid(axes: Axes, mesh: Mesh, seen_from: str, scale: Scale, colours: Mapping[str, Any]) -> None:
    """Draw a hemisphere in three dimensions."""
    from nilearn.plotting import plot_surf, plot_surf_contours, plot_surf_stat_map

    surface, figure = [mesh.xyz, mesh.faces], figure_of(axes)
    style: dict[str, Any] = {"axes": axes, "figure": figure}
    below = {"bg_map": mesh.shade, "hemi": mesh.side, "view": seen_from, "colorbar": False, **style}
    below |= _darkness(plot_surf_stat_map)
    if np.isfinite(mesh.values).any():
        ends = {"cmap": scale.cmap, "vmin": scale.vmin, "vmax": scale.vmax, "symmetric_cbar": False}
        plot_surf_stat_map(surface, mesh.values, **ends, **below)
    else:  # nilearn warns about maps without values
        plot_surf(surface, **below)
    for name, inside in mesh.inside.items():
        if inside.any():
            plot_surf_contours(surface, inside.astype(int), levels=[1], colors=[colours[name]], **style)


def _flat(axes: Axes, mesh: Mesh, scale: Scale, colours: Mapping[str, Any]) -> None:
    """Draw a patch: depth in grey, then values, then outlines."""
    from matplotlib.tri import Triangulation

    at = mesh.xyz[:, 0], mesh.xyz[:, 1]
    axes.tripcolor(Triangulation(*at, mesh.faces), mesh.shade, cmap="gray_r", vmin=0, vmax=1, shading="gouraud")
    known = np.isfinite(mesh.values)[mesh.faces].all(axis=1)
    if known.any():
        ends = {"cmap": scale.cmap, "vmin": scale.vmin, "vmax": scale.vmax}
        part = Triangulation(*at, mesh.faces[known])
        axes.tripcolor(part, np.nan_to_num(mesh.values), shading="gouraud", **ends)
    for name, inside in mesh.inside.items():
        if inside.any() and not inside.all():
            for style in outline_styles(colours[name]):
                axes.tricontour(Triangulation(*at, mesh.faces), inside.astype(float), **style)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _finished(
    data: xr.Dataset | xr.DataArray,
    grid: Sequence[Axes],
    scale: Scale | None,
    colours: Mapping[str, Any],
    title: str | None,
    found: Sequence[Mesh],
) -> Figure:
    """Add titles, the colour bar and the legend."""
    who = subject_of(data) or ""
    for panel, mesh in zip(grid, found, strict=False):
        panel.set_title(f"{who} {mesh.side}".strip() if title is None else title)
    if scale is not None:
        scale.bar(grid, fraction=0.04, pad=0.02)
    reached = {name: any(bool(mesh.inside[name].any()) for mesh in found) for name in colours}
    legend(grid[-1], colours, reached)
    return figure_of(grid[0])


def _joined(found: Sequence[Mesh]) -> tuple[Any, Any, Any, Any]:
    """Join hemispheres, the left one at the left: vertices, faces, shades, values."""
    xyz, faces, n_vertices = [], [], 0
    for mesh in found:
        moved = mesh.xyz.astype(float)
        if len(found) > 1:
            shift = -moved[:, 0].max() - _APART / 2 if mesh.hemi == "L" else -moved[:, 0].min() + _APART / 2
            moved[:, 0] += shift
        xyz.append(moved)
        faces.append(mesh.faces + n_vertices)
        n_vertices += len(moved)
    along = [np.concatenate(parts) for parts in zip(*((mesh.shade, mesh.values) for mesh in found), strict=True)]
    return np.concatenate(xyz), np.concatenate(faces), along[0], along[1]
