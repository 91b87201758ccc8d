"""`Subject`: the arrays that nibabel and NumPy read from the same files."""

from __future__ import annotations

import gzip
import shutil
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import plain_arrays as oracle
import pytest
from conftest import S3
from counting import CountingFileSystem
from demo_files import betas_file, roi_file, session_file, trials_file

from intake_laion_fmri.errors import (
    AccessDeniedError,
    DataIntegrityError,
    MissingFileWarning,
    NotInBucketError,
    NotInStoreError,
)
from intake_laion_fmri.remote.cache import clear_cache
from intake_laion_fmri.subject import Subject, load_subject

FACE = ["FFA1", "FFA2", "OFA", "pSTSfaces"]
ALL = {"ses-01", "ses-02", "ses-03"}


@pytest.fixture
def sub(tiny: Path) -> Subject:
    return load_subject("01", bucket=tiny)


def test_what_there_is(sub: Subject) -> None:
    assert (sub.subject_id, sub.subject) == ("sub-01", "sub-01")
    assert sub.get_sessions() == ["ses-01", "ses-02", "ses-03"]
    assert len(sub.get_available_rois()) == 40
    assert sub.get_available_rois("face") == FACE
    assert len(sub.get_available_categories()) == 8
    assert "sub-01" in repr(sub)
    with pytest.warns(UserWarning, match=r"Unknown ROI category .*'faces'\. Did you mean 'face'"):
        assert sub.get_available_rois("faces") == []


def test_trials(sub: Subject, tiny: Path) -> None:
    table = sub.get_trial_info("ses-02")
    assert table.columns.tolist() == ["session", "run", "beta_index", "label"]
    assert table["label"].tolist() == oracle.labels(tiny, "ses-02").tolist()
    assert table.index.tolist() == list(range(len(table)))
    several = sub.get_trial_info([3, "ses-01"])
    assert list(several) == ["ses-03", "ses-01"]
    assert several["ses-03"]["label"].tolist() == oracle.labels(tiny, "ses-03").tolist()
    assert set(sub.get_trial_info("all")) == ALL
    with pytest.raises(ValueError, match="session=None: expected a session"):
        sub.get_trial_info(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["anatomical", "rsquare"])
@pytest.mark.parametrize(
    ("roi", "names"),
    [
        ("FFA1", ["FFA1"]),
        ("FFA-1", ["FFA1"]),
        ("face", FACE),
        (["OPA", "FFA1", "OPA"], ["FFA1", "OPA"]),
        (["place", "V1"], ["MPA", "OPA", "PPA", "V1v", "V1d"]),
        ("all", None),
    ],
)
def test_betas_are_one_array_of_the_union(sub: Subject, tiny: Path, roi: Any, names: Any, source: Any) -> None:
    """In the order of the brain, each voxel once, whatever the order and the overlap of the ROIs."""
    found = sub.get_betas("ses-01", roi=roi, mask_source=source)
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.flags.c_contiguous, found.flags.writeable) == (np.float32, True, True)
    index = oracle.roi(tiny, names or sub.get_available_rois(), source)
    np.testing.assert_array_equal(found, oracle.betas(tiny, "ses-01", index))


def test_betas_of_an_expression_and_of_the_whole_mask(sub: Subject, tiny: Path) -> None:
    brain = oracle.mask(tiny)
    np.testing.assert_array_equal(sub.get_betas(1), oracle.betas(tiny, "ses-01", brain))
    ventral = oracle.flags(tiny, ["laionventral"]) & ~oracle.flags(tiny, ["V1v", "V1d"])
    expected = oracle.betas(tiny, "ses-01", brain[ventral])
    np.testing.assert_array_equal(sub.get_betas("01", roi="laionventral - V1"), expected)


@pytest.mark.parametrize(
    ("session", "names"),
    [
        ("all", ["ses-01", "ses-02", "ses-03"]),
        (["ses-02", 1], ["ses-02", "ses-01"]),
        ((3,), ["ses-03"]),
        (np.array([2, 1]), ["ses-02", "ses-01"]),
    ],
)
def test_betas_of_several_sessions_are_a_dictionary(sub: Subject, tiny: Path, session: Any, names: list[str]) -> None:
    found = sub.get_betas(session, roi="face")
    assert isinstance(found, dict)
    assert list(found) == names
    for name, values in found.items():
        np.testing.assert_array_equal(values, oracle.betas(tiny, name, oracle.roi(tiny, FACE)))
        assert values.base is None


def test_betas_of_a_mask_of_ones_own(sub: Subject, tiny: Path) -> None:
    chosen = np.zeros(sub.get_n_voxels(), dtype=bool)
    chosen[[0, 7, -1]] = True
    index = oracle.mask(tiny)[[0, 7, -1]]
    np.testing.assert_array_equal(sub.get_betas("ses-02", mask=chosen), oracle.betas(tiny, "ses-02", index))
    np.testing.assert_array_equal(sub.get_betas("ses-02", mask=chosen.tolist()), oracle.betas(tiny, "ses-02", index))
    assert sub.get_betas("ses-02", mask=np.zeros_like(chosen)).shape[1] == 0
    face = sub.get_roi_mask("face")
    np.testing.assert_array_equal(sub.get_betas(1, mask=face), sub.get_betas(1, roi="face"))


def test_masks_that_are_none(sub: Subject) -> None:
    n_voxels = sub.get_n_voxels()
    with pytest.raises(ValueError, match=rf"of shape \({n_voxels},\).* found shape \(3,\) and dtype bool"):
        sub.get_betas(1, mask=np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match=rf"found shape \({n_voxels},\) and dtype int64"):
        sub.get_noise_ceiling(session=1, mask=np.arange(n_voxels))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"mask='rsquare': .* pass mask_source="):
        sub.get_betas(1, mask="rsquare")  # type: ignore[arg-type]
    for call in (sub.get_voxel_coordinates, lambda **given: sub.get_betas(1, **given)):
        with pytest.raises(ValueError, match="mutually exclusive"):
            call(roi="FFA1", mask=np.ones(n_voxels, dtype=bool))  # type: ignore[operator]
    with pytest.raises(ValueError, match="Unknown mask_source: 'r2'"):
        sub.get_roi_mask("FFA1", mask_source="r2")  # type: ignore[arg-type]


def test_the_threshold_reads_the_map_of_its_own_session(sub: Subject, tiny: Path) -> None:
    """At or above it; NaN is below. Sessions of a list may have other voxels."""
    index = oracle.roi(tiny, ["laionventral"])
    found = sub.get_betas(["ses-02", "ses-01"], roi="laionventral", nc_threshold=20)
    assert isinstance(found, dict)
    for name, values in found.items():
        kept = index[oracle.session_ceiling(tiny, name, index) >= 20]
        np.testing.assert_array_equal(values, oracle.betas(tiny, name, kept))
    assert len({values.shape[1] for values in found.values()}) == 2
    exact = float(np.nanmax(oracle.session_ceiling(tiny, "ses-01", index)))
    assert sub.get_betas(1, roi="laionventral", nc_threshold=exact).shape[1] == 1
    assert sub.get_betas(1, roi="laionventral", nc_threshold=101).shape[1] == 0


def test_a_threshold_below_one_is_a_percentage_too(sub: Subject, tiny: Path) -> None:
    """As in the published examples: 0.2 is 0.2 %. A trap, and a warning says so."""
    brain = oracle.mask(tiny)
    with pytest.warns(UserWarning, match=r"nc_threshold=0\.2 means 0\.2 %.* Pass 20 for 20 %") as told:
        found = sub.get_betas("ses-01", nc_threshold=0.2)
    assert told[0].filename == __file__
    kept = brain[oracle.session_ceiling(tiny, "ses-01", brain) >= np.float32(0.2)]
    np.testing.assert_array_equal(found, oracle.betas(tiny, "ses-01", kept))
    for wrong in (np.nan, "20", True):
        with pytest.raises(ValueError, match="must be a percentage"):
            sub.get_betas("ses-01", nc_threshold=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("stimuli", ["shared", "unique"])
@pytest.mark.parametrize("streaming", [False, True])
def test_betas_of_some_stimuli(sub: Subject, tiny: Path, stimuli: Any, streaming: bool) -> None:
    rows = np.char.startswith(oracle.labels(tiny, "ses-01"), f"{stimuli}_")
    expected = oracle.betas(tiny, "ses-01", oracle.roi(tiny, ["MT"]))[rows]
    np.testing.assert_array_equal(sub.get_betas(1, roi="MT", stimuli=stimuli, streaming=streaming), expected)


def test_masks_of_rois(sub: Subject, tiny: Path) -> None:
    queries = ["FFA-1", "face", "all", "place - OPA"]
    found = sub.get_roi_masks(queries)
    assert list(found) == queries
    place = oracle.flags(tiny, ["MPA", "PPA"]) & ~oracle.flags(tiny, ["OPA"])
    expected = [oracle.flags(tiny, names) for names in (["FFA1"], FACE, sub.get_available_rois())]
    for mask, other in zip(found.values(), [*expected, place], strict=True):
        np.testing.assert_array_equal(mask, other)
    np.testing.assert_array_equal(sub.get_roi_mask(["FFA1", "OFA"]), oracle.flags(tiny, ["FFA1", "OFA"]))
    there = oracle.flags(tiny, ["OPA"], "rsquare")
    np.testing.assert_array_equal(sub.get_roi_mask("OPA", mask_source="rsquare"), there)
    assert there.sum() < sub.get_roi_mask("OPA").sum()  # it reaches out of the R2 mask
    assert sub.get_roi_masks([]) == {}


@pytest.mark.parametrize("source", ["anatomical", "rsquare"])
def test_masks_and_coordinates(sub: Subject, tiny: Path, source: Any) -> None:
    index = oracle.mask(tiny, source)
    assert sub.get_n_voxels(source) == len(index)
    whole = sub.get_brain_mask(source)
    image = nibabel.load(betas_file(tiny, "sub-01", "ses-01"))
    assert (whole.dtype, whole.shape) == (bool, (np.prod(image.shape[:3]),))
    np.testing.assert_array_equal(np.flatnonzero(whole), index)
    ijk = np.argwhere(whole.reshape(image.shape[:3]))
    expected = nibabel.affines.apply_affine(image.affine, ijk)
    found = sub.get_voxel_coordinates(mask_source=source)
    assert (found.dtype, found.flags.c_contiguous) == (np.float64, True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    face = oracle.flags(tiny, FACE, source)
    np.testing.assert_array_equal(sub.get_voxel_coordinates(roi="face", mask_source=source), found[face])
    np.testing.assert_array_equal(sub.get_voxel_coordinates(mask=face, mask_source=source), found[face])


def test_roi_data(sub: Subject, tiny: Path) -> None:
    found = sub.get_roi_data("FFA1")["FFA1"]
    np.testing.assert_array_equal(found["volume"], oracle.flags(tiny, ["FFA1"]))
    assert sorted(found["gii"]) == ["hemi-L", "hemi-R"]
    assert sorted(found["gii"]["hemi-L"]) == ["func.gii", "label"]
    assert sorted(sub.get_roi_data("face", format="nii.gz")) == FACE
    assert list(sub.get_roi_data("FFA1", format="gii", hemi="L")["FFA1"]["gii"]) == ["hemi-L"]
    assert list(sub.get_roi_data("FFA1", format="gii")["FFA1"]) == ["gii"]
    assert list(sub.get_roi_data("FFA1", format="label", hemi="all")["FFA1"]["gii"]["hemi-R"]) == ["label"]
    inside = sub.get_roi_data("OPA", format="volume", mask_source="rsquare")["OPA"]["volume"]
    np.testing.assert_array_equal(inside, oracle.flags(tiny, ["OPA"], "rsquare"))
    with pytest.raises(ValueError, match="Unknown format: 'gifti'"):
        sub.get_roi_data("FFA1", format="gifti")  # type: ignore[arg-type]


def test_noise_ceilings_of_the_subject(sub: Subject, tiny: Path) -> None:
    """In both spellings."""
    brain = oracle.mask(tiny)
    for ours, theirs, file in (("12rep",) * 3, ("4rep",) * 3, ("all", "Allrep", "Allrep")):
        expected = oracle.ceiling(tiny, file, brain)
        np.testing.assert_array_equal(sub.get_noise_ceiling(desc=ours), expected)
        np.testing.assert_array_equal(sub.get_noise_ceiling(desc=f"Noiseceiling{theirs}"), expected)
    several = sub.get_noise_ceiling(desc=["Noiseceiling4rep", "12rep"], roi="face")
    assert isinstance(several, dict)
    assert list(several) == ["Noiseceiling4rep", "12rep"]
    np.testing.assert_array_equal(several["12rep"], oracle.ceiling(tiny, "12rep", oracle.roi(tiny, FACE)))


def test_noise_ceilings_of_sessions(sub: Subject, tiny: Path) -> None:
    index = oracle.roi(tiny, FACE)
    one = sub.get_noise_ceiling("ses-02", roi="face")
    assert isinstance(one, np.ndarray)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, oracle.session_ceiling(tiny, "ses-02", index))
    several = sub.get_noise_ceiling(session=["ses-02", 1], mask=sub.get_roi_mask("face"))
    assert isinstance(several, dict)
    assert list(several) == ["ses-02", "ses-01"]
    for name, values in several.items():
        np.testing.assert_array_equal(values, oracle.session_ceiling(tiny, name, index))
    assert set(sub.get_noise_ceiling(session="all", roi="face")) == ALL


def test_noise_ceilings_need_one_of_session_and_desc(sub: Subject, own_tiny: Path) -> None:
    for given in ({}, {"session": 1, "desc": "12rep"}):
        with pytest.raises(ValueError, match="expected exactly one"):
            sub.get_noise_ceiling(**given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Unknown desc: '12'.* Did you mean"):
        sub.get_noise_ceiling(desc="12")
    session_file(own_tiny, "sub-01", "ses-02", "space-T1w_desc-Noiseceiling_statmap.nii.gz").unlink()
    with pytest.raises(NotInBucketError, match="ses-02_task-images_space-T1w_desc-Noiseceiling"):
        load_subject("sub-01", bucket=own_tiny).get_betas([1, 2], roi="FFA1", nc_threshold=20)


def test_back_to_a_volume(sub: Subject, tiny: Path, tmp_path: Path) -> None:
    """0 outside; a file where one is named, else an image."""
    values = np.arange(1, 1 + sub.get_roi_mask("PPA").sum(), dtype=float)
    image = sub.to_nifti(values, roi="PPA")
    assert image is not None
    expected = np.zeros(sub.get_brain_mask().shape)
    expected[oracle.roi(tiny, ["PPA"])] = values
    np.testing.assert_array_equal(np.asarray(image.dataobj).reshape(-1), expected)
    for name in ("ppa.nii.gz", "ppa.nii"):
        assert sub.to_nifti(values, tmp_path / name, roi="PPA") is None
        written = nibabel.load(tmp_path / name)
        assert written.get_data_dtype() == np.float32
        np.testing.assert_array_equal(written.affine, nibabel.load(betas_file(tiny, "sub-01", "ses-01")).affine)
        np.testing.assert_array_equal(np.asarray(written.dataobj).reshape(-1), expected)
    assert sub.to_nifti(np.zeros((3, len(values))), mask=sub.get_roi_mask("PPA")).shape == (*image.shape, 3)
    assert np.isnan(np.asarray(sub.to_nifti(values, roi="PPA", fill=np.nan).dataobj)).any()
    with pytest.raises(ValueError, match=r"chosen voxels of sub-01 .* found shape \(2,\)"):
        sub.to_nifti(np.zeros(2), roi="PPA")
    with pytest.raises(ValueError, match=r"'x\.img': expected a file name that ends in"):
        sub.to_nifti(values, "x.img", roi="PPA")


def test_the_anatomy_is_files(sub: Subject, tiny: Path, own_tiny: Path) -> None:
    assert sub.has_anatomical()
    assert sub.get_anatomical_dir() == tiny / "derivatives/anatomical/sub-01"
    assert sub.has_freesurfer()
    assert sub.get_freesurfer_dir() == tiny / "derivatives/freesurfer/sub-01"
    assert sub.get_t1w(res="1pt8").is_file()
    expected = tiny / oracle.BRAIN_MASK.format("sub-01")
    assert sub.get_anatomical_brain_mask(res="1pt8") == expected
    own = load_subject("sub-01", bucket=own_tiny)
    for image in ("T1w", "T2w", "desc-brain_mask"):
        (own_tiny / oracle.BRAIN_MASK.format("sub-01").replace("res-1pt8_desc-brain_mask", image)).unlink()
    for call in (own.get_t1w, own.get_t2w, lambda: own.get_brain_mask(res=None), lambda: own.get_n_voxels(res=None)):
        with pytest.raises(
            NotInBucketError, match=r"_space-T1w_(T1w|T2w|desc-brain_mask)\.nii\.gz is not in the bucket"
        ):
            call()
    with pytest.raises(ValueError, match="Unknown res: '1pt5'"):
        sub.get_t1w(res="1pt5")  # type: ignore[arg-type]
    fine = own_tiny / oracle.BRAIN_MASK.format("sub-01").replace("_res-1pt8", "")
    values = np.arange(4 * 5 * 6).reshape(4, 5, 6) % 3
    nibabel.save(nibabel.Nifti1Image(values.astype(np.uint8), np.diag([0.8, 0.8, 0.8, 1])), fine)
    assert own.get_anatomical_brain_mask() == fine
    np.testing.assert_array_equal(own.get_brain_mask(res=None), values.reshape(-1) > 0)
    assert own.get_n_voxels(res=None) == (values > 0).sum()


def test_the_anatomy_opens_as_datasets_too(sub: Subject) -> None:
    for opened, path, name in (
        (sub.open_t1w(), sub.get_t1w(), "T1w"),
        (sub.open_t2w(res="1pt8"), sub.get_t2w(res="1pt8"), "T2w"),
        (sub.open_anatomical_brain_mask(), sub.get_anatomical_brain_mask(), "brain_mask"),
    ):
        np.testing.assert_array_equal(opened[name], np.asarray(nibabel.load(path).dataobj))


def test_without_the_anatomy_the_mask_is_the_other_one(own_tiny: Path) -> None:
    """As in the page's days; one warning for all calls."""
    shutil.rmtree(own_tiny / "derivatives/anatomical/sub-01")
    sub = load_subject("sub-01", bucket=own_tiny)
    with pytest.warns(MissingFileWarning, match="using the mask 'rsquare' instead of 'anatomical'") as told:
        n_voxels = sub.get_n_voxels()
    assert [one.filename for one in told] == [__file__]
    assert n_voxels == len(oracle.mask(own_tiny, "rsquare"))
    expected = oracle.betas(own_tiny, "ses-01", oracle.roi(own_tiny, FACE, "rsquare"))
    np.testing.assert_array_equal(sub.get_betas(1, roi="face"), expected)
    assert not sub.has_anatomical()
    with pytest.raises(NotInBucketError):
        sub.get_anatomical_dir()


def test_a_half_copied_anatomy_is_no_reason_for_another_mask(own_tiny: Path) -> None:
    (own_tiny / oracle.BRAIN_MASK.format("sub-01")).unlink()
    with pytest.raises(NotInBucketError, match="desc-brain_mask"):
        load_subject("sub-01", bucket=own_tiny).get_n_voxels()


TABLE = "image_name,dataset,participant,unique_or_shared,n_reps\n"


def with_table(bucket: Path, images: list[str]) -> None:
    rows = [f"{name},{'NA' if i else 'LAION'},p01,{name.partition('_')[0]},4rep" for i, name in enumerate(images)]
    (bucket / "stimuli/task-images_metadata.csv").write_text(TABLE + "\n".join(rows) + "\n")


def test_stimuli(own_tiny: Path) -> None:
    """Absent in early releases, and said so; read where they are."""
    sub = load_subject("sub-01", bucket=own_tiny)
    (own_tiny / "stimuli/task-images_metadata.csv").unlink()
    assert not sub.has_stimuli()
    for call in (sub.get_stimulus_metadata, sub.get_n_stimuli, lambda: sub.metadata):
        with pytest.raises(NotInBucketError, match=r"stimuli/task-images_metadata\.csv is not in the bucket"):
            call()
    with_table(own_tiny, ["shared_a b+c.jpg", "unique_2.jpg", "unique_3.jpg"])
    assert sub.has_stimuli()
    assert sub.get_stimulus_metadata().iloc[1].tolist() == ["unique_2.jpg", "NA", "p01", "unique", "4rep"]
    for stimuli, n in ((None, 3), ("shared", 1), ("unique", 2)):
        with pytest.warns(UserWarning, match="counts the stimuli of all subjects"):
            assert sub.get_n_stimuli(stimuli) == n  # type: ignore[arg-type]


def test_the_metadata_join_trials_and_stimuli(own_tiny: Path) -> None:
    labels = {session: oracle.labels(own_tiny, session).tolist() for session in sorted(ALL)}
    images = sorted({label for every in labels.values() for label in every}, reverse=True)
    with_table(own_tiny, images)
    sub = load_subject("sub-01", bucket=own_tiny)
    found = sub.metadata
    assert found is sub.metadata
    assert found.index.tolist() == list(range(sum(map(len, labels.values()))))
    assert found["image_name"].tolist() == [label for every in labels.values() for label in every]
    assert found["stim_idx"].tolist() == [images.index(label) for label in found["label"]]
    assert found["session_trial"].tolist() == [row for every in labels.values() for row in range(len(every))]
    assert found["unique_or_shared"].tolist() == [label.partition("_")[0] for label in found["label"]]
    assert set(found["dataset"]) == {"LAION", "NA"}


def test_the_metadata_say_what_they_cannot_number(own_tiny: Path) -> None:
    """A trap: the index counts what is there."""
    with_table(own_tiny, [oracle.labels(own_tiny, "ses-02")[0]])
    for path in (betas_file(own_tiny, "sub-01", "ses-01"), trials_file(own_tiny, "sub-01", "ses-01")):
        path.unlink()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = load_subject("sub-01", bucket=own_tiny).metadata
    texts = sorted(str(one.message) for one in told)
    assert len(texts) == 2
    assert "trials show images that are not in the table" in texts[1]
    assert "Sessions are missing: ses-01." in texts[0]
    assert found["stim_idx"].tolist()[:2] == [0, -1]
    assert found["dataset"].tolist()[:2] == ["LAION", ""]


def test_wrong_names(sub: Subject, tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown subject of .*'sub-02'"):
        load_subject("sub-02", bucket=tiny)
    for name in ("", "sub-"):
        with pytest.raises(ValueError, match="Not a subject"):
            load_subject(name, bucket=tiny)
    with pytest.raises(TypeError, match="must be a string such as 'sub-01', found 1"):
        load_subject(1, bucket=tiny)  # type: ignore[arg-type]
    for call in (lambda roi: sub.get_betas(1, roi=roi), sub.get_roi_mask, lambda roi: sub.get_roi_masks([roi])):
        with pytest.raises(ValueError, match=r"Did you mean .*'FFA1'"):
            call("FFA3")
    with pytest.raises(ValueError, match=r"Unknown session .*'ses-09'"):
        sub.get_betas("ses-09", roi="FFA1")
    with pytest.raises(AccessDeniedError):
        sub.get_betas(session=31, roi="FFA1")
    with pytest.raises(NotInBucketError):
        load_subject("sub-01", bucket=tiny / "nowhere")


def test_a_broken_roi_matters_to_who_asks_for_it(own_tiny: Path) -> None:
    roi_file(own_tiny, "sub-01", "PPA").write_bytes(gzip.compress(b"no volume"))
    sub = load_subject("sub-01", bucket=own_tiny)
    assert sub.get_roi_mask("face").any()
    for roi in ("PPA", "place", "all"):
        with pytest.raises(DataIntegrityError, match="label-PPA"):
            sub.get_roi_masks(["FFA1", roi])
        with pytest.raises(DataIntegrityError, match="label-PPA"):
            sub.get_betas(1, roi=roi)


def test_each_file_is_read_once(counted: str) -> None:
    """The mask and an ROI's file for all of its queries; a session's stream for all of its ROIs; nothing else."""
    sub = load_subject("sub-01", bucket=counted)
    folder = Path(counted.removeprefix("counted://"))
    sizes = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    read = CountingFileSystem.read

    def opened() -> list[str]:
        names = list(read)
        assert dict(read) == {name: sizes[name] for name in names}
        read.clear()
        return names

    read.clear()
    sub.get_roi_masks(sub.get_available_rois())
    assert len(opened()) == 41
    sub.get_n_voxels("rsquare")
    assert [name[7:] for name in opened()] == ["task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"]
    sub.get_betas([1, 2], roi=["FFA1", "PPA"], nc_threshold=20)
    names = opened()
    assert len([name for name in names if name.endswith("SingletrialBetas_statmap.nii.gz")]) == 2
    assert len([name for name in names if "_label-" in name]) == 2
    assert len(names) == 1 + 2 + 2 * 3  # mask, ROIs, and of each session betas, trials and noise ceiling


def test_the_same_arrays_from_a_server(s3: S3, tiny: Path, tmp_path: Path) -> None:
    sub = load_subject("sub-01", bucket=s3.url, storage_options=s3.storage_options)
    index = oracle.roi(tiny, FACE)
    kept = index[oracle.session_ceiling(tiny, "ses-02", index) >= 20]
    found = sub.get_betas(["ses-02"], roi="face", nc_threshold=20)
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["ses-02"], oracle.betas(tiny, "ses-02", kept))
    np.testing.assert_array_equal(sub.get_roi_masks(["face"])["face"], oracle.flags(tiny, FACE))
    np.testing.assert_array_equal(sub.get_noise_ceiling(desc="4rep", roi="face"), oracle.ceiling(tiny, "4rep", index))


T1W = "derivatives/anatomical/sub-01/ses-PrismaAnat/anat/sub-01_ses-PrismaAnat_space-T1w_res-1pt8_T1w.nii.gz"


def test_an_image_of_a_server_has_a_path_in_the_cache(
    s3: S3, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched once, under its own name, again where it was changed, and removed with the cache."""
    monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path))
    sub = load_subject("sub-01", bucket=s3.url, storage_options=s3.storage_options)
    expected = (tiny / T1W).read_bytes()
    path = sub.get_t1w(res="1pt8")
    assert (path.name, path.read_bytes(), path.is_relative_to(tmp_path)) == (Path(T1W).name, expected, True)
    with s3.requests() as asked:
        assert sub.get_t1w(res="1pt8") == path
    assert asked["GET"] == 0
    path.write_bytes(expected[:-1] + b"x")
    assert sub.get_t1w(res="1pt8").read_bytes() == expected
    clear_cache()
    assert not path.exists()
    with pytest.raises(NotInBucketError, match=r"has no local path.*mirror --to FOLDER"):
        sub.get_anatomical_dir()
    monkeypatch.setenv("LAION_FMRI_CACHE_LIMIT", "0")
    with pytest.raises(NotInBucketError, match=r"the cache is switched off.*mirror=FOLDER"):
        sub.get_t1w(res="1pt8")


def test_a_server_and_a_mirror_before_it(s3: S3, tiny: Path, tmp_path: Path) -> None:
    """A path is that of the copy, which is made where there is none; what somebody else has put there stays."""
    given: dict[str, Any] = {"bucket": s3.url, "storage_options": s3.storage_options}
    sub = load_subject("sub-01", mirror=tmp_path, **given)
    for path in (sub.get_anatomical_brain_mask(res="1pt8"), sub.get_t1w(res="1pt8")):
        assert path.read_bytes() == (tiny / path.relative_to(tmp_path)).read_bytes()
    assert sub.get_anatomical_dir() == tmp_path / "derivatives/anatomical/sub-01"
    (tmp_path / T1W).write_bytes(b"mine")
    assert sub.get_t1w(res="1pt8").read_bytes() == (tiny / T1W).read_bytes()
    assert (tmp_path / T1W).read_bytes() == b"mine"


@pytest.mark.parametrize("threshold", [None, 20])
def test_the_same_arrays_from_a_store(tiny: Path, tiny_store: Path, threshold: float | None) -> None:
    """Its chunks hold voxels that are not chosen, and these in another order."""
    sub = load_subject("sub-01", bucket=tiny, store=tiny_store)
    for roi, names in (("face", FACE), ("FFA1", ["FFA1"]), (None, None)):
        index = oracle.mask(tiny, "rsquare") if names is None else oracle.roi(tiny, names, "rsquare")
        found = sub.get_betas([2, 1], roi=roi, nc_threshold=threshold, mask_source="rsquare")
        assert isinstance(found, dict)
        for name, values in found.items():
            above = oracle.session_ceiling(tiny, name, index) >= (threshold or -np.inf)
            kept = index if threshold is None else index[above]
            np.testing.assert_array_equal(values, oracle.betas(tiny, name, kept))
    chosen = np.zeros(sub.get_n_voxels("rsquare"), dtype=bool)
    chosen[[3, 200]] = True
    expected = oracle.betas(tiny, "ses-01", oracle.mask(tiny, "rsquare")[[3, 200]])
    np.testing.assert_array_equal(sub.get_betas(1, mask=chosen, mask_source="rsquare"), expected)


def test_a_store_has_one_mask(tiny: Path, tiny_store: Path) -> None:
    with pytest.raises(NotInStoreError, match=r"the mask 'rsquare', not 'anatomical'\. .*mask_source='rsquare'"):
        load_subject("sub-01", bucket=tiny, store=tiny_store).get_betas(1, roi="face")
    sub = load_subject("sub-01", bucket=tiny, store=tiny_store, fallback=True)
    np.testing.assert_array_equal(sub.get_betas(1, roi="face"), oracle.betas(tiny, "ses-01", oracle.roi(tiny, FACE)))
