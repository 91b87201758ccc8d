"""Roles of images in a split: train, test, or neither."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.labels import parse_label
from intake_laion_fmri.formats.split_file import Split

SHARED = "shared"
"""Pool of the images that all subjects saw."""

OOD = "ood"
"""Split with the out-of-distribution images as test side, in every pool."""

ROLES: Mapping[str, int] = {"unused": 0, "train": 1, "test": 2}
"""Name of a role → its flag in ``split_role``."""


def has_role(roles: NDArray[np.int8], role: str) -> NDArray[np.bool_]:
    """Return flags of a role; ``"both"`` is train or test."""
    return np.asarray(roles > 0 if role == "both" else roles == ROLES[role])


def roles_in(labels: NDArray[np.object_], split: Split, variant_id: int = 0) -> NDArray[np.int8]:
    """Return the role of each label in a split as flags."""
    variant = split.variant(variant_id)
    sides = dict.fromkeys(variant.train_ids, ROLES["train"]) | dict.fromkeys(variant.test_ids, ROLES["test"])
    return np.fromiter(map(sides.get, labels, itertools.repeat(0)), dtype=np.int8, count=len(labels))


def ood_roles(labels: NDArray[np.object_], pool: str, types: frozenset[str] | None = None) -> NDArray[np.int8]:
    """Derive the roles of ``ood``: test if out-of-distribution, train otherwise."""
    participant = layout.PARTICIPANT_CODES.get(pool)

    def role(label: str) -> int:
        parsed = parse_label(label)
        if parsed is None:
            return ROLES["unused"]
        if parsed.dataset == "OOD":
            return ROLES["test" if is_of_type(label, types) else "unused"]
        is_own = pool != SHARED and participant in (None, parsed.participant)
        return ROLES["train" if parsed.shared or is_own else "unused"]

    return np.fromiter((role(label) for label in labels), dtype=np.int8, count=len(labels))


def is_of_type(label: str, types: frozenset[str] | None) -> bool:
    """Return True if an image has one of the types (None: all)."""
    parsed = parse_label(label)
    return types is None or (parsed is not None and parsed.ood_type in types)
