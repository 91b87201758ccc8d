"""Sessions that the authors hold back today: read by changing one constant, whatever their labels look like."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import plain_arrays as oracle
import pytest
from demo_files import betas_file, trials_file

import intake_laion_fmri
from intake_laion_fmri.errors import AccessDeniedError
from intake_laion_fmri.subject import load_subject

PACKAGE = Path(intake_laion_fmri.__file__).parent
CONSTANT = re.compile(r"^HELD_OUT_SESSIONS = .*$", re.MULTILINE)
RELEASED = "HELD_OUT_SESSIONS = frozenset({*range(4, 32), 33, 34})"
"""The demo bucket has sessions 1 to 3: repetitions are counted over all sessions that are not held back."""

READ = """
import json, sys, warnings
from intake_laion_fmri import open_betas, open_trials
from intake_laion_fmri.mirror import mirror_bucket
from intake_laion_fmri.splits import get_split_masks
from intake_laion_fmri.subject import load_subject

bucket, mirror = sys.argv[1:]

def told(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    return found, [str(one.message) for one in caught]

sub = load_subject("sub-01", bucket=bucket)
betas, of_betas = told(lambda: open_betas("sub-01", roi="face", mask="anatomical", bucket=bucket).load())
later = betas.isel(trial=betas.session == "ses-32")
table, of_trials = told(lambda: open_trials("sub-01", bucket=bucket))
info, of_info = told(lambda: sub.get_trial_info("ses-32"))
metadata, of_metadata = told(lambda: sub.metadata)
masks = get_split_masks(info, "tau", "shared", bucket=bucket)
array, of_array = told(lambda: sub.get_betas("ses-32", roi="face"))
mirror_bucket(mirror, bucket=bucket, subjects="sub-01", sessions=32)
print(json.dumps({
    "sessions": sub.get_sessions(),
    "betas": float(abs(later.betas.values - array).max()),
    "first": array[0].tolist(),
    "dataset": sorted(set(later.dataset.values)),
    "repetition": later.repetition.values.tolist(),
    "roles": sorted(set(later.split_role.values.ravel().tolist())),
    "labels": info["label"].tolist(),
    "rows": [len(table), int((table.session == "ses-32").sum())],
    "stim_idx": metadata["stim_idx"].tolist(),
    "in a split": [int(side.sum()) for side in masks],
    "mirrored": load_subject("sub-01", mirror=mirror, mirror_only=True).get_sessions(),
    "told": [of_betas, of_trials, of_info, of_metadata, of_array],
}))
"""


@pytest.fixture
def released(own_tiny: Path) -> Path:
    """A bucket with a session 32, whose images have names of another form; two of its trials show the same one."""
    for file in (betas_file, trials_file):
        there = file(own_tiny, "sub-01", "ses-01")
        later = Path(str(there).replace("ses-01", "ses-32"))
        later.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(there, later)
    head, *rows = later.read_text().splitlines()
    names = [f"controversial_net-A_vs_net-B_{max(number, 1):03d}.webp" for number, _ in enumerate(rows)]
    new = ["\t".join(["ses-32", *row.split("\t")[1:-1], name]) for row, name in zip(rows, names, strict=True)]
    assert head.split("\t")[::3] == ["session", "label"]
    later.write_text("\n".join([head, *new]) + "\n")
    (own_tiny / "stimuli").mkdir(exist_ok=True)
    known = dict.fromkeys(label for number in (1, 2, 3) for label in oracle.labels(own_tiny, f"ses-0{number}"))
    lines = [f"{name},LAION,,{name.partition('_')[0]},4rep" for name in known]
    table = "\n".join(["image_name,dataset,participant,unique_or_shared,n_reps", *lines])
    (own_tiny / "stimuli/task-images_metadata.csv").write_text(table)
    return own_tiny


def test_they_are_held_back(released: Path) -> None:
    sub = load_subject("sub-01", bucket=released)
    assert sub.get_sessions() == ["ses-01", "ses-02", "ses-03"]
    with pytest.raises(AccessDeniedError, match="ses-32 of sub-01 is held out"):
        sub.get_betas("ses-32")


def test_one_constant_releases_them(released: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy/intake_laion_fmri"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (path,) = (path for path in copy.rglob("*.py") if CONSTANT.search(path.read_text()))
    path.write_text(CONSTANT.sub(RELEASED, path.read_text()))
    done = subprocess.run(
        [sys.executable, "-c", READ, str(released), str(tmp_path / "mirror")],
        env=os.environ | {"PYTHONPATH": str(copy.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    labels = oracle.labels(released, "ses-32").tolist()
    assert found["sessions"] == ["ses-01", "ses-02", "ses-03", "ses-32"]
    expected = oracle.betas(released, "ses-32", oracle.roi(released, ["FFA1", "FFA2", "OFA", "pSTSfaces"]))
    np.testing.assert_array_equal(np.float32(found["first"]), expected[0])
    assert (found["betas"], found["dataset"], found["roles"], found["labels"]) == (0, [""], [0], labels)
    assert found["repetition"] == [0, 1, *[0] * (len(labels) - 2)]
    assert found["rows"][1] == len(labels) < found["rows"][0]
    assert found["stim_idx"][-len(labels) :] == [-1] * len(labels)
    assert found["in a split"] == [0, 0]
    assert found["mirrored"] == ["ses-32"]
    of_betas, of_trials, of_info, of_metadata, of_array = found["told"]
    for texts in (of_betas, of_trials, of_info, of_metadata, of_array):
        assert len(texts) == 1, texts
        assert f"{len(labels)} trials of ses-32 have labels that do not follow" in texts[0]
    assert "their stim_idx is -1" in of_metadata[0]
