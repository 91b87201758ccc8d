"""From a Dataset of betas to results: scaling, averaging, selecting, comparing.

The public functions of this wing are loaded on first use. Those that take a Dataset are methods of ``ds.laion`` as
well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intake_laion_fmri.analysis.averaging import average, repetitions
    from intake_laion_fmri.analysis.ceilings import noise_ceiling, reliability
    from intake_laion_fmri.analysis.comparing import rdm
    from intake_laion_fmri.analysis.joining import concat
    from intake_laion_fmri.analysis.modelling import map_matrices, matrices
    from intake_laion_fmri.analysis.scaling import zscore
    from intake_laion_fmri.analysis.selecting import finite, roi, trials
    from intake_laion_fmri.subject.positions import convert_positions

__all__ = [
    "average",
    "concat",
    "convert_positions",
    "finite",
    "map_matrices",
    "matrices",
    "noise_ceiling",
    "rdm",
    "reliability",
    "repetitions",
    "roi",
    "trials",
    "zscore",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intake_laion_fmri.analysis import averaging, ceilings, comparing, joining, modelling, scaling, selecting
    from intake_laion_fmri.subject import positions

    homes = (averaging, ceilings, comparing, joining, modelling, positions, scaling, selecting)
    return next(getattr(module, name) for module in homes if name in module.__all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
