"""The notebooks run from top to bottom, without a warning, and are stored with what they show."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from tiers import sampled
from versions import is_pinned

from notebooks import BUSY, NOTEBOOKS, execute, on_stderr, reduce_outputs, shown


def test_there_are_notebooks() -> None:
    assert "01_first_light.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_as_they_were_run(path: Path) -> None:
    """So that they can be read where no kernel is: cells in order, no trace of a machine, and small."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any(cell.outputs for cell in code)
    assert not re.search("/root|/home|/tmp/pytest|/Users", text)
    assert len(text) < 500_000


@pytest.mark.parametrize("path", sampled(NOTEBOOKS, keep=1), ids=lambda path: path.stem)
def test_runs_as_stored(path: Path, small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A reader sees what is stored, and nothing in red; neither do processes that a notebook starts."""
    notebook = nbformat.read(path, as_version=4)
    stored = [shown(cell) for cell in notebook.cells]
    outputs = execute(notebook, small, tmp_path)
    assert [text for text in on_stderr(outputs) if BUSY not in text] == []
    # At its end ipykernel sometimes leaves a task of its own behind, and asyncio says so.
    assert re.sub(r"Task was destroyed but it is pending!\ntask: .*/ipykernel/.*\n", "", capfd.readouterr().err) == ""
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    shows_pictures = "matplotlib" in path.read_text() or "nilearn" in path.read_text()
    assert kinds >= ({"text/plain", "image/png"} if shows_pictures else {"text/plain"})
    reduce_outputs(notebook, small)
    if is_pinned("xarray") and is_pinned("pandas") and is_pinned("numpy"):
        again = "run 'python tests/project/notebooks.py', and look at the difference"
        assert [shown(cell) for cell in notebook.cells] == stored, again
    # The page that the second notebook follows makes this folder; nothing is put into it.
    left = [path for path in tmp_path.iterdir() if path.name != "laion_fmri_quickstart" or any(path.iterdir())]
    assert left == []


def test_a_warning_in_a_cell_is_found(tiny: Path, tmp_path: Path) -> None:
    """The check above can fail, even by a warning that Python hides where a library is at fault."""
    (tmp_path / "library.py").write_text("import warnings\nwarnings.warn('old', DeprecationWarning, stacklevel=1)\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import library")])
    (text,) = on_stderr(execute(notebook, tiny, tmp_path))
    assert "DeprecationWarning: old" in text


def test_an_error_in_a_cell_is_found(tiny: Path, tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import intake_laion_fmri\n1 / 0")])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(notebook, tiny, tmp_path)
