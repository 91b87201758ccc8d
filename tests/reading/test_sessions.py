"""Sessions go by their numbers: other spellings of folders, two of one number, gaps, counting of repetitions."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from intake_laion_fmri import open_betas, open_maps, open_trials
from intake_laion_fmri.building.verify import verify_store
from intake_laion_fmri.discovery import get_sessions
from intake_laion_fmri.errors import AccessDeniedError, DataIntegrityError, MissingFileWarning, UnexpectedContentWarning
from intake_laion_fmri.mirror import mirror_bucket
from intake_laion_fmri.store import build_store

FOLDER = "derivatives/glmsingle-tedana/sub-01"


def folder(bucket: Path, session: str) -> Path:
    return bucket / FOLDER / session


def table(bucket: Path, session: str) -> Path:
    return folder(bucket, session) / f"func/sub-01_{session}_task-images_desc-SingletrialBetas_trials.tsv"


def rename(bucket: Path, old: str, new: str) -> None:
    """Give a session another name: of its folder, in its files' names and in its table."""
    folder(bucket, old).rename(folder(bucket, new))
    for path in sorted((folder(bucket, new) / "func").iterdir()):
        if path.name.endswith("trials.tsv"):
            path.write_text(path.read_text().replace(f"{old}\t", f"{new}\t"))
        path.rename(path.with_name(path.name.replace(old, new)))


def copy(bucket: Path, old: str, new: str) -> None:
    """Put a copy of a session beside it, under another name."""
    kept = folder(bucket, old).with_name("kept")
    shutil.copytree(folder(bucket, old), kept)
    rename(bucket, old, new)
    kept.rename(folder(bucket, old))


def test_three_digits_open_as_two_do(tiny, own_tiny):
    wanted = open_betas("sub-01", bucket=tiny, roi="face")
    for number in (1, 2, 3):
        rename(own_tiny, f"ses-{number:02d}", f"ses-{number:03d}")
    found = open_betas("sub-01", bucket=own_tiny, roi="face")
    assert np.unique(found["session"]).tolist() == ["ses-001", "ses-002", "ses-003"]
    for name in ("trial", "repetition", "label"):
        np.testing.assert_array_equal(found[name], wanted[name])
    np.testing.assert_array_equal(found["betas"].values, wanted["betas"].values)


@pytest.mark.parametrize("asked", [1, "1", "01", "001", "ses-001", "ses-01", "ses-1", np.int64(1)])
@pytest.mark.parametrize("name", ["ses-01", "ses-001", "ses-1"])
def test_a_session_is_found_by_its_number(name, asked, own_tiny):
    if name != "ses-01":
        rename(own_tiny, "ses-01", name)
    found = open_trials("sub-01", bucket=own_tiny, session=asked)
    assert set(found["session"]) == {name}
    assert (len(found), found.index[0]) == (40, 10000)
    assert open_maps("sub-01", bucket=own_tiny, session=asked)["session"].values.tolist() == [name]


def test_spellings_of_one_session_are_one(tiny):
    assert len(open_trials("sub-01", bucket=tiny, session=[1, "ses-001", "01"])) == 40


@pytest.mark.parametrize("asked", ["all", 1, "ses-001", ["ses-02", "ses-01"]])
def test_two_names_of_one_session_are_an_error_that_names_both(asked, own_tiny):
    copy(own_tiny, "ses-01", "ses-001")
    for function in (open_betas, open_trials, open_maps):
        with pytest.raises(
            DataIntegrityError, match=r"ses-001 and ses-01 of sub-01 .* two folders of the same session"
        ):
            function("sub-01", bucket=own_tiny, session=asked)


def test_two_names_of_a_session_that_nobody_asked_for_cost_the_repetition(own_tiny):
    copy(own_tiny, "ses-01", "ses-001")
    with pytest.warns(MissingFileWarning, match=r"repetition \(.* session 1 has several folders, ses-001, ses-01"):
        found = open_betas("sub-01", bucket=own_tiny, session=2, roi="face")
    assert "repetition" not in found.coords
    assert set(found["session"].values) == {"ses-02"}


def test_a_name_without_betas_is_no_second_session(tiny, own_tiny):
    copy(own_tiny, "ses-01", "ses-001")
    for path in folder(own_tiny, "ses-001").rglob("*statmap*"):
        path.unlink()
    found = open_trials("sub-01", bucket=own_tiny, session=[1, 2])
    assert found.equals(open_trials("sub-01", bucket=tiny, session=[1, 2]))


def test_repetitions_count_session_zero_whatever_is_loaded(own_tiny):
    rename(own_tiny, "ses-03", "ses-00")
    every = open_trials("sub-01", bucket=own_tiny)
    assert every.index[0] == 0
    some = open_trials("sub-01", bucket=own_tiny, session=[1, 2])
    assert some.equals(every.loc[some.index])
    assert (
        some["repetition"] != open_trials("sub-01", bucket=own_tiny, session=1)["repetition"].reindex(some.index)
    ).any()


def test_repetitions_skip_held_out_sessions(own_tiny):
    """Sessions 31 to 34 are no gap, nor is anything of them read."""
    (header, first, *_) = table(own_tiny, "ses-03").read_text().splitlines()
    for number in [*range(3, 31), 35]:
        if number > 3:
            copy(own_tiny, "ses-03", f"ses-{number:02d}")
        row = first.replace("ses-03", f"ses-{number:02d}")
        table(own_tiny, f"ses-{number:02d}").write_text(f"{header}\n{row}\n")
    table(own_tiny, "ses-31").parent.mkdir(parents=True, exist_ok=True)
    table(own_tiny, "ses-31").write_text("secret")
    found = open_trials("sub-01", bucket=own_tiny)
    label = found["label"].iloc[-1]
    assert found.index[-1] == 350000
    assert found["repetition"].iloc[-1] == (found["label"] == label).sum() - 1 >= 28
    assert open_trials("sub-01", bucket=own_tiny, session=35).equals(found.tail(1))


def test_a_gap_costs_the_repetition(own_tiny):
    rename(own_tiny, "ses-03", "ses-100")
    with pytest.warns(MissingFileWarning, match="no trial table of ses-03, ses-04, "):
        found = open_trials("sub-01", bucket=own_tiny, session=100)
    assert found.index[0] == 1_000_000


@pytest.mark.parametrize("content", ["session\trun\tbeta_index\tlabel\n", "", "\x00", "<html>"])
def test_a_broken_table_of_an_earlier_session_costs_the_repetition(content, own_tiny):
    table(own_tiny, "ses-02").write_text(content)
    with pytest.warns(MissingFileWarning, match=r"repetition \(.*ses-02_task-images"):
        found = open_trials("sub-01", bucket=own_tiny, session=3)
    assert "repetition" not in found
    assert set(found["session"]) == {"ses-03"}
    assert "repetition" in open_trials("sub-01", bucket=own_tiny, session=1)
    with pytest.raises(DataIntegrityError, match="ses-02_task-images"):
        open_trials("sub-01", bucket=own_tiny)


@pytest.mark.parametrize("name", ["ses-pilot", "ses-01 copy", "ses-12345"])
def test_folders_of_other_names_are_said_to_be_skipped(name, own_tiny):
    copy(own_tiny, "ses-03", name)
    with pytest.warns(MissingFileWarning) as caught:
        found = open_trials("sub-01", bucket=own_tiny)
    told = f"{name!r} of {own_tiny / FOLDER} (expected the name ses-<number>, also in the names of the files)."
    assert [str(one.message) for one in caught] == [f"Left out: the folders {told}"]
    assert set(found["session"]) == {"ses-01", "ses-02", "ses-03"}
    assert len(open_trials("sub-01", bucket=own_tiny, session=[1, 2, 3])) == len(found)


def test_files_of_another_name_than_their_folder_are_said_to_be_skipped(own_tiny):
    folder(own_tiny, "ses-03").rename(folder(own_tiny, "ses-003"))
    with pytest.warns(MissingFileWarning, match="the folders 'ses-003'"):
        found = open_trials("sub-01", bucket=own_tiny)
    assert set(found["session"]) == {"ses-01", "ses-02"}


@pytest.mark.parametrize("name", ["ses-031", "ses-0034"])
def test_held_out_is_a_number(name, own_tiny):
    rename(own_tiny, "ses-03", name)
    assert get_sessions("sub-01", bucket=own_tiny) == ["ses-01", "ses-02"]
    for asked in (name, int(name[4:])):
        with pytest.raises(AccessDeniedError, match="held out"):
            open_trials("sub-01", bucket=own_tiny, session=asked)


def test_stores_and_mirrors_take_a_session_by_its_number(own_tiny, tmp_path):
    for number in (1, 2, 3):
        rename(own_tiny, f"ses-{number:02d}", f"ses-{number:03d}")
    store = tmp_path / "store.zarr"
    reports = build_store(store, bucket=own_tiny, subjects="sub-01", sessions=[1, "02"])
    assert [one.session for one in reports] == ["ses-001", "ses-002"]
    stored = open_betas("sub-01", store=store, session=2, roi="face")
    np.testing.assert_array_equal(
        stored["betas"], open_betas("sub-01", bucket=own_tiny, session=2, roi="face")["betas"]
    )
    assert [one.session for one in verify_store(store, sessions=2)] == ["ses-002"]
    mirror_bucket(tmp_path / "mirror", bucket=own_tiny, subjects="sub-01", sessions=[1], kinds="trials")
    assert [path.parts[-3] for path in (tmp_path / "mirror").rglob("*trials.tsv")] == ["ses-001"]


@pytest.mark.parametrize(
    "label", ["controversial_017.png", "shared_4rep_CONTRO_a vs b.jpg", "shared_4rep_OOD_x.jpg", "17"]
)
def test_labels_of_another_form_are_kept_with_one_warning(label, own_tiny):
    """Such come with sessions 32 to 34."""
    path = table(own_tiny, "ses-02")
    header, first, second, *rest = path.read_text().splitlines()
    odd = ["\t".join([*row.split("\t")[:-1], label]) for row in (first, second)]
    path.write_text("\n".join([header, *odd, *rest, ""]))
    with pytest.warns(UnexpectedContentWarning) as caught:
        found = open_betas("sub-01", bucket=own_tiny, roi="face")
    assert len(caught) == 1
    assert f"2 trials of ses-02 have labels that do not follow the data set's format, first {label!r}" in str(
        caught[0].message
    )
    these = found.sel(trial=[20000, 20001])
    assert these["label"].values.tolist() == [label, label]
    told = {name: these[name].values.tolist() for name in ("shared", "dataset", "ood_type", "n_repeats", "repetition")}
    assert told == {
        "shared": [False, False],
        "dataset": ["", ""],
        "ood_type": ["", ""],
        "n_repeats": [0, 0],
        "repetition": [0, 1],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnexpectedContentWarning)
        for stimuli in ("shared", "unique", "ood"):
            assert label not in open_trials("sub-01", bucket=own_tiny, stimuli=stimuli)["label"].tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_trials("sub-01", bucket=own_tiny, session=3)
