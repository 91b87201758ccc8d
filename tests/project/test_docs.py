"""The site's parts that its build does not judge: the reference has every public name, and examples stay short."""

from __future__ import annotations

import ast
import doctest
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiers import full
from versions import STRICT

from intake_laion_fmri.remote import data_folder, retry

PROJECT = Path(__file__).parents[2]
GALLERY = sorted((PROJECT / "docs" / "gallery").glob("*.py"))
PAGES = [PROJECT / "README.md", PROJECT / "docs" / "start.md", *sorted((PROJECT / "docs" / "guide").glob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
RUN = """
import sys
for page in sys.stdin.read().split("### page ")[1:]:
    name, _, code = page.partition("\\n")
    exec(compile(code, name, "exec"), {"__name__": "__main__"})
"""
"""Runs each page's code by itself, in one process, which has loaded all libraries once."""


@pytest.fixture
def reference_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, which lies beside the pages."""
    monkeypatch.syspath_prepend(PROJECT / "docs")
    yield importlib.import_module("reference_pages")
    del sys.modules["reference_pages"]


def test_every_public_name_has_a_page(tmp_path: Path, reference_pages: Any) -> None:
    """Of the modules at the top that have `__all__`, read from their sources."""
    (tmp_path / "old.rst").write_text("of a name that is gone")
    reference_pages.write(tmp_path, PROJECT / "docs")

    package, listed = PROJECT / "intake_laion_fmri", set()
    for file in [*package.glob("*.py"), *package.glob("*/__init__.py")]:
        module = ".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                words = (one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant))
                listed |= {f"{module}.{word}" for word in words}
    assert len(listed) > 100
    pages = {path.stem for path in (tmp_path / "names").iterdir()}
    tables = {path.stem: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.rst")}
    for public in listed - {"intake_laion_fmri.__version__"}:
        module, _, name = public.rpartition(".")
        assert public in pages or f".{name}`" in tables[module], public
    assert "old" not in tables


def test_every_public_name_has_an_example(reference_pages: Any) -> None:
    """In code that the other tests or `make docs` run, or one of its own; none is of a name that is gone."""
    texts = reference_pages.code_of_pages(PROJECT / "docs")
    pages = [page.rpartition(".") for page in reference_pages.pages().values()]
    assert [name for module, _, name in pages if not reference_pages.examples_of(module, name, texts)] == []
    assert reference_pages.own_examples().keys() <= {name for *_, name in pages}


@full("half a minute, for they open what the tests of their modules open; each has one in the fast tier")
def test_the_examples_of_the_reference_run(
    reference_pages: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As their pages print them, each in a folder of its own."""
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for page in set(reference_pages.pages().values()):
        module, _, name = page.rpartition(".")
        if name in reference_pages.own_examples():
            (tmp_path / page).mkdir()
            (tmp_path / page / "demo-bucket").symlink_to(tiny)
            _, printed = reference_pages.examples_of(module, name, {})
            with monkeypatch.context() as patch:
                patch.chdir(tmp_path / page)
                patch.setenv("LAION_FMRI_CONFIG", str(tmp_path / page / "settings"))
                patch.setenv("LAION_FMRI_NETWORK", "attempts=1")
                patch.setattr(data_folder, "_data_dir", None)
                patch.setattr(retry, "_network", None)
                runner.run(doctest.DocTestParser().get_doctest(printed, {}, page, None, 0))
    assert runner.failures == 0
    assert runner.tries > 300


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_examples_are_short(path: Path) -> None:
    """At most 30 lines of code, on the bucket that the site's build, or a reader, names by the environment."""
    text = path.read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text)) or ""
    title, underline = doc.splitlines()[:2]
    assert underline == "=" * len(title)
    code = [line for line in text.split('"""')[2].splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) <= 30
    assert "demo-bucket" not in text


@full("all code of README and the guide in one process, half a minute; the gallery is run by `make docs`")
def test_the_code_of_the_pages_runs(tiny: Path, tmp_path: Path) -> None:
    """As printed, without a warning, in a folder with the demo bucket."""
    (tmp_path / "demo-bucket").symlink_to(tiny)
    blocks = {page.name: "\n".join(PYTHON.findall(page.read_text(encoding="utf-8"))) for page in PAGES}
    done = subprocess.run(
        [sys.executable, *STRICT, "-c", RUN],
        input="\n".join(f"### page {name}\n{code}" for name, code in blocks.items() if code),
        env=os.environ | {"LAION_FMRI_BUCKET": str(tiny)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    # A busy machine may take longer than distributed allows a worker for its end.
    errors = [line for line in done.stderr.splitlines() if "Worker process still alive after" not in line]
    assert (done.returncode, errors) == (0, [])
    assert {"response.png", "response.nii.gz", "rois.zarr", "rois.nc", "rois.npz", "laion.zarr"} <= set(
        os.listdir(tmp_path)
    )


@pytest.mark.parametrize("text", ["in_roi.sel", "split_role.sel"])
def test_a_selection_by_a_condition_drops_its_name(text: str) -> None:
    """With the scalar left in it, xarray raises an IndexError."""
    pages = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, *GALLERY])
    found = re.findall(rf"isel\(\w+=\(?ds\.{re.escape(text)}\([^)]*\)", pages)
    assert found
    assert all("drop=True" in call for call in found)
