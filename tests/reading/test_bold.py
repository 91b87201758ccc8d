"""Time series, sidecars and participants, against nibabel, json and pandas on the demo bucket."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import dask.array
import nibabel
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from counting import CountingFileSystem as Counting
from demo_files import brain, roi_file, volume

from intake_laion_fmri import (
    layout,
    open_anatomy,
    open_betas,
    open_bold,
    open_localizers,
    open_maps,
    open_noise_ceilings,
    open_participants,
    open_trials,
    to_nifti,
)
from intake_laion_fmri.errors import AccessDeniedError, DataIntegrityError, MissingFileWarning, NotInBucketError


def tedana(bucket: Path, subject: str, run: int) -> Path:
    name = f"{subject}_ses-01_task-images_run-{run:02d}_space-T1w_desc-optcom_bold.nii.gz"
    return bucket / "derivatives/tedana" / subject / "ses-01/func" / name


def raw(bucket: Path, subject: str, echo: int, part: str) -> Path:
    name = f"{subject}_ses-01_task-images_run-01_echo-{echo}_part-{part}_bold.nii.gz"
    return bucket / subject / "ses-01/func" / name


def series(path: Path) -> np.ndarray:
    """As (volume, voxel), the voxels in C-order."""
    found = volume(path)
    return found.reshape(-1, found.shape[3]).T


def test_preprocessed(tiny: Path) -> None:
    """Every run, volume and voxel, with times that begin again in each run; a block a run."""
    ds = open_bold("sub-03", 1, bucket=tiny)
    assert isinstance(ds.bold.data, dask.array.Array)
    assert (ds.bold.dims, ds.bold.dtype, ds.bold.chunksizes["time"]) == (("time", "voxel"), np.float32, (6, 5))
    expected = np.concatenate([series(tedana(tiny, "sub-03", run)) for run in (1, 2)])[:, brain(tiny, "sub-03")]
    np.testing.assert_array_equal(ds.bold, expected)
    assert ds.time.values.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4] == ds.volume.values.tolist()
    assert ds.run.values.tolist() == [1] * 6 + [2] * 5
    assert set(ds.session.values) == {"ses-01"}
    assert (ds.time.units, ds.repetition_time.item()) == ("s", 1.0)
    maps = open_maps("sub-03", bucket=tiny)
    for name in (*"ijkxyz", "voxel", "in_roi", "grid"):
        xr.testing.assert_identical(ds[name].reset_coords(drop=True), maps[name].reset_coords(drop=True))
    assert to_nifti(ds.bold.isel(time=0)).shape == tuple(ds.attrs["grid_shape"])


def test_a_run_and_an_roi(tiny: Path) -> None:
    ds = open_bold("sub-01", run=2, roi="FFA1", bucket=tiny)
    inside = np.intersect1d(np.flatnonzero(volume(roi_file(tiny, "sub-01", "FFA1"))), brain(tiny, "sub-01"))
    np.testing.assert_array_equal(ds.bold, series(tedana(tiny, "sub-01", 2))[:, inside])


@pytest.mark.parametrize("part", ["mag", "phase"])
def test_raw_echoes(tiny: Path, part: Any) -> None:
    """On a grid of their own, whole, a volume each 1.9 s."""
    ds = open_bold("sub-01", "ses-01", source="raw", part=part, bucket=tiny)
    assert ds.bold.dims == ("echo", "time", "voxel")
    assert ds.time.values.tolist() == [0, 1.9, 3.8, 5.7]
    for echo in (1, 2, 3):
        expected = series(raw(tiny, "sub-01", echo, part))
        np.testing.assert_array_equal(ds.bold.sel(echo=echo), expected)
        one = open_bold("sub-01", source="raw", part=part, echo=echo, bucket=tiny)
        assert one.bold.dims == ("time", "voxel")
        assert one.echo == echo
        np.testing.assert_array_equal(one.bold, expected)
    affine = nibabel.load(raw(tiny, "sub-01", 1, part)).affine
    np.testing.assert_allclose(np.reshape(ds.grid.attrs["affine"], (4, 4)), affine, atol=1e-5)
    assert (ds.attrs["space"], ds.grid.attrs["space"], "mask" in ds.attrs) == ("native", "native", False)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"subject": "sub-02"}, ValueError, "Unknown subject"),
        ({"session": 31, "source": "raw"}, AccessDeniedError, "held out"),
        ({"session": 2}, ValueError, "Unknown session"),
        ({"session": 2, "source": "raw"}, NotInBucketError, "--group raw"),
        ({"run": 3}, ValueError, "Unknown run"),
        ({"run": [1, True]}, ValueError, "is not a run"),
        ({"echo": 1}, ValueError, "echoes of preprocessed series are combined"),
        ({"part": "phase"}, ValueError, "echoes of preprocessed series are combined"),
        ({"echo": 4, "source": "raw"}, ValueError, "Unknown echo"),
        ({"echo": 0, "source": "raw"}, ValueError, "is not an echo"),
        ({"source": "raw", "roi": "V1"}, ValueError, "scanner's own"),
        ({"source": "fmriprep"}, ValueError, "tedana"),
        ({"sidecars": "yes"}, TypeError, "True or False"),
    ],
)
def test_what_is_refused(tiny: Path, arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        open_bold(**{"subject": "sub-01", "bucket": tiny, **arguments})


def change(path: Path, **fields: Any) -> None:
    content = gzip.decompress(path.read_bytes())
    header = nibabel.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(gzip.compress(header.binaryblock + content[348:]))


def test_the_interval_of_volumes(own_tiny: Path) -> None:
    """In milliseconds, of the sidecar where the header is silent, and of neither."""
    path = tedana(own_tiny, "sub-01", 1)
    pixdim = nibabel.load(path).header["pixdim"].copy()
    change(path, xyzt_units=2 + 16, pixdim=[*pixdim[:4], 1500, *pixdim[5:]])
    assert open_bold("sub-01", run=1, bucket=own_tiny).repetition_time == 1.5
    with pytest.raises(ValueError, match=r"repetition times, 1 and 1\.5 s"):
        open_bold("sub-01", bucket=own_tiny)
    change(path, pixdim=[*pixdim[:4], 0, *pixdim[5:]])
    assert open_bold("sub-01", run=1, bucket=own_tiny).repetition_time == 1.0
    path.with_name(path.name.replace(".nii.gz", ".json")).unlink()
    with pytest.raises(DataIntegrityError, match="neither its header nor its sidecar"):
        open_bold("sub-01", run=1, bucket=own_tiny)


def test_broken_series(own_tiny: Path) -> None:
    """Promises of a header, another grid, a missing echo, a truncated stream."""
    path = tedana(own_tiny, "sub-01", 1)
    good = path.read_bytes()
    change(path, dim=[4, 13, 15, 11, 32000, 1, 1, 1])
    with pytest.raises(DataIntegrityError, match="declares"):
        open_bold("sub-01", run=1, bucket=own_tiny)
    path.write_bytes(good[:-200])
    with pytest.raises(DataIntegrityError, match="truncated"):
        open_bold("sub-01", run=1, bucket=own_tiny).compute()
    shutil.copy(raw(own_tiny, "sub-01", 1, "mag"), path)
    with pytest.raises(DataIntegrityError, match="expected a grid"):
        open_bold("sub-01", run=1, bucket=own_tiny).compute()
    raw(own_tiny, "sub-01", 2, "phase").unlink()
    ds = open_bold("sub-01", source="raw", part="phase", bucket=own_tiny)
    assert ds.echo.values.tolist() == [1, 3]
    shutil.rmtree(own_tiny / "derivatives/tedana")
    with pytest.raises(NotInBucketError, match="--group tedana"):
        open_bold("sub-01", bucket=own_tiny)


def test_nothing_is_read_before_it_is_computed(counted: str) -> None:
    """But the beginning of each file; a run costs its own file."""
    ds = open_bold("sub-01", roi="FFA1", bucket=counted)
    read = {name: n for name, n in Counting.read.items() if "bold" in name}
    assert len(read) == 2
    assert max(read.values()) <= 32 * 1024
    Counting.read.clear()
    ds.isel(time=ds.run.values == 2).compute()
    assert [name for name in Counting.read if "bold" in name] == [tedana(Path(), "sub-01", 2).name]


def test_from_s3_and_offline(s3: Any, tiny: Path) -> None:
    for arguments in ({"roi": "face"}, {"source": "raw", "echo": 2}):
        expected = open_bold("sub-01", **arguments, bucket=tiny).compute()
        found = open_bold("sub-01", **arguments, bucket=s3.url, storage_options=s3.storage_options)
        xr.testing.assert_equal(found.compute(), expected)
        xr.testing.assert_equal(open_bold("sub-01", **arguments, mirror=tiny, mirror_only=True).compute(), expected)


# --- sidecars and participants ----------------------------------------------------------------------------------------


def test_sidecars(own_tiny: Path) -> None:
    """What they say, by the keys of their files; not read unless asked for; a broken one is one warning."""
    ds = open_bold("sub-01", bucket=own_tiny, sidecars=True)
    for run in (1, 2):
        path = tedana(own_tiny, "sub-01", run)
        told = json.loads(ds.attrs["sidecars"])[path.relative_to(own_tiny).as_posix()]
        assert told == json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert "sidecars" not in open_bold("sub-01", bucket=own_tiny).attrs
    told = json.loads(open_noise_ceilings("sub-01", bucket=own_tiny, sidecars=True).attrs["sidecars"])
    assert len(told) == 3
    assert all(len(one["Sources"]) == 3 for one in told.values())
    told = json.loads(open_anatomy("sub-01", image="T2w", bucket=own_tiny, sidecars=True).attrs["sidecars"])
    assert list(told.values()) == [{"SkullStripped": False, "Description": "synthetic T2w"}]
    told = json.loads(open_localizers("sub-01", task="oloc", bucket=own_tiny, sidecars=True).attrs["sidecars"])
    assert [one["Sources"] for one in told.values()] == [["bids::sub-01/ses-31"]]
    ds = open_betas("sub-01", session=1, roi="face", bucket=own_tiny, sidecars=True)
    told = json.loads(ds.attrs["sidecars"])
    betas, trials = (layout.key(kind, subject="sub-01", session="ses-01") for kind in ("betas", "trials"))
    for key, beside in ((betas, betas.replace(".nii.gz", ".json")), (trials, trials.replace(".tsv", ".json"))):
        assert told[key] == json.loads((own_tiny / beside).read_text())
    assert len(told) == 2 + 3  # and those of the noise ceilings
    table = open_trials("sub-01", session=1, bucket=own_tiny, sidecars=True)
    assert list(table.attrs["sidecars"]) == [trials]
    assert "sidecars" not in open_trials("sub-01", bucket=own_tiny).attrs
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text("{")
    with pytest.warns(MissingFileWarning, match="expected JSON"):
        ds = open_bold("sub-01", bucket=own_tiny, sidecars=True)
    assert len(json.loads(ds.attrs["sidecars"])) == 1


def test_participants(own_tiny: Path) -> None:
    expected = pd.read_csv(own_tiny / "participants.tsv", sep="\t", na_values="n/a", index_col="participant_id")
    table = open_participants(bucket=own_tiny, sidecars=True)
    pd.testing.assert_frame_equal(table, expected)
    assert table.attrs["sidecars"]["age"] == {"Description": "Years, made up"}
    assert open_participants(mirror=own_tiny, mirror_only=True).index.tolist() == ["sub-01", "sub-03"]
    for content in ("", "a\tb\n1\t2\n", "\0"):
        (own_tiny / "participants.tsv").write_text(content)
        with pytest.raises(DataIntegrityError, match=r"participants\.tsv"):
            open_participants(bucket=own_tiny)
    (own_tiny / "participants.tsv").unlink()
    with pytest.raises(NotInBucketError, match=r"participants\.tsv"):
        open_participants(bucket=own_tiny)
