"""The table of the images, and the coordinate of betas that leads to it."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path
from typing import Any

import intake
import numpy as np
import pandas as pd
import pytest

from intake_laion_fmri import open_betas, open_catalog, open_stimulus_table, open_trials
from intake_laion_fmri.axes.stimulus_table import read_stimulus_table
from intake_laion_fmri.catalog.files import V2_FILE
from intake_laion_fmri.catalog.inventory import catalog_folder
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning, NotInBucketError
from intake_laion_fmri.readers import StimulusTableData, StimulusTableReader
from intake_laion_fmri.store import build_store

TABLE = "stimuli/task-images_metadata.csv"


def oracle(bucket: Path) -> list[dict[str, str]]:
    with (bucket / TABLE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_is_the_files(tiny: Path) -> None:
    """Every text as the file has it, the repetitions as numbers."""
    table, rows = open_stimulus_table(bucket=tiny), oracle(tiny)
    assert table.index.name == "image_name"
    assert table.index.tolist() == [row["image_name"] for row in rows]
    assert table["row"].tolist() == list(range(len(rows)))
    for name in ("dataset", "participant", "unique_or_shared"):
        assert table[name].tolist() == [row[name] for row in rows]
    assert [f"{n}rep" for n in table["n_reps"]] == [row["n_reps"] for row in rows]
    assert set(zip(table["participant"], table["subject"], strict=True)) == {
        ("", ""),
        ("p01", "sub-01"),
        ("p04", "sub-03"),
    }


def test_the_images_of_a_subject(tiny: Path) -> None:
    """Codes are not in the order of subjects; the rows stay those of the file."""
    everything, found = open_stimulus_table(bucket=tiny), open_stimulus_table("03", bucket=tiny)
    pd.testing.assert_frame_equal(found, everything[everything["participant"].isin(["", "p04"])])
    assert set(open_trials("sub-03", bucket=tiny)["label"]) <= set(found.index)
    with pytest.raises(ValueError, match="images of this subject are not known"):
        open_stimulus_table("sub-02", bucket=tiny)


def test_every_way_in(tiny: Path, s3: Any, tmp_path: Path) -> None:
    """It needs no subject: catalogs and readers open it without."""
    expected = open_stimulus_table(bucket=tiny)
    v2 = intake.from_yaml_file(str(catalog_folder() / V2_FILE))(bucket_url=str(tiny))
    for found in (
        open_catalog(bucket=tiny).stimulus_table.read(),
        v2.stimulus_table.read(),
        StimulusTableReader(StimulusTableData(tiny)).read(),
        open_stimulus_table(bucket=s3.url, storage_options=s3.storage_options),
    ):
        pd.testing.assert_frame_equal(found, expected)
    assert len(v2.stimulus_table(subject="sub-03").read()) == len(open_stimulus_table("sub-03", bucket=tiny))
    mirror = tmp_path / "mirror"
    shutil.copytree(tiny / "stimuli", mirror / "stimuli")
    pd.testing.assert_frame_equal(open_stimulus_table(mirror=mirror, mirror_only=True), expected)


def test_betas_know_their_rows(tiny: Path) -> None:
    """The row of each label, and which table that is of."""
    names = [row["image_name"] for row in oracle(tiny)]
    for found in (ds := open_betas("sub-03", bucket=tiny, roi="FFA1")), open_trials("sub-03", bucket=tiny):
        assert found["stimulus"].dtype == np.int32
        assert [names[row] for row in found["stimulus"].values] == list(found["label"].values)
    assert ds.stimulus.attrs["table_sha256"] == hashlib.sha256((tiny / TABLE).read_bytes()).hexdigest()
    assert "stimuli" not in ds.attrs["sources"]


def test_it_changes_nothing_else(own_tiny: Path) -> None:
    """Without the folder there is neither the coordinate nor a warning, and the betas have the same name."""
    before = open_betas("sub-01", bucket=own_tiny, roi="FFA1")
    shutil.rmtree(own_tiny / "stimuli")
    after = open_betas("sub-01", bucket=own_tiny, roi="FFA1")
    assert before.drop_vars("stimulus").identical(after)
    assert before.betas.data.name == after.betas.data.name
    with pytest.raises(NotInBucketError, match=r"task-images_metadata\.csv is not in the bucket"):
        open_stimulus_table(bucket=own_tiny)
    with pytest.raises(ValueError, match="Unknown subject"):
        open_betas("sub-02", bucket=own_tiny)


def test_an_odd_table_is_one_warning(own_tiny: Path) -> None:
    """Nobody asked for it: betas open, a label that it has not is -1, and a broken table is left out."""
    header, first, *rest = (own_tiny / TABLE).read_text().splitlines()
    (own_tiny / TABLE).write_text("\n".join([header, *rest]))
    ds = open_betas("sub-01", bucket=own_tiny, roi="FFA1")
    assert set(ds.label.values[ds.stimulus == -1]) <= {first.partition(",")[0]}
    assert (ds.stimulus >= 0).any()
    (own_tiny / TABLE).write_text("a,b\n")
    with pytest.warns(MissingFileWarning, match=r"stimulus \(.*expected the columns image_name"):
        ds = open_betas("sub-01", bucket=own_tiny, roi="FFA1")
    assert "stimulus" not in ds.coords


def test_a_store_holds_them(own_tiny: Path, tmp_path: Path) -> None:
    """One that was built before goes on, is complete and sound, and gets the rows in a line."""
    old, new, stimuli = tmp_path / "old", tmp_path / "new", own_tiny / "stimuli"
    options = {"bucket": own_tiny, "subjects": "sub-01", "sessions": [1]}
    stimuli.rename(tmp_path / "stimuli")
    build_store(old, **options)
    (tmp_path / "stimuli").rename(stimuli)
    build_store(new, **options)
    expected = open_betas("sub-01", session=1, bucket=own_tiny)
    assert open_betas("sub-01", session=1, store=new).identical(expected)
    without = open_betas("sub-01", session=1, store=old)
    assert without.identical(expected.drop_vars("stimulus"))
    assert [report.status for report in build_store(old, **options)] == ["complete"]
    rows = open_stimulus_table(bucket=own_tiny).index.get_indexer(without.label)
    assert rows.tolist() == expected.stimulus.values.tolist()


GOOD = "image_name,dataset,participant,unique_or_shared,n_reps\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "expected the columns"),
        (b"\xff\xfe", "expected UTF-8"),
        (b"image_name,dataset\n", "expected the columns .*, each once, found 'image_name, dataset'"),
        (
            f"{GOOD}a,b,c,d,4rep\na,b,c,d,4rep\n".encode(),
            "row 1: expected each image name once, found 'a' twice",
        ),
        (f"{GOOD},b,c,d,4rep\n".encode(), "row 0: .* found ''"),
        (f"{GOOD}a,b,c,d,four\n".encode(), "row 0: expected n_reps such as '12rep', found 'four'"),
        (f"{GOOD}a,b,c,d,4rep,e\n".encode(), "row 0: expected 5 fields, found 6"),
    ],
)
def test_what_is_no_table_is_an_error(text: bytes, problem: str) -> None:
    with pytest.raises(DataIntegrityError, match=f"x.csv: .*{problem}"):
        read_stimulus_table(text, name="x.csv")


def test_more_columns_are_kept() -> None:
    table = read_stimulus_table(f"{GOOD.strip()},more\nNA,b,p05,unique,4,null\n".encode(), name="x.csv")
    assert table.reset_index().iloc[0].tolist() == ["NA", 0, "b", "p05", "sub-07", "unique", 4, "null"]
