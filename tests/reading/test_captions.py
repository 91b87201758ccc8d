"""Captions: the file's texts, chosen by image, source and author."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from intake_laion_fmri import open_captions, open_catalog, open_trials
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError

HEADER = b"image_name,caption_idx,source,caption,origin_collection,participant_id,ai_model\n"
FILE = "stimuli/task-images_desc-captions.csv"


def oracle(bucket: Path) -> list[dict[str, str]]:
    with (bucket / FILE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_is_the_files(tiny: Path) -> None:
    """Commas, quotes and other letters than ASCII included."""
    table, rows = open_captions(bucket=tiny), oracle(tiny)
    names = {"image": "image_name", "index": "caption_idx"}
    for column in table:
        assert table[column].astype(str).tolist() == [row[names.get(column, column)] for row in rows]
    assert table["index"].dtype == "int64"
    assert set(table.drop(columns="index").dtypes) == {pd.Series(["text"]).dtype}, "pandas' own type of texts"
    assert any('"' in text and "," not in text for text in table["caption"])


def test_a_selection(tiny: Path) -> None:
    everything, trials = open_captions(bucket=tiny), open_trials("sub-01", bucket=tiny)
    found = open_captions(trials, human=True, bucket=tiny)
    assert found["image"].unique().tolist() == trials["label"].unique().tolist(), "each once, in the order of trials"
    assert set(found["source"]) == {"human"}
    ai = open_captions("shared", source="ai", bucket=tiny)
    assert set(ai["index"]) == {0}
    pd.testing.assert_frame_equal(ai, open_captions("shared", human=False, bucket=tiny))
    assert not any("_OOD_" in label for label in ai["image"])
    label = everything["image"].iloc[-1]
    assert open_captions(label, bucket=tiny)["caption"].tolist() == [
        row["caption"] for row in oracle(tiny) if row["image_name"] == label
    ]
    with pytest.raises(ValueError, match="Did you mean 'human'"):
        open_captions(source="humans", bucket=tiny)
    with pytest.raises(ValueError, match="Unknown image of"):
        open_captions("nothing.jpg", bucket=tiny)


def test_every_way_in(tiny: Path, s3: Any) -> None:
    expected = open_captions("ood", bucket=tiny)
    pd.testing.assert_frame_equal(open_captions("ood", bucket=s3.url, storage_options=s3.storage_options), expected)
    pd.testing.assert_frame_equal(open_catalog(bucket=str(tiny)).captions(images="ood").read(), expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"image_name,caption\na,b\n", "expected the columns"),
        (
            HEADER + b"a,0,ai\n",
            "row 0: .*7 fields",
        ),
        (
            HEADER + b"a,x,,,,,\n",
            "row 0: .*'x'",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(own_tiny: Path, content: bytes, message: str) -> None:
    (own_tiny / FILE).write_bytes(content)
    with pytest.raises(DataIntegrityError, match=rf"captions\.csv: .*{message}"):
        open_captions(bucket=own_tiny)
    (own_tiny / FILE).unlink()
    with pytest.raises(NotInBucketError, match=r"captions\.csv"):
        open_captions(bucket=own_tiny)
