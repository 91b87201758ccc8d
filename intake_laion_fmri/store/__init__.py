"""The format of a store: metadata, chunks and the order of voxels.

This module also holds the public names of `building.build` and `building.report`, loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intake_laion_fmri.building.build import build_store
    from intake_laion_fmri.building.report import BuildProgress, SessionReport

__all__ = ["BuildProgress", "SessionReport", "build_store"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intake_laion_fmri.building import build, report

    return getattr(report if name in report.__all__ else build, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
