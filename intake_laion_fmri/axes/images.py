"""The image axis: from labels and groups to rows of a file.

The index along ``image`` is the label, as in the coordinate ``label`` of trials. So `xarray.align` joins images with
averaged betas, and this module joins them with trials.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.labels import Label, parse_label
from intake_laion_fmri.errors import is_several
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.formats.tables import quoted

IMAGE = "image"
"""Dimension and index: the label of an image, its file name."""

Images: TypeAlias = Any
"""The argument ``images``; see `choose_images`."""

_NAMES = ("label", "image_name")
"""Columns and coordinates with labels, in data without an index ``image``."""

_GROUPS = MappingProxyType(
    {
        "shared": lambda label: label.shared,
        "unique": lambda label: not label.shared,
        "ood": lambda label: label.dataset == "OOD",
    }
)
"""Name of a group of images → whether a label belongs to it."""


@dataclass(frozen=True, eq=False)
class ImageSelection:
    """Chosen images, in order, and their rows in a file."""

    labels: NDArray[np.object_]
    """Shape (image,), repeats included."""
    rows: NDArray[np.int64]
    """Shape (image,): their positions among the known labels."""

    def __len__(self) -> int:
        return len(self.labels)


def choose_images(images: Images, known: Sequence[str], *, where: str) -> ImageSelection:
    """Resolve a user's selection of images to labels and rows.

    Parameters
    ----------
    images : None, str, sequence of str, Dataset, DataArray, DataFrame, Series or Index
        None for all; ``"shared"``, ``"unique"`` or ``"ood"``; a subject, ``"sub-01"``, for its planned images; a label,
        or several; data with an index ``image`` (averaged betas, embeddings); trials with ``label``, one image per
        trial; or a stimulus table. Order and repeats are kept.
    known : sequence of str
        The valid labels, in the order of the file.
    where : str
        Source of the labels, for errors.

    Returns
    -------
    ImageSelection

    Raises
    ------
    ValueError
        If a label is unknown, with the nearest ones.
    TypeError
        If `images` contains no labels.
    """
    rows = {label: row for row, label in reversed(list(enumerate(known)))}  # the first of equal labels
    if images is None:
        return _selected(known, range(len(known)))
    if isinstance(images, str) and images not in rows:
        belongs = _GROUPS.get(images) or _seen_by(images)
        if belongs:
            chosen = [row for row, label in enumerate(known) if (parsed := parse_label(label)) and belongs(parsed)]
            return _selected([known[row] for row in chosen], chosen)
    labels = named_images(images)
    unknown = [label for label in dict.fromkeys(labels) if label not in rows]
    if unknown:
        raise _unknown(unknown, known, where)
    return _selected(labels, [rows[label] for label in labels])


def named_images(images: Images) -> list[str]:
    """Return the labels in a user's value, in order; TypeError without labels."""
    values = np.ravel(_held(images)).tolist()
    found = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
    labels = [value for value in found if isinstance(value, str)]
    if len(labels) < len(found):
        wrong = next(value for value in found if not isinstance(value, str))
        raise TypeError(
            f"images: expected labels such as 'shared_12rep_LAION_cluster_1003_i0.jpg', found {wrong!r}. The label of "
            "a row of the stimulus table is open_stimulus_table().index[row]."
        )
    return labels


def image_coordinate(labels: Sequence[str] | NDArray[np.object_]) -> Coordinates:
    """Return the index along ``image``, as xarray takes it."""
    values = np.empty(len(labels), dtype=object)
    values[:] = labels
    return {IMAGE: ((IMAGE,), values, {"long_name": "stimulus file name"})}


def _selected(labels: Sequence[str], rows: Sequence[int]) -> ImageSelection:
    return ImageSelection(np.array(labels, dtype=object), np.array(rows, dtype=np.int64))


def _seen_by(subject: str) -> Any:
    """Return a filter for a subject's planned images; None for other texts."""
    if not layout.is_subject(subject):
        return None
    code = layout.PARTICIPANT_CODES.get(subject)

    def was_shown(label: Label) -> bool:
        return label.shared or label.participant == code

    if code is None:
        subjects = ", ".join(layout.PARTICIPANT_CODES)
        raise ValueError(f"images={subject!r}: the images of this subject are not known. Valid: {subjects}.")
    return was_shown


def _held(images: Images) -> NDArray[np.object_]:
    """Return the labels in a user's value, whatever its type."""
    if isinstance(images, str | bytes):
        return np.array([images], dtype=object)
    if hasattr(images, "columns"):  # a table
        column = next((name for name in _NAMES if name in images.columns), None)
        if column is None and images.index.name not in (IMAGE, *_NAMES):
            raise _without_labels(images)
        return np.asarray(images.index if column is None else images[column], dtype=object)
    if hasattr(images, "coords"):  # of xarray
        there = {*images.coords, *getattr(images, "data_vars", ())}
        name = next((name for name in (IMAGE, *_NAMES) if name in there), None)
        if name is not None:
            return np.asarray(images[name], dtype=object)
        if hasattr(images, "data_vars") or images.dtype.kind not in "OUST":
            raise _without_labels(images)
    if isinstance(images, Mapping) or not is_several(images):
        raise _without_labels(images)
    return np.asarray(images if hasattr(images, "__array__") else list(images), dtype=object)


def _without_labels(images: object) -> TypeError:
    return TypeError(
        f"images: expected labels, data with an index 'image', or trials with a coordinate or column 'label' as from "
        f"open_betas and open_trials; found a {type(images).__name__} without labels."
    )


def _unknown(unknown: Sequence[str], known: Sequence[str], where: str) -> ValueError:
    """Describe unknown labels, with the nearest valid ones."""
    folded = {label.casefold(): label for label in known}
    near = difflib.get_close_matches(unknown[0].casefold(), folded, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(folded[name]) for name in near)}?" if near else ""
    more = f", and {len(unknown) - 1} others" if len(unknown) > 1 else ""
    groups = ", ".join([*map(repr, _GROUPS), "'sub-01'"])
    return ValueError(
        f"Unknown image of {where}: {quoted(unknown[0])}{more}.{hint} Expected labels as in the trial tables, or one "
        f"of {groups}; open_stimulus_table() lists the labels."
    )
