"""README stays short, and shows what is printed today. That its code runs is for `test_docs`."""

from __future__ import annotations

import re
from pathlib import Path

import intake

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text(encoding="utf-8")


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
