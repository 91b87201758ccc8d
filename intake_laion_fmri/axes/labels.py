"""Labels of stimuli and their grammar."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OOD_TYPES = frozenset(
    {"shape", "relations", "unusual", "cropped", "selfmade", "gaudy", "illusion-classic", "gabor", "illusion-natural"}
)
"""Types of out-of-distribution images."""

_LABEL = re.compile(
    r"(?:shared_(?P<repeats>12|4)rep_(?P<shared>LAION|THINGS\+|NSD|OOD)_(?P<rest>.+)"
    r"|unique_(?P<unique>LAION|THINGS\+?)_.+_(?P<participant>p0[1-5]))\.(?:jpg|png)"
)
_OOD_TYPE = re.compile(r"(?P<type>[A-Za-z0-9-]+)_.+")

_ANY_CASE = re.compile(_LABEL.pattern, re.IGNORECASE)

_UNIQUE_REPEATS = 4


@dataclass(frozen=True)
class Label:
    """The parsed file name of a stimulus."""

    shared: bool
    """Whether all subjects saw the image."""
    dataset: str
    """``LAION``, ``NSD``, ``THINGS``, ``THINGS+`` or ``OOD``."""
    ood_type: str
    """Type of an out-of-distribution image, or an empty text."""
    n_repeats: int
    """Planned presentations to each subject: 12 or 4."""
    participant: str
    """Code of the only subject who saw it (p04 is sub-03), or an empty text."""


@functools.lru_cache(maxsize=2**16)  # twice the images of the data set
def parse_label(label: str) -> Label | None:
    """Parse a stimulus label; None outside the data set's grammar.

    Labels contain spaces, dots, ``+`` and parts of URLs, and are never decoded.
    """
    match = _LABEL.fullmatch(label)
    if match is None:
        return None
    if match["unique"]:
        return Label(False, match["unique"], "", _UNIQUE_REPEATS, match["participant"])
    ood_type = ""
    if match["shared"] == "OOD":
        ood = _OOD_TYPE.fullmatch(match["rest"])
        if ood is None:
            return None
        ood_type = ood["type"]
    return Label(True, match["shared"], ood_type, int(match["repeats"]), "")


def is_altered(label: str) -> bool:
    """Return True if a label follows the grammar except for letter case."""
    return _ANY_CASE.fullmatch(label) is not None and _LABEL.fullmatch(label) is None


def labels_of(trials: Any) -> NDArray[np.object_]:
    """Return the labels of trials or of a list; TypeError without labels."""
    is_table = hasattr(trials, "columns") or hasattr(trials, "data_vars")
    if isinstance(trials, str | bytes | Mapping) and not is_table:
        found = type(trials).__name__
        raise TypeError(f"Expected trials with the column 'label', or the labels themselves, found a {found}.")
    if is_table and "label" not in trials:
        raise TypeError("The trials have no column 'label'. Pass a trial table, as from open_trials.")
    labels = trials["label"] if is_table else trials
    return np.asarray(labels if hasattr(labels, "__array__") else list(labels), dtype=object)
