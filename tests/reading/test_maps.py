"""Noise ceilings and the other maps of subjects and sessions, against nibabel on the demo bucket."""

from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import dask.array
import nibabel
import numpy as np
import pytest
import xarray as xr
from counting import CountingFileSystem as Counting
from demo_files import GLM, brain, map_file, rewrite, session_file, volume
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import examples, full

from intake_laion_fmri import open_betas, open_maps, open_noise_ceilings
from intake_laion_fmri.errors import AccessDeniedError, DataIntegrityError, MissingFileWarning, NotInBucketError
from intake_laion_fmri.reading.arguments import check_argument

SESSIONS = ["ses-01", "ses-02", "ses-03"]
OF_SUBJECT = {
    "nc_12rep": "desc-Noiseceiling12rep",
    "nc_4rep": "desc-Noiseceiling4rep",
    "nc_all": "desc-NoiseceilingAllrep",
    "r2_mean": "stat-rsquare_desc-R2mean",
}
OF_SESSION = {
    "noise_ceiling": "space-T1w_desc-Noiseceiling_statmap.nii.gz",
    "r2": "space-T1w_stat-rsquare_desc-R2_statmap.nii.gz",
    "hrf_index": "space-T1w_desc-HRFindex_dseg.nii.gz",
    "ridge_fraction": "space-T1w_desc-Fracridge_statmap.nii.gz",
}


def of_session(bucket: Path, name: str, session: str, subject: str = "sub-01") -> Path:
    return session_file(bucket, subject, session, OF_SESSION[name])


# --- values -----------------------------------------------------------------------------------------------------------


def test_maps_of_the_subject(tiny: Path) -> None:
    """Every map and voxel, and the coordinates of the betas; in memory."""
    ds, betas = (function("sub-03", bucket=tiny) for function in (open_maps, open_betas))
    assert list(ds.data_vars) == list(OF_SUBJECT)
    for name, key in OF_SUBJECT.items():
        expected = volume(map_file(tiny, "sub-03", key)).reshape(-1)[brain(tiny, "sub-03")]
        np.testing.assert_array_equal(ds[name], expected)
        assert (ds[name].dims, ds[name].dtype) == (("voxel",), np.float32)
        assert isinstance(ds[name].data, np.ndarray)
        assert ds[name].attrs == betas[name].attrs | {"grid_mapping": "grid"}
    for name in (*"ijkxyz", "voxel", "in_roi", "roi", "roi_category", "subject"):
        xr.testing.assert_equal(ds[name].reset_coords(drop=True), betas[name].reset_coords(drop=True))
    assert ds.attrs["mask"] == "rsquare"


def test_maps_of_sessions(tiny: Path) -> None:
    """Every map, session and voxel; lazy until computed."""
    ds = open_maps("sub-03", session="all", bucket=tiny)
    assert list(ds.data_vars) == list(OF_SESSION)
    assert ds.session.values.tolist() == SESSIONS
    assert set(ds.indexes) == {"session", "voxel", "roi"}
    for name in OF_SESSION:
        assert isinstance(ds[name].data, dask.array.Array)
        assert ds[name].dims == ("session", "voxel")
        found = ds[name].compute()
        assert found.dtype == ds[name].dtype == (np.int32 if name == "hrf_index" else np.float32)
        for session in SESSIONS:
            expected = volume(of_session(tiny, name, session, "sub-03")).reshape(-1)[brain(tiny, "sub-03")]
            np.testing.assert_array_equal(found.sel(session=session), expected)
    assert 0 <= ds.hrf_index.min() < ds.hrf_index.max() <= 19


@pytest.mark.parametrize("session", [None, "all", 2])
def test_the_whole_volume(tiny: Path, session: Any) -> None:
    """The files as nibabel has them, outside the mask too."""
    ds = open_maps("sub-01", session=session, grid="volume", bucket=tiny)
    image = nibabel.load(map_file(tiny, "sub-01", "desc-Noiseceiling12rep"))
    assert [ds[name].values.tolist() for name in "ijk"] == [list(range(n)) for n in image.shape]
    assert set(ds.indexes) == {*"ijk"} | ({"session"} if session else set())
    np.testing.assert_allclose(np.reshape(ds.attrs["affine"], (4, 4)), image.affine, atol=1e-5)
    assert ds.attrs["grid_shape"] == list(image.shape)
    assert "mask" not in ds.attrs
    for name in ds.data_vars:
        assert isinstance(ds[name].data, dask.array.Array)
        if session is None:
            np.testing.assert_array_equal(ds[name], volume(map_file(tiny, "sub-01", OF_SUBJECT[name])))
            continue
        assert ds[name].dims == ("session", "i", "j", "k")
        found = ds[name].compute()
        for one in found.session.values:
            np.testing.assert_array_equal(found.sel(session=one), volume(of_session(tiny, name, one)))


@pytest.mark.parametrize("mask", ["rsquare", "anatomical"])
def test_the_volume_of_a_selection(tiny: Path, mask: str) -> None:
    """The values of the voxel axis at their places, and nothing elsewhere: NaN, or -1 where there are no NaNs."""
    selection = {"roi": "laionventral - V1v", "mask": mask, "session": [1, 3], "bucket": tiny}
    voxels = open_maps("sub-01", **selection).compute()
    ds = open_maps("sub-01", grid="volume", **selection).compute()
    assert ds.attrs["mask"] == mask
    assert voxels.sizes["voxel"] > 0
    for name in OF_SESSION:
        missing = -1 if name == "hrf_index" else np.nan
        expected = np.full((2, np.prod(ds.attrs["grid_shape"])), missing, dtype=ds[name].dtype)
        expected[:, voxels.voxel] = voxels[name]
        np.testing.assert_array_equal(ds[name], expected.reshape(ds[name].shape))


EVERYTHING: dict[str, xr.Dataset] = {}


@settings(max_examples=examples(15))
@given(st.data())
def test_selections_together(tiny: Path, data: st.DataObject) -> None:
    """Whatever is selected at opening equals selecting from everything afterwards."""
    if not EVERYTHING:
        EVERYTHING["tiny"] = open_maps("sub-01", session="all", bucket=tiny).compute()
    everything = EVERYTHING["tiny"]
    numbers = data.draw(st.sets(st.integers(1, 3), min_size=1), label="session")
    maps = data.draw(st.lists(st.sampled_from(list(OF_SESSION)), min_size=1), label="maps")
    rois = data.draw(st.none() | st.lists(st.sampled_from(everything.roi.values.tolist()), min_size=1), label="roi")
    found = open_maps("sub-01", session=list(numbers), maps=maps, roi=rois, bucket=tiny)
    voxels = slice(None) if rois is None else everything.in_roi.sel(roi=rois).values.any(axis=0)
    expected = everything.drop_vars(set(OF_SESSION).difference(maps))
    expected = expected.isel(session=sorted(number - 1 for number in numbers), voxel=voxels)
    xr.testing.assert_identical(found.compute().assign_attrs(sources=""), expected.assign_attrs(sources=""))


@pytest.mark.parametrize(
    ("given_", "sessions"),
    [
        ("all", SESSIONS),
        ("ses-02", ["ses-02"]),
        ("02", ["ses-02"]),
        (np.int64(3), ["ses-03"]),
        ([3, "01"], SESSIONS[::2]),
    ],
)
def test_sessions(tiny: Path, given_: Any, sessions: list[str]) -> None:
    assert open_maps("sub-01", session=given_, maps="r2", bucket=tiny).session.values.tolist() == sessions


def test_noise_ceilings_are_the_maps(tiny: Path) -> None:
    xr.testing.assert_identical(open_noise_ceilings("sub-01", bucket=tiny), open_maps("sub-01", bucket=tiny))
    for grid in ("voxel", "volume"):
        arguments = {"session": [1, 2], "grid": grid, "roi": "face", "bucket": tiny}
        found = open_noise_ceilings("sub-01", **arguments)
        assert list(found.data_vars) == ["noise_ceiling"]
        xr.testing.assert_identical(found.compute(), open_maps("sub-01", maps="noise_ceiling", **arguments).compute())


def test_attributes(tiny: Path) -> None:
    """Names, units and ranges on every map; the files that were used."""
    for session, names in ((None, OF_SUBJECT), (1, OF_SESSION)):
        ds = open_maps("sub-01", session=session, bucket=tiny)
        for name in names:
            assert {"long_name", "units"} <= set(ds[name].attrs)
            assert "valid_range" in ds[name].attrs or "valid_max" in ds[name].attrs
            if name.startswith(("nc_", "noise")):
                assert (ds[name].attrs["units"], ds[name].attrs["valid_range"]) == ("percent", [0, 100])
    assert ds.hrf_index.attrs["valid_range"] == [0, 19]
    assert of_session(tiny, "hrf_index", "ses-01").name in ds.attrs["sources"]
    assert "ses-02" not in ds.attrs["sources"]


# --- the HRF index ----------------------------------------------------------------------------------------------------


def rewrite_values(path: Path, values: np.ndarray, dtype: Any = np.float32) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(values.astype(dtype), image.affine), path)


def test_an_index_that_is_not_there(own_tiny: Path) -> None:
    """Stored as float, NaN where there is none: -1, and never a wrong index."""
    path = of_session(own_tiny, "hrf_index", "ses-01")
    values = volume(path)
    here, there = brain(own_tiny, "sub-01")[:2]
    values.flat[here], values.flat[there] = np.nan, -1
    rewrite_values(path, values)
    found = open_maps("sub-01", session=1, maps="hrf_index", bucket=own_tiny).hrf_index.compute()
    assert found.dtype == np.int32
    assert found[0, :2].values.tolist() == [-1, -1]
    np.testing.assert_array_equal(found[0, 2:], values.reshape(-1)[brain(own_tiny, "sub-01")[2:]])


@pytest.mark.parametrize("wrong", [20, -2, 1.5, np.inf, 3e9])
def test_what_is_no_index(own_tiny: Path, wrong: float) -> None:
    path = of_session(own_tiny, "hrf_index", "ses-01")
    values = volume(path)
    values.flat[brain(own_tiny, "sub-01")[5]] = wrong
    rewrite_values(path, values)
    ds = open_maps("sub-01", session=[1, 2], maps="hrf_index", bucket=own_tiny)
    message = f"{path.name}: expected whole numbers from 0 to 19, or -1 for none, found {wrong:g}".replace("+", r"\+")
    with pytest.raises(DataIntegrityError, match=message):
        ds.compute()


# --- requests and laziness --------------------------------------------------------------------------------------------


def read() -> dict[str, int]:
    return {name: size for name, size in Counting.read.items() if "label-" not in name and "R2mean" not in name}


def test_opening_reads_no_map_of_a_session(tiny: Path, counted: str) -> None:
    """Nor has it the subject's; computing one reads its files once."""
    ds = open_maps("sub-01", session=[1, 2], bucket=counted)
    repr(ds)
    assert not read()
    assert len(Counting.read) == 41, "the mask and the ROIs"
    ds.r2.compute()
    paths = [of_session(tiny, "r2", session) for session in ("ses-01", "ses-02")]
    assert read() == {path.name: path.stat().st_size for path in paths}


def test_a_whole_volume_needs_no_roi(tiny: Path, counted: str) -> None:
    ds = open_maps("sub-01", maps="nc_all", grid="volume", bucket=counted)
    assert list(Counting.read) == [map_file(tiny, "sub-01", "stat-rsquare_desc-R2mean").name]
    ds.compute()
    assert len(read()) == 1


def test_a_map_of_the_subject_is_read_alone(counted: str) -> None:
    open_maps("sub-01", maps="nc_4rep", bucket=counted)
    assert len(read()) == 1


@pytest.mark.parametrize("grid", ["voxel", "volume"])
def test_the_graph_is_small(tiny: Path, grid: str) -> None:
    """A task per file, the voxels once; the same opening has the same keys."""
    one, other = (open_maps("sub-01", session="all", roi="face", grid=grid, bucket=tiny) for _ in range(2))
    for name in OF_SESSION:
        assert one[name].data.numblocks[0] == 3
        assert len(one[name].__dask_graph__()) <= 4
        assert one[name].data.name == other[name].data.name
    assert len({one[name].data.name for name in OF_SESSION}) == 4
    narrower = open_maps("sub-01", session="all", roi="PPA", grid=grid, bucket=tiny)
    assert narrower.r2.data.name != one.r2.data.name


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", pytest.param("processes", marks=full("as of betas"))])
def test_schedulers_agree(tiny: Path, scheduler: str) -> None:
    ds = open_maps("sub-01", session="all", grid="volume", bucket=tiny)
    xr.testing.assert_identical(ds.compute(scheduler=scheduler, num_workers=2), ds.compute())


@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"session": "all"},
        {"session": 1, "roi": "V1v & MPA & FFA1"},
        {"grid": "volume"},
        {"session": [1, 2], "grid": "volume", "roi": "face"},
    ],
)
def test_stores_and_pickles_keep_everything(tiny: Path, tmp_path: Path, selection: dict[str, Any]) -> None:
    """Without a warning, lazy or not, empty or not."""
    ds = open_maps("sub-01", bucket=tiny, **selection)
    loaded = ds.compute()
    xr.testing.assert_identical(pickle.loads(pickle.dumps(ds)).compute(), loaded)
    ds.to_zarr(tmp_path / "store", consolidated=False)
    with xr.open_zarr(tmp_path / "store", consolidated=False) as again:
        xr.testing.assert_identical(again.compute(), loaded)
    ds.to_netcdf(tmp_path / "file.nc")
    with xr.open_dataset(tmp_path / "file.nc") as again:
        xr.testing.assert_identical(again.compute(), loaded)


@full("the same files from a server, four seconds; test_s3 is in the fast tier")
def test_from_a_real_server(s3: Any, tiny: Path) -> None:
    """The same as from the disk, but for the files' ETags; three requests a map."""
    selection = {"session": "all", "roi": "face"}
    found = open_maps("sub-03", bucket=s3.url, storage_options=s3.storage_options, **selection)
    expected = open_maps("sub-03", bucket=tiny, **selection).compute()
    with s3.requests() as requests:
        values = found.r2.compute()
    assert requests == {"HEAD": 6, "GET": 3}
    np.testing.assert_array_equal(values, expected.r2)
    xr.testing.assert_equal(found.compute(), expected)


# --- missing files ----------------------------------------------------------------------------------------------------


def test_a_missing_map_of_the_subject(own_tiny: Path) -> None:
    """Left out with one warning; an error where it was named."""
    map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep").unlink()
    for function in (open_maps, open_noise_ceilings):
        for grid in ("voxel", "volume"):
            with pytest.warns(MissingFileWarning, match=r"nc_4rep \(no .*Noiseceiling4rep") as caught:
                ds = function("sub-01", grid=grid, bucket=own_tiny)
            assert [warning.filename for warning in caught] == [__file__]
            assert set(ds.data_vars) == set(OF_SUBJECT) - {"nc_4rep"}
    for grid in ("voxel", "volume"):
        with pytest.raises(
            NotInBucketError, match=r"Noiseceiling4rep_statmap\.nii\.gz is not in the bucket\. Beside it"
        ):
            open_maps("sub-01", maps=["nc_12rep", "nc_4rep"], grid=grid, bucket=own_tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_maps("sub-01", maps=["nc_12rep", "r2_mean"], bucket=own_tiny)


def test_a_missing_map_of_a_session(own_tiny: Path) -> None:
    """Never filled up: left out, unless the session is; an error where the map was named."""
    of_session(own_tiny, "hrf_index", "ses-02").unlink()
    with pytest.warns(MissingFileWarning, match=r"hrf_index \(no .*ses-02_.*HRFindex_dseg\.nii\.gz\)"):
        ds = open_maps("sub-01", session="all", bucket=own_tiny)
    assert set(ds.data_vars) == set(OF_SESSION) - {"hrf_index"}
    assert ds.sizes["session"] == 3
    assert set(open_maps("sub-01", session=[1, 3], bucket=own_tiny).data_vars) == set(OF_SESSION)
    with pytest.raises(NotInBucketError, match=r"ses-02_.*HRFindex_dseg\.nii\.gz is not in the bucket"):
        open_maps("sub-01", session="all", maps="hrf_index", bucket=own_tiny)
    of_session(own_tiny, "hrf_index", "ses-03").unlink()
    with pytest.warns(MissingFileWarning, match=r"ses-02_.*, nor 1 more: choose session= without them"):
        open_maps("sub-01", session="all", bucket=own_tiny)


def test_maps_without_betas(own_tiny: Path) -> None:
    """A copy of the maps alone."""
    for path in (own_tiny / GLM / "sub-01").rglob("*SingletrialBetas*"):
        path.unlink()
    assert open_maps("sub-01", session="all", bucket=own_tiny).session.values.tolist() == SESSIONS


def test_betas_without_maps(own_tiny: Path) -> None:
    """All sessions: those with a map. One without any is an error where it is asked for."""
    for name in OF_SESSION:
        of_session(own_tiny, name, "ses-02").unlink()
    assert open_maps("sub-01", session="all", bucket=own_tiny).session.values.tolist() == ["ses-01", "ses-03"]
    with pytest.raises(NotInBucketError, match=r"ses-02_.*Noiseceiling_statmap\.nii\.gz is not in the bucket"):
        open_maps("sub-01", session=2, bucket=own_tiny)
    for session in ("ses-01", "ses-03"):
        shutil.rmtree(own_tiny / GLM / "sub-01" / session)
    with pytest.raises(NotInBucketError, match=r"ses-01_.*Noiseceiling_statmap\.nii\.gz is not in the bucket"):
        open_maps("sub-01", session="all", bucket=own_tiny)


def test_every_map_is_missing(own_tiny: Path) -> None:
    for key in OF_SUBJECT.values():
        map_file(own_tiny, "sub-01", key).unlink()
    with pytest.raises(NotInBucketError, match=r"Noiseceiling12rep_statmap\.nii\.gz is not in the bucket"):
        open_maps("sub-01", mask="anatomical", bucket=own_tiny)


def test_no_mask(own_tiny: Path) -> None:
    """It tells the grid, for a volume too; the other mask does as well."""
    map_file(own_tiny, "sub-01", "stat-rsquare_desc-R2mean").unlink()
    with pytest.raises(NotInBucketError, match=r"R2mean_statmap\.nii\.gz is not in the bucket"):
        open_maps("sub-01", maps="nc_all", grid="volume", bucket=own_tiny)
    assert open_maps("sub-01", maps="nc_all", grid="volume", mask="anatomical", bucket=own_tiny).nc_all.compute().any()


def test_no_rois(own_tiny: Path) -> None:
    """Maps need none, unless one is asked for."""
    shutil.rmtree(own_tiny / "derivatives/rois/sub-01")
    with pytest.warns(MissingFileWarning, match="in_roi"):
        ds = open_maps("sub-01", session=1, bucket=own_tiny)
    assert "in_roi" not in ds.coords
    open_maps("sub-01", session=1, grid="volume", bucket=own_tiny)
    with pytest.raises(NotInBucketError, match="holds no ROI in the format volume"):
        open_maps("sub-01", session=1, grid="volume", roi="FFA1", bucket=own_tiny)


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"maps": "nc_12"}, "Unknown map: 'nc_12'. Did you mean 'nc_12rep'"),
        ({"maps": ["nc_12rep", "hrf"]}, "Unknown map: 'hrf'"),
        ({"maps": []}, r"maps=\[\] is empty"),
        ({"maps": None}, "Unknown map: None"),
        ({"maps": 12}, "Unknown map: 12"),
        ({"maps": "r2"}, r"maps='r2' is a map of sessions: add session='all', or choose nc_12rep"),
        (
            {"maps": "r2_mean", "session": 1},
            "maps='r2_mean' is a map of the whole subject: omit session=, or choose",
        ),
        ({"grid": "voxels"}, "Unknown grid: 'voxels'. Did you mean 'voxel'"),
        ({"grid": None}, "Unknown grid: None"),
        ({"mask": "brain"}, "Unknown mask: 'brain'"),
        ({"roi": "FFA3"}, "Unknown ROI of sub-01 in .*'FFA3'. Did you mean .*FFA1"),
        ({"roi": "FFA3", "grid": "volume"}, "Unknown ROI"),
        ({"session": "ses-04"}, "Unknown session of sub-01 in .*'ses-04'.*Valid: ses-01, ses-02, ses-03"),
        ({"session": []}, "is empty"),
        ({"session": True}, "Not a session: True"),
        ({"subject": "sub-02"}, "Unknown subject"),
    ],
)
def test_a_wrong_argument(tiny: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_maps(**{"subject": "sub-01", "bucket": tiny, **arguments})


def test_checks_before_anything_is_contacted() -> None:
    """What the drivers rely on; None is a session's level for maps, and for betas none."""
    assert check_argument("session", None) is None
    assert check_argument("maps", "all") is None
    assert check_argument("maps", ("r2", "r2", "nc_all")) == ("r2", "nc_all")
    with pytest.raises(ValueError, match="Not a session: None"):
        open_betas("sub-01", session=None, bucket="/nowhere")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is a map of sessions"):
        open_maps("sub-01", maps="r2", bucket="/nowhere")


@pytest.mark.parametrize("session", [31, "ses-34", ["ses-01", "ses-31"]])
def test_held_out_sessions(tiny: Path, session: Any) -> None:
    """Their keys are listed, and never part of "all"."""
    assert of_session(tiny, "noise_ceiling", "ses-31").exists()
    for function in (open_maps, open_noise_ceilings):
        with pytest.raises(
            AccessDeniedError, match=r"ses-3[14] of sub-01 is held out .*Use one of ses-01 to ses-03, or ask"
        ):
            function("sub-01", session=session, bucket=tiny)


# --- broken files -----------------------------------------------------------------------------------------------------


def break_file(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncated":
        del content[-20:]
    elif how == "flipped":
        content[len(content) // 2] ^= 4
    elif how == "several volumes":
        image = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(np.stack([volume(path)] * 2, axis=-1), image.affine), path)
        return
    elif how == "another grid":
        rewrite(path, srow_x=[1.0, 0, 0, 0])
        return
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "flipped", "several volumes", "another grid"])
@pytest.mark.parametrize("grid", ["voxel", "volume"])
def test_a_broken_map(own_tiny: Path, how: str, grid: str) -> None:
    """Found when it is read: of a session when it is computed. The others stay readable."""
    path = of_session(own_tiny, "r2", "ses-02")
    break_file(path, how)
    ds = open_maps("sub-01", session="all", grid=grid, bucket=own_tiny)
    with pytest.raises(DataIntegrityError, match=path.name):
        ds.compute()
    assert ds.r2.sel(session="ses-01").compute().any()
    path = map_file(own_tiny, "sub-01", "desc-Noiseceiling12rep")
    break_file(path, how)
    with pytest.raises(DataIntegrityError, match=path.name):
        open_maps("sub-01", grid=grid, maps="nc_12rep", bucket=own_tiny).compute()


def test_a_map_replaced_since_it_was_opened(own_tiny: Path) -> None:
    path = of_session(own_tiny, "r2", "ses-01")
    ds = open_maps("sub-01", session=1, bucket=own_tiny)
    path.write_bytes(of_session(own_tiny, "r2", "ses-02").read_bytes() + b"\0")
    with pytest.raises(DataIntegrityError, match="was replaced"):
        ds.r2.compute()


@given(st.data())
@settings(max_examples=examples(20))
def test_whole_volumes_of_every_type(tmp_path_factory: Any, data: st.DataObject) -> None:
    """The reader of whole volumes, whatever the stored type, order and scaling: nibabel's values, bit for bit."""
    from intake_laion_fmri.formats.nifti import VolumeReader

    shape = data.draw(st.tuples(*[st.integers(1, 5)] * 3))
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "<i2", ">i2", "<i4", "<f4", ">f4", "<f8"])))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 100, shape).astype(dtype)
    image = nibabel.Nifti1Image(values, np.eye(4), nibabel.Nifti1Header(endianness=">" if dtype.str[0] == ">" else "<"))
    image.header.set_data_dtype(dtype)
    image.header.set_slope_inter(*data.draw(st.sampled_from([(1, 0), (0.1, 3)])))
    path = tmp_path_factory.getbasetemp() / "any.nii.gz"
    nibabel.save(image, path)
    with path.open("rb") as file:
        found = VolumeReader(file, name="a file").volume()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, volume(path))
