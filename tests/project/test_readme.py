"""README's examples run, one after the other, on the demo bucket."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import intake
import pytest
from tiers import full
from versions import STRICT

from intake_laion_fmri import build_store

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


@full("every example in a process, twenty seconds; test_examples runs the main job")
def test_the_examples_run(tiny: Path, tmp_path: Path) -> None:
    """In one process and in a folder of its own, without a warning; places that only a reader has stand for others."""
    build_store(tmp_path / "laion.zarr", bucket=tiny, subjects="sub-01")
    build_store(tmp_path / "rois.zarr store", bucket=tiny, subjects="sub-01", roi="all")
    places = {
        '"demo-bucket"': repr(str(tiny)),
        '"/data/laion.zarr"': repr(str(tmp_path / "laion.zarr")),
        '"s3://mine/rois.zarr"': repr(str(tmp_path / "rois.zarr store")),
        '"s3://mine/laion.zarr"': repr(str(tmp_path / "new.zarr")),
        "client=client": "client=None",
    }
    blocks = PYTHON.findall(README)
    assert len(blocks) > 7
    code = "\n".join(blocks)
    for place, other in places.items():
        assert place in code
        code = code.replace(place, other)
    done = subprocess.run(
        [sys.executable, *STRICT, "-c", code],
        env=os.environ | {"LAION_FMRI_BUCKET": str(tiny)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {"response.nii.gz", "rois.zarr", "rois.nc", "rois.npz", "face.zarr"} <= set(os.listdir(tmp_path))


@pytest.mark.parametrize("text", ["in_roi.sel", "split_role.sel"])
def test_a_selection_by_a_condition_drops_its_name(text: str) -> None:
    """With the scalar left in it, xarray raises an IndexError."""
    found = re.findall(rf"isel\(\w+=\(?ds\.{re.escape(text)}\([^)]*\)", README)
    assert found
    assert all("drop=True" in one for one in found)


def test_what_a_dataset_looks_like(tiny: Path) -> None:
    """README's print-out has the coordinates, types and attributes of today."""
    shown = README[README.index("<xarray.Dataset>") :].partition("```")[0]
    ds = intake.cat.laion_fmri.betas(subject="sub-01", roi="face", bucket=str(tiny)).to_dask()
    for name, array in ds.coords.items():
        line = re.search(rf"^  [ *] {name} +(?:\([^)]*\) )?(\w+)", shown, re.M)
        assert line is None or line[1] == str(array.dtype)
    assert re.findall(r"^    (\w+): ", shown.partition("Attributes:")[2], re.M) == list(ds.attrs)
