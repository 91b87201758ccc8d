"""Trials, distances, noise ceilings and splits as charts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.comparing import OTHER, rdm
from intake_laion_fmri.analysis.selecting import roles, voxels_of
from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.roles import ROLES
from intake_laion_fmri.axes.trials import TRIAL
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import in_short
from intake_laion_fmri.plotting.figures import Scale, coloured, figure_of, label_of, panels
from intake_laion_fmri.plotting.values import on_voxels, subject_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_ceiling", "plot_rdm", "plot_split", "plot_trials"]

_LARGEST = 2**27
"""Maximum number of values in a carpet plot: 0.5 GB, far more than a figure has pixels."""

_LEGIBLE = 20
"""Maximum number of legible labels along an axis."""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Those of Okabe and Ito's colours that are dark enough for lines on white."""

_ROLE_COLOURS = {"train": "#0072B2", "test": "#E69F00", "unused": "#BBBBBB"}
_MISSING = "0.75"


def plot_trials(
    data: xr.Dataset,
    rois: str | Sequence[str] = (),
    *,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    title: str | None = None,
    axes: Any = None,
) -> Figure:
    """Draw betas as a carpet plot, trials by voxels.

    Parameters
    ----------
    data : xarray.Dataset
        With ``betas`` along ``voxel`` and ``trial`` or ``image``. Lazy betas are computed.
    rois : str or sequence of str, optional
        ROIs whose voxels are the rows, labelled at the left. By default all voxels of `data`, in their order.
    cmap, vmin, vmax, title
        As in `plot`.
    axes : matplotlib Axes, optional
        Where to draw. A new figure by default.

    Returns
    -------
    matplotlib.figure.Figure
        Lines separate sessions; NaN is grey.

    Raises
    ------
    ValueError
        If there are no such betas, more than 134 million values, or no voxels in an ROI.
    ImportError
        As in `plot`.
    """
    along = TRIAL if TRIAL in data.dims else IMAGE
    names = [rois] if isinstance(rois, str) else list(rois)
    parts = [np.flatnonzero(voxels_of(data, name)) for name in names] or [np.arange(data.sizes[VOXEL])]
    if empty := [name for name, part in zip(names, parts, strict=False) if not len(part)]:
        raise ValueError(f"The data have no voxels of {in_short(empty)}. Choose other ROIs, or open these voxels, too.")
    betas = data["betas"].transpose(VOXEL, along).isel({VOXEL: np.concatenate(parts)})
    if betas.size > _LARGEST or not betas.size:
        raise ValueError(f"Expected 1 to {_LARGEST:,} betas, found {betas.size:,}. Select voxels, as with rois='FFA1'.")
    numbers = betas.values
    scale = Scale.of(numbers, label_of(betas), cmap=cmap, vmin=vmin, vmax=vmax)
    (panel,) = panels(axes, 1, size=(9, 4.2), right=1.0, left=0.9, bottom=0.7)
    _matrix(panel, numbers, scale)
    panel.set(xlabel=along, ylabel="" if names else VOXEL, title=_titled(data, title))
    ends = np.cumsum([len(part) for part in parts])
    if names:
        panel.set_yticks(ends - np.array([len(part) for part in parts]) / 2 - 0.5, names)
    else:
        panel.locator_params(axis="y", integer=True, min_n_ticks=1)
    for end in ends[:-1]:
        panel.axhline(end - 0.5, color="black", linewidth=1)
    if "session" in data.coords and data["session"].dims == (along,):
        _part_sessions(panel, data["session"].values)
    scale.bar([panel], fraction=0.04, pad=0.02)
    return figure_of(panel)


def plot_rdm(
    data: xr.Dataset | xr.DataArray,
    metric: Literal["correlation", "euclidean"] = "correlation",
    *,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    title: str | None = None,
    axes: Any = None,
) -> Figure:
    """Draw a dissimilarity matrix of images.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        The result of `rdm`, or a Dataset of images to pass to it.
    metric : {"correlation", "euclidean"}, default "correlation"
        As in `rdm`; only used for a Dataset.
    cmap, vmin, vmax, title, axes
        As in `plot_trials`.

    Returns
    -------
    matplotlib.figure.Figure
        Up to 20 images are labelled; NaN is grey.

    Raises
    ------
    ValueError
        If a DataArray is not the result of `rdm`, or as in `rdm`.
    ImportError
        As in `plot`.
    """
    import xarray as xr

    matrix = data if isinstance(data, xr.DataArray) else rdm(data, metric)
    if set(matrix.dims) != {IMAGE, OTHER}:
        raise ValueError(f"Expected the result of rdm, along {IMAGE!r} and {OTHER!r}, found {matrix.dims}.")
    matrix = matrix.transpose(IMAGE, OTHER)
    beside = matrix.values[~np.eye(matrix.sizes[IMAGE], dtype=bool)]
    scale = Scale.of(beside, label_of(matrix), cmap=cmap, vmin=vmin, vmax=vmax)
    labels = [str(label) for label in matrix[IMAGE].values] if matrix.sizes[IMAGE] <= _LEGIBLE else []
    left = 0.9 + 0.065 * max(map(len, labels), default=0)
    (panel,) = panels(axes, 1, size=(5 + left, 4.6), right=1.0, left=left, bottom=0.7)
    _matrix(panel, matrix.values, scale, aspect="equal")
    panel.set(title=_titled(matrix, title), xlabel="image", ylabel="image")
    if labels:
        panel.set_yticks(range(len(labels)), labels, fontsize=8)
        panel.set(xticks=[], ylabel="")
    scale.bar([panel], fraction=0.05, pad=0.02)
    return figure_of(panel)


def plot_ceiling(
    data: xr.Dataset,
    rois: str | Sequence[str] | Mapping[str, Any] = (),
    values: Any = "nc_12rep",
    *,
    bins: Any = 25,
    title: str | None = None,
    axes: Any = None,
) -> Figure:
    """Draw histograms of noise ceilings, one per ROI.

    Parameters
    ----------
    data : xarray.Dataset
        With the values along ``voxel``.
    rois : str, sequence of str, or mapping, optional
        ROIs, as in `plot`. By default all voxels of `data`.
    values : str, xarray.DataArray or array, default "nc_12rep"
        Any map, as in `plot`.
    bins : int or sequence, default 25
        Number of bins between the minimum and maximum over all ROIs, or the edges of the bins.
    title, axes
        As in `plot_trials`.

    Returns
    -------
    matplotlib.figure.Figure
        Bars are percentages of an ROI's voxels. The legend has their number and median; NaN is left out.

    Raises
    ------
    ValueError
        For unknown values or ROIs.
    ImportError
        As in `plot`.
    """
    shown = on_voxels(data, values)
    if shown is None or shown.ndim != 1:
        dims = "no values" if shown is None else f"dimensions {shown.dims}"
        raise ValueError(f"Expected a single map along {VOXEL!r}, such as values='nc_12rep', found {dims}.")
    whole = np.ones(data.sizes[VOXEL], dtype=bool)
    parts = {name: voxels_of(data, name) for name in coloured(rois)} or {"all voxels": whole}
    colours = rois if isinstance(rois, Mapping) else dict(zip(parts, itertools.cycle(_COLOURS)))
    numbers = shown.values.astype(float)
    found = {name: numbers[inside & np.isfinite(numbers)] for name, inside in parts.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(found.values())), bins)
    (panel,) = panels(axes, 1, size=(7, 4), left=0.9, bottom=0.7)
    for number, (name, numbers) in enumerate(found.items()):
        share = np.histogram(numbers, edges)[0] * (100 / max(len(numbers), 1))
        median = f", median {np.median(numbers):.3g}" if len(numbers) else ""
        line = ("-", "--", ":")[number // len(_COLOURS) % 3]
        text = f"{name}: {len(numbers):,} voxels{median}"
        panel.stairs(share, edges, color=colours[name], linewidth=1.8, linestyle=line, label=text)
    panel.set(xlabel=label_of(shown), ylabel="voxels of the ROI (%)", title=_titled(data, title))
    panel.legend(frameon=False)
    return figure_of(panel)


def plot_split(
    data: xr.Dataset, split: str | None = None, *, pool: str = "shared", title: str | None = None, axes: Any = None
) -> Figure:
    """Draw the numbers of train, test and unused trials or images.

    Parameters
    ----------
    data : xarray.Dataset
        With ``split_role`` of trials, or of images as returned by `average`.
    split : str, optional
        A split to draw with a bar per session. By default all splits, with a bar for each.
    pool : str, default "shared"
        As in `trials`.
    title, axes
        As in `plot_trials`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the split or pool is unknown; the message lists the known ones.
    ImportError
        As in `plot`.
    """
    along = TRIAL if TRIAL in data.dims else IMAGE
    if split is None:
        given = {str(name): roles(data, str(name), pool) for name in np.atleast_1d(data.coords.get("split", []))}
    else:
        role = roles(data, split, pool)
        sessions = data["session"].values if "session" in data.coords else np.full(len(role), "all")
        given = {str(name): role[sessions == name] for name in np.unique(sessions)}
    if not given:
        roles(data, "random_0", pool)  # raises the error that explains what is missing
    (panel,) = panels(axes, 1, size=(8, 4), left=0.9, right=1.2, bottom=1.0)
    below: NDArray[Any] = np.zeros(len(given))
    for name in ("train", "test", "unused"):
        counts = np.array([(role == ROLES[name]).sum() for role in given.values()])
        panel.bar(list(given), counts, bottom=below, color=_ROLE_COLOURS[name], label=name, width=0.8)
        below = below + counts
    panel.set(ylabel=f"{along}s", title=_titled(data, title, f"{split or 'splits'}, pool {pool}"))
    panel.locator_params(axis="y", integer=True, min_n_ticks=1)
    panel.tick_params(axis="x", rotation=45 if len(given) > 6 else 0)
    panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), reverse=True)
    return figure_of(panel)


def _titled(data: xr.Dataset | xr.DataArray, title: str | None, more: str = "") -> str:
    return ": ".join(part for part in (subject_of(data), more) if part) if title is None else title


def _matrix(axes: Axes, values: NDArray[Any], scale: Scale, aspect: Literal["auto", "equal"] = "auto") -> None:
    """Draw a matrix, with NaN in grey."""
    axes.set_facecolor(_MISSING)
    shown = np.ma.masked_invalid(values)
    axes.imshow(shown, cmap=scale.cmap, vmin=scale.vmin, vmax=scale.vmax, aspect=aspect, interpolation="nearest")


def _part_sessions(axes: Axes, sessions: NDArray[Any]) -> None:
    """Draw lines between sessions, and label them if they are few."""
    starts = np.flatnonzero(np.r_[True, sessions[1:] != sessions[:-1]])
    for start in starts[1:]:
        axes.axvline(start - 0.5, color="black", linewidth=1)
    if len(starts) <= _LEGIBLE:
        middle = (starts + np.r_[starts[1:], len(sessions)]) / 2 - 0.5
        axes.set_xticks(middle, [str(sessions[start]) for start in starts], rotation=45 if len(starts) > 8 else 0)
