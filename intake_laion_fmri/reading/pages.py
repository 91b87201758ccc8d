"""Pages of catalogs, sources, subjects and Datasets for notebooks and terminals."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from intake_laion_fmri.axes.rois import ROI
from intake_laion_fmri.running.progress import size

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_WIDTH = 88
"""Maximum number of characters in a cell on a terminal."""


@dataclass(frozen=True)
class Page:
    """A title, a table, and lines below it."""

    title: str
    """One line."""
    columns: tuple[str, ...]
    """Names of the columns; the first holds the names of the rows."""
    rows: Sequence[Sequence[str]]
    """Texts, without secrets."""
    notes: tuple[str, ...] = ()
    """Lines below the table."""
    hidden: tuple[str, ...] = ()
    """Columns that are left out on a terminal."""

    def __str__(self) -> str:
        """Return the page as plain text."""
        table = self._table().drop(columns=list(self.hidden), errors="ignore")
        lines = [self.title]
        if len(table):
            table = table.map(lambda text: text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…")
            table = table.apply(lambda column: column.str.ljust(max(map(len, column))))  # pandas aligns to the right
            text = table.to_string(index=False, justify="left")
            lines += [line.rstrip() for line in text.splitlines()]
        return "\n".join([*lines, *self.notes])

    def html(self) -> str:
        """Return the page as HTML."""
        table = self._table().to_html(index=False, border=0, justify="left") if len(self.rows) else ""
        # JupyterLab aligns all cells to the right with a more specific rule.
        cells = ".laion-page :is(td, th) {text-align: left !important; vertical-align: top; padding: 2px 8px}"
        notes = "".join(f"<div>{html.escape(note)}</div>" for note in self.notes)
        title = f"<strong>{html.escape(self.title)}</strong>"
        return f'<div class="laion-page"><style>{cells}</style>{title}{table}{notes}</div>'

    def display(self) -> None:
        """Display the page in a notebook or IPython."""
        from IPython.display import display

        display({"text/html": self.html(), "text/plain": str(self)}, raw=True)  # type: ignore[no-untyped-call]

    def _table(self) -> pd.DataFrame:
        import pandas as pd

        table = pd.DataFrame([list(row) for row in self.rows], columns=list(self.columns), dtype=object)
        return table.loc[:, (table != "").any()]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``"1 session"``, ``"2 sessions"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def sized(n_bytes: int | None) -> str:
    """Format a size in decimal units; "" if it is unknown."""
    return "" if n_bytes is None else size(n_bytes)


def spanned(names: Sequence[str]) -> str:
    """Return the first and last of numbered names: ``"ses-01 … ses-30"``."""
    return f"{names[0]} … {names[-1]}" if len(names) > 2 else ", ".join(names)


def shaped(data: xr.Dataset | xr.DataArray, without: Collection[str] = ()) -> str:
    """Return sizes along all but some dimensions: ``"367 trial x 126 voxel"``."""
    return " x ".join(f"{number:,} {name}" for name, number in data.sizes.items() if name not in without)


def data_page(data: xr.Dataset | xr.DataArray, operations: Sequence[str]) -> Page:
    """Return the page of ``ds.laion``: data, ROIs, and operations.

    Parameters
    ----------
    data : Dataset or DataArray
        Data of this package, or results. Lazy arrays are not read.
    operations : sequence of str
        Names of the methods of ``ds.laion``.
    """
    title = str(data.attrs.get("title") or getattr(data, "name", None) or type(data).__name__)
    notes = [*str(data.attrs.get("history", "")).splitlines(), f"ds.laion has {', '.join(sorted(operations))}."]
    rows: list[tuple[str, str, str]] = []
    if "in_roi" in data.coords and not data.coords["in_roi"].chunks:
        inside = data.coords["in_roi"]
        numbers = inside.sum([dim for dim in inside.dims if dim != ROI])
        categories = inside.coords.get("roi_category", inside[ROI])
        columns = zip(numbers[ROI].values, categories.values, numbers.values, strict=True)
        every = [(str(name), str(category), f"{int(number):,}") for name, category, number in columns]
        rows = [row for row in every if row[-1] != "0"]
        notes[:0] = [f"No voxel of {counted(len(every) - len(rows), 'other ROI')}."] if len(rows) < len(every) else []
    return Page(f"{title}: {shaped(data, _OF_SELECTIONS)}", ("roi", "category", "voxels"), rows, tuple(notes))


_OF_SELECTIONS = (ROI, "pool", "split")
"""Dimensions that only coordinates have."""
