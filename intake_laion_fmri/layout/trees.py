"""The bucket's trees and kinds of files, declared once.

Source: the data set's documentation (ViCCo-Group/LAION-fMRI: ``glmsingle_betas.rst``, ``discover.rst``, ``_paths.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from intake_laion_fmri.layout.entities import ANY_SESSION, SESSION

BUCKET_URL = "s3://laion-fmri"
REGION = "us-west-2"
LICENSE = "CC0-1.0"
REFERENCES = "LAION-fMRI, https://github.com/ViCCo-Group/LAION-fMRI"
CONTACT = "the data set's authors, https://github.com/ViCCo-Group/LAION-fMRI/issues"
REQUEST_URL = "https://laion-fmri.hebartlab.com/request"
"""The form by which the images are asked for."""

SPACE = "T1w"
BETAS_ROOT = "derivatives/glmsingle-tedana"
ROIS_ROOT = "derivatives/rois"
ANATOMY_ROOT = "derivatives/anatomical"
STIMULI_ROOT = "stimuli"
SPLITS_ROOT = "derivatives/splits"
"""Where a bucket of one's own may hold split files; the published bucket has none."""

NOISE_CEILINGS: Mapping[str, str] = MappingProxyType({"12rep": "12rep", "4rep": "4rep", "all": "Allrep"})
"""Names of the subject-level noise-ceiling maps, as users say them and as keys spell them."""


@dataclass(frozen=True)
class Tree:
    """A folder of the bucket, with one kind of owner."""

    name: str
    """As this package calls it."""
    root: str
    """Key of the folder; empty for the bucket's own."""
    per: str
    """``"subject"`` where it has a folder for each subject, else ``"dataset"``."""
    rest: str
    """Group of its files that are of no known kind."""
    is_main: bool = False
    """True if its folders are the subjects, and it is listed whenever a subject is opened."""
    is_needed: bool = False
    """True if its files have no session, and are copied with each."""
    is_large: bool = False
    """True if a copy of the bucket leaves it out unless its group is named."""
    has_sessions: bool = False
    """True if its files are chosen by session; those of other trees belong to the subject, or to nobody."""
    session: str = SESSION
    """Pattern of its sessions' names."""

    def folder(self, subject: str) -> str:
        """Return the folder of a subject's files."""
        return f"{self.root}/{subject}".lstrip("/") if self.per == "subject" else self.root

    def holds(self, path: str) -> bool:
        """Return True if an object is in the tree."""
        if self.root:
            return path.startswith(f"{self.root}/")
        if self.per == "subject":
            return re.match(r"sub-[A-Za-z0-9]+/", path) is not None
        return "/" not in path and not path.startswith(".")


@dataclass(frozen=True)
class Kind:
    """Files of one format and meaning."""

    name: str
    """As this package calls it."""
    tree: Tree
    """Where they are."""
    path: str
    """Template of the key below the tree's root, with the entities in braces."""
    group: str
    """The word by which users choose them."""
    format: str = ""
    """Of an ROI, the name of the format."""
    is_needed: bool = False
    """True if they have no session, and are copied with each."""

    @property
    def template(self) -> str:
        """Template of the whole key."""
        return f"{self.tree.root}/{self.path}".lstrip("/")


BETAS = Tree("betas", BETAS_ROOT, per="subject", rest="other", is_main=True, has_sessions=True)
ROIS = Tree("rois", ROIS_ROOT, per="subject", rest="rois", is_main=True, is_needed=True)
ANATOMY = Tree("anatomy", ANATOMY_ROOT, per="subject", rest="anatomy")
SPLITS = Tree("splits", SPLITS_ROOT, per="dataset", rest="splits", is_needed=True)
STIMULI = Tree("stimuli", STIMULI_ROOT, per="dataset", rest="stimuli", is_needed=True, is_large=True)
ARCHIVE = Tree("archive", "archive", per="dataset", rest="archive", is_large=True)
FREESURFER = Tree("freesurfer", "derivatives/freesurfer", per="subject", rest="freesurfer", is_large=True)
LOCALIZERS = Tree(
    "localizers", "derivatives/localizers", per="subject", rest="localizers", is_large=True, session=ANY_SESSION
)
TEDANA = Tree("tedana", "derivatives/tedana", per="subject", rest="tedana", is_large=True, has_sessions=True)
RAW = Tree("raw", "", per="subject", rest="raw", is_large=True, has_sessions=True, session=ANY_SESSION)
PARTICIPANTS = Tree("participants", "", per="dataset", rest="other", is_needed=True)

TREES: tuple[Tree, ...] = (
    *(BETAS, ROIS, ANATOMY, SPLITS, STIMULI, ARCHIVE),
    *(FREESURFER, LOCALIZERS, TEDANA, RAW, PARTICIPANTS),
)
SUBJECT_TREES = tuple(tree for tree in TREES if tree.per == "subject")
"""Those with a folder for each subject."""
MAIN_TREES = tuple(tree for tree in TREES if tree.is_main)
"""Those whose union tells which subjects there are."""

_SESSION_FILE = "{subject}/{session}/func/{subject}_{session}_task-images_"
_SUBJECT_FILE = "{subject}/{subject}_task-images_"
_ROI_VOLUME = "{subject}/{category}/{subject}_space-T1w_res-1pt8_label-{label}_mask.nii.gz"
_ROI_SURFACE = "{subject}/{category}/{subject}_hemi-{hemi}_space-fsnative_label-{label}_mask"
_ANATOMY_FILE = "{subject}/ses-PrismaAnat/anat/{subject}_ses-PrismaAnat_space-T1w_"
_LOCALIZER = "{subject}/{session}/func/{subject}_{session}_task-{task}_"
_LOCALIZER_RUN = _LOCALIZER + "run-{run}_"
_ON_VOXELS = "space-T1w_res-{res}_contrast-{contrast}_stat-{stat}_statmap.nii.gz"
_ON_VERTICES = "hemi-{hemi}_space-fsnative_contrast-{contrast}_stat-{stat}_statmap.func.gii"
_RAW_RUN = "{subject}/{session}/func/{subject}_{session}_task-{task}_run-{run}_"
_NC, _R2 = "space-T1w_desc-Noiseceiling", "space-T1w_stat-rsquare_desc-R2"

_KINDS = (
    Kind("betas", BETAS, _SESSION_FILE + "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz", "betas"),
    Kind("trials", BETAS, _SESSION_FILE + "desc-SingletrialBetas_trials.tsv", "trials"),
    Kind("session_noise_ceiling", BETAS, _SESSION_FILE + _NC + "_statmap.nii.gz", "noise_ceilings"),
    Kind("noise_ceiling", BETAS, _SUBJECT_FILE + _NC + "{map}_statmap.nii.gz", "noise_ceilings", is_needed=True),
    Kind("session_r2", BETAS, _SESSION_FILE + _R2 + "_statmap.nii.gz", "r2"),
    Kind("r2_mean", BETAS, _SUBJECT_FILE + _R2 + "mean_statmap.nii.gz", "r2", is_needed=True),
    Kind("hrf_index", BETAS, _SESSION_FILE + "space-T1w_desc-HRFindex_dseg.nii.gz", "hrf"),
    Kind("ridge_fraction", BETAS, _SESSION_FILE + "space-T1w_desc-Fracridge_statmap.nii.gz", "ridge"),
    Kind("roi", ROIS, _ROI_VOLUME, "rois", format="volume"),
    Kind("roi_gii", ROIS, _ROI_SURFACE + ".func.gii", "rois", format="func.gii"),
    Kind("roi_label", ROIS, _ROI_SURFACE + ".label", "rois", format="label"),
    Kind("brain_mask", ANATOMY, _ANATOMY_FILE + "res-1pt8_desc-brain_mask.nii.gz", "anatomy", is_needed=True),
    Kind("t1w", ANATOMY, _ANATOMY_FILE + "res-1pt8_T1w.nii.gz", "anatomy", is_needed=True),
    Kind("t2w", ANATOMY, _ANATOMY_FILE + "res-1pt8_T2w.nii.gz", "anatomy"),
    Kind("full_brain_mask", ANATOMY, _ANATOMY_FILE + "desc-brain_mask.nii.gz", "anatomy"),
    Kind("full_t1w", ANATOMY, _ANATOMY_FILE + "T1w.nii.gz", "anatomy"),
    Kind("full_t2w", ANATOMY, _ANATOMY_FILE + "T2w.nii.gz", "anatomy"),
    Kind("surface", FREESURFER, "{subject}/surf/{side}.{surface}", "freesurfer"),
    Kind("annotation", FREESURFER, "{subject}/label/{side}.{atlas}.annot", "freesurfer"),
    Kind("surface_label", FREESURFER, "{subject}/label/{side}.{area}.label", "freesurfer"),
    Kind("freesurfer_image", FREESURFER, "{subject}/mri/{image}.mgz", "freesurfer"),
    Kind("transform", FREESURFER, "{subject}/mri/transforms/{transform}.lta", "freesurfer"),
    Kind("localizer", LOCALIZERS, _LOCALIZER + _ON_VOXELS, "localizers"),
    Kind("localizer_gii", LOCALIZERS, _LOCALIZER + _ON_VERTICES, "localizers"),
    Kind("localizer_run", LOCALIZERS, _LOCALIZER_RUN + _ON_VOXELS, "localizers"),
    Kind("localizer_run_gii", LOCALIZERS, _LOCALIZER_RUN + _ON_VERTICES, "localizers"),
    Kind("bold", TEDANA, _SESSION_FILE + "run-{run}_space-T1w_desc-optcom_bold.nii.gz", "tedana"),
    Kind("events", RAW, _RAW_RUN + "events.tsv", "events"),
    Kind("raw_bold", RAW, _RAW_RUN + "echo-{echo}_part-{part}_bold.nii.gz", "raw"),
    Kind("raw_sbref", RAW, _RAW_RUN + "echo-{echo}_sbref.nii.gz", "raw"),
    Kind("raw_sbref_part", RAW, _RAW_RUN + "echo-{echo}_part-{part}_sbref.nii.gz", "raw"),
    Kind("stimulus_table", STIMULI, "task-images_metadata.csv", "stimulus_table", is_needed=True),
    Kind("stimuli", STIMULI, "task-images_stimuli.h5", "stimuli"),
    Kind("embeddings", STIMULI, "task-images_desc-{model}_embeddings.h5", "embeddings"),
    Kind("captions", STIMULI, "task-images_desc-captions.csv", "captions"),
    Kind("segmentations", STIMULI, "task-images_desc-segmentations.h5", "segmentations"),
    Kind("segmentation_table", STIMULI, "task-images_desc-segmentations_metadata.csv", "segmentations"),
    Kind("archived_embeddings", ARCHIVE, "embeddings/{version}/task-images_desc-{model}_embeddings.h5", "archive"),
    Kind("participants", PARTICIPANTS, "participants.tsv", "participants", is_needed=True),
)
KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""Name → kind of file."""


_NAMES = [*(kind.group for kind in _KINDS), *(tree.rest for tree in TREES if tree.rest != "other"), "other"]
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {group: tuple(kind.name for kind in _KINDS if kind.group == group) for group in dict.fromkeys(_NAMES)}
)
"""Group of files, as users choose them → the kinds that belong to it; see `group_of`."""

LARGE_GROUPS = frozenset(
    {kind.group for kind in _KINDS if kind.tree.is_large and not kind.is_needed}
    | {tree.rest for tree in TREES if tree.is_large}
)
"""Groups that a copy of the bucket leaves out unless they are named."""

ROI_KINDS: Mapping[str, str] = MappingProxyType({kind.name: kind.format for kind in _KINDS if kind.tree is ROIS})
"""Kind of an ROI's file → the name of its format."""

STIMULUS_METADATA = KINDS["stimulus_table"].template
GATED = KINDS["stimuli"].template
"""The images themselves: given only under a data use agreement."""

BETAS_ENDINGS = tuple(KINDS[kind].path.rpartition("_desc-")[2] for kind in ("betas", "trials"))
"""How the keys of betas and of trial tables end."""
