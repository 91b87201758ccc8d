"""The synthetic bucket, written independently of the rest of the package as a test oracle.

The public names of `demo.bucket`, `demo.scale` and `demo.truth` are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intake_laion_fmri.demo.bucket import remove_demo, write_demo
    from intake_laion_fmri.demo.scale import SCALES, Scale
    from intake_laion_fmri.demo.truth import SubjectTruth, subject_truth

__all__ = ["SCALES", "Scale", "SubjectTruth", "remove_demo", "subject_truth", "write_demo"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intake_laion_fmri.demo import bucket, scale, truth

    return next(getattr(home, name) for home in (scale, truth, bucket) if hasattr(home, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
