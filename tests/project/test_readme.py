"""README stays short, runs as it is printed, and shows what is printed today."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import intake
from tiers import full

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text(encoding="utf-8")
PRINTED = """import doctest
session = doctest.DocTestParser().get_doctest({0!r}, {{}}, "README.md", None, 0)
assert doctest.DocTestRunner().run(session).failed == 0
"""
"""Runs a session and compares what it prints."""


def test_it_is_short_and_its_links_lead_somewhere() -> None:
    """What is longer belongs on a page of the guide."""
    assert README.count("\n") <= 150
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 20
    assert [link for link in links if not link.startswith("https://") and not (TOP / link).exists()] == []


def test_what_a_dataset_looks_like(tiny: Path) -> None:
    """The print-out has the coordinates, types and attributes of today."""
    shown = README[README.index("<xarray.Dataset>") :].partition("```")[0]
    ds = intake.cat.laion_fmri.betas(subject="sub-01", roi="face", bucket=str(tiny)).to_dask()
    for name, array in ds.coords.items():
        line = re.search(rf"^  [ *] {name} +(?:\([^)]*\) )?(\w+)", shown, re.M)
        assert line is None or line[1] == str(array.dtype)
    assert re.findall(r"^    (\w+): ", shown.partition("Attributes:")[2], re.M) == list(ds.attrs)


@full("the two commands and all code of README, a minute")
def test_every_block_runs_as_printed(tmp_path: Path) -> None:
    """In their order, in one shell, in a copy of the checkout; of the suite that `make test` runs, one file."""
    clone = tmp_path / "clone"
    unwanted = shutil.ignore_patterns(
        ".git", ".venv*", ".bench", "_build", "demo-*", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(TOP, clone, ignore=unwanted)
    environment = clone / ".venv"
    environment.mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (environment / part).symlink_to(Path(sys.prefix) / part)
    for extra in ("plot", "test"):  # installed already, as make takes it
        (environment / f"installed-{extra}").touch()
    script = ["set -e"]
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", README, re.M | re.S):
        if language == "console":
            script += [line.removeprefix("$ ") for line in block.splitlines()]
        else:
            code = block if language == "python" else PRINTED.format(block)
            script.append(f".venv/bin/python - <<'END'\n{code}END")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=clone,
        env=os.environ | {"PYTHONPATH": str(clone), "PYTEST_ADDOPTS": "tests/test_layout.py", "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert " passed" in done.stdout
    assert (clone / "demo-output" / "first_light.png").exists()
    assert (clone / "response.png").exists()
