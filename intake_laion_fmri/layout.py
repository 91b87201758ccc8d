"""Every assumption about the bucket: its address, its keys and what may be read.

A key is the path of an object below the bucket's root, with forward slashes. One table of templates gives the keys
from entities (`key`) and the entities from keys (`parse_key`): when the bucket changes, this file changes.

Source: the data set's documentation (ViCCo-Group/LAION-fMRI: ``glmsingle_betas.rst``, ``discover.rst``, ``_paths.py``).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from intake_laion_fmri import redact

__all__ = [
    "ANATOMY_ROOT",
    "BETAS_ENDINGS",
    "BETAS_ROOT",
    "BUCKET_URL",
    "CONTACT",
    "ENTITIES",
    "GATED",
    "GROUPS",
    "KINDS",
    "LICENSE",
    "NOISE_CEILINGS",
    "PARTICIPANT_CODES",
    "REFERENCES",
    "REGION",
    "ROIS_ROOT",
    "ROI_KINDS",
    "SPACE",
    "SPLITS_ROOT",
    "STIMULI_ROOT",
    "STIMULUS_METADATA",
    "ObjectInfo",
    "ParsedKey",
    "anatomy_folder",
    "clean_label",
    "described_kind",
    "group_of",
    "is_held_out",
    "is_of_public",
    "is_session",
    "is_subject",
    "key",
    "name_entities",
    "parse_key",
    "roi_folder",
    "same_session",
    "session_name",
    "session_number",
    "session_of",
    "subject_folder",
    "subject_name",
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

HELD_OUT_SESSIONS = frozenset(range(31, 35))
"""Session numbers whose objects may be listed, but not read."""

PARTICIPANT_CODES: Mapping[str, str] = MappingProxyType(
    {"sub-01": "p01", "sub-06": "p02", "sub-05": "p03", "sub-03": "p04", "sub-07": "p05"}
)
"""The code in the labels of a subject's unique images. It does not follow the subject's number."""

NOISE_CEILINGS: Mapping[str, str] = MappingProxyType({"12rep": "12rep", "4rep": "4rep", "all": "Allrep"})
"""Names of the subject-level noise-ceiling maps, as users say them and as keys spell them."""

_SUBJECT = r"sub-[A-Za-z0-9]+"
_SESSION = r"ses-[0-9]{1,4}"  # sessions are counted through from the first: no name may ask for a billion of them
_PATTERNS = {
    "subject": _SUBJECT,
    "session": _SESSION,
    "category": r"[A-Za-z0-9]+",
    "label": r"[A-Za-z0-9+-]+",
    "map": r"[A-Za-z0-9]+",
    "hemi": r"[LR]",
}

_SESSION_FILE = BETAS_ROOT + "/{subject}/{session}/func/{subject}_{session}_task-images_"
_SUBJECT_FILE = BETAS_ROOT + "/{subject}/{subject}_task-images_"
_ROI_SURFACE = ROIS_ROOT + "/{subject}/{category}/{subject}_hemi-{hemi}_space-fsnative_label-{label}_mask"
_ANATOMY_FILE = ANATOMY_ROOT + "/{subject}/ses-PrismaAnat/anat/{subject}_ses-PrismaAnat_space-T1w_res-1pt8_"

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "trials": _SESSION_FILE + "desc-SingletrialBetas_trials.tsv",
        "betas": _SESSION_FILE + "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz",
        "session_noise_ceiling": _SESSION_FILE + "space-T1w_desc-Noiseceiling_statmap.nii.gz",
        "session_r2": _SESSION_FILE + "space-T1w_stat-rsquare_desc-R2_statmap.nii.gz",
        "hrf_index": _SESSION_FILE + "space-T1w_desc-HRFindex_dseg.nii.gz",
        "ridge_fraction": _SESSION_FILE + "space-T1w_desc-Fracridge_statmap.nii.gz",
        "noise_ceiling": _SUBJECT_FILE + "space-T1w_desc-Noiseceiling{map}_statmap.nii.gz",
        "r2_mean": _SUBJECT_FILE + "space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz",
        "roi": ROIS_ROOT + "/{subject}/{category}/{subject}_space-T1w_res-1pt8_label-{label}_mask.nii.gz",
        "roi_gii": _ROI_SURFACE + ".func.gii",
        "roi_label": _ROI_SURFACE + ".label",
        "brain_mask": _ANATOMY_FILE + "desc-brain_mask.nii.gz",
        "anatomy": _ANATOMY_FILE + "T1w.nii.gz",
    }
)
"""Kind of object → template of its key, with the entities in braces."""

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "betas": ("betas",),
        "trials": ("trials",),
        "noise_ceilings": ("session_noise_ceiling", "noise_ceiling"),
        "r2": ("session_r2", "r2_mean"),
        "hrf": ("hrf_index",),
        "ridge": ("ridge_fraction",),
        "rois": ("roi", "roi_gii", "roi_label"),
        "anatomy": ("brain_mask", "anatomy"),
        "splits": (),
        "stimuli": (),
        "other": (),
    }
)
"""Group of objects, as users choose them to be copied → the kinds that belong to it; see `group_of`."""

_GROUP_OF_TREE = {STIMULI_ROOT: "stimuli", SPLITS_ROOT: "splits", ROIS_ROOT: "rois", ANATOMY_ROOT: "anatomy"}

GATED = f"{STIMULI_ROOT}/task-images_stimuli.h5"
"""The images themselves: given only under a data use agreement."""

ENTITIES = ("task", "space", "desc", "stat", "suffix", "extension")
"""Parts of a file's name by which files are chosen, besides subject and session."""

ROI_KINDS: Mapping[str, str] = MappingProxyType({"roi": "volume", "roi_gii": "func.gii", "roi_label": "label"})
"""Kind of an ROI's file → the name of its format."""


def _compile(template: str) -> re.Pattern[str]:
    """Turn a template into a pattern; an entity that occurs twice must read the same both times."""
    pattern, seen = "", set()
    for text, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
        pattern += re.escape(text)
        if name:
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{_PATTERNS[name]})"
            seen.add(name)
    return re.compile(pattern)


BETAS_ENDINGS = tuple(KINDS[kind].rpartition("_desc-")[2] for kind in ("betas", "trials"))
"""How the keys of betas and of trial tables end."""

_COMPILED = {kind: _compile(template) for kind, template in KINDS.items()}


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing says of one object."""

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
    """What a key says of its object."""

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
    return KINDS[kind].format_map(entities)


def parse_key(path: str) -> ParsedKey | None:
    """Return what a key says, or None where it is none of the kinds that this package reads.

    Parameters
    ----------
    path : str
        Path below the bucket's root.

    Returns
    -------
    ParsedKey or None
        The inverse of `key`: ``key(parsed.kind, **parsed.entities) == path``.
    """
    for kind, pattern in _COMPILED.items():
        match = pattern.fullmatch(path)
        if match:
            return ParsedKey(kind, MappingProxyType(match.groupdict()))
    return None


def group_of(path: str) -> str:
    """Return the group that an object belongs to; a JSON file belongs to that of the file it describes.

    Parameters
    ----------
    path : str
        Path below the bucket's root.

    Returns
    -------
    str
        One of `GROUPS`.
    """
    for root, group in _GROUP_OF_TREE.items():
        if path.startswith(f"{root}/"):
            return group
    kind = described_kind(path)
    return next((group for group, kinds in GROUPS.items() if kind in kinds), "other")


def described_kind(path: str) -> str | None:
    """Return the kind of an object, or of the one that a JSON file beside it describes; None where it is no kind."""
    described = path.removesuffix(".json")
    endings = [""] if described == path else [".tsv", ".nii.gz", ".func.gii", ".label"]
    parsed = next(filter(None, (parse_key(described + ending) for ending in endings)), None)
    return parsed.kind if parsed else None


def name_entities(path: str) -> Mapping[str, str]:
    """Return the BIDS entities in a file's name, with ``suffix`` and ``extension``.

    Parameters
    ----------
    path : str
        Path below the bucket's root.

    Returns
    -------
    mapping
        Entity → value, without its prefix; the extension with its dot. A name without any entity has no suffix.
    """
    stem, dot, extension = path.rpartition("/")[2].partition(".")
    parts = stem.split("_")
    found = {name: value for name, separator, value in (part.partition("-") for part in parts) if separator}
    if found and "-" not in parts[-1]:
        found["suffix"] = parts[-1]
    if dot:
        found["extension"] = dot + extension
    return found


def session_of(path: str) -> str | None:
    """Return the session that an object belongs to, by its folder or its name; None where it is of none."""
    match = re.search(r"(?:^|[/_])(ses-[A-Za-z0-9]+)(?=[/_.]|$)", path)
    return match[1] if match else None


def is_of_public(path: str) -> bool:
    """Tell whether an object is no held-out session's (see `is_held_out`), or is a localizer's: these are public."""
    session = session_of(path)
    of_localizer = path.startswith("derivatives/localizers/")
    return session is None or not is_session(session) or of_localizer or not is_held_out(session)


def subject_folder(subject: str) -> str:
    """Return the folder that holds a subject's betas, trial tables and maps."""
    return f"{BETAS_ROOT}/{subject}"


def roi_folder(subject: str) -> str:
    """Return the folder that holds a subject's ROIs, one sub-folder per category."""
    return f"{ROIS_ROOT}/{subject}"


def anatomy_folder(subject: str) -> str:
    """Return the folder that holds a subject's anatomical images and brain masks."""
    return f"{ANATOMY_ROOT}/{subject}"


def clean_label(label: str) -> str:
    """Return the public name of an ROI from the label in its key: ``FFA-1`` is ``FFA1``."""
    return label.replace("-", "")


def subject_name(subject: object) -> str:
    """Return a subject in BIDS's spelling.

    Parameters
    ----------
    subject : str or int
        ``"sub-01"``, ``"01"`` or ``1``.

    Returns
    -------
    str
        ``"sub-01"``. Whether the bucket holds such a subject is not looked at.

    Raises
    ------
    ValueError
        If it cannot be a subject's name.
    """
    name = _entity("sub", subject)
    if name is None:
        text = subject.strip() if isinstance(subject, str) else ""
        near = re.fullmatch(r"(?:sub)?[ _-]*([A-Za-z0-9]+)", text, re.IGNORECASE)
        hint = f" Did you mean {_entity('sub', near[1])!r}?" if near else ""
        raise ValueError(
            f"Not a subject: {redact.text(repr(subject))}. Expected a name such as 'sub-01' or '01'.{hint}"
        )
    return name


def session_name(session: object) -> str:
    """Return a session in the spelling of the published bucket.

    Parameters
    ----------
    session : str or int
        ``"ses-01"``, ``"ses-001"``, ``"01"``, ``"1"`` or ``1``: the number counts, not its leading zeros.

    Returns
    -------
    str
        ``"ses-01"``. Whether the bucket holds such a session is not looked at, nor how its folder is spelled: see
        `same_session`.

    Raises
    ------
    ValueError
        If it cannot be a session's name.
    """
    name = _entity("ses", session)
    if name is None or not re.fullmatch(_SESSION, name):
        raise ValueError(
            f"Not a session: {redact.text(repr(session))}. Expected a name such as 'ses-01', '01' or 1, a list "
            "of these, or 'all' alone."
        )
    return f"ses-{session_number(name):02d}"


def same_session(session: str, names: Iterable[str]) -> list[str]:
    """Return the names of a session's number, sorted: as a rule one, or none; ``ses-1`` and ``ses-001`` are two.

    Parameters
    ----------
    session : str
        ``"ses-01"``, in any spelling.
    names : iterable of str
        Names of sessions' folders.
    """
    number = session_number(session)
    return sorted({name for name in names if session_number(name) == number})


def _entity(prefix: str, value: object) -> str | None:
    """Return ``prefix-value`` with a number padded to two digits, or None where the value makes no sense."""
    # To numpy before 2.4 its truth values are indices.
    if isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b":
        return None
    try:
        # numpy's integers are no `int`, but say that they are indices.
        text = value if isinstance(value, str) else str(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        return None
    text = text.strip().removeprefix(f"{prefix}-")
    if not re.fullmatch(r"[A-Za-z0-9]+", text):
        return None
    if text.startswith(prefix) and text.removeprefix(prefix).isdecimal():
        text = text.removeprefix(prefix)  # 'sub01' can mean one thing only
    return f"{prefix}-{text.zfill(2) if text.isdecimal() else text}"


def session_number(session: str) -> int:
    """Return the number in a session's name: 1 for ``"ses-01"``."""
    return int(session.removeprefix("ses-"))


def is_subject(name: str) -> bool:
    """Tell whether a folder's name is that of a subject: ``sub-01``."""
    return re.fullmatch(_SUBJECT, name) is not None


def is_session(name: str) -> bool:
    """Tell whether a folder's name is that of a session: ``ses-01``."""
    return re.fullmatch(_SESSION, name) is not None


def is_held_out(session: str) -> bool:
    """Tell whether a session's betas are kept back by the data set's authors: ``ses-31`` to ``ses-34``."""
    return session_number(session) in HELD_OUT_SESSIONS
