"""The data set's own page "Querying the Dataset", with `laion_fmri` replaced by `intake_laion_fmri`.

The code of the page runs line for line in a process of its own, on the demo bucket, from a disk and from an S3 server.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from conftest import moto_server
from tiers import full, sampled

from intake_laion_fmri.demo import write_demo

CODE = """\
SUBJECT = "sub-01"

import os

from intake_laion_fmri.config import dataset_initialize

data_dir = os.path.join(os.getcwd(), "laion_fmri_quickstart")
os.makedirs(data_dir, exist_ok=True)
dataset_initialize(data_dir)

from intake_laion_fmri.discovery import (
    describe,
    get_rois,
    get_subjects,
    inspect_bucket,
)

describe()

print(f"All subjects: {get_subjects()}")
print(f"Querying subject: {SUBJECT}")

ROI_CATEGORIES = (
    "body", "character", "face", "laion",
    "motion", "object", "place", "retinotopy",
)

print(f"All ROIs ({len(get_rois(SUBJECT))}):")
print(get_rois(SUBJECT))
print()
for cat in ROI_CATEGORIES:
    rois = get_rois(SUBJECT, category=cat)
    print(f"{cat}: {rois}")

inspect_bucket()

from intake_laion_fmri.splits import (get_train_test_ids, list_ood_types, list_pools, list_splits, load_split)

print(f"Pools:     {list_pools()}")
print(f"Splits:    {list_splits()}")
print(f"OOD types: {list_ood_types()}")

split = load_split("random_0", pool="shared")
print(f"Split:    {split.name}")
print(f"Pool:     {split.pool}")
print(f"Family:   {split.split_family}")
print(f"n_train:  {split.n_train}")
print(f"n_test:   {split.n_test}")

train_ids, test_ids = get_train_test_ids("random_0", pool="shared")
print(f"Loaded:   {len(train_ids)} train / {len(test_ids)} test ids")

_, test_shape = get_train_test_ids(
    "ood", pool="shared", ood_types=["shape"],
)
print(f"OOD shape only:  test ids = {len(test_shape)}")

for sub_id in get_subjects():
    n_face = len(get_rois(sub_id, category="face"))
    n_total = len(get_rois(sub_id))
    print(f"  {sub_id}: {n_total:>3} ROIs total, {n_face} face")
"""

ROIS = (  # noqa: SIM905  # as on the page
    "EBA FBA FFA1 FFA2 IPCS IPS0 LO1 LO2 MPA MST MT OFA OPA PPA SPCS TO1 TO2 V1d V1v V2d V2v V3A V3B V3d V3v VO1 VO2 "
    "VWFA1 VWFA2 hV4 laionEVC laiondorsal laiongeneral laionlateral laionventral lobjects mfswords pSTSfaces pSTSwords "
    "vobjects"
).split()

PRINTED = f"""\
LAION-fMRI Dataset
  Bucket:    @BUCKET@
  Subjects:  5 (sub-01, sub-03, sub-05, sub-06, sub-07)
  ROIs:      {", ".join(ROIS)}
All subjects: ['sub-01', 'sub-03', 'sub-05', 'sub-06', 'sub-07']
Querying subject: sub-01
All ROIs (40):
{ROIS}

body: ['EBA', 'FBA']
character: ['VWFA1', 'VWFA2', 'mfswords', 'pSTSwords']
face: ['FFA1', 'FFA2', 'OFA', 'pSTSfaces']
laion: ['laionEVC', 'laiondorsal', 'laiongeneral', 'laionlateral', 'laionventral']
motion: ['MST', 'MT']
object: ['lobjects', 'vobjects']
place: ['MPA', 'OPA', 'PPA']
retinotopy: {[name for name in ROIS if name[:2] in ("IP", "LO", "SP", "TO", "V1", "V2", "V3", "VO", "hV")]}
Bucket: @BUCKET@
Top-level prefixes (1):
  derivatives/
derivatives/glmsingle-tedana/: 5 entries, 5 sub-* entries
derivatives/rois/: 5 entries, 5 sub-* entries
Pools:     ['shared', 'sub-01', 'sub-03', 'sub-05', 'sub-06', 'sub-07']
Splits:    ['random_0', 'random_1', 'random_2', 'random_3', 'random_4', 'cluster_k5_0', 'cluster_k5_1', \
'cluster_k5_2', 'cluster_k5_3', 'cluster_k5_4', 'tau', 'ood']
OOD types: ['cropped', 'gabor', 'gaudy', 'illusion-classic', 'illusion-natural', 'relations', 'selfmade', 'shape', \
'unusual']
Split:    random_0
Pool:     shared
Family:   random
n_train:  897
n_test:   224
Loaded:   897 train / 224 test ids
OOD shape only:  test ids = 82
  sub-01:  40 ROIs total, 4 face
  sub-03:  43 ROIs total, 6 face
  sub-05:  41 ROIs total, 6 face
  sub-06:  41 ROIs total, 5 face
  sub-07:  41 ROIs total, 6 face
"""

LOCAL_CODE = """\
from intake_laion_fmri.download import download
# one session for one subject (~few hundred MB):
download(subject="sub-01", ses="ses-01")

from intake_laion_fmri.subject import load_subject
sub = load_subject("sub-01")

# Sessions present on disk
print(sub.get_sessions())                      # ['ses-01', ...]

# Trial info: runs, repetitions, stimulus labels
trials = sub.get_trial_info(session="ses-01")
# columns: session, run, beta_index, label
print(trials.columns.tolist())
print(trials["run"].unique())                  # runs in this session
print(len(trials))                             # trial count

# Single-trial betas with the multi-level ROI grammar
betas_one  = sub.get_betas(session="ses-01", roi="FFA1")
betas_face = sub.get_betas(session="ses-01", roi="face")
betas_all  = sub.get_betas(session="ses-01", roi="all")

# Multi-format ROI loading
roi = sub.get_roi_data("FFA1", format="all", hemi="all")
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("page") / "bucket", scale="small")


@pytest.fixture(scope="module")
def early(small: Path) -> Path:
    """What the bucket held when the page was written: betas and ROIs; and splits of its own."""
    folder = small.parent / "early"
    for tree in ("glmsingle-tedana", "rois", "splits"):
        shutil.copytree(small / "derivatives" / tree, folder / "derivatives" / tree)
    return folder


def run(code: str, folder: Path, environment: dict[str, str]) -> str:
    """Run code as a user would, warnings being errors, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("where", sampled(["disk", "s3"], keep=1))
def test_the_page(
    where: str,
    early: Path,
    reference: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    python_environment: dict[str, str],
) -> None:
    """Prints what the page prints, with the published splits."""
    environment = python_environment | {"LAION_FMRI_SPLITS": str(reference)}
    if where == "disk":
        environment["LAION_FMRI_BUCKET"] = str(early)
    else:
        s3 = request.getfixturevalue("s3")
        upload(s3, early, "small-demo")
        environment |= {"LAION_FMRI_BUCKET": "s3://small-demo", "AWS_ENDPOINT_URL": s3.endpoint}
    printed = run(CODE, tmp_path, environment)
    assert printed == PRINTED.replace("@BUCKET@", environment["LAION_FMRI_BUCKET"])


def upload(s3: Any, folder: Path, bucket: str) -> None:
    """Put what discovery looks at into a bucket of its own: keys, without the content."""
    s3.client.create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}, ACL="public-read"
    )
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ("rois" in path.parts or path.name.endswith("_trials.tsv")):
            key = path.relative_to(folder).as_posix()
            s3.client.put_object(Bucket=bucket, Key=key, Body=b"", ACL="public-read")


def test_the_page_with_the_splits_of_the_bucket(
    early: Path, tmp_path: Path, python_environment: dict[str, str]
) -> None:
    """Without the published files only the sizes of the splits differ."""
    printed = run(CODE, tmp_path, python_environment | {"LAION_FMRI_BUCKET": str(early)}).splitlines()
    expected = PRINTED.replace("@BUCKET@", str(early)).splitlines()
    differing = [line.split(":")[0] for line, other in zip(expected, printed, strict=True) if line != other]
    assert differing == ["n_train", "n_test", "Loaded", "OOD shape only"]


CHECK = textwrap.dedent(
    """\
    print(betas_one.shape[0] == len(trials), betas_face.dtype, betas_face.shape[1], betas_all.shape[1])
    one, face = sub.get_roi_masks(["FFA1", "face"]).values()
    print((betas_face[:, one[face]] == betas_one).all(), sorted(roi["FFA1"]), sorted(roi["FFA1"]["gii"]["hemi-L"]))
    volume = roi["FFA1"]["volume"]
    print(volume.dtype, volume.ndim, int(volume.sum()) == betas_one.shape[1])
    """
)
PRINTED_LOCALLY = [
    "['ses-01', 'ses-02', 'ses-03']",
    "['session', 'run', 'beta_index', 'label']",
    "[ 1  2  3  4  5  6  7  8  9 10 11 12]",
    "110",
    "True float32 58 990",
    "True ['gii', 'volume'] ['func.gii', 'label']",
    "bool 1 True",
]
INITIALIZE = """\
import os
from intake_laion_fmri.config import dataset_initialize
os.makedirs("laion_fmri_quickstart", exist_ok=True)
dataset_initialize("laion_fmri_quickstart")
"""


def test_the_part_that_needs_local_data(small: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """Copied by `download`, and read; a second run copies nothing."""
    environment = python_environment | {"LAION_FMRI_BUCKET": str(small)}
    notice, copied, *printed = run(INITIALIZE + LOCAL_CODE + CHECK, tmp_path, environment).splitlines()
    assert "CC0" in notice
    assert "files (" in copied
    assert printed == PRINTED_LOCALLY
    copied, *printed = run(INITIALIZE + LOCAL_CODE + CHECK, tmp_path, environment).splitlines()
    assert copied.startswith("Copied 0 of ")
    assert printed == PRINTED_LOCALLY


@full("the page once more, half a minute; test_the_part_that_needs_local_data is in the fast tier")
def test_the_part_that_needs_local_data_without_a_network(
    small: Path, reference: Path, tmp_path: Path, python_environment: dict[str, str]
) -> None:
    """The same code from a server, and again when that is off: the same numbers, and a warning that says so."""
    code = INITIALIZE + LOCAL_CODE + CHECK + "print(hash(betas_all.tobytes()))\n"
    environment = python_environment | {"LAION_FMRI_BUCKET": "s3://laion-fmri", "PYTHONHASHSEED": "0"}
    environment["LAION_FMRI_SPLITS"] = str(reference)
    with moto_server(small, tmp_path / "log") as server:
        environment["AWS_ENDPOINT_URL"] = server.endpoint
        _, _, *online = run(code, tmp_path, environment).splitlines()
    assert online[:-1] == PRINTED_LOCALLY
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    _, *offline = done.stdout.splitlines()
    assert offline == online
    assert "OfflineWarning: s3://laion-fmri does not respond" in done.stderr
