"""A folder that the data set's own package has filled, on a machine without a network: as it works there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import plain_arrays as oracle
import pytest
import s3fs

from intake_laion_fmri import dataset_initialize, discovery, get_subjects, layout
from intake_laion_fmri.config import set_network
from intake_laion_fmri.errors import DataNotDownloadedError, IncompleteBucketWarning, NotInBucketError, OfflineWarning
from intake_laion_fmri.subject import load_subject

FACE = ["FFA1", "FFA2", "OFA", "pSTSfaces"]


@pytest.fixture
def filled(tiny: Path, tmp_path: Path) -> Path:
    """Two sessions of one subject; the names of ROIs lack their hyphens, and nothing is recorded."""
    folder = tmp_path / "filled"
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("sub-03", "ses-03", "ses-31", "splits", "stimuli"))
    for path in sorted((folder / layout.ROIS_ROOT).rglob("*_label-*")):
        head, _, tail = path.name.partition("_label-")
        label, _, rest = tail.partition("_mask")
        path.rename(path.with_name(f"{head}_label-{layout.clean_label(label)}_mask{rest}"))
    return folder


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    set_network(attempts=1)
    s3fs.S3FileSystem.clear_instance_cache()  # a client keeps the address that it was made with
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.usefixtures("_no_network")
def test_what_it_holds_and_what_it_lacks(filled: Path, tiny: Path) -> None:
    dataset_initialize(filled)
    with pytest.warns(OfflineWarning, match="filled is read as it is"):
        sub = load_subject("sub-01")
    assert sub.get_sessions() == ["ses-01", "ses-02"]
    assert sub.get_available_rois("face") == FACE
    np.testing.assert_array_equal(
        sub.get_betas("ses-02", roi="face"), oracle.betas(tiny, "ses-02", oracle.roi(tiny, FACE))
    )
    assert sub.get_t1w(res="1pt8").is_relative_to(filled)
    assert not sub.has_stimuli()
    with pytest.raises(ValueError, match="Unknown session"):
        sub.get_betas("ses-03")
    sub.get_t2w(res="1pt8").unlink()
    with pytest.raises(
        DataNotDownloadedError, match=r"filled/\S+_T2w\.nii\.gz does not exist, and s3://laion-fmri does"
    ):
        sub.get_t2w(res="1pt8")
    with pytest.raises(DataNotDownloadedError, match=r"download\(subject='sub-03'\)"):
        load_subject("sub-03")
    assert get_subjects() == ["sub-01"]
    shutil.rmtree(filled / layout.ANATOMY_ROOT)
    with pytest.raises(NotInBucketError, match="desc-brain_mask"):  # never another mask instead
        sub.get_betas("ses-02", roi="face")
    face = sub.get_roi_mask("face", mask_source="rsquare")
    shutil.rmtree(filled / layout.ROIS_ROOT)
    with pytest.warns(IncompleteBucketWarning, match="derivatives/rois has no sub-01"):
        discovery.describe(refresh=True)
    assert len(face) == len(oracle.mask(tiny, "rsquare"))


@pytest.mark.usefixtures("_no_network")
def test_a_folder_without_data_is_no_bucket(tmp_path: Path) -> None:
    """The error of the bucket names the two ways to read a folder alone."""
    dataset_initialize(tmp_path)
    with pytest.raises(ConnectionError, match=r"mirror_only=True or bucket=FOLDER reads a local folder alone"):
        load_subject("sub-01")


QUICK_START = """
import laion_fmri_here as laion_fmri
from intake_laion_fmri.config import set_network
set_network(attempts=1)
laion_fmri.dataset_initialize("filled")
sub = laion_fmri.load_subject("sub-01")
print(sub.get_betas(session="ses-01", roi="face").shape, sub.get_n_voxels(), sub.get_sessions())
print(sub.get_betas(session="ses-02", roi="all").shape, sub.get_available_rois("face"))
"""


def test_it_is_said_once(filled: Path, tmp_path: Path) -> None:
    script = QUICK_START.replace("laion_fmri_here", "intake_laion_fmri")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("OfflineWarning: ") == 1, done.stderr
    assert done.stdout.endswith(f"{FACE}\n")
