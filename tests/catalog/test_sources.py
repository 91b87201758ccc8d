"""The table of sources, and every copy of it that cannot be computed."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import tomllib
from pathlib import Path

import pytest
from documented import cells, functions

import intake_laion_fmri
from intake_laion_fmri import drivers, layout, readers
from intake_laion_fmri.sources import SOURCES, Source, argument_help

TOP = Path(__file__).parents[2]


FUNCTIONS = functions(SOURCES)


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_a_row_is_right(source: Source) -> None:
    """Its groups exist, and its function needs a subject or does not, as it says."""
    assert set(source.groups) <= set(layout.GROUPS)
    subject = inspect.signature(source.load()).parameters.get("subject")
    assert (subject is not None and subject.default is subject.empty) is source.of_subject
    assert source.described("sub-01").endswith(".")


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_classes_have_the_names_that_catalogs_name(source: Source) -> None:
    """They pickle by these names, and catalogs that were saved name them."""
    driver = getattr(drivers, source.driver)
    assert (driver.__module__, driver.name, driver.container) == (
        "intake_laion_fmri.drivers",
        f"laion_fmri_{source.name}",
        source.container,
    )
    assert source.driver in drivers.__all__
    found = [driver, *(getattr(readers, name) for name in (source.data, source.reader))]
    for one in found:
        assert pickle.loads(pickle.dumps(one)) is one
    assert {one.__name__ for one in found[1:]} <= set(readers.__all__)


def test_entry_points() -> None:
    """Names in pyproject.toml cannot be computed."""
    content = tomllib.loads((TOP / "pyproject.toml").read_text())
    expected = {f"laion_fmri_{name}": f"intake_laion_fmri.drivers:{source.driver}" for name, source in SOURCES.items()}
    expected["laion_fmri_catalog"] = "intake_laion_fmri.drivers:LaionCatalog"
    assert content["project"]["entry-points"]["intake.drivers"] == expected


def test_the_names_of_the_package() -> None:
    """Every function in `__all__`, and imported for type checkers; each is what its source opens."""
    assert {name for name in intake_laion_fmri.__all__ if name.startswith("open_")} == {
        *FUNCTIONS,
        *("open_catalog", "open_shared"),  # of several sources, of several subjects
    }
    tree = ast.parse(Path(intake_laion_fmri.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(FUNCTIONS) <= imported
    for function, name in FUNCTIONS.items():
        assert getattr(intake_laion_fmri, function) is SOURCES[name].load()


def test_the_table_of_the_documentation() -> None:
    """README's table of entries names each, with its function; `betas` has a table of its own above."""
    rows = re.findall(
        r"^\| (`[^|]+`) \| ", (TOP / "README.md").read_text().partition("| entry, or function |")[2], re.M
    )
    expected = cells(SOURCES)
    assert rows[: len(expected) - 1] == [row for name, row in expected.items() if name != "betas"]


def test_help_is_the_docstrings() -> None:
    """A line for every argument, resolved where a docstring refers to another function's."""
    for source in SOURCES.values():
        told = argument_help(source.load())
        assert set(told) == set(inspect.signature(source.load()).parameters)
        for name, line in told.items():
            assert line, (source.name, name)
            assert "\n" not in line
            assert "As in" not in line
    assert argument_help(SOURCES["inventory"].load())["bucket"] == argument_help(SOURCES["betas"].load())["bucket"]


def test_help_without_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -OO` drops docstrings; the same help then comes from the source file."""
    function = SOURCES["betas"].load()
    told = argument_help(function)
    monkeypatch.setattr(function, "__doc__", None)
    assert argument_help.__wrapped__(function) == told
