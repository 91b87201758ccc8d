"""Mirrors: local copies of parts of the bucket.

This module holds the public names of `mirror.run` and `mirror.report`, loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intake_laion_fmri.mirror.report import MirrorPlan, MirrorProgress, MirrorReport, left_alone_message
    from intake_laion_fmri.mirror.run import MIRROR_KINDS, fill_mirror, licence_notice, mirror_bucket, plan_mirror

__all__ = [
    "MIRROR_KINDS",
    "MirrorPlan",
    "MirrorProgress",
    "MirrorReport",
    "fill_mirror",
    "left_alone_message",
    "licence_notice",
    "mirror_bucket",
    "plan_mirror",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intake_laion_fmri.mirror import report, run

    return getattr(report if name in report.__all__ else run, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
