"""A mirror is planned, filled and verified: a local folder that holds a part of the bucket.

Here are the public names of `mirror.run`, loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intake_laion_fmri.mirror.run import (
        MIRROR_KINDS,
        MirrorPlan,
        MirrorProgress,
        MirrorReport,
        fill_mirror,
        licence_notice,
        mirror_bucket,
        plan_mirror,
        told_of_left_alone,
    )

__all__ = [
    "MIRROR_KINDS",
    "MirrorPlan",
    "MirrorProgress",
    "MirrorReport",
    "fill_mirror",
    "licence_notice",
    "mirror_bucket",
    "plan_mirror",
    "told_of_left_alone",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intake_laion_fmri.mirror import run

    return getattr(run, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
