"""The demo bucket is an oracle: what it claims is checked here with nibabel, numpy and literal key names only."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from demo_files import all_labels, files, glm, sessions, subjects, trials
from tiers import sampled

from intake_laion_fmri.demo import SCALES, Scale, subject_truth, write_demo

LABEL = re.compile(
    r"^(?:shared_(12rep|4rep)_(LAION|THINGS\+|NSD|OOD)_(.+)|unique_(LAION|THINGS\+?)_(.+)_p(0[1-5]))\.(jpg|png)$"
)
OOD_TYPE = re.compile(r"^shared_4rep_OOD_([A-Za-z0-9-]+)_")
PARTICIPANT = {"sub-01": "01", "sub-06": "02", "sub-05": "03", "sub-03": "04", "sub-07": "05"}
CATEGORIES = {"body", "character", "face", "laion", "motion", "object", "place", "retinotopy"}
SUB_01 = {
    *("EBA", "FBA", "VWFA1", "VWFA2", "mfswords", "pSTSwords", "FFA1", "FFA2", "OFA", "pSTSfaces"),
    *("laionEVC", "laiondorsal", "laiongeneral", "laionlateral", "laionventral", "MST", "MT", "lobjects", "vobjects"),
    *(
        "MPA",
        "OPA",
        "PPA",
        "IPCS",
        "IPS0",
        "LO1",
        "LO2",
        "SPCS",
        "TO1",
        "TO2",
        "V1d",
        "V1v",
        "V2d",
        "V2v",
        "V3A",
        "V3B",
    ),
    *("V3d", "V3v", "VO1", "VO2", "hV4"),
}
KEYS = [
    r"(dataset_description\.json|participants\.(tsv|json)|README)",
    r"derivatives/glmsingle-tedana/(?P<sub>sub-\d\d)/(?P<ses>ses-\d\d)/func/(?P=sub)_(?P=ses)_task-images_("
    r"desc-SingletrialBetas_trials\.(tsv|json)"
    r"|space-T1w_stat-effect_desc-SingletrialBetas_statmap\.(nii\.gz|json)"
    r"|space-T1w_desc-Noiseceiling_statmap\.nii\.gz"
    r"|space-T1w_stat-rsquare_desc-R2_statmap\.nii\.gz"
    r"|space-T1w_desc-HRFindex_dseg\.nii\.gz"
    r"|space-T1w_desc-Fracridge_statmap\.nii\.gz"
    r"|desc-GLMsingle_summary\.json)",
    r"derivatives/glmsingle-tedana/(?P<sub>sub-\d\d)/(?P=sub)_task-images_("
    r"space-T1w_desc-Noiseceiling(4rep|12rep|Allrep)_statmap\.(nii\.gz|json)"
    r"|space-T1w_stat-rsquare_desc-R2mean_statmap\.nii\.gz"
    r"|desc-GLMsingle_summary\.json)",
    r"derivatives/rois/(?P<sub>sub-\d\d)/[a-z]+/(?P=sub)_("
    r"space-T1w_res-(1pt8|1pt5)_label-[A-Za-z0-9-]+_mask\.nii\.gz"
    r"|hemi-[LR]_space-fsnative_label-[A-Za-z0-9-]+_mask\.(func\.gii|label))",
    r"derivatives/anatomical/(?P<sub>sub-\d\d)/ses-PrismaAnat/anat/"
    r"(?P=sub)_ses-PrismaAnat_space-T1w(_res-1pt8)?_(T1w|T2w|desc-brain_mask)\.(nii\.gz|json)",
    r"derivatives/freesurfer/(?P<sub>sub-\d\d)/mri/(orig|brain|aseg)\.mgz",
    r"derivatives/freesurfer/(?P<sub>sub-\d\d)/mri/transforms/talairach\.lta",
    r"derivatives/freesurfer/(?P<sub>sub-\d\d)/surf/[lr]h\.(white|pial|inflated|sphere|sphere\.reg)",
    r"derivatives/freesurfer/(?P<sub>sub-\d\d)/surf/[lr]h\.(sulc|curv|thickness|full\.flat\.patch\.3d)",
    r"derivatives/freesurfer/(?P<sub>sub-\d\d)/label/[lr]h\.(aparc\.annot|cortex\.label)",
    r"derivatives/localizers/(?P<sub>sub-\d\d)/(?P<ses>ses-(31|[A-Za-z0-9]+))/func/(?P=sub)_(?P=ses)_task-[A-Za-z]+_"
    r"(run-0\d_)?(space-T1w_res-1pt[58]|hemi-[LR]_space-fsnative)_contrast-[A-Za-z]+_stat-(z|effect)_statmap"
    r"\.(nii\.gz|func\.gii|json)",
    r"(?P<sub>sub-\d\d)/(?P<ses>ses-\d\d)/func/(?P=sub)_(?P=ses)_task-images_run-\d\d_events\.tsv",
    r"(?P<sub>sub-\d\d)/(?P<ses>ses-\d\d)/func/(?P=sub)_(?P=ses)_task-images_run-\d\d_echo-[123]"
    r"(_part-(mag|phase)_bold|(_part-mag)?_sbref)\.(nii\.gz|json)",
    r"derivatives/tedana/(?P<sub>sub-\d\d)/(?P<ses>ses-\d\d)/func/"
    r"(?P=sub)_(?P=ses)_task-images_run-\d\d_space-T1w_desc-optcom_bold\.(nii\.gz|json)",
    r"stimuli/task-images_(metadata\.csv|stimuli\.h5)",
    r"(stimuli|archive/embeddings/v1)/task-images_desc-(CLIP|DINOv2|PEcore|SigLIP2)_embeddings\.h5",
    r"stimuli/task-images_desc-(captions\.csv|segmentations\.h5|segmentations_metadata\.csv)",
    r"derivatives/splits/(shared|sub-\d\d)/(random_[0-4]|cluster_k5_[0-4]|tau|ood)\.json",
]


@pytest.fixture(scope="module", params=sampled(["tiny", "small"], keep=1))
def bucket(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def volume(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj, dtype=np.float32)


def betas(root: Path, subject: str, session: str) -> np.ndarray:
    path = glm(root, subject, "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz", session)
    return volume(path).reshape(-1, len(trials(root, subject, session))).T


def rsquare_mask(root: Path, subject: str) -> np.ndarray:
    r2 = volume(glm(root, subject, "space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"))
    return (r2 != 0) & ~np.isnan(r2)


def roi_files(root: Path, subject: str, ending: str) -> dict[str, Path]:
    found = (root / "derivatives/rois" / subject).glob(f"*/*{ending}")
    return {re.search(r"_label-(.+)_mask\.", path.name)[1]: path for path in found}


def test_keys_are_those_of_the_bucket(bucket):
    """A reader written against the documented layout finds every file, and nothing of another layout."""
    for key in files(bucket):
        assert any(re.fullmatch(pattern, key) for pattern in KEYS), key
    assert {path.name for path in bucket.iterdir() if path.is_dir()} == {
        "archive",
        "derivatives",
        "stimuli",
        *subjects(bucket),
    }


def test_every_key_pattern_occurs(bucket):
    """No kind of file is forgotten."""
    keys = files(bucket)
    for pattern in KEYS:
        assert any(re.fullmatch(pattern, key) for key in keys), pattern
    for subject in subjects(bucket):
        for session in [*sessions(bucket, subject), "ses-31"]:
            stem = f"glmsingle-tedana/{subject}/{session}/func/{subject}_{session}_task-images"
            assert sum(stem in key for key in keys) == 9
        assert sum(re.fullmatch(KEYS[2], key) is not None and subject in key for key in keys) == 8


@pytest.mark.parametrize("tree", ["glmsingle-tedana", "rois"])
def test_trees_hold_subjects_only(small, tree):
    """`inspect_bucket` counts five entries, all of them subjects."""
    assert sorted(p.name for p in (small / "derivatives" / tree).iterdir()) == sorted(PARTICIPANT)


def test_root_says_that_it_is_synthetic(tiny):
    """Nobody takes the demo for data."""
    assert "SYNTHETIC" in (tiny / "README").read_text()
    assert "Synthetic" in json.loads((tiny / "dataset_description.json").read_text())["Name"]
    assert (tiny / "participants.tsv").read_text() == ("participant_id\tage\tsex\nsub-01\t25\tn/a\nsub-03\t27\tn/a\n")


def test_held_out_content_is_of_no_format(tiny):
    """A reader that opens a held-out file fails instead of finding an empty session."""
    for key, content in files(tiny).items():
        if "/ses-31/func/" in key and "glmsingle" in key:
            assert content == b"held out: must never be read\n"


def test_labels_follow_the_grammar(bucket):
    """Labels parse, name the right participant, and hold the characters that break naive parsers."""
    for subject in subjects(bucket):
        labels = set(all_labels(bucket, subject))
        for label in labels:
            parsed = LABEL.match(label)
            assert parsed, label
            assert parsed[6] in (None, PARTICIPANT[subject]), label
        assert {OOD_TYPE.match(label)[1] for label in labels if "_OOD_" in label} == {
            *("shape", "relations", "unusual", "cropped", "selfmade", "gaudy", "illusion-classic", "gabor"),
            "illusion-natural",
        }
        blocks = {(m[1] and f"{m[1]} {m[2]}") or m[4] for m in map(LABEL.match, labels)}
        twelve, four = {"12rep LAION", "12rep THINGS+"}, {"4rep NSD", "4rep OOD"}
        assert blocks == twelve | four | {"LAION", "THINGS+", "THINGS"}
        assert {label[-4:] for label in labels} == {".jpg", ".png"}
        text = "".join(labels)
        assert " " in text
        assert "https___www.example.com_img%20a.jpg" in text
        assert "/" not in text


def test_shared_images_are_the_same_for_all_subjects(small):
    """Subjects can be aligned on shared images."""
    shared = {frozenset(x for x in all_labels(small, s) if x.startswith("shared_")) for s in subjects(small)}
    assert len(shared) == 1


def test_repetitions_are_as_planned_but_for_one_image(bucket):
    """Four or twelve repetitions over the public sessions, one image one short; within sessions and across."""
    for subject in subjects(bucket):
        counts = Counter(all_labels(bucket, subject))
        missing = {label: (12 if "_12rep_" in label else 4) - n for label, n in counts.items()}
        assert Counter(missing.values()) == {0: len(counts) - 1, 1: 1}
        per_session = [Counter(r["label"] for r in trials(bucket, subject, s)) for s in sessions(bucket, subject)]
        assert all(max(count.values()) > 1 for count in per_session)
        assert any(sum(label in count for count in per_session) > 1 for label in counts)


def test_trial_tables(bucket):
    """Columns, volume numbers and ascending runs; runs written both ways; sessions of different lengths."""
    styles = set()
    for subject in subjects(bucket):
        lengths = []
        for session in sessions(bucket, subject):
            rows = trials(bucket, subject, session)
            lengths.append(len(rows))
            assert list(rows[0]) == ["session", "run", "beta_index", "label"]
            assert {row["session"] for row in rows} == {session}
            assert [int(row["beta_index"]) for row in rows] == list(range(len(rows)))
            runs = [int(row["run"].removeprefix("run-")) for row in rows]
            assert runs == sorted(runs)
            assert set(runs) == set(range(1, 13))
            styles.add(rows[0]["run"])
        assert len(set(lengths)) == len(lengths)
    assert styles == {"1", "run-01"}


def test_one_grid_per_subject(bucket):
    """Every volume of a subject has one shape and affine, rotated and with a negative axis; sform and qform agree."""
    affines = set()
    for subject in subjects(bucket):
        paths = [
            path
            for path in (bucket / "derivatives").rglob(f"{subject}_*.nii.gz")
            if re.search("res-1pt8|glmsingle", str(path)) and not ("_ses-31_" in path.name and "glmsingle" in str(path))
        ]
        assert len(paths) > 60
        images = [nibabel.load(path) for path in paths]
        first = images[0]
        for image in images:
            assert image.shape[:3] == first.shape[:3]
            np.testing.assert_array_equal(image.affine, first.affine)
            np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
            assert (image.header["qform_code"], image.header["sform_code"]) == (1, 1)
        assert len(set(first.shape[:3])) == 3
        assert np.linalg.det(first.affine[:3, :3]) < 0
        assert np.count_nonzero(first.affine[:3, :3]) == 9
        np.testing.assert_allclose(nibabel.affines.voxel_sizes(first.affine), 1.778, rtol=1e-6)
        affines.add(first.affine.tobytes())
    assert len(affines) == len(subjects(bucket))


def test_masks(bucket):
    """The R2 mask needs its rule and is a strict part of the anatomical mask; betas are 0 outside the latter."""
    for subject in subjects(bucket):
        [path] = (bucket / "derivatives/anatomical" / subject).rglob("*_res-1pt8_desc-brain_mask.nii.gz")
        anatomical = volume(path) > 0
        rsquare = rsquare_mask(bucket, subject)
        r2 = volume(glm(bucket, subject, "space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"))
        assert not (rsquare & ~anatomical).any()
        assert anatomical.sum() > 1.05 * rsquare.sum()
        assert np.isnan(r2[anatomical]).any()
        assert (r2[anatomical] < 0).any()
        for session in sessions(bucket, subject):
            assert not betas(bucket, subject, session)[:, ~anatomical.ravel()].any()


def test_stored_types_and_nans(tiny):
    """Little-endian float32 in sub-01, with voxels that are NaN always and once; one scaled int16 session elsewhere."""
    types = {}
    for subject in subjects(tiny):
        for session in sessions(tiny, subject):
            path = glm(tiny, subject, "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz", session)
            header = nibabel.load(path).header
            types[subject, session] = header.get_data_dtype().str
            with gzip.open(path) as file:
                stored = nibabel.Nifti1Header.from_fileobj(file)
            if types[subject, session] == "<i2":
                assert stored.get_slope_inter() == (2.0**-11, 0.25)
                continue
            nans = np.isnan(betas(tiny, subject, session))
            in_mask = rsquare_mask(tiny, subject).ravel()
            assert nans[:, in_mask].all(axis=0).any()
            assert (nans.sum(axis=0) == 1).any()
    assert Counter(types.values()) == {"<f4": 5, "<i2": 1}
    assert all(kind == "<f4" for (subject, _), kind in types.items() if subject == "sub-01")


def recomputed_ceiling(z: np.ndarray, labels: np.ndarray, wanted: int | None) -> np.ndarray:
    """Return the noise ceiling of (n_trials, n_voxels) z-scored betas, straight from the formula."""
    names, counts = np.unique(labels, return_counts=True)
    chosen = counts > 1 if wanted is None else counts == wanted
    variances = [np.nanvar(z[labels == name], axis=0, ddof=1) for name in names[chosen]]
    noise = np.nanmean(variances, axis=0)
    ncsnr = np.sqrt(np.clip(1 - noise, 0, None) / noise)
    return 100 * ncsnr**2 / (ncsnr**2 + np.mean(1 / counts[chosen]))


# nanvar and nanmean say so where a voxel is NaN in all trials: that is the case under test.
@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Degrees of freedom <= 0 for slice:RuntimeWarning")
def test_written_ceilings_are_those_of_the_betas(bucket):
    """The noise-ceiling maps can be recomputed from the betas and the trial tables alone."""
    for subject in subjects(bucket)[:2]:
        pooled, labels = [], []
        raw = [betas(bucket, subject, session).astype(np.float64) for session in sessions(bucket, subject)]
        brain = np.any([(values != 0).any(axis=0) for values in raw], axis=0)
        for session, values in zip(sessions(bucket, subject), raw, strict=True):
            inside = values[:, brain]
            z = (inside - np.nanmean(inside, axis=0)) / np.nanstd(inside, axis=0)
            names = np.array([row["label"] for row in trials(bucket, subject, session)])
            written = volume(glm(bucket, subject, "space-T1w_desc-Noiseceiling_statmap.nii.gz", session)).ravel()
            np.testing.assert_allclose(written[brain], recomputed_ceiling(z, names, None), rtol=1e-5, atol=1e-5)
            assert not written[~brain].any()
            pooled.append(z)
            labels.append(names)
        for rest, wanted in (("4rep", 4), ("12rep", 12), ("Allrep", None)):
            written = volume(glm(bucket, subject, f"space-T1w_desc-Noiseceiling{rest}_statmap.nii.gz")).ravel()
            expected = recomputed_ceiling(np.concatenate(pooled), np.concatenate(labels), wanted)
            np.testing.assert_allclose(written[brain], expected, rtol=1e-5, atol=1e-5)
            assert not written[~brain].any()
            assert 0 <= np.nanmin(expected) < 30 < np.nanmax(expected) <= 100


def test_drives_are_in_the_betas(small):
    """An ROI's mean response over repetitions follows the drives of the images, ROI by ROI."""
    truth = subject_truth("sub-01", scale="small")
    labels = np.array(all_labels(small, "sub-01"))
    by_session = [betas(small, "sub-01", session) for session in sessions(small, "sub-01")]
    centred = np.concatenate([values - values.mean(axis=0) for values in by_session])
    names = [label for label, n in truth.planned.items() if n == 12]
    correlations = {}
    for column, roi in enumerate(truth.rois):
        others = np.unique(np.concatenate([v for name, v in truth.rois.items() if name != roi]))
        own = np.setdiff1d(truth.rois[roi], np.union1d(others, truth.always_nan))
        if len(own) >= 5:
            responses = [np.nanmean(centred[labels == name][:, own]) for name in names]
            drives = [truth.drives[name][column] for name in names]
            correlations[roi] = np.corrcoef(responses, drives)[0, 1]
    assert len(correlations) >= 5
    assert min(correlations.values()) > 0.9, correlations


def test_summary_maps(tiny):
    """R2mean is the mean of the sessions' R2; HRF indices are integers from 0 to 19."""
    for subject in subjects(tiny):
        r2 = [
            volume(glm(tiny, subject, "space-T1w_stat-rsquare_desc-R2_statmap.nii.gz", session)).astype(np.float64)
            for session in sessions(tiny, subject)
        ]
        written = volume(glm(tiny, subject, "space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"))
        np.testing.assert_allclose(written, np.mean(r2, axis=0), rtol=1e-6)
        hrf = nibabel.load(glm(tiny, subject, "space-T1w_desc-HRFindex_dseg.nii.gz", "ses-01"))
        assert hrf.get_data_dtype().kind == "i"
        assert set(np.unique(np.asarray(hrf.dataobj))) <= set(range(20))


def test_roi_counts(small):
    """The documented numbers of ROIs and of face ROIs per subject, and the 40 names of sub-01."""
    counts = {}
    for subject in subjects(small):
        found = roi_files(small, subject, "_res-1pt8_label-*_mask.nii.gz")
        counts[subject] = (len(found), sum(path.parent.name == "face" for path in found.values()))
        assert {path.parent.name for path in found.values()} == CATEGORIES
        names = {key.replace("-", "") for key in found}
        assert len(names) == len(found)
        assert names <= SUB_01 | {"AFP1", "AFP2", "SPL", "EVC"}
    assert counts == {"sub-01": (40, 4), "sub-03": (43, 6), "sub-05": (41, 6), "sub-06": (41, 5), "sub-07": (41, 6)}
    found = roi_files(small, "sub-01", "_res-1pt8_label-*_mask.nii.gz")
    assert {key.replace("-", "") for key in found} == SUB_01


def test_some_keys_are_hyphenated(small):
    """A name resolves to a key by listing: hyphens in some subjects and ROIs only, the same in all three formats."""
    keys = roi_files(small, "sub-01", "_res-1pt8_label-*_mask.nii.gz")
    assert {"FFA-1", "FFA-2", "pSTS-faces", "laion-dorsal"} <= set(keys)
    assert "laiongeneral" in keys
    assert "FFA1" in roi_files(small, "sub-06", "_res-1pt8_label-*_mask.nii.gz")
    for ending in ("func.gii", "label"):
        for hemi in "LR":
            assert set(roi_files(small, "sub-01", f"_hemi-{hemi}_*_mask.{ending}")) == set(keys)


def test_rois_overlap_as_the_real_ones_do(bucket):
    """Unions contain their parts, IT is what is left of laionventral, and one ROI reaches out of the R2 mask."""
    for subject in subjects(bucket):
        found = roi_files(bucket, subject, "_res-1pt8_label-*_mask.nii.gz")
        roi = {key.replace("-", ""): volume(path) > 0 for key, path in found.items()}
        assert all(mask.any() for mask in roi.values())
        early = np.any([roi[name] for name in ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d")], axis=0)
        assert not (early & ~roi["laionventral"]).any()
        assert (roi["laionventral"] & ~early & ~roi["hV4"]).any()
        for part in ("laionEVC", "laiondorsal", "laionlateral", "laionventral"):
            assert not (roi[part] & ~roi["laiongeneral"]).any()
        if "EVC" in roi:
            np.testing.assert_array_equal(roi["EVC"], early)
        mask = rsquare_mask(bucket, subject)
        assert [name for name, voxels in roi.items() if (voxels & ~mask).any()] == ["OPA"]
        assert {nibabel.load(path).get_data_dtype().str for path in found.values()} == {"|u1", "<f4"}


def test_res_1pt5_is_another_grid(tiny):
    """A reader that takes the newer resolution for the beta grid is found out."""
    others = roi_files(tiny, "sub-01", "_res-1pt5_label-*_mask.nii.gz")
    assert set(others) == {"V1v", "FFA-1", "PPA"}
    same = roi_files(tiny, "sub-01", "_res-1pt8_label-*_mask.nii.gz")
    for key, path in others.items():
        image, beta_grid = nibabel.load(path), nibabel.load(same[key])
        assert image.shape != beta_grid.shape
        np.testing.assert_allclose(nibabel.affines.voxel_sizes(image.affine), 1.5, rtol=1e-6)
        here = nibabel.affines.apply_affine(image.affine, np.argwhere(image.get_fdata()).mean(axis=0))
        there = nibabel.affines.apply_affine(beta_grid.affine, np.argwhere(beta_grid.get_fdata()).mean(axis=0))
        np.testing.assert_allclose(here, there, atol=1.778)


def test_surface_rois(tiny):
    """GIfTI and FreeSurfer label name the same vertices; the hemispheres differ in size."""
    for hemi, n_vertices in (("L", 642), ("R", 650)):
        giftis, labels = (roi_files(tiny, "sub-01", f"_hemi-{hemi}_*_mask.{e}") for e in ("func.gii", "label"))
        assert set(giftis) == set(labels)
        for key, path in giftis.items():
            [array] = nibabel.load(path).darrays
            assert array.data.shape == (n_vertices,)
            lines = labels[key].read_text().splitlines()
            assert lines[0].startswith("#!ascii label")
            assert int(lines[1]) == len(lines) - 2 > 0
            assert {len(line.split()) for line in lines[2:]} == {5}
            vertices = nibabel.freesurfer.read_label(labels[key])
            np.testing.assert_array_equal(vertices, np.flatnonzero(array.data))


def test_subject_truth_is_what_the_files_say(tiny):
    """The published truth is the truth."""
    for subject in subjects(tiny):
        truth = subject_truth(subject, scale="tiny")
        mask = rsquare_mask(tiny, subject)
        np.testing.assert_array_equal(truth.rsquare, np.flatnonzero(mask))
        [path] = (tiny / "derivatives/anatomical" / subject).rglob("*_res-1pt8_desc-brain_mask.nii.gz")
        np.testing.assert_array_equal(truth.anatomical, np.flatnonzero(volume(path)))
        np.testing.assert_array_equal(truth.affine, nibabel.load(path).affine)
        for key, roi in roi_files(tiny, subject, "_res-1pt8_label-*_mask.nii.gz").items():
            np.testing.assert_array_equal(truth.rois[key.replace("-", "")], np.flatnonzero(volume(roi)))
        for session, labels in truth.labels.items():
            assert labels == tuple(row["label"] for row in trials(tiny, subject, session))
            always = np.isnan(betas(tiny, subject, session)).all(axis=0)
            if (subject, session) != ("sub-03", "ses-02"):
                np.testing.assert_array_equal(truth.always_nan, np.flatnonzero(always))


def splits(root: Path, pool: str) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (root / "derivatives/splits" / pool).iterdir()}


def sides(split: dict) -> tuple[list[str], list[str]]:
    [variant] = split["variants"]
    assert variant["variant_id"] == 0
    return variant["train_ids"], variant["test_ids"]


def pools(root: Path) -> dict[str, set[str]]:
    """Pool to the images it must consist of, by the trial tables."""
    seen = {subject: set(all_labels(root, subject)) for subject in subjects(root)}
    found = {subject: {x for x in labels if "_OOD_" not in x} for subject, labels in seen.items()}
    return found | {"shared": set.intersection(*found.values())}


def test_splits_have_the_published_names_and_schema(bucket):
    """Twelve splits of every pool, each a partition into sorted sides of the size that it states."""
    folder = bucket / "derivatives/splits"
    assert sorted(path.name for path in folder.iterdir()) == ["shared", *subjects(bucket)]
    names = {*(f"random_{k}" for k in range(5)), *(f"cluster_k5_{k}" for k in range(5)), "tau", "ood"}
    for pool in pools(bucket):
        found = splits(bucket, pool)
        assert found.keys() == names
        for name, split in found.items():
            assert set(split) == {"name", "pool", "splitter", "params", "n_train", "n_test", "variants"}
            assert split["name"] == name
            assert isinstance(split["params"], dict)
            train, test = sides(split)
            assert (split["n_train"], split["n_test"]) == (len(train), len(test))
            assert (train, test) == (sorted(train), sorted(test))
            assert len({*train, *test}) == len(train) + len(test)


def test_splits_are_partitions_of_the_demos_own_images(bucket):
    """The sides of a split cover the images that were seen; a fifth is for testing, and the groups share them out."""
    images = pools(bucket)
    for pool, members in images.items():
        found = {name: sides(split) for name, split in splits(bucket, pool).items()}
        train, test = found.pop("ood")
        assert set(train) == members
        assert set(test) == {x for x in all_labels(bucket, "sub-01") if "_OOD_" in x}
        assert all({*train, *test} == members for train, test in found.values())
        groups = [found.pop(f"cluster_k5_{k}")[1] for k in range(5)]
        assert sorted(label for group in groups for label in group) == sorted(members)
        assert len(set(map(len, groups))) > 1
        assert all(groups)
        assert {len(test) for _, test in found.values()} == {round(0.2 * len(members))}
        assert len({tuple(test) for _, test in found.values()}) > 3  # of six draws: small pools may repeat one
    assert images["shared"] < images["sub-03"]


def test_the_text_pool_of_a_split_misleads(bucket):
    """As in the published files: a reader that trusts it takes another subject's split."""
    assert splits(bucket, "sub-03")["tau"]["pool"].startswith("sub-04 ")
    assert splits(bucket, "sub-01")["tau"]["pool"].startswith("sub-01 ")
    assert "sub-" not in splits(bucket, "shared")["tau"]["pool"]


def test_splits_of_one_session_of_a_longer_plan(tmp_path):
    """The pool is what is planned, as in the data set, though the first session shows less."""
    scale = Scale(("sub-03",), ("ses-01",), (13, 15, 11), 360, (642, 650), (8, 4), (6, 14), (24, 8, 4), 30, True)
    root = write_demo(tmp_path / "demo", scale=scale)
    seen = {label for label in all_labels(root, "sub-03") if "_OOD_" not in label}
    for pool, n in (("shared", 18), ("sub-03", 54)):
        found = splits(root, pool)
        assert {sum(map(len, sides(split))) for name, split in found.items() if name != "ood"} == {n}
        assert (found["ood"]["n_train"], found["ood"]["n_test"]) == (n, 14)
    assert seen < set(sides(found["ood"])[0])


def test_same_seed_same_bytes(tiny, tmp_path):
    """A demo bucket is reproducible, file by file, and the seed matters."""
    again = files(write_demo(tmp_path / "again", scale="tiny", seed=0))
    assert again == files(tiny)
    other = files(write_demo(tmp_path / "other", scale="tiny", seed=1))
    assert other.keys() == again.keys()
    same = {key for key in again if other[key] == again[key]}
    assert not [key for key in same if key.endswith((".nii.gz", ".tsv")) and "/ses-0" in key]
    assert [key for key in same if "/splits/" in key and "/ood.json" in key]
    assert [key for key in other if "/splits/" in key and key not in same]


def test_tiny_is_small(tiny):
    """Tests may write it as often as they like."""
    content = files(tiny)
    assert sum(map(len, content.values())) < 3e6
    assert len(content) < 1000


def test_small_fits_its_budget(small):
    """`make demo` stays below 60 MB."""
    assert sum(map(len, files(small).values())) < 60e6


def test_session_scale_is_full_size():
    """The scale for benchmarks has the real numbers, though it is too large to be written here."""
    scale = SCALES["session"]
    assert (scale.shape, scale.n_voxels, scale.n_trials) == ((143, 143, 143), 272_080, 1044)
