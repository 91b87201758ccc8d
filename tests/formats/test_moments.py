"""Groups of trials are scaled to the same numbers, whether their rows pass one by one or are a matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import examples

from intake_laion_fmri.formats import moments


@settings(deadline=None, max_examples=examples(40))
@given(
    n=st.integers(1, 60),
    width=st.integers(2, 9),
    seed=st.integers(0, 2**32 - 1),
    mean=st.sampled_from([0, 1000]),
    missing=st.sampled_from([0, 0.3]),
    together=st.booleans(),
    held=st.sampled_from([9, 64, 32 * 1024]),
)
def test_a_matrix_is_scaled_as_rows_that_pass(
    n: int, width: int, seed: int, mean: float, missing: float, together: bool, held: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(mean, 1, (n, width)).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    groups = rng.integers(0, 3, n)
    if together:
        groups.sort()
    passing = moments.Moments(groups, width)
    for trial, row in enumerate(values):
        passing.add(trial, row)
    expected = values.copy()
    passing.apply(np.arange(n), expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moments, "VALUES", held)  # as if there were more trials than are held at a time
        found = moments.scale_groups(values, groups)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(moments.scale_groups(values, groups, out=values), expected)
