"""Pictures of what is opened here, by nilearn and matplotlib: on slices, on surfaces, of trials and results.

Here are the public functions of this wing, loaded on first use. All are methods of ``ds.laion`` too. Each returns the
matplotlib figure, which pyplot manages: ``figure.savefig("picture.png")`` writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intake_laion_fmri.plotting.volumes import plot

__all__ = ["plot"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intake_laion_fmri.plotting import volumes

    homes = (volumes,)
    return next(getattr(module, name) for module in homes if name in module.__all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
