"""Which voxels of a session a store keeps, in which order, and what it records of the others."""

from __future__ import annotations

import numpy as np

from intake_laion_fmri.reading.assembly import BetasParts
from intake_laion_fmri.reading.voxel_plans import Brain, VoxelQuery
from intake_laion_fmri.store.left_out import LeftOut
from intake_laion_fmri.store.order import stored_order


def kept_voxels(parts: BetasParts, query: VoxelQuery, *, where: str) -> tuple[Brain, LeftOut]:
    """Return the voxels to keep, in stored order, and a summary of the others."""
    brain = parts.brain
    positions = brain.chosen(query, where=where)
    if not len(positions):
        roi = query.roi.selection if query.roi else None
        raise ValueError(f"roi={roi!r} has no voxel within the mask of {where}: there is nothing to store.")
    others = brain.take(np.setdiff1d(np.arange(len(brain.axis)), positions, assume_unique=True))
    ceilings = {name: values for name, values in others.maps.items() if name.startswith("nc_")}
    left_out = LeftOut.from_voxels(len(others.axis), others.rois.inside if others.rois else None, ceilings)
    kept = brain.take(positions)
    return kept.take(stored_order(kept.axis.ijk(), kept.rois.inside if kept.rois else None)), left_out
