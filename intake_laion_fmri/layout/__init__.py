"""All assumptions about the bucket: address, trees, keys and access.

A key is the path of an object below the bucket's root, with forward slashes. The bucket is declared once, in
`layout.trees`: its trees (`TREES`) and the kinds of files in them (`KINDS`). A kind's template gives keys from entities
(`key`) and entities from keys (`parse_key`). Users choose *groups* of files (``rois``); every file has a *kind*
(``roi_gii``). Listings, inventories, commands and mirrors follow from these two tables: when the bucket changes, they
change.
"""

from __future__ import annotations

from intake_laion_fmri.layout.entities import (
    ENTITIES,
    HELD_OUT_SESSIONS,
    PARTICIPANT_CODES,
    RAW_ENTITIES,
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
from intake_laion_fmri.layout.keys import (
    ObjectInfo,
    ParsedKey,
    described_kind,
    group_of,
    groups_in,
    is_needed,
    is_of_public,
    key,
    parse_key,
    tree_of,
)
from intake_laion_fmri.layout.trees import (
    ANATOMY,
    ANATOMY_ROOT,
    ARCHIVE,
    BETAS,
    BETAS_ENDINGS,
    BETAS_ROOT,
    BUCKET_URL,
    CONTACT,
    FREESURFER,
    GATED,
    GROUPS,
    KINDS,
    LARGE_GROUPS,
    LICENSE,
    LOCALIZERS,
    MAIN_TREES,
    NOISE_CEILINGS,
    PARTICIPANTS,
    RAW,
    REFERENCES,
    REGION,
    REQUEST_URL,
    ROI_KINDS,
    ROIS,
    ROIS_ROOT,
    SPACE,
    SPLITS_ROOT,
    STIMULI,
    STIMULI_ROOT,
    STIMULUS_METADATA,
    SUBJECT_TREES,
    TEDANA,
    TREES,
    Kind,
    Tree,
)
