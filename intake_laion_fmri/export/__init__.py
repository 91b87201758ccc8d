"""Export of betas to other programs: Brain-Score, a lab's loader, torch, pandas.

The public functions of this wing are loaded on first use. Those that take a Dataset are methods of ``ds.laion`` as
well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intake_laion_fmri.export.brainscore import to_brainscore
    from intake_laion_fmri.export.frames import to_frame
    from intake_laion_fmri.export.items import to_torch
    from intake_laion_fmri.export.presets import lab_xarray

__all__ = ["lab_xarray", "to_brainscore", "to_frame", "to_torch"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intake_laion_fmri.export import brainscore, frames, items, presets

    homes = (brainscore, frames, items, presets)
    return next(getattr(module, name) for module in homes if name in module.__all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
