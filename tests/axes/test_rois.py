"""ROI expressions, against Python's own reading of the same text over sets, and NumPy over the same trees."""

import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from intake_laion_fmri.axes.rois import ALL, RoiExpression, RoiMembership, check_selection, roi_coordinates
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.demo import subject_truth

WHERE = "sub-01 in s3://laion-fmri"
NAMES = ("FFA1", "FFA2", "OFA", "V1d", "V1v", "both", "hV4", "pSTSfaces")
CATEGORIES = ("face", "face", "both", "early", "early", "early", "early", "face")
N_VOXELS = 12

# How a name may be written → the ROIs that it means. "both" is an ROI and a category: it means the ROI.
SPELLINGS = {
    **{name: {name} for name in NAMES},
    "FFA-1": {"FFA1"},
    "pSTS-faces": {"pSTSfaces"},
    "h-V-4": {"hV4"},
    "V1--d": {"V1d"},
    "face": {"FFA1", "FFA2", "pSTSfaces"},
    "early": {"V1d", "V1v", "both", "hV4"},
    "all": set(NAMES),
}


def membership_of(inside: np.ndarray) -> RoiMembership:
    return RoiMembership(NAMES, CATEGORIES, inside)


ONE_EACH = membership_of(np.eye(len(NAMES), dtype=bool))
"""Voxel k belongs to ROI k alone."""


def names_in(selection: object, membership: RoiMembership = ONE_EACH) -> set[str]:
    chosen = membership.select(RoiExpression.parse(selection), where=WHERE)
    return {NAMES[k] for k in np.flatnonzero(chosen)}


def voxels_of(spelling: str, inside: np.ndarray) -> frozenset[int]:
    rows = [NAMES.index(name) for name in SPELLINGS[spelling]]
    return frozenset(voxel for row in rows for voxel in range(inside.shape[1]) if inside[row, voxel])


# The grammar


@st.composite
def expressions(draw, depth: int = 3) -> list[str]:
    """Tokens of an expression: operands joined by operators, an operand being a name or a parenthesis."""
    tokens: list[str] = []
    for k in range(draw(st.integers(1, 4))):
        if k:
            tokens.append(draw(st.sampled_from("|&-")))
        if depth and draw(st.booleans()):
            redundant = draw(st.integers(1, 2))
            tokens += ["("] * redundant + draw(expressions(depth=depth - 1)) + [")"] * redundant
        else:
            tokens.append(draw(st.sampled_from(list(SPELLINGS))))
    return tokens


SPACES = st.sampled_from(["", " ", "  ", "\t", "\n", "\u00a0"])


@given(tokens=expressions(), inside=hnp.arrays(bool, (len(NAMES), N_VOXELS)), data=st.data())
def test_expressions_mean_what_python_makes_of_them(tokens, inside, data):
    """Python's parser and sets read the same text: precedence, order and parentheses are Python's."""
    text = "".join(f" {token} " if token == "-" else data.draw(SPACES) + token + data.draw(SPACES) for token in tokens)
    spellings = {f"name{k}": spelling for k, spelling in enumerate(SPELLINGS)}
    identifiers = {spelling: name for name, spelling in spellings.items()}
    for_python = " ".join(identifiers.get(token, token) for token in tokens)
    sets = {name: voxels_of(spelling, inside) for name, spelling in spellings.items()}
    expected = eval(for_python, {"__builtins__": {}}, sets)

    chosen = membership_of(inside).select(RoiExpression.parse(text), where=WHERE)
    assert (chosen.dtype, chosen.shape) == (np.dtype(bool), (N_VOXELS,))
    assert set(np.flatnonzero(chosen).tolist()) == expected
    assert check_selection(text) == text


TREES = st.recursive(
    st.sampled_from(list(SPELLINGS)), lambda inner: st.tuples(st.sampled_from("|&-"), inner, inner), max_leaves=12
)
STRENGTH = {"|": 1, "&": 2, "-": 3}
ALGEBRA = {"|": np.logical_or, "&": np.logical_and, "-": np.greater}  # for truth values, "and not" is ">"


def as_text(tree: object, *, redundant: bool) -> str:
    """Print a tree with all the parentheses, or with those alone that its meaning needs."""
    if isinstance(tree, str):
        return tree
    operator, left, right = tree
    sides = []
    for side, least in ((left, STRENGTH[operator]), (right, STRENGTH[operator] + 1)):
        text = as_text(side, redundant=redundant)
        needed = not isinstance(side, str) and STRENGTH[side[0]] < least
        sides.append(f"({text})" if redundant or needed else text)
    return f"{sides[0]} {operator} {sides[1]}"


def as_mask(tree: object, inside: np.ndarray) -> np.ndarray:
    if isinstance(tree, str):
        return inside[[NAMES.index(name) for name in SPELLINGS[tree]]].any(axis=0)
    operator, left, right = tree
    return ALGEBRA[operator](as_mask(left, inside), as_mask(right, inside))


@given(tree=TREES, inside=hnp.arrays(bool, (len(NAMES), N_VOXELS)))
def test_expressions_do_set_algebra_with_and_without_redundant_parentheses(tree, inside):
    expected = as_mask(tree, inside)
    for redundant in (True, False):
        chosen = membership_of(inside).select(RoiExpression.parse(as_text(tree, redundant=redundant)), where=WHERE)
        np.testing.assert_array_equal(chosen, expected)


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("FFA1 | V1v & V1d", "FFA1 | (V1v & V1d)"),
        ("all & face - FFA1", "all & (face - FFA1)"),
        ("all - face - early", "(all - face) - early"),
        ("all - face | FFA1", "(all - face) | FFA1"),
        ("early | face - all", "early | (face - all)"),
    ],
)
def test_precedence_is_the_documented_one(expression, same):
    """Literal examples, should the generated ones ever share a mistake with their oracle."""
    assert names_in(expression) == names_in(same)


def test_precedence_examples_tell_orders_apart():
    assert names_in("FFA1 | V1v & V1d") == {"FFA1"}
    assert names_in("(FFA1 | V1v) & V1d") == set()
    assert names_in("all - face - early") == {"OFA"}
    assert names_in("all - (face - early)") == {"OFA", "V1d", "V1v", "both", "hV4"}


@pytest.mark.parametrize(("spelling", "names"), SPELLINGS.items())
def test_names_categories_and_all(spelling, names):
    """Hyphenated spellings of the keys too."""
    assert names_in(spelling) == names
    assert names_in(f"  {spelling}\n") == names


def test_a_name_that_is_both_means_the_roi():
    assert "both" in CATEGORIES
    assert names_in("both") == {"both"}


def test_spaces_tell_a_difference_from_a_hyphen():
    """``FFA1 - FFA2`` is a difference; ``FFA1-FFA2`` is a name that nobody has."""
    assert names_in("FFA1 - FFA2") == {"FFA1"}
    with pytest.raises(ValueError, match=r"Unknown ROI of .*: 'FFA1-FFA2'. Did you mean 'FFA2' or 'FFA1'") as caught:
        names_in("FFA1-FFA2")
    assert "s3://laion-fmri" in str(caught.value)


@pytest.mark.parametrize("make", [list, tuple, set, iter, np.array], ids=["list", "tuple", "set", "iterator", "array"])
def test_list_is_the_union_of_its_expressions(make):
    """Names, categories and expressions mix; `-` in one takes nothing from another."""
    expressions = ["FFA-1", "early - (V1v | V1d)", "OFA & face", "face - FFA1"]
    assert names_in(make(expressions)) == {"FFA1", "FFA2", "pSTSfaces", "both", "hV4"}


def test_repetition_in_a_list_changes_nothing():
    assert names_in(["FFA1", "FFA1", "FFA-1"]) == {"FFA1"}


def test_empty_result_is_a_result():
    """What a selection leaves may be nothing; only naming nothing is an error."""
    assert names_in("FFA1 & FFA2") == set()


@pytest.mark.parametrize("shape", [(len(NAMES), 0), (len(NAMES), 1)])
def test_axes_of_few_voxels_work(shape):
    chosen = membership_of(np.ones(shape, dtype=bool)).select(RoiExpression.parse("all - face"), where=WHERE)
    assert chosen.shape == shape[1:]


def test_selecting_leaves_the_membership_as_it_was():
    """Operators work on copies."""
    inside = np.eye(len(NAMES), dtype=bool)
    before = inside.copy()
    membership = membership_of(inside)
    membership.select(RoiExpression.parse(["FFA1", "all - face"]), where=WHERE)
    membership.select(RoiExpression.parse("FFA1"), where=WHERE)[:] = True
    np.testing.assert_array_equal(inside, before)


# Bad input

UNREADABLE = [
    ("it ends before a name", ["", " ", "\n\t", "(", "((", "FFA1 |", "FFA1 - ", "(FFA1 &"]),
    ("found ')' where a name is expected", ["()", ")", "( )", "(FFA1 |)", "FFA1 | )"]),
    ("found '|' where a name is expected", ["|", "| FFA1", "FFA1 || OFA", "FFA1 & | OFA", "(|)"]),
    ("found '&' where a name is expected", ["& FFA1", "FFA1 &&OFA"]),
    ("found '-' where a name is expected", ["-", "- FFA1", "FFA1 - - OFA", "FFA1 | - OFA", "( - OFA)"]),
    ("found 'OFA' where an operator is expected", ["FFA1 OFA", "FFA1\tOFA", "(FFA1) OFA", "hV4 OFA | V1d"]),
    ("found '(' where an operator is expected", ["FFA1 (OFA)", "FFA1(OFA)", "(FFA1)(OFA)"]),
    ("a parenthesis is not closed", ["(FFA1", "((FFA1)", "(FFA1 | (OFA)", "FFA1 - (OFA", "(FFA1 & OFA"]),
    ("')' is unmatched", ["FFA1)", "(FFA1))", "FFA1 | OFA)", "(FFA1) | OFA)"]),
    ("'-' needs a space on either side", ["FFA1 -OFA", "FFA1- OFA", "-FFA1", "FFA1-", "FFA1|-OFA", "FFA1 --OFA"]),
    ("'-' needs a space on either side", ["(FFA1)-OFA", "(FFA1)- OFA", "FFA1 -(OFA)", "FFA1 -- OFA", "(-OFA)"]),
    ("',' cannot be read", ["FFA1, OFA", "FFA1,OFA", ",", "(,)"]),
    ("'\\x00' cannot be read", ["V1v\0", "\0", "FFA1 |\0OFA"]),
    ("'{' cannot be read", ["{FFA1}"]),
    ("':' cannot be read", ["s3://x"]),
    *((f"{c!r} cannot be read", [f"FFA1 {c} OFA"]) for c in "+;^~*/\\.:'\"[{!<=>%$#@?`_–−\x01\x1b\x7f\u200b\ufeffé木"),
]


@pytest.mark.parametrize(
    ("text", "found"), [pytest.param(text, found, id=repr(text)) for found, texts in UNREADABLE for text in texts]
)
def test_unreadable_expression_is_shown_with_what_is_wrong_and_an_example(text, found):
    """Before anything is read (`check_selection`), and when selecting; in a list too."""
    calls = [lambda: check_selection(text), lambda: names_in(text), lambda: check_selection(["FFA1", text])]
    for call in calls:
        with pytest.raises(ValueError, match=re.escape(f"roi={text!r} cannot be read: {found}")) as caught:
            call()
        assert "such as 'laionventral - (V1v | V1d | hV4)'" in str(caught.value)


def outcome(call, text: str) -> str:
    try:
        call(text)
    except ValueError as error:
        return "unreadable" if str(error).startswith(f"roi={text!r} cannot be read: ") else str(error)[:15]
    return "read"


@given(text=st.text(alphabet="FA1 -|&()+_.,\n\0é", max_size=14) | st.text(max_size=14))
def test_any_text_is_read_or_refused_with_value_error(text):
    """Selecting fails where checking fails, and otherwise only for names that the subject has not."""
    pair = (outcome(check_selection, text), outcome(names_in, text))
    assert pair in {("unreadable", "unreadable"), ("read", "read"), ("read", "Unknown ROI of ")}


DEEP = 5_000


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("(" * DEEP + "FFA1" + ")" * DEEP, {"FFA1"}),
        ("(" * DEEP + "OFA" + " | FFA1)" * DEEP, {"OFA", "FFA1"}),
        ("FFA1 - (" * 1001 + "OFA" + ")" * 1001, {"FFA1"}),
        (" | ".join(["FFA1"] * DEEP), {"FFA1"}),
        ("all" + " - FFA1" * DEEP, set(NAMES) - {"FFA1"}),
        ("FFA1 & all - FFA1 | " * 500 + "hV4", {"hV4"}),
    ],
    ids=["parentheses", "nested to the left", "nested to the right", "long union", "long difference", "mixed"],
)
def test_depth_and_length_are_no_obstacle(text, names):
    """Expressions that programs write are read without recursion."""
    assert names_in(text) == names


@pytest.mark.parametrize(
    "text", ["(" * DEEP + "FFA1", "FFA1" + ")" * DEEP, "(" * DEEP, "(" * DEEP + "FFA1" + ")" * (DEEP - 1)]
)
def test_deep_unbalanced_parentheses_are_a_value_error(text):
    """Not a RecursionError."""
    with pytest.raises(ValueError, match="cannot be read"):
        check_selection(text)


@pytest.mark.parametrize("value", [1, 1.5, True, b"FFA1", object(), ["FFA1", ["OFA"]], ["FFA1", None], [b"FFA1"], [1]])
def test_what_is_no_text_is_a_type_error(value):
    with pytest.raises(
        TypeError, match="roi must be a string, a list of strings, or None; found " + re.escape(repr(value))
    ):
        check_selection(value)


@pytest.mark.parametrize("value", [[], (), set(), {}, np.array([], dtype=str), iter([])])
def test_empty_list_names_no_roi(value):
    """It is neither all nor the whole mask."""
    with pytest.raises(ValueError, match=r"roi=\[\] is empty"):
        check_selection(value)


def test_checked_selection_is_plain_and_canonical():
    """It can be hashed, compared, and written to YAML: numpy's texts become Python's."""
    assert check_selection(None) is None
    assert check_selection("face - FFA1") == "face - FFA1"
    assert type(check_selection(np.str_("face"))) is str
    assert check_selection(["face", "FFA-1"]) == ("face", "FFA-1")
    checked = check_selection(np.array(["face", "OFA"]))
    assert checked == ("face", "OFA")
    assert [type(text) for text in checked] == [str, str]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        *[("FFA3", "'FFA2'"), ("ffa1", "'FFA1'"), ("faces", "'face'"), ("V4", "'hV4'"), ("pSTS", "'pSTSfaces'")],
        *[("Face", "'face'"), ("ALL", "'all'"), ("erly", "'early'"), ("fa-ce", "'face'"), ("FFA-11", "'FFA1'")],
    ],
)
def test_unknown_name_gets_the_nearest_valid_ones(name, nearest):
    """Names, categories and 'all' are offered, each once."""
    for selection in (name, f"all - ({name} | OFA)", ["OFA", name]):
        with pytest.raises(ValueError, match=f"Unknown ROI of {WHERE}: {name!r}. Did you mean .*{nearest}") as caught:
            names_in(selection)
        valid = str(caught.value).partition("Valid: ")[2].rstrip(".").split(", ")
        assert valid == [*NAMES, "early", "face", ALL]


def test_unknown_name_in_an_empty_result_is_still_unknown():
    """No short cut hides a typo."""
    with pytest.raises(ValueError, match="Unknown ROI"):
        names_in("FFA1 & FFA2 & FFA9")


# Coordinates


@pytest.mark.parametrize("n_voxels", [0, 5])
def test_coordinates_have_the_dims_and_dtypes_of_the_contract(n_voxels):
    inside = np.arange(len(NAMES) * n_voxels).reshape(len(NAMES), n_voxels) % 3 == 0
    coordinates = roi_coordinates(membership_of(inside))
    assert {name: (dims, values.dtype) for name, (dims, values, _) in coordinates.items()} == {
        "roi": (("roi",), np.dtype(object)),
        "roi_category": (("roi",), np.dtype(object)),
        "in_roi": (("roi", VOXEL), np.dtype(bool)),
    }
    assert coordinates["roi"][1].tolist() == list(NAMES)
    assert coordinates["roi_category"][1].tolist() == list(CATEGORIES)
    np.testing.assert_array_equal(coordinates["in_roi"][1], inside)
    assert all(attrs["long_name"] for _, _, attrs in coordinates.values())


def test_coordinates_select_by_name():
    dataset = xr.Dataset(coords=roi_coordinates(ONE_EACH))
    assert dataset["in_roi"].sel(roi="hV4").values.nonzero()[0].tolist() == [NAMES.index("hV4")]
    faces = dataset["in_roi"][dataset["roi_category"].values == "face"].any("roi")
    assert {NAMES[k] for k in np.flatnonzero(faces)} == SPELLINGS["face"]


# The demo bucket


def test_it_of_the_demo_subject_is_the_documented_difference(tiny):
    """IT = laionventral minus V1v V1d V2v V2d V3v V3d hV4 (dataset.md §3), over keys with hyphens and overlaps."""
    truth = subject_truth("sub-01", scale="tiny")
    folders = {
        re.search("_label-(.+)_mask", path.name)[1].replace("-", ""): path.parent.name
        for path in (tiny / "derivatives/rois/sub-01").glob("*/*res-1pt8*")
    }
    names = tuple(sorted(truth.rois))
    inside = np.array([np.isin(truth.rsquare, truth.rois[name]) for name in names])
    membership = RoiMembership(names, tuple(folders[name] for name in names), inside)

    def voxels(selection: object) -> set[int]:
        return set(truth.rsquare[membership.select(RoiExpression.parse(selection), where=WHERE)].tolist())

    brain = set(truth.rsquare.tolist())
    early = set().union(*(truth.rois[name].tolist() for name in ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")))
    it = (set(truth.rois["laionventral"].tolist()) - early) & brain
    assert 0 < len(it) < len(set(truth.rois["laionventral"].tolist()) & brain)
    assert voxels("laion-ventral - (V1v | V1d | V2v | V2d | V3v | V3d | hV4)") == it
    assert voxels("laionventral - V1v - V1d - V2v - V2d - V3v - V3d - hV4") == it
    faces = [truth.rois[name] for name, category in folders.items() if category == "face"]
    assert len(faces) == 4
    assert voxels("face") == set(np.concatenate(faces).tolist()) & brain
    assert voxels("all") == set(np.concatenate(list(truth.rois.values())).tolist()) & brain
