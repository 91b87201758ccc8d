"""What the documentation's table of entries must name, by the table of sources."""

from __future__ import annotations

from collections.abc import Mapping

from intake_laion_fmri.sources import Source

__all__ = ["cells", "functions"]


def functions(sources: Mapping[str, Source]) -> dict[str, str]:
    """Return the functions that the package itself names: ``open_trials`` → ``trials``."""
    named = {source.opener.partition(":")[2]: name for name, source in sources.items()}
    return {function: name for function, name in named.items() if function == f"open_{name}"}


def cells(sources: Mapping[str, Source]) -> dict[str, str]:
    """Return the first cell of each row: the entry, and its function."""
    cells = {name: f"`{name}`" for name in sources}
    return cells | {name: f"`{name}`, `{function}`" for function, name in functions(sources).items()}
