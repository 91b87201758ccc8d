"""What the versions of other packages bring along: the suite runs with the pinned, the oldest and the newest ones."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

__all__ = ["DISTUTILS", "STRICT", "prints_as_pinned"]

DISTUTILS = "ignore:Use shutil.which instead of find_executable:DeprecationWarning:intake.catalog.default"
"""`intake.cat` asks distutils for conda; where distutils is that of setuptools, as from Python 3.12 on, it advises
against it."""

STRICT = ("-W", "error", "-W", DISTUTILS)
"""Options of Python that make errors of all other warnings."""


def prints_as_pinned(package: str) -> pytest.MarkDecorator:
    """Leave a test out whose expected text is what the pinned version of a package prints."""
    locked = (Path(__file__).parents[2] / "requirements" / "locked.txt").read_text(encoding="utf-8")
    pinned = re.findall(rf"^{re.escape(package)}==([^\s;]+)", locked, re.MULTILINE)
    assert pinned
    found = version(package)
    return pytest.mark.skipif(found not in pinned, reason=f"as {package} {pinned[0]} prints it; this is {found}")
