"""The site's parts that its build does not judge: the reference has every public name, and examples stay short."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
GALLERY = sorted((PROJECT / "docs" / "gallery").glob("*.py"))


def test_every_public_name_has_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the modules at the top that have `__all__`, read from their sources."""
    monkeypatch.syspath_prepend(PROJECT / "docs")
    import reference_pages

    (tmp_path / "old.rst").write_text("of a name that is gone")
    reference_pages.write(tmp_path, gallery=PROJECT / "docs" / "gallery")
    monkeypatch.delitem(sys.modules, "reference_pages")

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
    for full in listed - {"intake_laion_fmri.__version__"}:
        module, _, name = full.rpartition(".")
        assert full in pages or f".{name}`" in tables[module], full
    assert "old" not in tables


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
