"""Betas that cannot be opened: missing and broken files, wrong arguments."""

from __future__ import annotations

import gzip
import math
import re
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from contract import CONTRACT
from demo_files import GLM, betas_file, map_file, rewrite, roi_file, trials_file, volume

from intake_laion_fmri import open_betas, open_noise_ceilings, open_rois, open_trials
from intake_laion_fmri.errors import AccessDeniedError, DataIntegrityError, MissingFileWarning, NotInBucketError

# --- missing files ----------------------------------------------------------------------------------------------------


def test_a_missing_map_leaves_its_coordinate_out(own_tiny: Path) -> None:
    """One warning that names everything missing; a selection that needs it is an error."""
    map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep").unlink()
    shutil.rmtree(own_tiny / "derivatives/rois/sub-01")
    with pytest.warns(MissingFileWarning) as caught:
        ds = open_betas("sub-01", bucket=own_tiny)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert re.search(r"nc_4rep .*Noiseceiling4rep.*in_roi .*derivatives/rois/sub-01", str(caught[0].message))
    assert set(CONTRACT) - set(ds.coords) == {"nc_4rep", "in_roi", "roi", "roi_category"}
    with pytest.raises(NotInBucketError, match=r"Noiseceiling4rep_statmap\.nii\.gz is not in the bucket\. Beside it: "):
        open_betas("sub-01", min_noise_ceiling=10, noise_ceiling="4rep", bucket=own_tiny)
    with pytest.raises(NotInBucketError, match="holds no ROI in the format volume"):
        open_betas("sub-01", roi="FFA1", bucket=own_tiny)
    with pytest.raises(NotInBucketError, match="holds no ROI in the format volume"), pytest.warns(MissingFileWarning):
        open_rois("sub-01", bucket=own_tiny)


def test_missing_r2_with_the_other_mask(own_tiny: Path) -> None:
    map_file(own_tiny, "sub-01", "stat-rsquare_desc-R2mean").unlink()
    with pytest.raises(NotInBucketError, match=r"R2mean_statmap\.nii\.gz is not in the bucket"):
        open_betas("sub-01", bucket=own_tiny)
    with pytest.warns(MissingFileWarning, match="r2_mean"):
        ds = open_betas("sub-01", mask="anatomical", bucket=own_tiny)
    assert "r2_mean" not in ds.coords


def test_all_noise_ceilings_missing(own_tiny: Path) -> None:
    for name in ("12rep", "4rep", "Allrep"):
        map_file(own_tiny, "sub-01", f"desc-Noiseceiling{name}").unlink()
    with pytest.raises(NotInBucketError, match="Noiseceiling12rep"), pytest.warns(MissingFileWarning):
        open_noise_ceilings("sub-01", bucket=own_tiny)


def test_a_partial_copy_counts_no_repetitions(own_tiny: Path) -> None:
    """Without the first sessions' tables nobody knows; what comes later does not matter."""
    shutil.rmtree(own_tiny / GLM / "sub-01/ses-02")
    assert "repetition" in open_betas("sub-01", session=1, bucket=own_tiny).coords
    with pytest.warns(MissingFileWarning, match=r"repetition .*ses-02"):
        ds = open_betas("sub-01", bucket=own_tiny)
    assert "repetition" not in ds.coords
    assert sorted(set(ds.session.values)) == ["ses-01", "ses-03"]


def test_a_table_without_betas(own_tiny: Path) -> None:
    """Left out of "all" with a warning; an error where it is asked for."""
    betas_file(own_tiny, "sub-01", "ses-03").unlink()
    with pytest.warns(MissingFileWarning, match="ses-03"):
        ds = open_betas("sub-01", bucket=own_tiny)
    assert set(ds.session.values) == {"ses-01", "ses-02"}
    with pytest.raises(NotInBucketError, match=r"ses-03_.*statmap\.nii\.gz is not in the bucket"):
        open_betas("sub-01", session=3, bucket=own_tiny)


def test_betas_without_a_table(own_tiny: Path) -> None:
    trials_file(own_tiny, "sub-01", "ses-02").unlink()
    with pytest.raises(NotInBucketError, match=r"ses-02_.*trials\.tsv is not in the bucket"):
        open_betas("sub-01", bucket=own_tiny)


def test_a_subject_without_betas(own_tiny: Path) -> None:
    """ROIs are there, nothing else."""
    shutil.rmtree(own_tiny / GLM / "sub-01")
    with pytest.raises(NotInBucketError, match="is not in the bucket"):
        open_betas("sub-01", bucket=own_tiny)


# --- wrong arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subject": "sub-02"}, "Unknown subject of .*'sub-02'. Did you mean .*sub-01"),
        ({"subject": "nobody"}, "Unknown subject of .*'sub-nobody'"),
        ({"subject": ""}, "Not a subject: ''"),
        ({"subject": None}, "Not a subject: None"),
        ({"subject": ["sub-01"]}, "Not a subject"),
        ({"session": "ses-4"}, "Unknown session of sub-01 in .*'ses-04'"),
        ({"session": "ses-99"}, "Unknown session of sub-01 in .*'ses-99'"),
        ({"session": "averages"}, "Not a session: 'averages'"),
        ({"session": []}, "is empty"),
        ({"session": 1.5}, "Not a session: 1.5"),
        ({"session": None}, "Not a session: None"),
        ({"session": True}, "Not a session: True"),
        ({"session": b"01"}, "Not a session: b'01'"),
        ({"mask": np.array(["rsquare"])}, "Unknown mask"),
        ({"roi": "FFA3"}, "Unknown ROI of sub-01 in .*'FFA3'. Did you mean .*FFA1"),
        ({"roi": "ffa1"}, "Did you mean 'FFA1'"),
        ({"roi": "faces"}, "Did you mean .*'face'"),
        ({"roi": "V1 |"}, "cannot be read"),
        ({"roi": []}, "is empty"),
        ({"mask": "rsqare"}, "Unknown mask: 'rsqare'. Did you mean 'rsquare'"),
        ({"noise_ceiling": "12"}, "Unknown noise_ceiling: '12'. Did you mean '12rep'"),
        ({"stimuli": "OOD"}, "Unknown stimuli: 'OOD'. Did you mean 'ood'"),
        ({"min_noise_ceiling": 0.3}, "Write 30 for 30 %"),
        ({"min_noise_ceiling": -1}, "from 0 to 100, found -1"),
        ({"min_noise_ceiling": 101}, "from 0 to 100, found 101"),
        ({"min_noise_ceiling": math.nan}, "from 0 to 100, found nan"),
        ({"min_noise_ceiling": "30"}, "from 0 to 100, found '30'"),
        ({"min_noise_ceiling": True}, "from 0 to 100, found True"),
    ],
)
def test_a_wrong_argument(tiny: Path, arguments: dict[str, Any], message: str) -> None:
    """ValueError with the value, what is valid, and the nearest of it."""
    with pytest.raises(ValueError, match=message):
        open_betas(**{"subject": "sub-01", "bucket": tiny, **arguments})


@pytest.mark.parametrize("roi", [3, b"FFA1", {"FFA1": 1}.values(), [1]])
def test_a_selection_of_the_wrong_type(tiny: Path, roi: Any) -> None:
    with pytest.raises(TypeError, match="roi must be a string"):
        open_betas("sub-01", roi=roi, bucket=tiny)


def test_a_typo_in_an_arguments_name(tiny: Path) -> None:
    with pytest.raises(TypeError, match="rois"):
        open_betas("sub-01", rois="FFA1", bucket=tiny)  # type: ignore[call-arg]


def test_a_held_out_session(tiny: Path) -> None:
    """Its keys are listed, and it is in the folder: it is refused all the same, and never part of "all"."""
    assert betas_file(tiny, "sub-01", "ses-31").exists()
    with pytest.raises(AccessDeniedError, match=r"ses-31 of sub-01 is held out .*ask the data set's authors"):
        open_betas("sub-01", session=31, bucket=tiny)
    with pytest.raises(AccessDeniedError, match="ses-34"):
        open_betas("sub-01", session=["ses-01", "ses-34"], bucket=tiny)


def test_no_such_bucket(tmp_path: Path) -> None:
    with pytest.raises(NotInBucketError, match="There is no bucket or folder"):
        open_betas("sub-01", bucket=tmp_path / "nowhere")
    with pytest.raises(NotInBucketError, match="holds no folder 'derivatives/glmsingle-tedana'"):
        open_betas("sub-01", bucket=tmp_path)


# --- broken files -----------------------------------------------------------------------------------------------------


def break_betas(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncated":
        del content[-100:]
    elif how == "flipped":
        content[len(content) // 2] ^= 4
    elif how == "empty":
        content.clear()
    elif how == "a second member":
        content += gzip.compress(b"more")
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty", "a second member"])
def test_broken_betas(own_tiny: Path, how: str) -> None:
    """Found when they are computed, on the whole or in part; the file is named."""
    path = betas_file(own_tiny, "sub-01", "ses-02")
    break_betas(path, how)
    ds = open_betas("sub-01", roi="face", bucket=own_tiny)
    with pytest.raises(DataIntegrityError, match=path.name):
        ds.compute()
    assert np.isfinite(ds.betas.sel(trial=10000).mean().compute()), "the other sessions stay readable"


def test_betas_on_another_grid(own_tiny: Path) -> None:
    path = betas_file(own_tiny, "sub-01", "ses-02")
    rewrite(path, srow_x=[1.0, 0, 0, 0])
    with pytest.raises(
        DataIntegrityError, match=f"{path.name}: expected the affine .* found .* unlike the subject's mask"
    ):
        open_betas("sub-01", session=2, roi="face", bucket=own_tiny).compute()


def test_a_roi_on_another_grid(own_tiny: Path) -> None:
    path = roi_file(own_tiny, "sub-01", "PPA")
    other = nibabel.Nifti1Image(np.ones((3, 4, 5), dtype=np.uint8), nibabel.load(path).affine)
    nibabel.save(other, path)
    with pytest.raises(DataIntegrityError, match=rf"{path.name}: expected a grid of .* found \(3, 4, 5\)"):
        open_betas("sub-01", roi="PPA", bucket=own_tiny)


def test_a_map_on_another_grid(own_tiny: Path) -> None:
    path = map_file(own_tiny, "sub-01", "desc-Noiseceiling12rep")
    rewrite(path, srow_z=[0, 0, 9.0, 0])
    with pytest.raises(DataIntegrityError, match=f"{path.name}: expected the affine"):
        open_betas("sub-01", min_noise_ceiling=1, bucket=own_tiny)


def test_a_map_of_several_volumes(own_tiny: Path) -> None:
    path = map_file(own_tiny, "sub-01", "desc-Noiseceiling12rep")
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.stack([volume(path)] * 2, axis=-1), image.affine, image.header), path)
    with pytest.raises(DataIntegrityError, match=f"{path.name}: expected one volume, found 2"):
        open_betas("sub-01", min_noise_ceiling=1, bucket=own_tiny)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_table_with_another_number_of_rows(own_tiny: Path, change: int) -> None:
    """It is the betas' file that is named, with both numbers."""
    table = trials_file(own_tiny, "sub-01", "ses-02")
    lines = table.read_text().splitlines()
    rows = len(lines) - 1
    if change < 0:
        lines.pop()
    else:
        fields = lines[-1].split("\t")
        lines.append("\t".join([fields[0], fields[1], str(rows), fields[3]]))
    table.write_text("\n".join(lines) + "\n")
    ds = open_betas("sub-01", session=2, roi="face", bucket=own_tiny)
    message = f"ses-02_.*: expected {rows + change} volumes, one per row of its trial table, found {rows}"
    with pytest.raises(DataIntegrityError, match=message):
        ds.compute()


def test_a_table_of_another_subject(own_tiny: Path) -> None:
    """Files mixed up in a copy: the codes of unique images tell."""
    content = trials_file(own_tiny, "sub-03", "ses-01").read_text()
    trials_file(own_tiny, "sub-01", "ses-01").write_text(content)
    with pytest.raises(DataIntegrityError, match="expected an image of participant p01"):
        open_trials("sub-01", bucket=own_tiny)


def test_a_broken_roi(own_tiny: Path) -> None:
    path = roi_file(own_tiny, "sub-01", "PPA")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataIntegrityError, match=path.name):
        open_betas("sub-01", roi="PPA", bucket=own_tiny)


def test_clean_names_in_a_copy(own_tiny: Path) -> None:
    """Copies made by the data set's own package have the names without hyphens."""
    for path in list((own_tiny / "derivatives/rois/sub-01").rglob("*_label-*_mask.nii.gz")):
        head, _, tail = path.name.partition("_label-")
        label, _, rest = tail.partition("_mask")
        path.rename(path.with_name(f"{head}_label-{label.replace('-', '')}_mask{rest}"))
    ds = open_betas("sub-01", roi="FFA-1", bucket=own_tiny)
    assert ds.sizes["voxel"] > 0
    assert ds.in_roi.sel(roi="FFA1").all()
