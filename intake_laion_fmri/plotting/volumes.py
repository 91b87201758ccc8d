"""Values on voxels as slices through the subject's anatomy."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.selecting import voxels_of
from intake_laion_fmri.axes.volumes import to_nifti
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import BucketUnreachableError, MissingFileWarning, check_option
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
from intake_laion_fmri.plotting.values import beside, on_voxels, subject_of, titles
from intake_laion_fmri.reading.anatomy import open_anatomy
from intake_laion_fmri.reading.origins import bucket_of
from intake_laion_fmri.reading.roi_files import UNREADABLE

if TYPE_CHECKING:
    import nibabel
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot"]

AUTO = "auto"
_MODES = ("ortho", "x", "y", "z")
_CUTS = 3
"""Default number of slices along one axis."""

_ONE_COLOUR = "#E69F00"


def plot(
    data: xr.Dataset | xr.DataArray,
    values: Any = None,
    rois: str | Sequence[str] | Mapping[str, Any] = (),
    on: Any = AUTO,
    *,
    display_mode: str = "ortho",
    cut_coords: Any = None,
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
    """Draw values and outlines of ROIs on slices through the brain.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Data of this package along ``voxel``.
    values : str, xarray.DataArray or array, optional
        The values to draw: the name of a variable or coordinate such as ``"nc_12rep"``; a DataArray along ``voxel``; or
        an array with a number for each voxel of `data`. With one more dimension, such as a few images, each gets a row
        of slices. By default `data` itself if it is a DataArray, or the only variable of a Dataset along ``voxel``
        alone; otherwise the voxels of `data` are outlined. Lazy values are computed.
    rois : str, sequence of str, or mapping, optional
        Names, categories or expressions as in `intake_laion_fmri.open_betas`, each outlined in its own colour; or a
        mapping of these to colours. Only voxels of `data` are outlined.
    on : str, image or None, default "auto"
        The background: an image of `intake_laion_fmri.open_anatomy`, such as ``"T1w"``; None for the voxels of `data`
        alone; or a nibabel image. By default ``"T1w"`` if available, otherwise the voxels, with a warning.
    display_mode : {"ortho", "x", "y", "z"}, default "ortho"
        Slices as in nilearn: three through one point, or several along an axis.
    cut_coords : sequence of float, or int, optional
        Positions of the slices in mm, or their number along an axis. By default they pass through the largest cluster
        of the outlined ROIs, or of the highest values.
    cmap, vmin, vmax : optional
        Colour map and its ends. By default signed values are blue and red around 0, others range from dark to bright,
        starting at 0. The scale ends at the 98th percentile, and its bar has an arrow if values lie beyond.
    title : str, optional
        By default the subject, or the coordinate of each row.
    axes : matplotlib Axes, or a sequence with one for each row, optional
        Where to draw. A new figure by default.
    bucket, storage_options, mirror, mirror_only
        As in `intake_laion_fmri.open_betas`: where to read the anatomy. By default where `data` were opened in this
        process.

    Returns
    -------
    matplotlib.figure.Figure
        NaN and infinite values are transparent.

    Raises
    ------
    ValueError
        If values, ROIs or options are unknown, or values belong to other voxels.
    NotInBucketError, BucketUnreachableError
        If the requested background does not exist, or the bucket does not respond.
    ImportError
        If nilearn or matplotlib is missing; the extra ``plot`` of this package installs them.

    Warns
    -----
    MissingFileWarning
        If `on` is not given and there is no T1w image: the voxels are the background.

    Notes
    -----
    Costs three listings and one file of some 4 MB; a volume takes 12 MB of memory. A whole brain takes 2 to 3 s, half
    of it for nilearn's resampling of the oblique grid.
    """
    pyplot()
    check_option("display_mode", display_mode, valid=_MODES)
    colours = coloured(rois)
    shown = on_voxels(data, values)
    inside = {name: voxels_of(data, name) for name in colours}
    where = {"bucket": bucket, "storage_options": storage_options, "mirror": mirror, "mirror_only": mirror_only}
    anatomy = _background(data, on, where)
    scale = None
    if shown is not None and shown.dtype != bool:
        scale = Scale.of(shown.values, label_of(shown), cmap=cmap, vmin=vmin, vmax=vmax)
    cuts = _cuts(data, shown, inside, display_mode, cut_coords)
    texts = titles(data, shown)
    width = 2.8 * (3 if display_mode == "ortho" else len(cuts)) + 1.2
    rows = panels(axes, len(texts), size=(width, 3.4), right=0.9)
    if scale is not None:
        scale.bar(rows, fraction=0.05, pad=0.02)
    if shown is None and not inside:
        shown = beside(data, np.ones(data.sizes[VOXEL], dtype=bool))
    for number, row in enumerate(rows):
        row.set_title(texts[number] if title is None else title if number == 0 else "")
        display = _slices(row, data, anatomy, display_mode, cuts)
        if shown is not None:
            _draw(display, shown[number] if shown.ndim == 2 else shown, data, scale)
        for name, voxels in inside.items():
            _outline(display, beside(data, voxels), colours[name])
    legend(rows[-1], colours, {name: bool(voxels.any()) for name, voxels in inside.items()})
    return figure_of(rows[0])


def _background(data: xr.Dataset | xr.DataArray, on: Any, where: Mapping[str, Any]) -> nibabel.Nifti1Image | None:
    """Return the background image, or None for the voxels alone."""
    if on is None:
        return None
    if not isinstance(on, str):
        import nibabel

        if not isinstance(on, nibabel.spatialimages.SpatialImage):
            raise TypeError(f"on must be the name of an image, a nibabel image, or None, found {on!r}.")
        # nilearn does not resample every dtype.
        return nibabel.Nifti1Image(np.asarray(on.dataobj, dtype=np.float32), on.affine)
    subject = subject_of(data)
    try:
        if subject is None:
            raise ValueError(
                f"Expected data of a single subject for the background on={on!r}. Select one, or pass on=None."
            )
        name = "T1w" if on == AUTO else on
        opened = open_anatomy(subject, image=name, **bucket_of(data, where))
        return to_nifti(opened[name.removesuffix(".mgz")])
    except (ValueError, BucketUnreachableError, *UNREADABLE) as error:
        if on != AUTO:
            raise
        text = f"Drawing without the anatomy, with the voxels as background: {error} Pass on=None to silence this."
        warnings.warn(text, MissingFileWarning, stacklevel=3)
        return None


def _cuts(
    data: xr.Dataset | xr.DataArray,
    shown: xr.DataArray | None,
    inside: Mapping[str, NDArray[np.bool_]],
    display_mode: str,
    given: Any,
) -> Any:
    """Return the positions of slices in mm, by default through the values."""
    from nibabel.affines import apply_affine
    from nilearn.plotting import find_xyz_cut_coords

    if given is not None and not isinstance(given, int):
        return given
    placed, weight = data, np.ones(data.sizes[VOXEL])
    if any(voxels.any() for voxels in inside.values()):
        weight = np.any(list(inside.values()), axis=0).astype(float)
    elif shown is not None:
        heights = np.nan_to_num(np.abs(shown.values.astype(float)), posinf=0).reshape(-1, shown.sizes[VOXEL])
        if heights.any():
            placed, weight = shown, heights.max(axis=0) / heights.max()  # nilearn sums them: avoid overflow
    image = to_nifti(beside(placed, weight), fill=0)
    high_enough = 0.999 * float(np.percentile(weight[weight > 0], 80))
    if display_mode == "ortho":
        return find_xyz_cut_coords(image, activation_threshold=high_enough)
    high = np.argwhere(image.get_fdata() > high_enough)
    along = apply_affine(image.affine, high)[:, "xyz".index(display_mode)]
    count = _CUTS if given is None else given
    return np.unique(np.quantile(along, (np.arange(count) + 0.5) / count, method="nearest"))


def _outline(display: Any, inside: xr.DataArray, colour: Any) -> None:
    """Draw the outline of an ROI that has voxels in the data."""
    if inside.values.any():
        image = to_nifti(inside, fill=0)
        for style in outline_styles(colour):
            display.add_contours(image, **style)


def _slices(
    axes: Axes, data: xr.Dataset | xr.DataArray, anatomy: nibabel.Nifti1Image | None, display_mode: str, cuts: Any
) -> Any:
    """Draw the background and return nilearn's display."""
    from nilearn.plotting import plot_anat

    style = {"axes": axes, "display_mode": display_mode, "cut_coords": cuts, "black_bg": True, "draw_cross": False}
    if anatomy is not None:
        return plot_anat(anatomy, dim=0.3, colorbar=False, **style)
    mask = to_nifti(beside(data, np.ones(data.sizes[VOXEL])), fill=0)
    return plot_anat(mask, dim=0, vmin=0, vmax=2, colorbar=False, **style)  # mid-grey


def _draw(display: Any, values: xr.DataArray, data: xr.Dataset | xr.DataArray, scale: Scale | None) -> None:
    """Draw a map over the background, or the outline of flags.

    NaN and voxels outside the mask are transparent.
    """
    if scale is None:
        _outline(display, values, _ONE_COLOUR)
        return
    numbers = values.values.astype(float)
    if not np.isfinite(numbers).any():
        return
    import xarray as xr

    lifted, threshold = scale.lifted(numbers)
    like = data if isinstance(data, xr.Dataset) else None
    image = to_nifti(values.copy(data=lifted), like, fill=0)
    colours = {"cmap": scale.cmap, "vmin": scale.vmin, "vmax": scale.vmax}
    display.add_overlay(image, threshold=threshold, resampling_interpolation="nearest", **colours)
