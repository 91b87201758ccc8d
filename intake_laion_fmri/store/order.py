"""The order of voxels in a store: voxels of an ROI are adjacent.

Voxels that belong to the same ROIs stand together. Of two such sets that one comes later which is in the smallest ROI
that tells them apart, so the smallest ROI is one run of voxels, the next is torn by it at most, and only large ROIs,
which read many chunks anyway, lie in many pieces. Within a set voxels follow a Hilbert curve through the grid, which
also keeps regions together that have no name.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ORDER_RULE = "by the ROIs that a voxel belongs to, the smallest deciding first; then along a Hilbert curve"
"""The order in words, recorded in every store."""


def stored_order(ijk: NDArray[np.integer], inside: NDArray[np.bool_] | None = None) -> NDArray[np.intp]:
    """Return the stored order of voxels.

    Parameters
    ----------
    ijk : array of int, shape (3, voxel)
        Grid indices, at least 0.
    inside : array of bool, shape (roi, voxel), optional
        Membership in ROIs.

    Returns
    -------
    array of int, shape (voxel,)
        Position in the input of the first stored voxel, of the second, and so on. The same for the same input,
        whichever order its voxels are given in, as long as no two have the same indices.
    """
    keys = [hilbert_index(ijk)]
    if inside is not None:
        sizes = inside.sum(axis=1)
        # The last key of a lexical sort decides first; a voxel in no ROI is False in all and comes first.
        keys += [inside[row] for row in np.argsort(-sizes, kind="stable")]
    return np.lexsort(keys)


def hilbert_index(ijk: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return positions of cells along a Hilbert curve.

    Parameters
    ----------
    ijk : array of int, shape (3, cell)
        Indices of the cells, from 0 to 2**20 - 1.

    Returns
    -------
    array of int64, shape (cell,)
        Cells that follow each other on the curve share a face.

    References
    ----------
    Skilling, J. (2004). Programming the Hilbert curve. AIP Conference Proceedings 707, 381-387.
    https://doi.org/10.1063/1.1751381
    """
    axes = [np.asarray(axis, dtype=np.int64).copy() for axis in ijk]
    n_bits = max(1, int(max((axis.max(initial=0) for axis in axes), default=0)).bit_length())
    first, last = axes[0], axes[-1]
    # Undo the rotations of each level, from the coarsest.
    for bit in range(n_bits - 1, 0, -1):
        below = (1 << bit) - 1
        for axis in axes:
            is_set = (axis >> bit) & 1 == 1
            swapped = np.where(is_set, 0, (first ^ axis) & below)
            first ^= np.where(is_set, below, swapped)
            axis ^= swapped  # 0 where the axis is the first one
    # Gray code.
    for axis, before in zip(axes[1:], axes[:-1], strict=True):
        axis ^= before
    flip = np.zeros_like(last)
    for bit in range(n_bits - 1, 0, -1):
        flip ^= np.where((last >> bit) & 1 == 1, (1 << bit) - 1, 0)
    position = np.zeros_like(last)
    for bit in range(n_bits - 1, -1, -1):
        for axis in axes:
            position = (position << 1) | (((axis ^ flip) >> bit) & 1)
    return position
