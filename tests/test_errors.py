"""The exceptions are those of the contract, and what they say survives a trip to a Dask worker."""

import copy
import pickle
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_laion_fmri import errors
from intake_laion_fmri.errors import unknown_value

CONTRACT = {
    "NotInBucketError": FileNotFoundError,
    "AccessDeniedError": PermissionError,
    "BucketUnreachableError": ConnectionError,
    "DataIntegrityError": ValueError,
}
NAMES = ["FFA1", "FFA2", "OFA", "V1d", "V1v", "pSTSfaces"]


@pytest.mark.parametrize(("name", "builtin"), CONTRACT.items())
def test_class_is_the_builtin_that_a_caller_would_expect(name, builtin):
    """``except FileNotFoundError`` catches a missing object, and so on."""
    with pytest.raises(builtin, match="the message"):
        raise getattr(errors, name)("the message")


@pytest.mark.parametrize("name", CONTRACT)
def test_class_is_none_of_the_other_cases(name):
    """A caller can tell the cases apart by class."""
    others = [getattr(errors, other) for other in CONTRACT if other != name]
    assert not issubclass(getattr(errors, name), tuple(others))


@pytest.mark.parametrize("name", [*CONTRACT, "MissingFileWarning"])
@pytest.mark.parametrize("message", ["plain", "sub-01/a b.jpg: expected (1, 2), found 'ü\n'", ""])
def test_pickles_with_its_message(name, message):
    """An error that a worker raises reaches the user as itself."""
    error = getattr(errors, name)(message)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(error, protocol))
        assert (type(back), back.args, str(back)) == (type(error), (message,), message)
    assert str(copy.copy(error)) == message


def test_missing_file_warning_can_be_filtered_alone():
    """Users silence missing files without silencing anything else."""
    assert issubclass(errors.MissingFileWarning, UserWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", errors.MissingFileWarning)
        warnings.warn("left out", errors.MissingFileWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="something else"):
            warnings.warn("something else", UserWarning, stacklevel=1)


def test_unknown_value_says_what_where_value_nearest_and_valid():
    error = unknown_value("ROI", "FFA3", NAMES, where="sub-01 in s3://laion-fmri")
    assert isinstance(error, ValueError)
    assert str(error) == (
        "Unknown ROI of sub-01 in s3://laion-fmri: 'FFA3'. Did you mean 'FFA2' or 'FFA1' or 'OFA'? "
        "Valid: FFA1, FFA2, OFA, V1d, V1v, pSTSfaces."
    )


def test_unknown_value_without_anything_near_lists_what_is_valid():
    assert str(unknown_value("mask", "zzz", ["rsquare", "anatomical"])) == (
        "Unknown mask: 'zzz'. Valid: rsquare, anatomical."
    )


def test_unknown_value_with_nothing_valid_says_so():
    assert str(unknown_value("ROI", "FFA1", [], where="sub-09")) == "Unknown ROI of sub-09: 'FFA1'. There is none."


@pytest.mark.parametrize(("value", "nearest"), [("ffa1", "FFA1"), ("v1D", "V1d"), ("PSTSFACES", "pSTSfaces")])
def test_unknown_value_looks_past_upper_and_lower_case(value, nearest):
    assert f"Did you mean {nearest!r}" in str(unknown_value("ROI", value, NAMES))


@pytest.mark.parametrize("value", [None, 3, 1.5, True, ["FFA1"], b"FFA1", "", "\n", "'", "FFA1 "])
def test_unknown_value_shows_any_value_as_it_was_given(value):
    """The value is shown with its type: `'3'` and `3` are told apart, and white space is seen."""
    assert f": {value!r}." in str(unknown_value("session", value, iter(NAMES)))


@given(value=st.text(max_size=30), names=st.lists(st.text(min_size=1, max_size=10), max_size=8, unique=True))
def test_unknown_value_works_for_any_text(value, names):
    """An error message never becomes an error of its own, and suggests valid names only."""
    message = str(unknown_value("thing", value, names))
    head, _, rest = message.partition(f"Unknown thing: {value!r}.")
    assert head == ""
    if rest.startswith(" Did you mean "):
        assert any(rest.startswith(f" Did you mean {name!r}") for name in names)
    assert rest.endswith(f" Valid: {', '.join(names)}." if names else " There is none.")
