"""The functions that open a subject's data; they are written in `reading.betas`."""

from __future__ import annotations

from intake_laion_fmri.reading.betas import (
    open_betas,
    open_maps,
    open_noise_ceilings,
    open_rois,
    open_trials,
    roi_data,
)

__all__ = ["open_betas", "open_maps", "open_noise_ceilings", "open_rois", "open_trials", "roi_data"]
