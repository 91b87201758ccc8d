"""The notebooks run from top to bottom, without a warning, and are stored without outputs."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tiers import sampled
from traitlets.config import Config

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def execute(notebook: nbformat.NotebookNode, bucket: Path, folder: Path) -> list[nbformat.NotebookNode]:
    """Run a notebook in a fresh kernel and return all its outputs."""
    # Sockets in a folder of their own: of the free TCP ports that Jupyter would look for, two test workers may find the
    # same. Not in pytest's folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory() as sockets:
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        client = NotebookClient(notebook, config=config, timeout=120, resources={"metadata": {"path": str(folder)}})
        # Every warning is shown, also those that Python hides. None is made an error: that could stop the kernel's own
        # machinery, and what is of interest is what the reader sees.
        own = {"LAION_FMRI_BUCKET": str(bucket), "LAION_FMRI_PROGRESS": "0", "PYTHONWARNINGS": "always"}
        client.execute(env={**os.environ, **own})
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def on_stderr(outputs: list[nbformat.NotebookNode]) -> list[str]:
    return [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]


def test_there_are_notebooks() -> None:
    assert "01_first_light.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_results(path: Path) -> None:
    """Outputs would grow stale, and a diff of a picture tells nobody anything."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None


@pytest.mark.parametrize("path", sampled(NOTEBOOKS, keep=1), ids=lambda path: path.stem)
def test_runs_without_a_warning(path: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A reader sees results and pictures, and nothing in red; neither do processes that a notebook starts."""
    outputs = execute(nbformat.read(path, as_version=4), tiny, tmp_path)
    # A busy machine may take longer than distributed allows a worker for its end.
    assert [text for text in on_stderr(outputs) if "Worker process still alive after" not in text] == []
    # At its end ipykernel sometimes leaves a task of its own behind, and asyncio says so.
    assert re.sub(r"Task was destroyed but it is pending!\ntask: .*/ipykernel/.*\n", "", capfd.readouterr().err) == ""
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    shows_pictures = "matplotlib" in path.read_text() or "nilearn" in path.read_text()
    assert kinds >= ({"text/plain", "image/png"} if shows_pictures else {"text/plain"})
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
