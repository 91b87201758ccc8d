"""Pictures by nilearn and matplotlib: slices, surfaces, trials and results.

The public functions of this wing are loaded on first use, and are methods of ``ds.laion`` as well. Each returns the
matplotlib figure, which is managed by pyplot: ``figure.savefig("picture.png")`` writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intake_laion_fmri.plotting.results import plot_ceiling, plot_rdm, plot_split, plot_trials
    from intake_laion_fmri.plotting.surfaces import plot_flat, plot_surface, view
    from intake_laion_fmri.plotting.volumes import plot

__all__ = ["plot", "plot_ceiling", "plot_flat", "plot_rdm", "plot_split", "plot_surface", "plot_trials", "view"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intake_laion_fmri.plotting import results, surfaces, volumes

    homes = (results, surfaces, volumes)
    return next(getattr(module, name) for module in homes if name in module.__all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
