"""The built wheel, installed where no checkout is: what is in it, and that it does the main job."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from tiers import full
from versions import STRICT

import intake_laion_fmri
from intake_laion_fmri.sources import SOURCES

CHECKOUT = Path(__file__).parents[2]
VERSION = intake_laion_fmri.__version__


def run(*command: str | Path, folder: Path) -> str:
    """Run a command that must succeed and print nothing to stderr; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LAION_FMRI"))}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.stderr == ""
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", folder, CHECKOUT, folder=folder)
    (path,) = folder.iterdir()
    return path


@full("builds a wheel, six seconds; an editable installation finds the catalogs too")
def test_what_is_inside(wheel: Path) -> None:
    """The catalogs, the sums of the split files and the type marker are; tests, notebooks and benchmarks are not."""
    assert wheel.name == f"intake_laion_fmri-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = f"intake_laion_fmri-{VERSION}.dist-info"
        entry_points = ConfigParser()
        entry_points.read_string(archive.read(f"{metadata}/entry_points.txt").decode())
        for path in (CHECKOUT / "catalogs").iterdir():
            assert archive.read(f"intake_laion_fmri/catalogs/{path.name}") == path.read_bytes()
    package = CHECKOUT / "intake_laion_fmri"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    catalogs = {f"catalogs/{path.name}" for path in (CHECKOUT / "catalogs").iterdir()}
    code = {f"intake_laion_fmri/{name}" for name in modules | catalogs | {"py.typed", "splits/published.sha256"}}
    about = {f"{metadata}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    assert names == code | about
    assert dict(entry_points["intake.catalogs"]) == {"laion_fmri": "intake_laion_fmri:cat"}
    assert set(entry_points["intake.drivers"]) == {f"laion_fmri_{name}" for name in (*SOURCES, "catalog")}
    assert set(entry_points["xarray.backends"]) == {"laion_fmri"}
    assert set(entry_points["console_scripts"]) == {"intake-laion-fmri"}


@full("installs everything anew, a minute or two")
def test_it_does_the_job(wheel: Path, tiny: Path, tmp_path: Path) -> None:
    """Installed in an empty environment, run from an empty folder, every warning an error: it opens and computes betas.

    One test, because installing takes most of a minute.
    """
    run(sys.executable, "-m", "venv", "venv", folder=tmp_path)
    binaries = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    run(binaries / "python", "-m", "pip", "install", "-qq", wheel, folder=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    code = f"""
import intake
ds = intake.cat.laion_fmri.betas(subject='sub-01', roi='face', bucket={str(tiny)!r}).to_dask()
print(ds)
print(ds.betas.mean().compute().dtype)
import intake_laion_fmri
cat = intake_laion_fmri.open_catalog(bucket={str(tiny)!r})
assert cat["sub-01"]["ses-01"].to_dask().sizes["trial"] < ds.sizes["trial"]
print(intake_laion_fmri.__file__)
"""
    *printed, dtype, origin = run(binaries / "python", *STRICT, "-c", code, folder=elsewhere).splitlines()
    assert printed[0].startswith("<xarray.Dataset>")
    assert any("betas" in line and "(trial, voxel) float32" in line and "dask.array" in line for line in printed)
    assert dtype == "float32"
    assert Path(origin).is_relative_to(binaries.parent)

    printed = run(binaries / "intake-laion-fmri", "--version", folder=elsewhere)
    assert printed == f"intake-laion-fmri, version {VERSION}\n"
    assert list(elsewhere.iterdir()) == []
    shutil.rmtree(tmp_path / "venv")  # pytest would keep three of these hundreds of megabytes
