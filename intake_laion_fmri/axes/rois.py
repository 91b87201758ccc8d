"""Regions of interest: selecting expressions, and membership on an axis.

An expression is a name (``FFA1``, also ``FFA-1``), a category (``face``), ``all``, ``V1``, ``V2`` or ``V3`` (the union
of the ventral and dorsal parts, if no ROI has that name), or these joined by ``|`` (union), ``&`` (intersection), ``-``
(difference, between spaces, because names contain hyphens) and parentheses. As with Python's sets, ``-`` binds before
``&``, and ``&`` before ``|``; equal operators apply from left to right. A name shared by an ROI and a category means
the ROI.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import is_several, unknown_value
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.formats.masks import MASK_RULE
from intake_laion_fmri.layout import clean_label

ROI = "roi"
"""Dimension and index of the memberships: the public names of the ROIs."""

ALL = "all"
"""Every ROI of the subject."""

JOINED = ("V1", "V2", "V3")
"""Areas that stand for their ventral and dorsal parts, unless an ROI or category has that name."""

RoiSelection = str | Sequence[str]
"""An expression, or a list of them that stands for their union."""

_TOKEN = re.compile(r"\s*(?:[|&()]|(?<=\s)-(?=\s)|[A-Za-z0-9][A-Za-z0-9+_]*(?:-+[A-Za-z0-9+_]+)*)")
_BINDING = {"|": 1, "&": 2, "-": 3}


@dataclass(frozen=True)
class RoiExpression:
    """A parsed selection of ROIs."""

    selection: RoiSelection
    """The original selection: a text, or a tuple of texts for their union."""
    parts: tuple[tuple[str, ...], ...]
    """Names and operators of each text in postfix order."""

    @classmethod
    def parse(cls, selection: object) -> RoiExpression:
        """Parse a text or a list of texts.

        Raises
        ------
        ValueError
            If an expression cannot be read, or the list is empty.
        TypeError
            If the selection is neither a text nor a list of texts.
        """
        texts = _texts(selection)
        return cls(texts[0] if isinstance(selection, str) else texts, tuple(tuple(_postfix(text)) for text in texts))

    @classmethod
    def union(cls, expressions: Sequence[RoiExpression]) -> RoiExpression:
        """Combine several expressions into their union, in order."""
        texts = tuple(text for expression in expressions for text in _texts(expression.selection))
        return cls(texts, tuple(part for expression in expressions for part in expression.parts))

    @property
    def operands(self) -> tuple[str, ...]:
        """Names, categories and ``all`` in the expression, in order."""
        return tuple(token for part in self.parts for token in part if token not in _BINDING)

    def raise_unless_separate(self) -> None:
        """Raise ValueError if an expression uses operators."""
        for text, part in zip(_texts(self.selection), self.parts, strict=True):
            if len(part) != 1:
                raise ValueError(
                    f"roi={text!r} is a single set of voxels, but each ROI has its own entry here. Expected a name, a "
                    "category, 'all', or a list of these; for an expression, use open_rois."
                )


@dataclass(frozen=True)
class RoiNames:
    """The ROIs of one subject."""

    names: tuple[str, ...]
    """Public names, sorted."""
    categories: tuple[str, ...]
    """The category of each."""
    faulty: tuple[tuple[str, str], ...] = ()
    """Names and categories of ROIs that cannot be used."""

    def rows(self, operand: str) -> list[int]:
        """Return the rows of an operand; empty if it is unknown."""
        row_of = {name: row for row, name in enumerate(self.names)}
        return sorted(row_of[name] for name in self.meant(operand) if name in row_of)

    def meant(self, operand: str) -> list[str]:
        """Resolve an operand to ROI names, unusable ROIs included."""
        pairs = [*zip(self.names, self.categories, strict=True), *self.faulty]
        names = dict.fromkeys(name for name, _ in pairs)
        clean = clean_label(operand)
        if clean in names:
            return [clean]
        within = dict.fromkeys(name for name, category in pairs if category == operand)
        if within:
            return list(within)
        halves = [f"{clean}v", f"{clean}d"] if clean in JOINED else []
        if halves and all(half in names for half in halves):
            return halves
        return list(names) if operand == ALL else []

    def unknown(self, operand: str, *, where: str) -> ValueError:
        """Describe an unknown operand, with the nearest valid ones."""
        return unknown_value(
            "ROI", operand, dict.fromkeys([*self.names, *sorted(set(self.categories)), ALL]), where=where
        )


@dataclass(frozen=True, eq=False)
class RoiMembership:
    """Membership of voxels or vertices in each ROI of a subject."""

    names: tuple[str, ...]
    """Public names, sorted."""
    categories: tuple[str, ...]
    """The category of each."""
    inside: NDArray[np.bool_]
    """Shape (roi, voxel)."""

    def select(self, roi: RoiExpression, *, where: str) -> NDArray[np.bool_]:
        """Return flags for the voxels of an expression, shape (voxel,).

        Raises
        ------
        ValueError
            If the subject, which `where` names, lacks an ROI of the expression; with the nearest names.
        """
        chosen = np.zeros(self.inside.shape[1], dtype=bool)
        for part in roi.parts:
            chosen |= self._evaluate(part, where)
        return chosen

    def keep(self, chosen: NDArray[np.bool_ | np.intp]) -> RoiMembership:
        """Restrict the membership to voxels, given as flags or positions."""
        return RoiMembership(self.names, self.categories, self.inside[:, chosen])

    def _evaluate(self, postfix: tuple[str, ...], where: str) -> NDArray[np.bool_]:
        # Idea: a stack of masks: a name pushes its voxels, an operator combines the top two.
        # Reference: postfix (reverse Polish) notation from `_postfix`.
        # Cost: O(tokens x voxels), and a mask in memory for each waiting operand.
        known = RoiNames(self.names, self.categories)
        stack: list[NDArray[np.bool_]] = []
        for token in postfix:
            if token in _BINDING:
                right, left = stack.pop(), stack.pop()
                stack.append(left | right if token == "|" else left & right if token == "&" else left & ~right)
                continue
            rows = known.rows(token)
            if not rows and token != ALL:
                raise known.unknown(token, where=where)
            stack.append(np.asarray(self.inside[rows].any(axis=0)))
        return stack.pop()


def check_selection(selection: object) -> RoiSelection | None:
    """Return a selection of ROIs in canonical form; see `RoiExpression.parse`."""
    if selection is None:
        return None
    return RoiExpression.parse(selection).selection


def roi_coordinates(rois: RoiNames | RoiMembership) -> Coordinates:
    """Return ROIs, and their membership if given, as coordinates.

    Returns
    -------
    dict
        ``roi`` (names) and ``roi_category`` along ``roi``; ``in_roi`` (bool) along ``roi`` and ``voxel``.
    """
    coordinates: Coordinates = {
        ROI: ((ROI,), np.array(rois.names, dtype=object), {"long_name": "region of interest"}),
        "roi_category": ((ROI,), np.array(rois.categories, dtype=object), {"long_name": "category of the ROI"}),
    }
    if isinstance(rois, RoiMembership):
        attrs = {"long_name": "whether the voxel belongs to the ROI", "comment": MASK_RULE}
        coordinates["in_roi"] = ((ROI, VOXEL), rois.inside, attrs)
    return coordinates


def _texts(selection: object) -> tuple[str, ...]:
    if isinstance(selection, str):
        return (str(selection),)  # numpy.str_ becomes str
    if is_several(selection):
        texts: tuple[object, ...] = tuple(selection)  # type: ignore[arg-type]
        if texts and all(isinstance(text, str) for text in texts):
            return tuple(map(str, texts))
        if not texts:
            raise ValueError("roi=[] is empty. Expected a name, a category, 'all', a list, or None for the mask.")
    raise TypeError(f"roi must be a string, a list of strings, or None; found {selection!r}.")


def _postfix(expression: str) -> list[str]:
    """Convert an expression to postfix order."""
    # Idea: operators wait on a stack until one that binds less follows, which allows any depth of parentheses.
    # Reference: Dijkstra's shunting yard (Mathematisch Centrum, MR 35, 1961).
    # Cost: O(tokens); each token is pushed and popped once.
    postfix: list[str] = []
    waiting: list[str] = []
    wants_name = True
    for token in _tokens(expression):
        if wants_name and (token in _BINDING or token == ")"):
            raise _unreadable(expression, f"found {token!r} where a name is expected")
        if not wants_name and token not in _BINDING and token != ")":
            raise _unreadable(expression, f"found {token!r} where an operator is expected")
        if token == "(":
            waiting.append(token)
        elif token == ")":
            while waiting and waiting[-1] != "(":
                postfix.append(waiting.pop())
            if not waiting:
                raise _unreadable(expression, "')' is unmatched")
            waiting.pop()
        elif token in _BINDING:
            while waiting and _BINDING.get(waiting[-1], 0) >= _BINDING[token]:
                postfix.append(waiting.pop())
            waiting.append(token)
            wants_name = True
        else:
            postfix.append(token)
            wants_name = False
    if wants_name:
        raise _unreadable(expression, "it ends before a name")
    if "(" in waiting:
        raise _unreadable(expression, "a parenthesis is not closed")
    return postfix + waiting[::-1]


def _tokens(expression: str) -> list[str]:
    tokens = []
    position, text = 0, f" {expression.strip()} "
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            found = text[position:].strip()[0]
            reason = "needs a space on either side" if found == "-" else "cannot be read"
            raise _unreadable(expression, f"{found!r} {reason}")
        tokens.append(match.group().strip())
        position = match.end()
    return tokens


def _unreadable(expression: str, found: str) -> ValueError:
    return ValueError(
        f"roi={expression!r} cannot be read: {found}. Expected names, categories or 'all', joined by '|', '&' or ' - ' "
        "(with spaces), and parentheses, such as 'laionventral - (V1v | V1d | hV4)'."
    )
