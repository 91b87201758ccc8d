"""Tables of chunks, and rounded values against NumPy."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from bit_patterns import bits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from intake_laion_fmri.store.chunks import ChunkTable
from intake_laion_fmri.store.rounding import DTYPES, Rounding

# --- tables -----------------------------------------------------------------------------------------------------------


WORDS = st.integers(0, 2**32 - 1)


@given(rows=st.lists(st.tuples(WORDS, WORDS)))
def test_a_table_comes_back_from_its_text(rows: list[tuple[int, int]]) -> None:
    table = ChunkTable(tuple(one for one, _ in rows), tuple(size for _, size in rows))
    text = table.to_text()
    assert ChunkTable.from_text(text) == table
    # The text is what its docstring says: sums, then sizes.
    assert base64.b64decode(text) == b"".join(one.to_bytes(4, "little") for one in (*table.sums, *table.sizes))


@pytest.mark.parametrize(
    "text",
    {
        "an odd number of words": base64.b64encode(bytes(12)).decode(),
        "half a word": base64.b64encode(bytes(6)).decode(),
        "no Base64": "not Base64!",
        "a character too few": base64.b64encode(bytes(8)).decode()[:-1],
        "white space": " " + base64.b64encode(bytes(8)).decode(),
        "other letters": "ÄÖÜß",
    }.values(),
    ids=repr,
)
def test_a_text_that_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ChunkTable.from_text(text)


# --- rounding ---------------------------------------------------------------------------------------------------------


EVERY_FLOAT = hnp.arrays(np.uint32, st.integers(1, 40), elements=st.integers(0, 2**32 - 1)).map(
    lambda words: words.view(np.float32)
)
"""Any bit pattern: normal and subnormal numbers, infinite ones, NaN of every payload."""

LEAST_NORMAL = 2.0**-126


def exact(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # signalling NaN
        return values.astype(np.float64)


@settings(max_examples=400)
@given(values=EVERY_FLOAT, keep_bits=st.integers(1, 23))
def test_bitround_keeps_its_promise_for_every_float(values: np.ndarray, keep_bits: int) -> None:
    """The error that is recorded, nothing lost without a word, and what is no number left alone."""
    rounding = Rounding("bitround", keep_bits)
    before = bits(values).copy()
    finite = np.isfinite(values)
    # From here on the next number with so many bits would be 2**128.
    limit = np.inf if keep_bits == 23 else (2 - 2.0 ** -(keep_bits + 1)) * 2.0**127
    too_large = finite & (np.abs(exact(values)) >= limit)
    if too_large.any():
        with pytest.raises(OverflowError) as caught:
            rounding.apply(values)
        assert str(caught.value) == f"{values[too_large][0]:g} is more than bitround can hold"
        return
    rounded = rounding.apply(values)
    np.testing.assert_array_equal(bits(values), before)
    assert (rounded.dtype, rounded.shape) == (values.dtype, values.shape)
    np.testing.assert_array_equal(bits(rounded)[~finite], before[~finite])
    error = np.abs(exact(rounded) - exact(values))[finite]
    largest = rounding.attrs["quantization_maximum_relative_error"]
    assert largest == 2.0 ** -(keep_bits + 1)
    assert (error <= largest * np.maximum(np.abs(exact(values[finite])), LEAST_NORMAL)).all()
    assert not (bits(rounded)[finite] & ((1 << (23 - keep_bits)) - 1)).any(), "more bits than those to keep"
    np.testing.assert_array_equal(bits(rounding.apply(rounded)), bits(rounded))


@settings(max_examples=400)
@given(values=EVERY_FLOAT)
def test_half_precision_keeps_its_promise_for_every_float(values: np.ndarray) -> None:
    """The bounds that its attributes tell, above and below 6.2e-5."""
    rounding = Rounding("float16")
    before = bits(values).copy()
    finite = np.isfinite(values)
    too_large = finite & (np.abs(exact(values)) >= 65520)
    if too_large.any():
        with pytest.raises(OverflowError) as caught:
            rounding.apply(values)
        assert str(caught.value) == f"{values[too_large][0]:g} is more than float16 can hold"
        values = values[~too_large]
        finite = finite[~too_large]
        before = before[~too_large]
    rounded = rounding.apply(values)
    np.testing.assert_array_equal(bits(values), before)
    assert (rounded.dtype, rounded.shape) == (np.dtype("float16"), values.shape)
    np.testing.assert_array_equal(np.isnan(rounded), np.isnan(values))
    np.testing.assert_array_equal(rounded[np.isinf(values)], values[np.isinf(values)])
    error, size = np.abs(exact(rounded[finite]) - exact(values[finite])), np.abs(exact(values[finite]))
    bound = np.where(size >= 6.2e-5, rounding.attrs["quantization_maximum_relative_error"] * size, 3e-8)
    assert (error <= bound).all()


def test_half_precision_of_small_values() -> None:
    """Hypothesis seldom draws those around the bound; below it some lose more than the relative error that is told."""
    values = np.random.default_rng(0).uniform(-1e-4, 1e-4, size=(50, 400)).astype(np.float32)
    error = np.abs(exact(Rounding("float16").apply(values)) - exact(values))
    large = np.abs(values) >= 6.2e-5
    assert (error[large] <= 2.0**-11 * np.abs(exact(values))[large]).all()
    assert (error[~large] <= 3e-8).all()
    assert (error[~large] > 2.0**-11 * np.abs(exact(values))[~large]).any()
    assert Rounding("float16").apply(np.float32([2e-8])) == 0


@pytest.mark.parametrize("keep_bits", [1, 7, 10, 22])
def test_bitround_of_betas_is_rounding_to_nearest(keep_bits: int) -> None:
    """Against NumPy's own rounding of mantissas, in any layout of memory."""
    values = np.random.default_rng(1).normal(scale=5, size=(30, 40)).astype(np.float32)
    mantissas, exponents = np.frexp(values.astype(np.float64))
    # np.rint takes the even one of two that are as near, as BitRound does.
    expected = np.ldexp(np.rint(mantissas * 2.0 ** (keep_bits + 1)) / 2.0 ** (keep_bits + 1), exponents)
    for layout in (values, np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(Rounding("bitround", keep_bits).apply(layout), expected)


def test_what_is_no_number_stays_as_it_is() -> None:
    """BitRound itself would carry a full payload over into 0, or an infinite value into NaN."""
    words = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFFC12345, 0x7F800000, 0xFF800000], dtype=np.uint32)
    for keep_bits in (1, 10, 23):
        np.testing.assert_array_equal(bits(Rounding("bitround", keep_bits).apply(words.view(np.float32))), words)
    half = Rounding("float16").apply(words.view(np.float32))
    np.testing.assert_array_equal(np.isnan(half), [True] * 4 + [False] * 2)
    np.testing.assert_array_equal(half[4:], [np.inf, -np.inf])


@pytest.mark.parametrize(
    ("rounding", "value", "named"),
    [
        (Rounding("float16"), 65520.0, "65520 is more than float16 can hold"),
        (Rounding("float16"), -1e6, "-1e+06 is more than float16 can hold"),
        (Rounding("bitround", 3), 3.4e38, r"3.4e+38 is more than bitround can hold"),
        (Rounding("bitround", 22), -np.finfo(np.float32).max, r"-3.40282e+38 is more than bitround can hold"),
    ],
)
def test_a_value_that_would_become_infinite_is_named(rounding: Rounding, value: float, named: str) -> None:
    values = np.array([[1.0, np.inf], [np.nan, value]], dtype=np.float32)
    with pytest.raises(OverflowError) as caught:
        rounding.apply(values)
    assert str(caught.value) == named


def test_the_largest_value_that_fits_fits() -> None:
    np.testing.assert_array_equal(Rounding("float16").apply(np.float32([65519, -65519])), [65504, -65504])
    largest = np.float32([np.finfo(np.float32).max])
    np.testing.assert_array_equal(Rounding("bitround", 23).apply(largest), largest)


def test_float32_is_returned_as_it_is() -> None:
    """The block of a session is not copied."""
    values = np.float32([[np.nan, np.inf, 1.5]])
    assert Rounding("float32").apply(values) is values


def test_attributes_tell_what_was_done() -> None:
    """With the names of CF's conventions for quantization where they have one; of float32 nothing."""
    assert Rounding("float32").attrs == {}
    assert Rounding("bitround", 10).attrs == {
        "quantization": "BitRound",
        "quantization_nsb": 10,
        "quantization_maximum_relative_error": 2.0**-11,
    }
    half = Rounding("float16").attrs
    assert half["quantization_maximum_relative_error"] == 2.0**-11
    assert "6.2e-5" in half["quantization_comment"]
    for dtype in DTYPES:
        attrs = Rounding(dtype, 10 if dtype == "bitround" else None).attrs
        assert json.loads(json.dumps(attrs)) == attrs


def test_only_float16_is_stored_as_another_type() -> None:
    assert [Rounding(dtype, 10).item for dtype in DTYPES] == ["float32", "float32", "float16"]
