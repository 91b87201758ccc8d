"""Figures, axes, colour scales and legends of all pictures."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

SIGNED, POSITIVE = "RdBu_r", "viridis"
"""Colour maps suitable for colour-blind readers; the second is perceptually uniform."""

COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#009E73", "#FFFFFF", "#D55E00", "#0072B2")
"""Colours of outlines: Okabe and Ito's and white, those that are bright on a dark background first."""

_USUAL = 98.0
"""Percentile at the end of a scale: otherwise a few voxels at the edge of the brain would determine it."""

_LETTERS_PER_INCH = 10
"""Estimate for wrapping the text beside a colour bar."""

_UNITS = {"percent": "%", "1": ""}


def pyplot() -> Any:
    """Import `matplotlib.pyplot`, and raise ImportError if it or nilearn is missing."""
    try:
        import matplotlib.pyplot
        import nilearn.plotting  # noqa: F401
    except ImportError as error:
        raise ImportError("Pictures need nilearn and matplotlib: pip install 'intake-laion-fmri[plot]'.") from error
    return matplotlib.pyplot


def panels(
    axes: Any,
    rows: int,
    columns: int = 1,
    *,
    size: tuple[float, float],
    left: float = 0.15,
    right: float = 0.15,
    bottom: float = 0.4,
    **subplots: Any,
) -> list[Axes]:
    """Return axes, row by row.

    Parameters
    ----------
    axes : matplotlib Axes, sequence of these, or None
        The user's axes; None creates a figure.
    rows, columns : int
        Number of panels.
    size : tuple of float
        Width and height of a row of a new figure, in inches.
    left, right, bottom : float
        Space for text on that side of a new figure, in inches.
    **subplots
        Arguments of `matplotlib.pyplot.subplots`.

    Raises
    ------
    ValueError
        If the number of axes is not that of the panels.
    """
    plt = pyplot()
    if axes is None:
        width, height = size[0], size[1] * rows
        space = {"left": left / width, "right": 1 - right / width, "top": 1 - 0.35 / height, "bottom": bottom / height}
        figure, grid = plt.subplots(
            rows, columns, figsize=(width, height), squeeze=False, gridspec_kw=space, **subplots
        )
        _show_once(figure)
        return list(grid.ravel())
    given = list(np.ravel(np.array(axes, dtype=object)))
    if len(given) != rows * columns:
        raise ValueError(f"Expected axes= for {rows * columns} panels, found {len(given)}.")
    return given


def figure_of(axes: Axes) -> Figure:
    """Return the figure of axes, including those of subfigures."""
    figure: Figure = axes.get_figure(root=True)  # type: ignore[assignment]
    return figure


def _show_once(figure: Figure) -> None:
    """Prevent a notebook from showing a figure twice.

    Otherwise it is shown as the cell's value, and again by pyplot at the end of the cell.
    """
    if "inline" in pyplot().get_backend():
        figure._ipython_display_ = functools.partial(_display, figure)  # type: ignore[attr-defined]


def _display(figure: Figure) -> None:
    pyplot().close(figure)  # pyplot does not show closed figures at the end of the cell
    raise NotImplementedError  # makes IPython fall back to its usual display


def label_of(values: xr.DataArray) -> str:
    """Return the name and units of values, from their attributes."""
    name = str(values.attrs.get("long_name") or ("" if values.name is None else values.name))
    units = str(values.attrs.get("units", ""))
    units = _UNITS.get(units, units)
    return f"{name} ({units})" if units else name


@dataclass(frozen=True)
class Scale:
    """Colour scale of values."""

    cmap: Any
    """Colour map, as matplotlib takes it."""
    vmin: float
    """Value at its lower end."""
    vmax: float
    """Value at its upper end."""
    extend: str
    """Ends that values exceed, as in matplotlib: "neither", "both", "min" or "max"."""
    label: str
    """Text beside the colour bar."""

    @classmethod
    def of(
        cls,
        values: NDArray[Any],
        label: str = "",
        *,
        cmap: Any = None,
        vmin: float | None = None,
        vmax: float | None = None,
    ) -> Scale:
        """Choose a scale: diverging around 0, or sequential from 0.

        The scale diverges if more than a few values are negative.

        Parameters
        ----------
        values : array
            NaN and infinite values are ignored.
        label : str
            Name and units of the values.
        cmap, vmin, vmax : optional
            The user's choices.
        """
        known = np.asarray(values, dtype=np.float64)
        known = known[np.isfinite(known)]
        low, high = np.percentile(known, [100 - _USUAL, _USUAL]) if known.size else (0.0, 1.0)
        is_signed = low < 0 if vmin is None else vmin < 0
        if vmax is None:
            vmax = float(max(abs(low), abs(high)) if is_signed and vmin is None else high)
            vmax = vmax if vmax > (vmin or 0) else (vmin or 0) + 1
        if vmin is None:
            vmin = -abs(vmax) if is_signed else min(0.0, vmax - 1)
        least, most = (known.min(), known.max()) if known.size else (vmin, vmax)
        # Values beyond an end by a rounding error do not count.
        slack = 1e-6 * (vmax - vmin)
        extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(
            (bool(least < vmin - slack), bool(most > vmax + slack)), "neither"
        )
        return cls(cmap or (SIGNED if is_signed else POSITIVE), float(vmin), float(vmax), extend, label)

    def lifted(self, values: NDArray[Any]) -> tuple[NDArray[Any], float]:
        """Return values and a threshold with which nilearn draws zeros, not NaN."""
        # Idea: nilearn draws nothing where a value is 0. Values invisibly close to 0 are raised to a threshold.
        # Cost: one pass; values change by at most a millionth of the scale.
        least = 1e-6 * max(abs(self.vmin), abs(self.vmax))
        shown = np.where(np.abs(values) < least, np.where(values < 0, -least, least), values)
        return np.where(np.isfinite(values), shown, 0), least / 2

    @property
    def mappable(self) -> ScalarMappable:
        """The scale as a matplotlib mappable."""
        from matplotlib import cm, colors

        return cm.ScalarMappable(colors.Normalize(self.vmin, self.vmax), self.cmap)

    def bar(self, axes: Sequence[Axes], **style: Any) -> None:
        """Draw the colour bar beside axes, which shrink for it."""
        figure: Any = axes[0].figure
        boxes = [panel.get_position() for panel in axes]
        height = (max(box.y1 for box in boxes) - min(box.y0 for box in boxes)) * figure.get_figheight()
        text = textwrap.fill(self.label, max(12, int(_LETTERS_PER_INCH * height)))
        figure.colorbar(self.mappable, ax=list(axes), label=text, extend=self.extend, **style)


def coloured(names: str | Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Return the colour of each name, by default from `COLOURS`."""
    if isinstance(names, Mapping):
        return dict(names)
    several = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(several)}


def outline_styles(colour: Any) -> list[dict[str, Any]]:
    """Return two contour styles that make an outline legible on any map."""
    return [{"levels": [0.5], "colors": [line], "linewidths": width} for line, width in (("black", 2.6), (colour, 1.3))]


def legend(axes: Axes, outlines: Mapping[str, Any], reached: Mapping[str, bool]) -> None:
    """Draw a legend of outlines below axes, on a dark background.

    Names whose value in `reached` is False are marked as not drawn.
    """
    if not outlines:
        return
    from matplotlib import lines

    names = {name: name if reached[name] else f"{name} (none here)" for name in outlines}
    handles = [lines.Line2D([], [], color=outlines[name], linewidth=2, label=text) for name, text in names.items()]
    shown = axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=min(4, len(handles)),
        facecolor="black",
        labelcolor="white",
        edgecolor="black",
        framealpha=1.0,
    )
    shown.set_zorder(10)
