"""What codecs, types, chunks and shards cost a store, and which order of voxels an ROI costs least in."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _measure import LATENCY, MB, Contender, Figures, alternate, markdown, ratio, spread, typical
from _store_contenders import BUCKET, PASSES, ROI, ROIS, SCRATCH
from read_session import FAST, SESSION, SUBJECT
from slow_s3 import serve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["compare_layouts", "compare_orders"]

MIDDLING = (300, 500)
"""Voxels of the ROIs that a target is about."""

DEFAULT = "default"
LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    DEFAULT: {},
    "codec lz4": {"codec": "lz4"},
    "codec zstd": {"codec": "zstd"},
    "bitround 10": {"dtype": "bitround", "keep_bits": 10},
    "bitround 10, codec zstd": {"dtype": "bitround", "keep_bits": 10, "codec": "zstd"},
    "float16": {"dtype": "float16"},
    "chunk_voxels 64": {"chunk_voxels": 64},
    "chunk_voxels 256": {"chunk_voxels": 256},
    "chunk_voxels 512": {"chunk_voxels": 512},
    "shard_voxels 0": {"shard_voxels": 0},
    "shard_voxels 1024": {"shard_voxels": 1024},
    "shard_voxels 16384": {"shard_voxels": 16384},
}
"""Options that differ from the defaults: one at a time, but rounded values also with the codec that they are for."""

WIDTHS = (64, 128, 256, 512)


# --- layouts ----------------------------------------------------------------------------------------------------------


def compare_layouts(script: str, rounds: int) -> str:
    """Build and read a session in each layout; `script` runs the contenders."""
    SCRATCH.mkdir(exist_ok=True)
    store = {"store": os.fspath(SCRATCH)}
    building = store | {"bucket": os.fspath(BUCKET), "sessions": [SESSION]}
    with serve(SCRATCH, rate=FAST, latency=LATENCY) as server:
        remote = {"store": server.url, "store_options": server.storage_options | {"anon": True}}
        contenders = {}
        for name, options in LAYOUTS.items():
            # Each is built where the one before was, and read before the next one is built.
            contenders[f"{name}: build"] = Contender("build", {**building, **options})
            contenders[f"{name}: ROIs"] = Contender("read_rois", store | {"passes": PASSES})
            contenders[f"{name}: ROIs, S3"] = Contender("read_rois", remote | {"passes": 1})
            contenders[f"{name}: whole"] = Contender("read_store", store | {"session": SESSION})
            contenders[f"{name}: one"] = Contender("read_store", store | {"session": SESSION, "roi": ROI})
        results = alternate(script, contenders, rounds)
    return f"ROIs: {', '.join(ROIS)}. {rounds} rounds.\n\n{_layouts_table(results)}"


def _layouts_table(results: Mapping[str, list[Figures]]) -> str:
    rows = []
    for name in LAYOUTS:
        built, rois, far, whole, one = (
            results[f"{name}: {what}"] for what in ("build", "ROIs", "ROIs, S3", "whole", "one")
        )
        rows.append(
            [
                name,
                spread(built, "job"),
                f"{ratio(built, results[f'{DEFAULT}: build'], 'job'):.2f}",
                f"{built[0]['stored'] / MB:.0f}",
                f"{built[0]['objects']:.0f}",
                f"{typical(rois, 'job') * 1e3:.1f}",
                f"{typical(far, 'job') * 1e3:.0f}",
                f"{one[0]['chunks'] / one[0]['result']:.2f}",
                spread(whole, "job"),
            ]
        )
    head = ["layout", "build s: median (range)", "build / default", "stored MB", "objects", "ROI ms", "ROI, S3 ms"]
    return markdown([*head, f"{ROI}: bytes read / needed", "whole session s: median (range)"], rows)


# --- orders -----------------------------------------------------------------------------------------------------------


def compare_orders(bucket: Path) -> str:
    """Compare the cost of ROIs in several orders of voxels; nothing is timed, so it is done in this process."""
    import numpy as np

    from intake_laion_fmri import open_rois

    rois = open_rois(SUBJECT, bucket=bucket)
    ijk = np.stack([rois[axis].values for axis in "ijk"]).astype(np.int64)
    inside = rois["in_roi"].values
    sizes = inside.sum(axis=1)
    middling = (sizes >= MIDDLING[0]) & (sizes <= MIDDLING[1])
    rows = []
    for name, order in _candidates(ijk, inside).items():
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        cells = []
        for width in WIDTHS:
            costs = [len(np.unique(position[row] // width)) * width / row.sum() for row in inside]
            of_middling = [cost for cost, is_one in zip(costs, middling, strict=True) if is_one]
            cells.append(f"{statistics.median(costs):.2f} / {max(costs):.2f} / {max(of_middling):.2f}")
        rows.append([name, *cells])
    names = ", ".join(
        f"{name} {size}" for name, size in zip(rois["roi"].values[middling], sizes[middling], strict=True)
    )
    summary = (
        f"Bytes of chunks over bytes needed: median / worst of {len(sizes)} ROIs / worst of those with {MIDDLING[0]} "
        f"to {MIDDLING[1]} voxels ({names}); {inside.shape[1]} voxels."
    )
    return f"{summary}\n\n{markdown(['stored order', *(f'{width} voxels per chunk' for width in WIDTHS)], rows)}"


def _candidates(ijk: NDArray[np.int64], inside: NDArray[np.bool_]) -> dict[str, NDArray[np.intp]]:
    """Return orders of voxels: name → the position in the input of the first stored voxel, of the second, and so on."""
    import numpy as np

    from intake_laion_fmri.store.order import hilbert_index, stored_order

    hilbert = hilbert_index(ijk)
    first = np.where(inside.any(axis=0), inside.argmax(axis=0), -1)
    _, of_set = np.unique(inside, axis=1, return_inverse=True)
    return {
        "C": np.arange(ijk.shape[1]),
        "Morton": np.argsort(_morton_index(ijk)),
        "Hilbert": np.argsort(hilbert),
        "first ROI, then Hilbert": np.lexsort([hilbert, first]),
        "set of ROIs, then Hilbert": np.lexsort([hilbert, of_set.reshape(-1)]),
        "the package's: set of ROIs, the smallest deciding first, then Hilbert": stored_order(ijk, inside),
    }


def _morton_index(ijk: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of cells along a Morton curve: their indices' bits by turns."""
    import numpy as np

    position = np.zeros(ijk.shape[1], dtype=np.int64)
    for bit in reversed(range(int(ijk.max()).bit_length())):
        for axis in ijk:
            position = (position << 1) | ((axis >> bit) & 1)
    return position
