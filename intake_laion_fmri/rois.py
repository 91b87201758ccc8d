"""Regions of interest: the expressions that name them, and their membership on a voxel axis.

An expression is a name (``FFA1``, also ``FFA-1``), a category (``face``), ``all``, or these joined by ``|`` (union),
``&`` (intersection), ``-`` (difference, with spaces around it, because names hold hyphens) and parentheses. As with
Python's sets, ``-`` binds before ``&``, and ``&`` before ``|``; equals go from left to right. Where an ROI and a
category have the same name, it means the ROI.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.errors import unknown_value
from intake_laion_fmri.layout import clean_label
from intake_laion_fmri.voxels import VOXEL, Coordinates

__all__ = ["ALL", "ROI", "RoiMembership", "RoiSelection", "check_selection", "roi_coordinates"]

ROI = "roi"
"""Dimension and index of the memberships: the public names of the ROIs."""

ALL = "all"
"""Every ROI of the subject."""

RoiSelection = str | Sequence[str]
"""An expression, or a list of them that stands for their union."""

_TOKEN = re.compile(r"\s*(?:[|&()]|(?<=\s)-(?=\s)|[A-Za-z0-9][A-Za-z0-9+_]*(?:-+[A-Za-z0-9+_]+)*)")
_BINDING = {"|": 1, "&": 2, "-": 3}


@dataclass(frozen=True, eq=False)
class RoiMembership:
    """Which voxels belong to which ROI of one subject."""

    names: tuple[str, ...]
    """Public names, sorted."""
    categories: tuple[str, ...]
    """The category of each."""
    inside: NDArray[np.bool_]
    """Shape (roi, voxel)."""

    def select(self, selection: RoiSelection, *, where: str) -> NDArray[np.bool_]:
        """Tell which voxels an expression selects.

        Parameters
        ----------
        selection : str or sequence of str
            An expression, or a list of expressions, whose union is taken.
        where : str
            Whose ROIs these are, for errors.

        Returns
        -------
        array of bool, shape (voxel,)

        Raises
        ------
        ValueError
            If the expression cannot be read, or names what this subject has not; with the nearest names.
        """
        chosen = np.zeros(self.inside.shape[1], dtype=bool)
        for expression in _expressions(selection):
            chosen |= self._evaluate(_parse(expression), where)
        return chosen

    def _evaluate(self, postfix: list[str], where: str) -> NDArray[np.bool_]:
        stack: list[NDArray[np.bool_]] = []
        for token in postfix:
            if token in _BINDING:
                right, left = stack.pop(), stack.pop()
                stack.append(left | right if token == "|" else left & right if token == "&" else left & ~right)
            else:
                stack.append(self._named(token, where))
        return stack.pop()

    def _named(self, name: str, where: str) -> NDArray[np.bool_]:
        clean = clean_label(name)
        if clean in self.names:
            rows: Any = [self.names.index(clean)]
        elif name in self.categories:
            rows = [row for row, category in enumerate(self.categories) if category == name]
        elif name == ALL:
            rows = slice(None)
        else:
            valid = dict.fromkeys([*self.names, *sorted(set(self.categories)), ALL])
            raise unknown_value("ROI", name, valid, where=where)
        result: NDArray[np.bool_] = self.inside[rows].any(axis=0)
        return result


def check_selection(selection: object) -> RoiSelection | None:
    """Check the form of a selection before anything is read.

    Parameters
    ----------
    selection : str, sequence of str, or None
        What a user gave.

    Returns
    -------
    str, tuple of str, or None
        The selection in a form that can be hashed and compared.

    Raises
    ------
    ValueError
        If an expression cannot be read, or the list is empty.
    TypeError
        If it is neither a text nor a list of texts.
    """
    if selection is None:
        return None
    expressions = _expressions(selection)
    for expression in expressions:
        _parse(expression)
    return expressions[0] if isinstance(selection, str) else expressions


def roi_coordinates(membership: RoiMembership) -> Coordinates:
    """Return the memberships as xarray takes coordinates.

    Returns
    -------
    dict
        ``roi`` (names) and ``roi_category`` along ``roi``, ``in_roi`` (bool) along ``roi`` and ``voxel``.
    """
    return {
        ROI: ((ROI,), np.array(membership.names, dtype=object), {"long_name": "region of interest"}),
        "roi_category": ((ROI,), np.array(membership.categories, dtype=object), {"long_name": "category of the ROI"}),
        "in_roi": ((ROI, VOXEL), membership.inside, {"long_name": "whether the voxel belongs to the ROI"}),
    }


def _expressions(selection: object) -> tuple[str, ...]:
    if isinstance(selection, str):
        return (str(selection),)  # numpy's texts become plain ones
    if isinstance(selection, Iterable):
        expressions = tuple(selection)
        if expressions and all(isinstance(expression, str) for expression in expressions):
            return tuple(map(str, expressions))
        if not expressions:
            raise ValueError("roi=[] names no ROI. Expected a name, a category, 'all', a list, or None for the mask.")
    raise TypeError(f"roi must be a text, a list of texts, or None; found {selection!r}.")


def _parse(expression: str) -> list[str]:
    """Put names and operators in postfix order: ``A - (B | C)`` is A, B, C, |, -.

    With a stack instead of recursion (Dijkstra's shunting yard), so that no length or depth is too much.
    """
    postfix: list[str] = []
    waiting: list[str] = []
    wants_name = True
    for token in _tokens(expression):
        if wants_name and (token in _BINDING or token == ")"):
            raise _unreadable(expression, f"{token!r} stands where a name is expected")
        if not wants_name and token not in _BINDING and token != ")":
            raise _unreadable(expression, f"{token!r} stands where an operator is expected")
        if token == "(":
            waiting.append(token)
        elif token == ")":
            while waiting and waiting[-1] != "(":
                postfix.append(waiting.pop())
            if not waiting:
                raise _unreadable(expression, "')' is one too many")
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
        raise _unreadable(expression, "it ends where a name is expected")
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
