"""Regions of interest: the expressions that name them, their membership on an axis, and the readers of surface files.

An expression is a name (``FFA1``, also ``FFA-1``), a category (``face``), ``all``, ``V1``, ``V2`` or ``V3`` (the union
of the ventral and the dorsal part, where no ROI has that name), or these joined by ``|`` (union),
``&`` (intersection), ``-`` (difference, with spaces around it, because names hold hyphens) and parentheses. As with
Python's sets, ``-`` binds before ``&``, and ``&`` before ``|``; equals go from left to right. Where an ROI and a
category have the same name, it means the ROI.

The readers take bytes and are strict: whatever they are given, they return what the file says or raise
DataIntegrityError, in a time and a memory that the size of the file bounds.
"""

from __future__ import annotations

import base64
import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import DataIntegrityError, is_several, unknown_value
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.layout import clean_label

__all__ = [
    "ALL",
    "MASK_RULE",
    "ROI",
    "RoiMembership",
    "RoiNames",
    "RoiSelection",
    "VertexList",
    "check_selection",
    "mask_of",
    "operands",
    "read_func_gii",
    "read_label",
    "roi_coordinates",
    "single_operands",
]

ROI = "roi"
"""Dimension and index of the memberships: the public names of the ROIs."""

ALL = "all"
"""Every ROI of the subject."""

JOINED = ("V1", "V2", "V3")
"""Areas that stand for their ventral and dorsal parts, where no ROI and no category has that name."""

INSIDE = 0.5
"""A voxel or vertex is inside a mask if its value is above this."""

_NOISE = 1e-3
"""Values up to this are 0: interpolation leaves them."""

MAX_VERTICES = 10_000_000
"""No surface has more: FreeSurfer's have about 150,000 a hemisphere. Bounds what a header can ask for."""

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Bytes of a surface file, at most: a label of a whole hemisphere has half as many. Bounds time and memory."""

MAX_DEPTH = 16
"""XML elements inside each other, at most: GIfTI has five."""

MAX_ELEMENTS = 10_000
"""XML elements of a GIfTI file, at most: of one array it has some dozens."""

MASK_RULE = f"inside are values above {INSIDE:g}; NaN is outside"
"""The rule in words."""

RoiSelection = str | Sequence[str]
"""An expression, or a list of them that stands for their union."""

_END_OF_LINE = re.compile(r"\r\n|\r|\n")
_LINE = re.compile(r"[^\r\n]+")
_COUNT = re.compile(r"[0-9]{1,9}")
# Each text can be read in one way only, so that a pattern of several never tries them all.
_NUMBER = r"[-+]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:[eE][-+]?[0-9]{1,3})?"
_WORD = re.compile(r"[^ \t\r\n]+")
_ASCII_NUMBER = re.compile(rf"{_NUMBER}|[-+]?(?:nan|inf(?:inity)?)", re.IGNORECASE)
_NO_NUMBER = r"[-+]?(?:[nN][aA][nN]|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)"  # statistics that a label carries along
_LABEL_ROW = re.compile(
    r"[ \t]*(-?[0-9]{1,18})" + rf"[ \t]+({_NUMBER})" * 3 + rf"[ \t]+({_NUMBER}|{_NO_NUMBER})" + r"[ \t]*"
)

_TOKEN = re.compile(r"\s*(?:[|&()]|(?<=\s)-(?=\s)|[A-Za-z0-9][A-Za-z0-9+_]*(?:-+[A-Za-z0-9+_]+)*)")
_BINDING = {"|": 1, "&": 2, "-": 3}


@dataclass(frozen=True)
class RoiNames:
    """The ROIs of one subject."""

    names: tuple[str, ...]
    """Public names, sorted."""
    categories: tuple[str, ...]
    """The category of each."""
    faulty: tuple[tuple[str, str], ...] = ()
    """Names and categories of others, whose files are of no use."""

    def rows(self, operand: str) -> list[int]:
        """Return the ROIs that a name, a category or ``all`` stands for; none where it is unknown."""
        row_of = {name: row for row, name in enumerate(self.names)}
        return sorted(row_of[name] for name in self.meant(operand) if name in row_of)

    def meant(self, operand: str) -> list[str]:
        """Return the names that a name, a category or ``all`` stands for, those of no use among them."""
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
        """Describe an operand that stands for nothing, with the nearest ones that do."""
        return unknown_value(
            "ROI", operand, dict.fromkeys([*self.names, *sorted(set(self.categories)), ALL]), where=where
        )


@dataclass(frozen=True, eq=False)
class RoiMembership:
    """Which voxels, or which vertices, belong to which ROI of one subject."""

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

    def keep(self, chosen: NDArray[np.bool_ | np.intp]) -> RoiMembership:
        """Return the membership of the chosen voxels only; `chosen` are flags, shape (voxel,), or places."""
        return RoiMembership(self.names, self.categories, self.inside[:, chosen])

    def _evaluate(self, postfix: list[str], where: str) -> NDArray[np.bool_]:
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


def roi_coordinates(rois: RoiNames | RoiMembership) -> Coordinates:
    """Return the ROIs, and where it is given their membership, as xarray takes coordinates.

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


def operands(selection: RoiSelection) -> list[str]:
    """Return the names, categories and ``all`` that a selection is made of, in their order."""
    postfix = [token for expression in _expressions(selection) for token in _parse(expression)]
    return [token for token in postfix if token not in _BINDING]


def single_operands(selection: object) -> tuple[str, ...]:
    """Return the names, categories and ``all`` of a selection that joins none of them.

    Raises
    ------
    ValueError
        If it is an expression with operators, or empty.
    TypeError
        If it is neither a text nor a list of texts.
    """
    expressions = _expressions(selection)
    for expression in expressions:
        if len(_parse(expression)) != 1:
            raise ValueError(
                f"roi={expression!r} stands for one set of voxels, where each ROI has its own entry. Expected a name, "
                "a category, 'all', or a list of these; for an expression, use open_rois."
            )
    return tuple(operands(expressions))


@dataclass(frozen=True, eq=False)
class VertexList:
    """What a FreeSurfer label lists, in the order of the file."""

    vertices: NDArray[np.int64]
    """Shape (entry,): indices of vertices, from 0."""
    xyz: NDArray[np.float32]
    """Shape (entry, 3): their positions as the file tells them, in millimetres of FreeSurfer's surface space."""
    values: NDArray[np.float32]
    """Shape (entry,): the value of each."""

    def equals(self, other: VertexList) -> bool:
        """Return True if another list has the same entries."""
        pairs = ((self.vertices, other.vertices), (self.xyz, other.xyz), (self.values, other.values))
        return all(np.array_equal(mine, its, equal_nan=True) for mine, its in pairs)


def mask_of(values: NDArray[Any], *, name: str, note: Callable[[str], None]) -> NDArray[np.bool_]:
    """Return which values of an ROI's mask are inside: those above 0.5. NaN is outside.

    The same rule for volumes and surfaces. Masks are 0 and 1; what else programs write is taken where it can mean one
    thing only: NaN or -1 as background, another number than 1, and what interpolation leaves near 0. Values in between,
    or several numbers, are noted.

    Parameters
    ----------
    values : array
        Any shape.
    name : str
        What to call the file in errors and notes.
    note : callable
        Called with what is no plain mask, in words.

    Raises
    ------
    DataIntegrityError
        If a value is infinite, or several numbers and no background tell that this is no mask.
    """
    inside: NDArray[np.bool_] = values > INSIDE
    odd = values[(values > _NOISE) & (values != 1)]
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise _Broken(name)("expected a mask of finite numbers, found an infinite one")
    if not odd.size:
        return inside
    n_between = int((odd < 1 - _NOISE).sum())
    numbers = np.unique(np.round(values[inside]))
    if len(numbers) > 1 and inside.all():
        raise _Broken(name)(f"expected a mask, found the numbers {_few(numbers)} and no background")
    if n_between:
        note(f"{name}: {n_between} values of the mask lie between 0 and 1; those above {INSIDE:g} are inside")
    elif len(numbers) > 1:
        note(f"{name}: the mask holds several numbers, {_few(numbers)}; all of them are inside")
    return inside


def _few(numbers: NDArray[Any]) -> str:
    return ", ".join([*(f"{number:g}" for number in numbers[:4]), *(["…"] if len(numbers) > 4 else [])])


def _ignore(text: str) -> None:
    """Take no note."""


def read_func_gii(
    content: bytes, *, name: str, hemi: str | None = None, note: Callable[[str], None] = _ignore
) -> NDArray[np.bool_]:
    """Read the mask of a surface from a GIfTI file.

    The file is read here and not by nibabel (which the tests hold against it), because nibabel unpacks without a
    bound, drops what is no Base64, and follows names of external files.

    Parameters
    ----------
    content : bytes
        The file: one array of one number per vertex, in the file itself.
    name : str
        What to call the file in errors.
    hemi : {"L", "R"}, optional
        The hemisphere that the file must be of, where it says so itself.
    note : callable, optional
        Called with what is no plain mask, in words.

    Returns
    -------
    array of bool, shape (vertex,)
        By the rule of `mask_of`: whether the number is above 0.5.

    Raises
    ------
    DataIntegrityError
        If it is no such file, a number is infinite, or it says that it is of the other hemisphere.
    """
    from xml.parsers.expat import ExpatError

    broken = _Broken(name)
    _expect_size(content, broken)
    collector = _GiftiCollector(broken)
    try:
        collector.parse(content)
    except ExpatError as error:
        raise broken(f"expected a complete GIfTI file, found: {error}") from error
    if len(collector.arrays) != 1 or collector.declared not in (None, "1"):
        found = len(collector.arrays)
        raise broken(f"expected one data array, found {found}, and {collector.declared or 'no number'} declared")
    (attributes,) = collector.arrays
    intent = attributes.get("Intent", "")
    if intent in _NO_MASKS:
        raise broken(f"expected one number per vertex, found an array with the Intent {intent}")
    for side in collector.sides:
        if hemi and _HEMISPHERE_WORDS[hemi] not in side.casefold():
            raise broken(f"expected hemisphere {hemi}, found the AnatomicalStructurePrimary {side[:80]!r}")
    n_vertices = _n_vertices(attributes, broken)
    return mask_of(_decode(attributes, collector.text(), n_vertices, broken), name=name, note=note)


def read_label(content: bytes, *, name: str, n_vertices: int | None = None) -> VertexList:
    """Read a FreeSurfer label.

    Parameters
    ----------
    content : bytes
        The file: a comment, the number of vertices, then a line ``vertex x y z value`` for each.
    name : str
        What to call the file in errors.
    n_vertices : int, optional
        Number of vertices of the surface, where it is known.

    Returns
    -------
    VertexList

    Raises
    ------
    DataIntegrityError
        If it is no such file, has not as many lines as it says, or a vertex is not on the surface.
    """
    broken = _Broken(name)
    _expect_size(content, broken)
    text = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1")  # numbers are ASCII; names in the comment may be not
    comment, count, rest = [*_END_OF_LINE.split(text, maxsplit=2), "", ""][:3]
    if not comment.startswith("#") or "\0" in comment:
        raise broken(f"line 1: expected a comment, '#!ascii label', found {comment[:80]!r}")
    if not _COUNT.fullmatch(count.strip(" \t")):
        raise broken(f"line 2: expected the number of vertices, found {count[:80]!r}")
    # Counted before anything is made of them, and no further than needed: a file may say, and be, anything.
    found = sum(1 for _ in itertools.islice(_entries(rest), int(count) + 1))
    if found != int(count):
        more = f"{found} or more" if found > int(count) else str(found)
        raise broken(f"expected {int(count)} vertices, as its second line says, found {more}")
    vertices, others = np.empty(found, dtype=np.int64), np.empty((found, 4))
    odd: dict[int, float] = {}
    last = (MAX_VERTICES if n_vertices is None else n_vertices) - 1
    for entry, (start, row) in enumerate(_entries(rest)):
        fields = _LABEL_ROW.fullmatch(row)
        if fields is None:
            raise broken(f"line {_line_of(rest, start)}: expected 'vertex x y z value', found {row[:80]!r}")
        vertex, *numbers = fields.groups()
        if not 0 <= int(vertex) <= last:
            raise broken(f"line {_line_of(rest, start)}: expected a vertex from 0 to {last}, found {vertex}")
        vertices[entry], others[entry] = int(vertex), [float(text) for text in numbers]
        if numbers[3][-1].isalpha():  # nan and inf are values as others; too large a number is none
            others[entry, 3], odd[entry] = 0, float(numbers[3])
    if not (np.abs(others) <= np.finfo(np.float32).max).all():
        raise broken("expected numbers that float32 can hold, found a larger one")
    for entry, value in odd.items():
        others[entry, 3] = value
    narrow = others.astype(np.float32)
    return VertexList(vertices, narrow[:, :3], narrow[:, 3])


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Return start and text of the lines of a label that are not empty, from its third on."""
    for line in _LINE.finditer(text):
        if not line[0].isspace():
            yield line.start(), line[0]


def _line_of(text: str, start: int) -> int:
    """Return the number of a line from the third on."""
    return 3 + sum(1 for _ in _END_OF_LINE.finditer(text, 0, start))


def _expect_size(content: bytes, broken: _Broken) -> None:
    if len(content) > MAX_FILE_BYTES:
        raise broken(f"expected a surface file of at most {MAX_FILE_BYTES} bytes, found {len(content)}")


def _expressions(selection: object) -> tuple[str, ...]:
    if isinstance(selection, str):
        return (str(selection),)  # numpy's texts become plain ones
    if is_several(selection):
        expressions: tuple[object, ...] = tuple(selection)  # type: ignore[arg-type]
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


class _Broken:
    """Makes the error for what was found in a file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, found: str) -> DataIntegrityError:
        # What is quoted of a broken file may be of any length.
        return DataIntegrityError(f"{self._name}: {found[:500]}. Fetch the file again; if it stays so, report it.")


_GIFTI_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "NIFTI_TYPE_UINT8": "u1",
        "NIFTI_TYPE_INT8": "i1",
        "NIFTI_TYPE_UINT16": "u2",
        "NIFTI_TYPE_INT16": "i2",
        "NIFTI_TYPE_UINT32": "u4",
        "NIFTI_TYPE_INT32": "i4",
        "NIFTI_TYPE_UINT64": "u8",
        "NIFTI_TYPE_INT64": "i8",
        "NIFTI_TYPE_FLOAT32": "f4",
        "NIFTI_TYPE_FLOAT64": "f8",
    }
)
_GIFTI_ENDIANS: Mapping[str, str] = MappingProxyType(
    # The second of each is what old versions of nibabel wrote.
    {"LittleEndian": "<", "BigEndian": ">", "GIFTI_ENDIAN_LITTLE": "<", "GIFTI_ENDIAN_BIG": ">"}
)
_NO_MASKS = frozenset({"NIFTI_INTENT_NODE_INDEX", "NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE"})
_HEMISPHERE_WORDS: Mapping[str, str] = MappingProxyType({"L": "left", "R": "right"})


_LONGEST_WORD = 100
_LATIN_1 = re.compile(rb"\s{0,80}<\?xml [^>]{0,200}encoding=[\"']iso-8859-1[\"']", re.IGNORECASE)
_DATA = ["GIFTI", "DataArray", "Data"]


class _GiftiCollector:
    """Collects the attributes and the text of the data arrays of a GIfTI file; opens nothing else."""

    def __init__(self, broken: _Broken) -> None:
        self._broken = broken
        self._path: list[str] = []
        self._elements = self._blocks = 0
        self._pieces: list[str] = []
        self._name = self._value = ""
        self.sides: list[str] = []
        """The hemispheres that the file says it is of."""
        self.arrays: list[dict[str, str]] = []
        """The attributes of each data array."""
        self.declared: str | None = None
        """How many the file says that there are."""

    def parse(self, content: bytes) -> None:
        """Read a file in UTF-8, UTF-16 or Latin-1; another encoding that it names is taken for UTF-8."""
        from xml.parsers import expat

        parser = expat.ParserCreate("ISO-8859-1" if _LATIN_1.match(content) else "UTF-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._skipped
        parser.Parse(content, True)

    def text(self) -> str:
        """Return the text of the data."""
        return "".join(self._pieces)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._path:
            if name != "GIFTI":
                raise self._broken(f"expected a GIfTI file, found the XML element {name[:80]!r}")
            self.declared = attributes.get("NumberOfDataArrays")
        elif name == "DataArray":
            self.arrays.append(attributes)
        elif self._path == _DATA:
            raise self._broken(f"expected numbers alone in Data, found the XML element {name[:80]!r}")
        self._path.append(name)
        if self._path == _DATA:
            self._blocks += 1
            if self._blocks > len(self.arrays):
                raise self._broken("expected one Data in a data array, found another")
        self._elements += 1
        if len(self._path) > MAX_DEPTH or self._elements > MAX_ELEMENTS:
            expected = f"{MAX_ELEMENTS} XML elements, and {MAX_DEPTH} inside each other"
            raise self._broken(f"expected at most {expected}, found more")

    def _end(self, name: str) -> None:
        self._path.pop()
        if name == "MD":
            if self._name.strip() == "AnatomicalStructurePrimary" and self._value.strip():
                self.sides.append(self._value.strip())
            self._name = self._value = ""

    def _characters(self, text: str) -> None:
        if self._path == _DATA:
            self._pieces.append(text)
        elif self._path[-2:] == ["MD", "Name"]:
            self._name = (self._name + text)[:_LONGEST_WORD]
        elif self._path[-2:] == ["MD", "Value"]:
            self._value = (self._value + text)[:_LONGEST_WORD]

    def _entity(self, *_: Any) -> None:
        raise self._broken("expected no XML entities, found a declaration of one")

    def _skipped(self, name: str, *_: Any) -> None:
        # Where a file names a DTD, which is never read, an entity could be declared there: XML then skips it.
        raise self._broken(f"expected no XML entities, found {name[:80]!r}")


def _n_vertices(attributes: Mapping[str, str], broken: _Broken) -> int:
    """Return the length of a one-dimensional array; a second dimension of length 1 is the same."""
    rank = attributes.get("Dimensionality", "")
    lengths = [attributes.get(f"Dim{axis}", "") for axis in range(int(rank) if rank in ("1", "2") else 0)]
    if (
        not lengths
        or not all(re.fullmatch("[0-9]{1,9}", n, re.ASCII) for n in lengths)
        or lengths[1:] not in ([], ["1"])
    ):
        dimensions = {name: value for name, value in attributes.items() if name.startswith("Dim")}
        raise broken(f"expected one number per vertex, found the dimensions {str(dimensions)[:200]}")
    n_vertices = int(lengths[0])
    if not 0 < n_vertices <= MAX_VERTICES:
        raise broken(f"expected 1 to {MAX_VERTICES} vertices, found {n_vertices}")
    return n_vertices


def _decode(attributes: Mapping[str, str], text: str, n_values: int, broken: _Broken) -> NDArray[Any]:
    """Return the numbers of a data array, which must be in the file: no other file is ever opened."""
    encoding, kind, endian = (attributes.get(name, "")[:80] for name in ("Encoding", "DataType", "Endian"))
    if kind not in _GIFTI_TYPES:
        raise broken(f"expected a DataType of at most 64 bits, found {kind!r}")
    if encoding == "ASCII":
        return _parse_words(text, n_values, broken)
    if encoding not in ("Base64Binary", "GZipBase64Binary"):
        expected = "ASCII, Base64Binary or GZipBase64Binary"
        raise broken(f"expected the numbers in the file itself, as {expected}, found the Encoding {encoding!r}")
    if endian not in _GIFTI_ENDIANS:
        raise broken(f"expected the Endian to be LittleEndian or BigEndian, found {endian!r}")
    dtype = np.dtype(_GIFTI_ENDIANS[endian] + _GIFTI_TYPES[kind])
    size = n_values * dtype.itemsize
    try:
        data = base64.b64decode(text.encode("ascii").translate(None, b" \t\r\n"), validate=True)
        if encoding == "GZipBase64Binary":
            data = _unpack(data, size)
    except (ValueError, zlib.error) as error:
        raise broken(f"expected numbers as {encoding}, found: {error}") from error
    if len(data) != size:
        raise broken(f"expected {n_values} numbers in {size} bytes, found {'more' if len(data) > size else len(data)}")
    return np.frombuffer(data, dtype=dtype)


def _unpack(packed: bytes, size: int) -> bytes:
    """Unpack a zlib stream, but not beyond the size that is expected of it."""
    stream = zlib.decompressobj()
    data = stream.decompress(packed, size + 1)
    if len(data) <= size and (not stream.eof or stream.unused_data):
        raise zlib.error("a stream that is cut off, or goes on after its end")
    return data


def _parse_words(text: str, n_values: int, broken: _Broken) -> NDArray[np.float64]:
    characters = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    inside = np.isin(characters, np.frombuffer(b" \t\r\n", dtype=np.uint8), invert=True)
    found = int(inside[:1].sum() + (inside[1:] & ~inside[:-1]).sum())
    if found != n_values:
        raise broken(f"expected {n_values} numbers, found {found}")

    def number(word: str) -> float:
        # Python's own `float` also takes other scripts' digits, and underscores between them.
        if not _ASCII_NUMBER.fullmatch(word):
            raise broken(f"expected numbers, found: {word[:80]!r}")
        return float(word)

    return np.fromiter((number(word[0]) for word in _WORD.finditer(text)), dtype=np.float64, count=n_values)
