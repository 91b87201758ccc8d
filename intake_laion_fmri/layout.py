"""Every assumption about the bucket: its address, its trees, its keys and what may be read.

A key is the path of an object below the bucket's root, with forward slashes. The bucket is declared once: its trees
(`TREES`) and the kinds of files in them (`KINDS`). A kind's template gives keys from entities (`key`) and entities from
keys (`parse_key`). Users choose *groups* of files (``rois``); every file has a *kind* (``roi_gii``). Listings,
inventories, commands and mirrors follow from these two tables: when the bucket changes, this file changes.

Source: the data set's documentation (ViCCo-Group/LAION-fMRI: ``glmsingle_betas.rst``, ``discover.rst``, ``_paths.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from intake_laion_fmri.entities import (
    ENTITIES,
    HELD_OUT_SESSIONS,
    PARTICIPANT_CODES,
    SESSION,
    SUBJECT,
    clean_label,
    is_held_out,
    is_session,
    is_subject,
    name_entities,
    same_session,
    session_name,
    session_number,
    session_of,
    subject_name,
)

__all__ = [
    "ANATOMY",
    "ANATOMY_ROOT",
    "BETAS",
    "BETAS_ENDINGS",
    "BETAS_ROOT",
    "BUCKET_URL",
    "CONTACT",
    "ENTITIES",
    "GATED",
    "GROUPS",
    "HELD_OUT_SESSIONS",
    "KINDS",
    "LICENSE",
    "MAIN_TREES",
    "NOISE_CEILINGS",
    "PARTICIPANT_CODES",
    "REFERENCES",
    "REGION",
    "ROIS",
    "ROIS_ROOT",
    "ROI_KINDS",
    "SPACE",
    "SPLITS_ROOT",
    "STIMULI_ROOT",
    "STIMULUS_METADATA",
    "SUBJECT_TREES",
    "TREES",
    "Kind",
    "ObjectInfo",
    "ParsedKey",
    "Tree",
    "clean_label",
    "described_kind",
    "group_of",
    "groups_in",
    "is_held_out",
    "is_needed",
    "is_of_public",
    "is_session",
    "is_subject",
    "key",
    "name_entities",
    "parse_key",
    "same_session",
    "session_name",
    "session_number",
    "session_of",
    "subject_name",
    "tree_of",
]

BUCKET_URL = "s3://laion-fmri"
REGION = "us-west-2"
LICENSE = "CC0-1.0"
REFERENCES = "LAION-fMRI, https://github.com/ViCCo-Group/LAION-fMRI"
CONTACT = "the data set's authors, https://github.com/ViCCo-Group/LAION-fMRI/issues"

SPACE = "T1w"
BETAS_ROOT = "derivatives/glmsingle-tedana"
ROIS_ROOT = "derivatives/rois"
ANATOMY_ROOT = "derivatives/anatomical"
STIMULI_ROOT = "stimuli"
STIMULUS_METADATA = f"{STIMULI_ROOT}/task-images_metadata.csv"
SPLITS_ROOT = "derivatives/splits"
"""Where a bucket of one's own may hold split files; the published bucket has none."""


NOISE_CEILINGS: Mapping[str, str] = MappingProxyType({"12rep": "12rep", "4rep": "4rep", "all": "Allrep"})
"""Names of the subject-level noise-ceiling maps, as users say them and as keys spell them."""

_PATTERNS = {"subject": SUBJECT, "session": SESSION, "label": r"[A-Za-z0-9+-]+", "hemi": r"[LR]"}
"""Entity → what it may be, where that is not `_WORD`."""

_WORD = r"[A-Za-z0-9]+"


@dataclass(frozen=True)
class Tree:
    """A folder of the bucket whose files have one owner."""

    name: str
    """As this package calls it."""
    root: str
    """Key of the folder."""
    per: str
    """``"subject"`` where it has a folder for each subject, else ``"dataset"``."""
    rest: str
    """Group of its files that are of no known kind."""
    is_main: bool = False
    """True if its folders are the subjects, and it is listed whenever a subject is opened."""
    is_needed: bool = False
    """True if its files have no session, and are copied with each."""

    def folder(self, subject: str) -> str:
        """Return the folder that holds a subject's files."""
        return f"{self.root}/{subject}" if self.per == "subject" else self.root


@dataclass(frozen=True)
class Kind:
    """Files that are read alike."""

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
        return f"{self.tree.root}/{self.path}"


BETAS = Tree("betas", BETAS_ROOT, per="subject", rest="other", is_main=True)
ROIS = Tree("rois", ROIS_ROOT, per="subject", rest="rois", is_main=True, is_needed=True)
ANATOMY = Tree("anatomy", ANATOMY_ROOT, per="subject", rest="anatomy")

TREES: tuple[Tree, ...] = (
    BETAS,
    ROIS,
    ANATOMY,
    Tree("splits", SPLITS_ROOT, per="dataset", rest="splits", is_needed=True),
    Tree("stimuli", STIMULI_ROOT, per="dataset", rest="stimuli", is_needed=True),
)
SUBJECT_TREES = tuple(tree for tree in TREES if tree.per == "subject")
"""Those with a folder for each subject."""
MAIN_TREES = tuple(tree for tree in TREES if tree.is_main)
"""Those whose union tells which subjects there are."""

_SESSION_FILE = "{subject}/{session}/func/{subject}_{session}_task-images_"
_SUBJECT_FILE = "{subject}/{subject}_task-images_"
_ROI_VOLUME = "{subject}/{category}/{subject}_space-T1w_res-1pt8_label-{label}_mask.nii.gz"
_ROI_SURFACE = "{subject}/{category}/{subject}_hemi-{hemi}_space-fsnative_label-{label}_mask"
_ANATOMY_FILE = "{subject}/ses-PrismaAnat/anat/{subject}_ses-PrismaAnat_space-T1w_res-1pt8_"
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
    Kind("brain_mask", ANATOMY, _ANATOMY_FILE + "desc-brain_mask.nii.gz", "anatomy", is_needed=True),
    Kind("anatomy", ANATOMY, _ANATOMY_FILE + "T1w.nii.gz", "anatomy"),
)
KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""Name → kind of file."""


_NAMES = [*(kind.group for kind in _KINDS), *(tree.rest for tree in TREES if tree.rest != "other"), "other"]
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {group: tuple(kind.name for kind in _KINDS if kind.group == group) for group in dict.fromkeys(_NAMES)}
)
"""Group of files, as users choose them → the kinds that belong to it; see `group_of`."""

ROI_KINDS: Mapping[str, str] = MappingProxyType({kind.name: kind.format for kind in _KINDS if kind.tree is ROIS})
"""Kind of an ROI's file → the name of its format."""

GATED = f"{STIMULI_ROOT}/task-images_stimuli.h5"
"""The images themselves: given only under a data use agreement."""


def _compile(template: str) -> re.Pattern[str]:
    """Turn a template into a pattern; an entity that occurs twice must read the same both times."""
    pattern, seen = "", set()
    for text, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
        pattern += re.escape(text)
        if name:
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{_PATTERNS.get(name, _WORD)})"
            seen.add(name)
    return re.compile(pattern)


BETAS_ENDINGS = tuple(KINDS[kind].path.rpartition("_desc-")[2] for kind in ("betas", "trials"))
"""How the keys of betas and of trial tables end."""

_COMPILED = {tree.root: {kind.name: _compile(kind.template) for kind in _KINDS if kind.tree is tree} for tree in TREES}
_EXTENSIONS = tuple(dict.fromkeys("." + kind.path.rpartition("/")[2].partition(".")[2] for kind in _KINDS))


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing describes it."""

    key: str
    """Path below the bucket's root."""
    size: int
    """Bytes."""
    etag: str
    """Changes when the content does: the store's ETag, or modification time and size of a local file."""
    origin: str | None = field(default=None, compare=False)
    """Where a mirror is in use: ``"mirror"`` if its copy is complete and current, else ``"bucket"``."""

    def __dask_tokenize__(self) -> object:
        return ("intake_laion_fmri.ObjectInfo", self.key, self.size, self.etag)


@dataclass(frozen=True)
class ParsedKey:
    """The kind and the entities of a key."""

    kind: str
    """One of `KINDS`."""
    entities: Mapping[str, str]
    """Entity → value, the values spelled as in the key (``subject`` is ``"sub-01"``)."""


def key(kind: str, **entities: str) -> str:
    """Return the key of an object.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    **entities : str
        The entities of that kind, spelled as in keys: ``subject="sub-01", session="ses-01"``.

    Returns
    -------
    str
        The path below the bucket's root.
    """
    return KINDS[kind].template.format_map(entities)


def parse_key(path: str) -> ParsedKey | None:
    """Parse a key; None if it is of no kind that this package reads.

    Parameters
    ----------
    path : str
        Path below the bucket's root.

    Returns
    -------
    ParsedKey or None
        The inverse of `key`: ``key(parsed.kind, **parsed.entities) == path``.
    """
    tree = tree_of(path)
    for kind, pattern in _COMPILED[tree.root].items() if tree else ():
        match = pattern.fullmatch(path)
        if match:
            return ParsedKey(kind, MappingProxyType(match.groupdict()))
    return None


def group_of(path: str) -> str:
    """Return the group of an object; a JSON file has that of the file it describes.

    Parameters
    ----------
    path : str
        Path below the bucket's root.

    Returns
    -------
    str
        One of `GROUPS`.
    """
    kind, tree = described_kind(path), tree_of(path)
    return KINDS[kind].group if kind else tree.rest if tree else "other"


def groups_in(tree: Tree) -> set[str]:
    """List the groups of a tree's files."""
    return {tree.rest, *(kind.group for kind in _KINDS if kind.tree is tree)}


def tree_of(path: str) -> Tree | None:
    """Return the tree of an object, or None."""
    return next((tree for tree in TREES if path.startswith(f"{tree.root}/")), None)


def is_needed(path: str) -> bool:
    """Return True if an object has no session and is copied with each: an ROI, a mean R2."""
    kind, tree = described_kind(path), tree_of(path)
    return bool((tree and tree.is_needed) or (kind and KINDS[kind].is_needed))


def described_kind(path: str) -> str | None:
    """Return the kind of an object, or of the file that a JSON file describes; None if it has none."""
    described = path.removesuffix(".json")
    endings = [""] if described == path else _EXTENSIONS
    parsed = next(filter(None, (parse_key(described + ending) for ending in endings)), None)
    return parsed.kind if parsed else None


def is_of_public(path: str) -> bool:
    """Return True if an object is no held-out session's (see `is_held_out`), or is a localizer's."""
    session = session_of(path)
    of_localizer = path.startswith("derivatives/localizers/")
    return session is None or not is_session(session) or of_localizer or not is_held_out(session)
