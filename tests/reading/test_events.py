"""Events as one table and as coordinates of the betas, against pandas on the demo bucket."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from demo_files import sessions

from intake_laion_fmri import open_betas, open_events, open_trials
from intake_laion_fmri.axes.events import COLUMNS, read_events
from intake_laion_fmri.errors import (
    AccessDeniedError,
    DataIntegrityError,
    NotInBucketError,
    UnexpectedContentWarning,
)


def file_of(bucket: Path, subject: str, session: str, run: int) -> Path:
    name = f"{subject}_{session}_task-images_run-{run:02d}_events.tsv"
    return bucket / subject / session / "func" / name


def as_texts(bucket: Path, subject: str) -> pd.DataFrame:
    """All events of a subject, as pandas reads texts."""
    files = [file_of(bucket, subject, session, run) for session in sessions(bucket, subject) for run in range(1, 13)]
    tables = [pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False) for file in files]
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize("subject", ["sub-01", "sub-03"])
def test_one_table(tiny: Path, subject: str) -> None:
    """All runs of all sessions, 18 typed columns, and the trials that the betas have."""
    table, texts = open_events(subject, bucket=tiny), as_texts(tiny, subject)
    assert table.columns.tolist() == ["session", "run", "trial", *texts.columns]
    assert len(COLUMNS) == 18
    for column, (dtype, _) in COLUMNS.items():
        assert table[column].dtype == dtype
        expected, missing = texts[column], texts[column] == "n/a"
        if dtype == "object":
            assert table[column].tolist() == expected.mask(missing, "").tolist()
        else:
            assert table[column].isna().tolist() == missing.tolist()
            numbers = table[column][~missing].astype(float)
            assert numbers.tolist() == expected[~missing].astype(float).tolist()
    assert table["pulse_number"].str.startswith("[").all()
    trials, shown = open_trials(subject, bucket=tiny), table[table["trial"] >= 0]
    assert shown["trial"].tolist() == trials.index.tolist()
    assert shown["stim_name"].tolist() == trials["label"].tolist()
    assert shown["run"].tolist() == trials["run"].tolist()
    assert set(table.loc[table["trial"] < 0, "trial_type"]) == {"blank"}


def test_selections(tiny: Path) -> None:
    every = open_events("sub-01", bucket=tiny)
    one = open_events("sub-01", session=2, run=[3, 1], bucket=tiny)
    chosen = every[(every["session"] == "ses-02") & every["run"].isin([1, 3])].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, chosen)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"subject": "sub-02"}, ValueError, "Did you mean 'sub-0"),
        ({"session": "ses-31"}, AccessDeniedError, "held out"),
        ({"session": 4}, ValueError, "Unknown session"),
        ({"session": []}, ValueError, "is empty"),
        ({"run": 13}, ValueError, "Unknown run"),
        ({"run": 0}, ValueError, "is not a run"),
        ({"run": "1"}, ValueError, "is not a run"),
        ({"task": "floc"}, ValueError, "Unknown task"),
    ],
)
def test_what_is_refused(tiny: Path, arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        open_events(**{"subject": "sub-01", "bucket": tiny, **arguments})


def test_other_tasks(own_tiny: Path) -> None:
    """Their sessions have names, and no trial."""
    folder = own_tiny / "sub-01/ses-4BarScreenfLoc/func"
    folder.mkdir(parents=True)
    (folder / "sub-01_ses-4BarScreenfLoc_task-floc_run-02_events.tsv").write_text(
        "onset\tduration\ttrial_type\n0\t4\tface\n"
    )
    with pytest.warns(UnexpectedContentWarning, match="the columns trial_number, .* are missing"):
        table = open_events("sub-01", session="4BarScreenfLoc", task="floc", bucket=own_tiny)
    assert table[["session", "run", "trial", "onset", "trial_type"]].values.tolist() == [
        ["ses-4BarScreenfLoc", 2, -1, 0.0, "face"]
    ]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("\tblank\n", "\tblank\n", ""),
        ("unique_", "unikue_", "in the trial table"),
        ("shared_", "blank", "shows|in the trial table"),
    ],
)
def test_events_of_other_trials(own_tiny: Path, old: str, new: str, text: str) -> None:
    """One warning and no trial in the table; an error where the betas are asked to carry them."""
    path = file_of(own_tiny, "sub-01", "ses-01", 1)
    path.write_text(path.read_text().replace(old, new))
    if not text:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            open_events("sub-01", bucket=own_tiny)
        return
    with pytest.warns(UnexpectedContentWarning, match=text):
        table = open_events("sub-01", session=1, bucket=own_tiny)
    assert (table.loc[table["run"] == 1, "trial"] == -1).all()
    assert (table.loc[table["run"] == 2, "trial"] >= 0).any()
    with pytest.raises(DataIntegrityError, match=text):
        open_betas("sub-01", session=1, events="response_time", bucket=own_tiny)
    open_betas("sub-01", session=2, events="response_time", bucket=own_tiny)


def test_odd_tables() -> None:
    """A column of another type stays text; pulses are never evaluated; what is no table is an error."""
    notes: list[str] = []
    content = b"onset\tduration\ttrial_type\tresponse\tpulse_onset\textra\n1\t2\tnew\tleft\t__import__('os')\tx\n"
    table = read_events(content, name="a.tsv", note=notes.append)
    assert table[["response", "pulse_onset", "extra"]].values.tolist() == [["left", "__import__('os')", "x"]]
    assert any("response is kept as text" in note for note in notes)
    for broken in (
        b"",
        b"\xff\xfe",
        b"onset\tduration\n1\t2\n",
        content + b"1\t2\n",
        content[:-20] + b"\n",
        b"\0" * 99,
    ):
        with pytest.raises(DataIntegrityError, match=r"a\.tsv"):
            read_events(broken, name="a.tsv", note=notes.append)


@pytest.mark.parametrize("stored", [False, True])
def test_coordinates_of_the_betas(tiny: Path, tiny_store: Path, stored: bool) -> None:
    """Answers beside the chosen trials, also where the betas come from a store; the rest stays the same."""
    columns = ["response_time", "response_correct", "trial_type"]
    arguments: dict[str, Any] = {"roi": "FFA1", "session": [1, 3], "stimuli": "shared", "bucket": tiny}
    if stored:
        arguments["store"] = tiny_store
    plain, ds = (open_betas("sub-01", **arguments, events=one) for one in (None, columns))
    table = open_events("sub-01", bucket=tiny).set_index("trial").loc[ds.trial.values]
    for column in columns:
        assert ds[column].dims == ("trial",)
        expected = table[column] if column == "trial_type" else table[column].astype("Float64").fillna(-1)
        assert ds[column].fillna(-1).values.tolist() == expected.tolist()
    assert np.isnan(ds.response_time).any()
    assert ds.response_time.units == "s"
    dropped = ds.drop_vars(columns).assign_attrs(sources="")
    xr.testing.assert_identical(dropped, plain.assign_attrs(sources=""))
    assert ds.betas.data.name == plain.betas.data.name
    with pytest.raises(ValueError, match="Did you mean 'response_time'"):
        open_betas("sub-01", **arguments, events="response_tim")


def test_runs_without_events(own_tiny: Path) -> None:
    file_of(own_tiny, "sub-01", "ses-01", 2).unlink()
    assert 2 not in set(open_events("sub-01", session=1, bucket=own_tiny)["run"])
    with pytest.raises(NotInBucketError, match="no events of run 2 of ses-01"):
        open_betas("sub-01", session=1, events="response", bucket=own_tiny)
    shutil.rmtree(own_tiny / "sub-03")
    with pytest.raises(NotInBucketError, match="--group events"):
        open_events("sub-03", bucket=own_tiny)


def test_from_s3_and_offline(s3: Any, tiny: Path) -> None:
    expected = open_events("sub-01", session=1, bucket=tiny)
    found = open_events("sub-01", session=1, bucket=s3.url, storage_options=s3.storage_options)
    pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(open_events("sub-01", session=1, mirror=tiny, mirror_only=True), expected)
