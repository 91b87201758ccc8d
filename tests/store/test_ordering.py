"""The stored order: the curve against its definition, the order against a comparison of two voxels in plain Python."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiers import sampled

from intake_laion_fmri.store.order import ORDER_RULE, hilbert_index, stored_order


def cells(*shape: int) -> np.ndarray:
    """The indices of all cells of a box, in C order."""
    return np.indices(shape, dtype=np.int16).reshape(3, -1)


# --- the curve --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 32])
def test_the_curve_visits_every_cell_of_a_cube_once_and_never_jumps(size: int) -> None:
    """Cells that follow each other share a face: what makes it a Hilbert curve, and keeps neighbours together."""
    ijk = cells(size, size, size)
    place = hilbert_index(ijk)
    assert place.dtype == np.int64
    np.testing.assert_array_equal(np.sort(place), np.arange(size**3))
    steps = np.abs(np.diff(ijk[:, np.argsort(place)].astype(int), axis=1))
    np.testing.assert_array_equal(steps.sum(axis=0), 1)


@pytest.mark.parametrize("size", [4, 8, 16])
def test_the_curve_finishes_each_block_before_the_next(size: int) -> None:
    """Each aligned cube of half, a quarter … of the side is one run of the curve."""
    ijk = cells(size, size, size)
    along = ijk[:, np.argsort(hilbert_index(ijk))].astype(int)
    for side in (2**level for level in range(1, size.bit_length() - 1)):
        blocks = along // side
        changes = (np.diff(blocks, axis=1) != 0).any(axis=0).sum()
        assert changes + 1 == (size // side) ** 3


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 9), (13, 2, 6)])
def test_a_box_that_is_no_cube_lies_along_the_curve_of_the_cube_around_it(shape: tuple[int, int, int]) -> None:
    size = 1 << (max(shape) - 1).bit_length()
    cube = hilbert_index(cells(size, size, size)).reshape(size, size, size)
    np.testing.assert_array_equal(hilbert_index(cells(*shape)), cube[tuple(map(slice, shape))].reshape(-1))


def test_the_curve_goes_as_far_as_it_says() -> None:
    """To 2**20 - 1 nothing overflows: small cubes in all corners have runs of places of their own."""
    corners = np.array(list(itertools.product([0, 2**20 - 8], repeat=3)))
    cubes = cells(8, 8, 8)[np.newaxis].astype(np.int64) + corners[:, :, np.newaxis]
    place = hilbert_index(cubes.transpose(1, 0, 2).reshape(3, -1)).reshape(len(corners), -1)
    first = place.min(axis=1)
    np.testing.assert_array_equal(np.sort(place, axis=1), first[:, np.newaxis] + np.arange(8**3))
    # Each eighth of the curve has one corner of the cube: the first and the last are where it begins and ends.
    np.testing.assert_array_equal(np.sort(first) // 2**57, np.arange(8))
    assert (first.min(), place.max()) == (0, 2**60 - 1)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint16"])
def test_any_type_of_index_gives_the_same_places_and_is_left_as_it_is(dtype: str) -> None:
    ijk = cells(9, 4, 6)
    given_ = ijk.astype(dtype)
    np.testing.assert_array_equal(hilbert_index(given_), hilbert_index(ijk))
    np.testing.assert_array_equal(given_, ijk)


def test_no_cells() -> None:
    assert hilbert_index(np.empty((3, 0), dtype=np.int16)).shape == (0,)
    assert stored_order(np.empty((3, 0), dtype=np.int16), np.empty((4, 0), dtype=bool)).shape == (0,)


# --- the order --------------------------------------------------------------------------------------------------------

BOX = cells(4, 5, 3)
N_ROIS = 5


@st.composite
def voxels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Some voxels of a box in any order, and their membership."""
    places = draw(st.lists(st.integers(0, BOX.shape[1] - 1), min_size=1, unique=True))
    few = st.floats(0, 1).map(lambda share: share**2)
    shares = np.array(draw(st.lists(few, min_size=N_ROIS, max_size=N_ROIS)))
    chance = draw(hnp.arrays(np.float64, (N_ROIS, len(places)), elements=st.floats(0, 1, exclude_max=True)))
    return BOX[:, places], chance < shares[:, np.newaxis]


def runs(inside: np.ndarray) -> int:
    """In how many pieces the voxels of an ROI lie."""
    return int(np.count_nonzero(np.diff(np.r_[False, inside].astype(int)) == 1))


@given(drawn=voxels())
def test_the_order_is_the_one_that_is_told(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """`ORDER_RULE`, by comparing two voxels at a time; of ROIs of the same size the later name is the smaller."""
    ijk, inside = drawn
    assert ORDER_RULE.startswith("by the ROIs that a voxel belongs to, the smallest deciding first; then along a Hil")
    smallest_first = sorted(range(N_ROIS), key=lambda roi: (inside[roi].sum(), -roi))
    place = hilbert_index(ijk)

    def compare(one: int, other: int) -> int:
        for roi in smallest_first:
            if inside[roi, one] != inside[roi, other]:
                return 1 if inside[roi, one] else -1
        return int(place[one] - place[other])

    expected = sorted(range(ijk.shape[1]), key=functools.cmp_to_key(compare))
    assert stored_order(ijk, inside).tolist() == expected


@given(drawn=voxels(), data=st.data())
def test_the_order_of_the_input_is_of_no_account(drawn: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    """Else two builders would not write the same bytes."""
    ijk, inside = drawn
    other = np.array(data.draw(st.permutations(range(ijk.shape[1]))))
    here, there = stored_order(ijk, inside), stored_order(ijk[:, other], inside[:, other])
    np.testing.assert_array_equal(np.sort(here), np.arange(ijk.shape[1]))
    np.testing.assert_array_equal(other[there], here)
    np.testing.assert_array_equal(other[stored_order(ijk[:, other])], stored_order(ijk))


@given(drawn=voxels())
def test_small_rois_lie_in_few_pieces(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """The smallest in one, the next in two at most, the one after that in four; equal membership stands together."""
    ijk, inside = drawn
    stored = inside[:, stored_order(ijk, inside)]
    smallest_first = sorted(range(N_ROIS), key=lambda roi: (stored[roi].sum(), -roi))
    for rank, roi in enumerate(roi for roi in smallest_first if stored[roi].any()):
        assert runs(stored[roi]) <= 2**rank
    patterns = [one.tobytes() for one in stored.T]
    assert len(list(itertools.groupby(patterns))) == len(set(patterns))


def test_without_rois_it_is_the_curve() -> None:
    ijk = cells(5, 6, 7)
    np.testing.assert_array_equal(stored_order(ijk), np.argsort(hilbert_index(ijk)))
    for n_rois in (0, 3):
        nowhere = np.zeros((n_rois, ijk.shape[1]), dtype=bool)
        np.testing.assert_array_equal(stored_order(ijk, nowhere), stored_order(ijk))


# --- what it is for ---------------------------------------------------------------------------------------------------

WIDTH = 128
"""Voxels per chunk, by default."""


def brain() -> np.ndarray:
    """The voxels of an ellipsoid about as large as a brain at 1.8 mm, in C order."""
    shape = np.array([72, 88, 64])
    ijk = cells(*shape)
    centre = (shape[:, np.newaxis] - 1) / 2
    return ijk[:, (((ijk - centre) / (shape[:, np.newaxis] * 0.47)) ** 2).sum(axis=0) <= 1]


def ball(ijk: np.ndarray, centre: np.ndarray, n_voxels: int) -> np.ndarray:
    """As many voxels as are asked for, those nearest to a point."""
    distance = ((ijk - centre[:, np.newaxis]) ** 2).sum(axis=0)
    inside = np.zeros(ijk.shape[1], dtype=bool)
    inside[np.argsort(distance, kind="stable")[:n_voxels]] = True
    return inside


def overlapping_rois(ijk: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As the data set has them: four large streams, and in each small regions that overlap with it and each other."""
    rois = []
    for size in (12000, 9000, 5000, 3000):
        stream = ijk[:, rng.integers(ijk.shape[1])].astype(float)
        rois.append(ball(ijk, stream, size))
        spread = size ** (1 / 3) / 2
        sizes = (30, 90, 180, 300, 350, 400, 450, 500)
        rois += [ball(ijk, stream + rng.normal(scale=spread, size=3), n_voxels) for n_voxels in sizes]
    return np.array(rois)


def chunks_of(order: np.ndarray, inside: np.ndarray) -> int:
    """How many chunks hold a voxel of an ROI."""
    return len(np.unique(np.flatnonzero(inside[order]) // WIDTH))


@pytest.mark.parametrize("seed", sampled(range(3), keep=1))
def test_an_roi_lies_in_few_chunks(seed: int) -> None:
    """At most four times the bytes that are needed, and several times fewer than in the public order."""
    ijk = brain()
    inside = overlapping_rois(ijk, np.random.default_rng(seed))
    assert ijk.shape[1] > 150_000
    assert (inside.sum(axis=0) >= 3).any(), "the ROIs do not overlap"
    order, in_c_order = stored_order(ijk, inside), np.arange(ijk.shape[1])
    touched = {"stored": 0, "C": 0, "needed": 0}
    for roi in inside:
        if 300 <= roi.sum() <= 500:
            here, needed = chunks_of(order, roi), -(-int(roi.sum()) // WIDTH)
            assert here <= 4 * needed
            touched["stored"] += here
            touched["C"] += chunks_of(in_c_order, roi)
            touched["needed"] += needed
    assert touched["C"] >= 4 * touched["stored"]


@pytest.mark.parametrize("seed", range(2))
def test_a_region_without_a_name_lies_in_fewer_chunks_than_in_c_order(seed: int) -> None:
    """Which is what the curve is for: a ball that is no ROI, among ROIs."""
    ijk = brain()
    rng = np.random.default_rng(seed)
    order, in_c_order = stored_order(ijk, overlapping_rois(ijk, rng)), np.arange(ijk.shape[1])
    regions = [ball(ijk, ijk[:, rng.integers(ijk.shape[1])].astype(float), 400) for _ in range(10)]
    here, there = (sum(chunks_of(one, region) for region in regions) for one in (order, in_c_order))
    assert 3 * here <= 2 * there
