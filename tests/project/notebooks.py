"""The notebooks: run in a kernel, stored with what a reader needs to see.

``python tests/project/notebooks.py [NAME ...]`` runs them on a demo bucket and stores their outputs: for when one of
them, or what it shows, was changed. A cell that shows times, sizes of processes or addresses has the tag ``varies``.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

__all__ = ["BUSY", "NOTEBOOKS", "execute", "on_stderr", "reduce_outputs", "shown"]

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
VARIES = "varies"
BUSY = "Worker process still alive after"
"""Of `distributed`, on a machine that takes longer than it allows a worker for its end."""


def execute(notebook: nbformat.NotebookNode, bucket: Path, folder: Path) -> list[nbformat.NotebookNode]:
    """Run a notebook in a fresh kernel and return all its outputs."""
    # Sockets in a folder of their own: of the free TCP ports that Jupyter would look for, two test workers may find the
    # same. Not in pytest's folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory() as sockets:
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        where = {"metadata": {"path": str(folder)}}
        client = NotebookClient(notebook, config=config, timeout=120, resources=where, coalesce_streams=True)
        # Every warning is shown, also those that Python hides. None is made an error: that could stop the kernel's own
        # machinery, and what is of interest is what the reader sees.
        own = {"LAION_FMRI_BUCKET": str(bucket), "LAION_FMRI_PROGRESS": "0", "PYTHONWARNINGS": "always"}
        client.execute(env={**os.environ, **own})
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def on_stderr(outputs: list[nbformat.NotebookNode]) -> list[str]:
    """Return what was written to standard error."""
    return [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]


def reduce_outputs(notebook: nbformat.NotebookNode, bucket: Path) -> None:
    """Leave what a code host shows: texts, tables of pandas and pictures, and no trace of this machine."""
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if BUSY not in output.get("text", "")]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            tables = 'class="dataframe"' in data.get("text/html", "")
            for kind in set(data) - {"text/plain", "image/png"} - ({"text/html"} if tables else set()):
                del data[kind]
            for holder, name in [(output, "text"), (data, "text/plain"), (data, "text/html")]:
                if name in holder:
                    holder[name] = holder[name].replace(str(bucket), "demo-bucket")


def shown(cell: nbformat.NotebookNode) -> list[Any]:
    """Return what a cell shows, to be compared: texts, and the kinds of the rest; kinds alone where it varies."""
    varies = VARIES in cell.metadata.get("tags", [])
    found: list[Any] = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        text = output.get("text", data.get("text/plain", ""))
        found.append((sorted(data), None if varies else re.sub(r"0x[0-9a-f]+", "0x", text)))
    return found


def main(names: list[str]) -> None:
    """Run notebooks on a demo bucket and store their outputs."""
    from intake_laion_fmri.demo import write_demo

    with tempfile.TemporaryDirectory() as folder:
        bucket = write_demo(Path(folder) / "demo-bucket")
        for path in NOTEBOOKS:
            if names and path.stem not in names:
                continue
            notebook = nbformat.read(path, as_version=4)
            with tempfile.TemporaryDirectory() as elsewhere:
                os.environ["LAION_FMRI_CONFIG"] = f"{folder}/{path.stem}"  # one names a folder for later processes
                execute(notebook, bucket, Path(elsewhere))
            reduce_outputs(notebook, bucket)
            nbformat.write(notebook, path)
            print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
