"""Keys and names: checked against literal keys, globs over the demo bucket, and keys made by Hypothesis."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_laion_fmri import layout
from intake_laion_fmri.demo import subject_truth
from intake_laion_fmri.layout import KINDS, clean_label, key, parse_key, session_name, subject_name

BETAS = "derivatives/glmsingle-tedana"
FUNC = f"{BETAS}/sub-03/ses-02/func/sub-03_ses-02_task-images_"
ANAT = "derivatives/anatomical/sub-03/ses-PrismaAnat/anat/sub-03_ses-PrismaAnat_space-T1w_res-1pt8_"
ROI = "derivatives/rois/sub-03/face/sub-03_space-T1w_res-1pt8_label-FFA-1_mask.nii.gz"
SURFACE = "derivatives/rois/sub-03/face/sub-03_hemi-L_space-fsnative_label-FFA-1_mask"

# One documented key of every kind, spelled out (dataset.md §1), and what it says.
SESSION = {"subject": "sub-03", "session": "ses-02"}
FREESURFER = "derivatives/freesurfer/sub-03"
FLOC = "derivatives/localizers/sub-03/ses-4BarScreenfLoc/func/sub-03_ses-4BarScreenfLoc_task-floc"
FLOC_ENTITIES = {"subject": "sub-03", "session": "ses-4BarScreenfLoc", "task": "floc"}
RUN = "sub-03/ses-05/func/sub-03_ses-05_task-images_run-02"
RUN_ENTITIES = {"subject": "sub-03", "session": "ses-05", "task": "images", "run": "02"}
KEYS = {
    "trials": (FUNC + "desc-SingletrialBetas_trials.tsv", SESSION),
    "betas": (FUNC + "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz", SESSION),
    "session_noise_ceiling": (FUNC + "space-T1w_desc-Noiseceiling_statmap.nii.gz", SESSION),
    "session_r2": (FUNC + "space-T1w_stat-rsquare_desc-R2_statmap.nii.gz", SESSION),
    "hrf_index": (FUNC + "space-T1w_desc-HRFindex_dseg.nii.gz", SESSION),
    "ridge_fraction": (FUNC + "space-T1w_desc-Fracridge_statmap.nii.gz", SESSION),
    "noise_ceiling": (
        f"{BETAS}/sub-03/sub-03_task-images_space-T1w_desc-Noiseceiling12rep_statmap.nii.gz",
        {"subject": "sub-03", "map": "12rep"},
    ),
    "r2_mean": (
        f"{BETAS}/sub-03/sub-03_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz",
        {"subject": "sub-03"},
    ),
    "roi": (ROI, {"subject": "sub-03", "category": "face", "label": "FFA-1"}),
    "roi_gii": (SURFACE + ".func.gii", {"subject": "sub-03", "category": "face", "hemi": "L", "label": "FFA-1"}),
    "roi_label": (SURFACE + ".label", {"subject": "sub-03", "category": "face", "hemi": "L", "label": "FFA-1"}),
    "brain_mask": (ANAT + "desc-brain_mask.nii.gz", {"subject": "sub-03"}),
    "t1w": (ANAT + "T1w.nii.gz", {"subject": "sub-03"}),
    "t2w": (ANAT + "T2w.nii.gz", {"subject": "sub-03"}),
    "full_brain_mask": (ANAT.replace("res-1pt8_", "") + "desc-brain_mask.nii.gz", {"subject": "sub-03"}),
    "full_t1w": (ANAT.replace("res-1pt8_", "") + "T1w.nii.gz", {"subject": "sub-03"}),
    "full_t2w": (ANAT.replace("res-1pt8_", "") + "T2w.nii.gz", {"subject": "sub-03"}),
    "surface": (f"{FREESURFER}/surf/lh.sphere.reg", {"subject": "sub-03", "side": "lh", "surface": "sphere.reg"}),
    "annotation": (
        f"{FREESURFER}/label/rh.aparc.a2009s.annot",
        {"subject": "sub-03", "side": "rh", "atlas": "aparc.a2009s"},
    ),
    "surface_label": (
        f"{FREESURFER}/label/lh.BA1_exvivo.thresh.label",
        {"subject": "sub-03", "side": "lh", "area": "BA1_exvivo.thresh"},
    ),
    "freesurfer_image": (f"{FREESURFER}/mri/aparc+aseg.mgz", {"subject": "sub-03", "image": "aparc+aseg"}),
    "transform": (f"{FREESURFER}/mri/transforms/talairach.lta", {"subject": "sub-03", "transform": "talairach"}),
    "localizer": (
        f"{FLOC}_space-T1w_res-1pt8_contrast-faceVsOthers_stat-z_statmap.nii.gz",
        {**FLOC_ENTITIES, "res": "1pt8", "contrast": "faceVsOthers", "stat": "z"},
    ),
    "localizer_gii": (
        f"{FLOC}_hemi-R_space-fsnative_contrast-bodyVsObject_stat-z_statmap.func.gii",
        {**FLOC_ENTITIES, "hemi": "R", "contrast": "bodyVsObject", "stat": "z"},
    ),
    "localizer_run": (
        f"{FLOC}_run-01_space-T1w_res-1pt5_contrast-face_stat-effect_statmap.nii.gz",
        {**FLOC_ENTITIES, "run": "01", "res": "1pt5", "contrast": "face", "stat": "effect"},
    ),
    "localizer_run_gii": (
        f"{FLOC}_run-01_hemi-L_space-fsnative_contrast-face_stat-effect_statmap.func.gii",
        {**FLOC_ENTITIES, "run": "01", "hemi": "L", "contrast": "face", "stat": "effect"},
    ),
    "bold": (
        "derivatives/tedana/sub-03/ses-05/func/sub-03_ses-05_task-images_run-02_space-T1w_desc-optcom_bold.nii.gz",
        {"subject": "sub-03", "session": "ses-05", "run": "02"},
    ),
    "events": (f"{RUN}_events.tsv", RUN_ENTITIES),
    "raw_bold": (f"{RUN}_echo-2_part-mag_bold.nii.gz", {**RUN_ENTITIES, "echo": "2", "part": "mag"}),
    "raw_sbref": (f"{RUN}_echo-2_sbref.nii.gz", {**RUN_ENTITIES, "echo": "2"}),
    "raw_sbref_part": (f"{RUN}_echo-2_part-mag_sbref.nii.gz", {**RUN_ENTITIES, "echo": "2", "part": "mag"}),
    "stimulus_table": ("stimuli/task-images_metadata.csv", {}),
    "stimuli": ("stimuli/task-images_stimuli.h5", {}),
    "embeddings": ("stimuli/task-images_desc-CLIP_embeddings.h5", {"model": "CLIP"}),
    "captions": ("stimuli/task-images_desc-captions.csv", {}),
    "segmentations": ("stimuli/task-images_desc-segmentations.h5", {}),
    "segmentation_table": ("stimuli/task-images_desc-segmentations_metadata.csv", {}),
    "archived_embeddings": (
        "archive/embeddings/v1/task-images_desc-DINOv2_embeddings.h5",
        {"version": "v1", "model": "DINOv2"},
    ),
    "participants": ("participants.tsv", {}),
}

# The same kinds as shell patterns: which files of a bucket are which.
ANATOMICAL = "derivatives/anatomical/*/ses-PrismaAnat/anat/*_space-T1w"
_F = f"{BETAS}/*/ses-*/func/*_task-images_"
_L = "derivatives/localizers/*/ses-*/func/*"
TASKS = ("floc", "oloc", "MotionLoc", "MotionLeft", "MotionRight")
GLOBS = {
    "trials": [_F + "desc-SingletrialBetas_trials.tsv"],
    "betas": [_F + "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"],
    "session_noise_ceiling": [_F + "space-T1w_desc-Noiseceiling_statmap.nii.gz"],
    "session_r2": [_F + "space-T1w_stat-rsquare_desc-R2_statmap.nii.gz"],
    "hrf_index": [_F + "space-T1w_desc-HRFindex_dseg.nii.gz"],
    "ridge_fraction": [_F + "space-T1w_desc-Fracridge_statmap.nii.gz"],
    "noise_ceiling": [f"{BETAS}/*/*_desc-Noiseceiling{name}_statmap.nii.gz" for name in ("12rep", "4rep", "Allrep")],
    "r2_mean": [f"{BETAS}/*/*_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"],
    "roi": ["derivatives/rois/*/*/*_space-T1w_res-1pt8_label-*_mask.nii.gz"],
    "roi_gii": ["derivatives/rois/*/*/*_hemi-?_space-fsnative_label-*_mask.func.gii"],
    "roi_label": ["derivatives/rois/*/*/*_hemi-?_space-fsnative_label-*_mask.label"],
    "brain_mask": ["derivatives/anatomical/*/ses-PrismaAnat/anat/*_space-T1w_res-1pt8_desc-brain_mask.nii.gz"],
    "t1w": [f"{ANATOMICAL}_res-1pt8_T1w.nii.gz"],
    "t2w": [f"{ANATOMICAL}_res-1pt8_T2w.nii.gz"],
    "full_brain_mask": [f"{ANATOMICAL}_desc-brain_mask.nii.gz"],
    "full_t1w": [f"{ANATOMICAL}_T1w.nii.gz"],
    "full_t2w": [f"{ANATOMICAL}_T2w.nii.gz"],
    "surface": ["derivatives/freesurfer/*/surf/?h.*"],
    "annotation": ["derivatives/freesurfer/*/label/?h.*.annot"],
    "surface_label": ["derivatives/freesurfer/*/label/?h.*.label"],
    "freesurfer_image": ["derivatives/freesurfer/*/mri/*.mgz"],
    "transform": ["derivatives/freesurfer/*/mri/transforms/*.lta"],
    "localizer": [f"{_L}_task-{task}_space-T1w_res-*_statmap.nii.gz" for task in TASKS],
    "localizer_gii": [f"{_L}_task-{task}_hemi-?_space-fsnative_*_statmap.func.gii" for task in TASKS],
    "localizer_run": ["derivatives/localizers/*/ses-*/func/*_run-*_space-T1w_res-*_statmap.nii.gz"],
    "localizer_run_gii": ["derivatives/localizers/*/ses-*/func/*_run-*_hemi-?_space-fsnative_*_statmap.func.gii"],
    "bold": ["derivatives/tedana/*/ses-*/func/*_bold.nii.gz"],
    "events": ["sub-*/ses-*/func/*_events.tsv"],
    "raw_bold": ["sub-*/ses-*/func/*_part-*_bold.nii.gz"],
    "raw_sbref": ["sub-*/ses-*/func/*_echo-?_sbref.nii.gz"],
    "raw_sbref_part": ["sub-*/ses-*/func/*_part-mag_sbref.nii.gz"],
    "stimulus_table": ["stimuli/task-images_metadata.csv"],
    "stimuli": ["stimuli/task-images_stimuli.h5"],
    "embeddings": ["stimuli/*_embeddings.h5"],
    "captions": ["stimuli/*-captions.csv"],
    "segmentations": ["stimuli/*-segmentations.h5"],
    "segmentation_table": ["stimuli/*-segmentations_metadata.csv"],
    "archived_embeddings": ["archive/embeddings/*/*_embeddings.h5"],
    "participants": ["participants.tsv"],
}


NOT_IN_THE_DEMO = {}


@pytest.fixture(scope="module")
def keys(tiny: Path) -> list[str]:
    return sorted(path.relative_to(tiny).as_posix() for path in tiny.rglob("*") if path.is_file())


# Keys


def test_every_kind_has_a_documented_key():
    """A kind added to the table needs its literal key here."""
    assert set(KEYS) == set(GLOBS) == set(KINDS)


@pytest.mark.parametrize("kind", KEYS)
def test_documented_key_is_made_and_read(kind):
    path, entities = KEYS[kind]
    assert key(kind, **entities) == path
    parsed = parse_key(path)
    assert parsed is not None
    assert (parsed.kind, dict(parsed.entities)) == (kind, entities)


@pytest.mark.parametrize("kind", KINDS)
def test_kind_covers_exactly_its_files_of_the_demo_bucket(kind, keys, tiny):
    """No file is missed, none taken for another kind; the demo bucket writes its keys without this package's table."""
    expected = {path.relative_to(tiny).as_posix() for pattern in GLOBS[kind] for path in tiny.glob(pattern)}
    assert expected
    assert {path for path in keys if (parsed := parse_key(path)) and parsed.kind == kind} == expected


def test_every_key_of_the_demo_bucket_formats_back_to_itself(keys):
    parsed = {path: parse_key(path) for path in keys}
    read = {path: entry for path, entry in parsed.items() if entry}
    assert {path: key(entry.kind, **entry.entities) for path, entry in read.items()} == {path: path for path in read}
    assert len(read) < len(keys), "the demo bucket should also hold files that this package does not read"


def test_rois_on_other_grids_and_surfaces_are_no_roi_volumes(keys):
    """The 1.5 mm masks and the surface files carry the same labels, and would be read onto the wrong voxels."""
    others = [path for path in keys if "_mask" in path and "res-1pt5" in path]
    assert len(others) >= 2
    assert [path for path in others if parse_key(path)] == []
    surfaces = [path for path in keys if "fsnative" in path and "rois" in path]
    assert {parse_key(path).kind for path in surfaces} == {"roi_gii", "roi_label"}


def test_public_localizer_of_a_held_out_session_is_no_session_file(keys):
    localizers = [path for path in keys if path.startswith("derivatives/localizers")]
    assert localizers
    kinds = {parse_key(path).kind for path in localizers if not path.endswith(".json")}
    assert kinds == {kind for kind in KINDS if kind.startswith("localizer")}
    assert all(layout.is_of_public(path) for path in localizers)
    assert not layout.is_of_public("derivatives/localizers/sub-01/ses-31/func/sub-01_ses-31_task-images_x.nii.gz")
    assert not layout.is_of_public("sub-01/ses-31/func/sub-01_ses-31_task-oloc_run-01_events.tsv")


@pytest.mark.parametrize("path", [path for path, _ in KEYS.values()])
@pytest.mark.parametrize("break_it", ["{}\n", "\n{}", "{} ", "/{}", "./{}", "{}.part", "x/{}", "s3://laion-fmri/{}"])
def test_nothing_around_a_key_is_overlooked(path, break_it):
    """A trailing newline too: `$` would match before it."""
    assert parse_key(break_it.format(path)) is None


@pytest.mark.parametrize("path", [path for path, _ in KEYS.values() if "sub-03" in path.rpartition("/")[2]])
def test_folder_and_file_name_must_agree_on_the_subject(path):
    folder, name = path.rsplit("/", 1)
    assert parse_key(f"{folder}/{name.replace('sub-03', 'sub-01')}") is None
    assert parse_key(f"{folder.replace('sub-03', 'sub-01')}/{name}") is None


def test_folder_and_file_name_must_agree_on_the_session():
    path, _ = KEYS["betas"]
    folder, name = path.rsplit("/", 1)
    assert parse_key(f"{folder}/{name.replace('ses-02', 'ses-01')}") is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "README",
        FUNC + "desc-SingletrialBetas_trials.json",
        FUNC + "space-T1w_stat-effect_desc-SingletrialBetas_statmap.json",
        FUNC + "space-T1w_stat-effect_desc-SingletrialBetas_statmapXnii.gz",  # a dot is a dot
        FUNC + "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii",
        FUNC.replace("ses-02", "ses-20202") + "desc-SingletrialBetas_trials.tsv",
        FUNC.replace("ses-02", "ses-") + "desc-SingletrialBetas_trials.tsv",
        FUNC.replace("ses-02", "ses-٠٢") + "desc-SingletrialBetas_trials.tsv",
        FUNC.replace("sub-03", "sub-0/3") + "desc-SingletrialBetas_trials.tsv",
        FUNC.replace("sub-03", "sub-") + "desc-SingletrialBetas_trials.tsv",
        ROI.replace("FFA-1", ""),
        ROI.replace("FFA-1", "FFA_1"),
        ROI.replace("FFA-1", "../x"),
        ROI.replace("/face/", "/"),
        ROI.replace("/face/", "/fa/ce/"),
        ROI.replace("res-1pt8", "res-1pt5"),
        ROI.replace("T1w", "MNI"),
        "derivatives/atlases/sub-03/rois/FFA1.nii.gz",  # the dead layout
        FUNC + "desc-meanR2gt15mask_mask.nii.gz",  # not in the bucket
    ],
)
def test_near_misses_are_no_keys(path):
    assert parse_key(path) is None


WORD = st.from_regex(r"[A-Za-z0-9]+", fullmatch=True)
ENTITIES = {
    "subject": st.from_regex(r"sub-[A-Za-z0-9]+", fullmatch=True),
    "session": st.from_regex(r"ses-[0-9]{2,4}", fullmatch=True),
    "category": st.from_regex(r"[A-Za-z0-9]+", fullmatch=True),
    "label": st.from_regex(r"[A-Za-z0-9+-]+", fullmatch=True),
    "map": st.from_regex(r"[A-Za-z0-9]+", fullmatch=True),
    "hemi": st.sampled_from("LR"),
    "side": st.sampled_from(["lh", "rh"]),
    **dict.fromkeys(("task", "run", "echo", "part", "res", "contrast", "stat", "model", "version"), WORD),
    **dict.fromkeys(
        ("surface", "atlas", "area", "image", "transform"), st.from_regex(r"[A-Za-z0-9_.+-]+", fullmatch=True)
    ),
}


@given(data=st.data(), kind=st.sampled_from(list(KINDS)))
def test_any_entities_survive_a_round_trip(data, kind):
    """Future subjects, ROIs and maps are read as well as today's, and never as another kind."""
    entities = {name: data.draw(ENTITIES[name]) for name in sorted(set(re.findall(r"{(\w+)}", KINDS[kind].template)))}
    parsed = parse_key(key(kind, **entities))
    assert parsed is not None
    assert (parsed.kind, dict(parsed.entities)) == (kind, entities)


@given(
    path=st.sampled_from([path for path, _ in KEYS.values()]),
    start=st.integers(0, 200),
    length=st.integers(0, 5),
    inserted=st.text(alphabet="ab01-_/.+ \n", max_size=4),
)
def test_a_mangled_key_is_refused_or_read_verbatim(path, start, length, inserted):
    """Whatever is listed, the key that was parsed is the key that will be fetched."""
    mangled = path[:start] + inserted + path[start + length :]
    parsed = parse_key(mangled)
    assert parsed is None or key(parsed.kind, **parsed.entities) == mangled


def test_entities_cannot_be_changed():
    """Parsed keys are shared between callers."""
    parsed = parse_key(ROI)
    assert parsed is not None
    with pytest.raises(TypeError):
        parsed.entities["label"] = "OFA"  # type: ignore[index]


@pytest.mark.parametrize("subject", ["sub-01", "sub-03"])
def test_folders_hold_the_subject_files(subject, keys):
    """What discovery lists is where the files are."""
    folders = {
        layout.BETAS.folder(subject): {"trials", "betas", "noise_ceiling", "r2_mean"},
        layout.ROIS.folder(subject): {"roi"},
        layout.ANATOMY.folder(subject): {"brain_mask", "t1w"},
    }
    for folder, kinds in folders.items():
        found = [parsed for path in keys if path.startswith(f"{folder}/") and (parsed := parse_key(path))]
        assert kinds <= {parsed.kind for parsed in found}
        assert {parsed.entities["subject"] for parsed in found} == {subject}


def test_noise_ceiling_names_lead_to_files(keys):
    for name in layout.NOISE_CEILINGS.values():
        assert key("noise_ceiling", subject="sub-01", map=name) in keys
    assert set(layout.NOISE_CEILINGS) == {"12rep", "4rep", "all"}


# Names


def test_participant_codes_are_not_in_the_order_of_subjects():
    """p02 is sub-06, not sub-03 (dataset.md §2): the wrong order would mix up the unique images of subjects."""
    assert dict(layout.PARTICIPANT_CODES) == {
        "sub-01": "p01",
        "sub-06": "p02",
        "sub-05": "p03",
        "sub-03": "p04",
        "sub-07": "p05",
    }
    with pytest.raises(TypeError):
        layout.PARTICIPANT_CODES["sub-01"] = "p02"  # type: ignore[index]


@pytest.mark.parametrize(("subject", "n_rois", "n_faces"), [("sub-01", 40, 4), ("sub-03", 43, 6)])
def test_hyphenated_labels_give_the_public_names(subject, n_rois, n_faces, keys):
    """The names of the keys, cleaned, are those of the data set; the counts are dataset.md's."""
    parsed = [entry for path in keys if (entry := parse_key(path)) and entry.kind == "roi"]
    of_subject = [entry.entities for entry in parsed if entry.entities["subject"] == subject]
    labels = [entities["label"] for entities in of_subject]
    assert any("-" in label for label in labels)
    assert {clean_label(label) for label in labels} == set(subject_truth(subject, scale="tiny").rois)
    assert len(labels) == n_rois
    assert sum(entities["category"] == "face" for entities in of_subject) == n_faces


@pytest.mark.parametrize(
    ("label", "name"),
    [("FFA-1", "FFA1"), ("pSTS-faces", "pSTSfaces"), ("laion-dorsal", "laiondorsal"), ("hV4", "hV4"), ("-A--B-", "AB")],
)
def test_clean_label_drops_hyphens(label, name):
    assert clean_label(label) == name
    assert clean_label(name) == name


GOOD = {
    "01": ["{}-01", "01", "1", 1, "{}-1", np.int64(1), np.uint8(1), np.array(1), np.str_("01"), "  {}-01 ", "01\n"],
    "07": ["7", 7, np.int16(7), "\t{}-07"],
    "12": ["12", 12, "{}-12"],
    "100": [100, "100", "{}-100"],
    "00": [0, "0"],
}
BAD = [
    *(True, False, np.True_, None, 1.0, 1.5, float("nan"), np.float32(1), -1, np.int64(-3), 1j),
    *("", " ", "{}-", "-01", "{}--01", "{}-{}-01", "{} 01", "{}- 01", "{}-01/x", "../x", "..", "01,02", "{}_01", "0-1"),
    *("٣", "{}-٣", "²", "１", "{}-0\x001", "{}-0\n1", "1.0", "1e-3", "+1", "*", "%30", "é"),
    *(b"01", bytearray(b"{}-01"), ["{}-01"], (1,), {}, {"01"}, np.array([1]), np.array(["01"]), object(), int, str),
]


def spell(value: object, prefix: str) -> object:
    return value.replace("{}", prefix) if isinstance(value, str) else value


@pytest.mark.parametrize(("prefix", "canonical"), [("sub", subject_name), ("ses", session_name)])
@pytest.mark.parametrize(("digits", "value"), [(digits, value) for digits, values in GOOD.items() for value in values])
def test_spellings_of_a_name_give_one_name(prefix, canonical, digits, value):
    name = canonical(spell(value, prefix))
    assert name == f"{prefix}-{digits}"
    assert type(name) is str


@pytest.mark.parametrize(("prefix", "canonical"), [("sub", subject_name), ("ses", session_name)])
@pytest.mark.parametrize("value", BAD)
def test_what_is_no_name_is_refused_by_value(prefix, canonical, value):
    """A path, a float or a list never becomes part of a key, and never another exception than ValueError."""
    value = spell(value, prefix)
    with pytest.raises(ValueError, match=re.escape(repr(value))) as caught:
        canonical(value)
    assert f"'{prefix}-01'" in str(caught.value), "the message shows a valid spelling"


@pytest.mark.parametrize("value", ["ses-1", "ses-01", "SUB-01", "sub-01 sub-03", "s-01"])
def test_other_entities_are_no_subject(value):
    with pytest.raises(ValueError, match=f"Not a subject: {value!r}"):
        subject_name(value)


@pytest.mark.parametrize("value", ["a", "A1", "pilot", "1e3"])
def test_subject_of_letters_stays_as_it_is(value):
    """BIDS allows them; only numbers are padded."""
    assert subject_name(value) == subject_name(f"sub-{value}") == f"sub-{value}"


@pytest.mark.parametrize("value", ["sub-01", "all", "ALL", "SES-01", "one", "1a", "PrismaAnat", "ses-all"])
def test_other_entities_are_no_session(value):
    with pytest.raises(ValueError, match=f"Not a session: {value!r}"):
        session_name(value)


def test_all_inside_a_list_of_sessions_is_told_to_stand_alone():
    """`session=["all", 1]` must not be answered with "expected 'all'" alone."""
    with pytest.raises(ValueError, match="or 'all' alone"):
        session_name("all")


@given(number=st.integers(0, 9999), spaces=st.sampled_from(["", " ", "\n"]))
def test_numbers_and_names_of_sessions_are_inverse(number, spaces):
    name = f"ses-{number:02d}"
    spellings = (number, str(number), f"{spaces}{number:02d}{spaces}", f"ses-{number}", name, np.int64(number))
    assert {session_name(spelling) for spelling in spellings} == {name}
    assert layout.session_number(name) == number


@given(value=st.text(max_size=8) | st.from_regex(r"\s?(sub-)?[A-Za-z0-9/.-]{0,3}\s?", fullmatch=True))
def test_any_text_is_a_subject_of_bids_or_refused(value):
    """Whatever is accepted can stand in a key, and is accepted again unchanged."""
    if re.fullmatch(r"(sub-)?[A-Za-z0-9]+", value.strip()):
        name = subject_name(value)
        assert re.fullmatch(r"sub-[A-Za-z0-9]{2,}|sub-[A-Za-z]", name)
        assert subject_name(name) == name
    else:
        with pytest.raises(ValueError, match=re.escape(repr(value))):
            subject_name(value)


@given(number=st.integers(0, 9999))
def test_held_out_sessions_are_31_to_34(number):
    assert layout.is_held_out(session_name(number)) == (31 <= number <= 34)


@pytest.mark.parametrize("name", ["ses-031", "ses-0034"])
def test_held_out_session_is_recognised_in_any_width(name):
    """Padding does not open a held-out session."""
    assert layout.is_held_out(name)
