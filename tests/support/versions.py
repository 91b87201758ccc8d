"""What the versions of other packages bring along: the suite runs with the pinned, the oldest and the newest ones."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

__all__ = ["DISTUTILS", "STRICT", "is_pinned", "prints_as_pinned"]

DISTUTILS = "ignore:Use shutil.which instead of find_executable:DeprecationWarning:intake.catalog.default"
"""`intake.cat` asks distutils for conda; where distutils is that of setuptools, as from Python 3.12 on, it advises
against it."""

STRICT = ("-W", "error", "-W", DISTUTILS)
"""Options of Python that make errors of all other warnings."""


def is_pinned(package: str) -> bool:
    """Return True if the version that is installed is one of those in `requirements/locked.txt`."""
    return version(package) in _pinned(package)


def _pinned(package: str) -> list[str]:
    locked = (Path(__file__).parents[2] / "requirements" / "locked.txt").read_text(encoding="utf-8")
    pinned = re.findall(rf"^{re.escape(package)}==([^\s;]+)", locked, re.MULTILINE)
    assert pinned
    return pinned


def prints_as_pinned(package: str) -> pytest.MarkDecorator:
    """Leave a test out whose expected text is what the pinned version of a package prints."""
    pinned, found = _pinned(package), version(package)
    return pytest.mark.skipif(found not in pinned, reason=f"as {package} {pinned[0]} prints it; this is {found}")
