"""What a notebook and a terminal show: catalogs, sources, searches, subjects, ``ds.laion``."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import intake
import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from intake_laion_fmri import load_subject, open_betas, open_catalog, open_trials
from intake_laion_fmri.catalog.files import V2_FILE, catalog_files, write_files
from intake_laion_fmri.catalog.inventory import catalog_folder, take_inventory
from intake_laion_fmri.drivers import BetasSource, LaionCatalog
from intake_laion_fmri.reading.pages import Page
from intake_laion_fmri.remote.access import open_bucket
from intake_laion_fmri.sources import SOURCES


def table_of(html: str) -> pd.DataFrame:
    """Read a page's table back."""
    rows = [row.split("</tr>")[0] for row in html.split("<tr")[1:]]
    cells = [
        [cell.split(">", 1)[1].split("</")[0] for cell in row.replace("<th", "<td").split("<td")[1:]] for row in rows
    ]
    return pd.DataFrame(cells[1:], columns=cells[0]).set_index(cells[0][0])


def test_a_catalog(tiny: Path, tmp_path: Path) -> None:
    """Sources one by one, sessions together, ROIs by category; sizes where the inventory knows them."""
    bucket = open_bucket(tiny)
    write_files(catalog_files(take_inventory(bucket)), tmp_path)
    catalog = LaionCatalog(str(tmp_path / "laion_fmri.yaml"), bucket=tiny)
    root = table_of(catalog._repr_html_())
    assert list(root.index) == list(catalog)
    assert root.loc["betas", "gives"] == "Dataset"
    assert root.loc["trials", "gives"] == "table"
    assert root.loc["sub-01", "gives"] == "catalog"
    assert root.loc["betas", "arguments"].split(", ") == list(inspect.signature(open_betas).parameters)
    of_subject = table_of(catalog["sub-01"]._repr_html_())
    betas = "derivatives/glmsingle-tedana/sub-01/ses-0*/func/*SingletrialBetas_statmap.nii.gz"  # ses-31 is held out
    sizes = [path.stat().st_size for path in tiny.glob(betas)]
    sessions = of_subject[of_subject["holds"].str.endswith("sessions")]
    assert list(sessions["holds"]) == [f"{len(sizes)} sessions"]
    assert sessions["size"].iloc[0] == f"{sum(sizes) / 1e3:.1f} kB"
    assert of_subject.loc["FFA1, FFA2, OFA, pSTSfaces", "holds"] == "4 face ROIs"
    text = repr(catalog["sub-01"])
    assert "4 face ROIs" in text
    assert "arguments" not in text  # no room for them
    assert max(map(len, text.splitlines()[1:-2])) < 200


def test_a_source() -> None:
    """Each argument with its value and its help; no secret."""
    source = open_catalog(bucket="s3://b", storage_options={"key": "me", "secret": "hunter2"}).betas(roi="face")
    table = table_of(source._repr_html_())
    assert list(table.index) == list(inspect.signature(open_betas).parameters)
    assert table.loc["roi", "value"] == "'face'"
    assert table.loc["mask", "value"] == "'rsquare'"
    assert "percent" in table.loc["min_noise_ceiling", "meaning"].lower()
    assert "hunter2" not in source._repr_html_()


def test_a_reader_of_the_second_generation(tiny: Path) -> None:
    catalog = intake.from_yaml_file(str(catalog_folder() / V2_FILE))(bucket_url=str(tiny))
    table = table_of(catalog.betas(roi="face")._repr_html_())
    assert table.loc["roi", "value"] == "'face'"
    assert table.loc["bucket", "value"] == repr(str(tiny))
    assert table.loc["subject", "value"] == "'sub-01'"


def test_a_search_says_what_it_found() -> None:
    """The names that were found, and whose ROIs nobody knows here; the help of arguments is not searched."""
    catalog = open_catalog()
    found = catalog.search("FFA")
    assert list(found) == ["sub-01.FFA1", "sub-01.FFA2"]
    assert repr(found).splitlines()[0] == "2 entries of laion_fmri for 'FFA'"
    assert "2 face ROIs" in repr(found)
    assert "ROIs of sub-03, sub-05, sub-06, sub-07 are not in this catalog" in repr(found)
    assert set(catalog.search("surfaces")) == {"surfaces", *(f"{name}.surfaces" for name in catalog if "sub-" in name)}
    assert "trials" not in catalog.search("percent")
    nothing = catalog.search("xyzzy")
    assert list(nothing) == []
    assert repr(nothing).startswith("0 entries")
    assert "<table" not in nothing._repr_html_()
    assert list(catalog["sub-01"].search("hV4")) == ["hV4"]


def test_what_a_notebook_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTML, and the same as text."""
    sent: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **kwargs: sent.append((data, kwargs)))
    catalog = open_catalog()
    for shown in (catalog, catalog.betas, catalog.search("FFA")):
        shown._ipython_display_()
        data, kwargs = sent.pop()
        assert data["text/html"] == shown._repr_html_()
        assert kwargs == {"raw": True}
        assert data["text/plain"].splitlines()[0] in data["text/html"].replace("&#x27;", "'")


def test_arguments_are_completed(tiny: Path) -> None:
    """By IPython, as a user types ``cat.betas(ro`` and presses the tabulator."""
    shell, text = InteractiveShell(), "cat.betas(ro"
    shell.user_ns["cat"] = open_catalog(bucket=tiny)
    with provisionalcompleter():
        found = {one.text for one in shell.Completer.completions(text, len(text))}
    assert {"roi=", "role="} <= found
    source = pickle.loads(pickle.dumps(open_catalog(bucket=tiny).betas))
    for one in (source, BetasSource):
        assert list(inspect.signature(one).parameters) == list(inspect.signature(open_betas).parameters)
    assert set(SOURCES) == set(open_catalog()) - {name for name in open_catalog() if name.startswith("sub-")}


def test_a_subject(tiny: Path) -> None:
    subject = load_subject("sub-01", bucket=tiny)
    table = table_of(subject._repr_html_())
    faces = table[table["of"] == "face"]
    assert faces.index[0] == ", ".join(subject.get_available_rois("face"))
    assert faces["number"].iloc[0] == f"{len(subject.get_available_rois('face'))} ROIs"
    assert repr(subject).splitlines()[0] == f"Subject sub-01 in {tiny}"


def test_a_subject_whose_bucket_has_gone(tmp_path: Path, tiny: Path) -> None:
    """Showing it is no error."""
    link = tmp_path / "bucket"
    link.symlink_to(tiny, target_is_directory=True)
    subject = load_subject("sub-01", bucket=link)
    link.unlink()
    assert repr(subject) == f"Subject sub-01 in {link}"


def test_data(tiny: Path) -> None:
    """ROIs with the number of chosen voxels, what was done, what can be done."""
    ds = open_betas("sub-01", roi="face", bucket=tiny)
    table = table_of(ds.laion._repr_html_())
    counts = ds.in_roi.sum("voxel").to_series()
    assert table["voxels"].astype(int).to_dict() == counts[counts > 0].to_dict()
    shown = repr(ds.laion.zscore().laion)
    assert shown.splitlines()[0].endswith(f"{ds.sizes['trial']:,} trial x {ds.sizes['voxel']:,} voxel")
    assert "zscore" in shown
    assert ds.betas.isel(voxel=0).laion._repr_html_()
    assert len(open_trials("sub-01", bucket=tiny)) == ds.sizes["trial"]


def test_what_a_bucket_names_is_escaped() -> None:
    page = Page("<b>", ("a", "b"), [("<script>alert(1)</script>", "")], ("<i>",))
    assert "<script>" not in page.html()
    assert "<b>" not in page.html()
    assert "<i>" not in page.html()
    assert table_of(page.html()).columns.tolist() == []  # an empty column is left out
    assert str(page).splitlines() == ["<b>", "a", "<script>alert(1)</script>", "<i>"]
