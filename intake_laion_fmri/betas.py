"""Openers and loaders of a subject's data; implemented in `reading`."""

from __future__ import annotations

from intake_laion_fmri.reading.betas import open_betas
from intake_laion_fmri.reading.loading import load, load_betas
from intake_laion_fmri.reading.maps import open_maps, open_noise_ceilings
from intake_laion_fmri.reading.rois import open_rois, roi_data
from intake_laion_fmri.reading.trials import open_trials

__all__ = [
    "load",
    "load_betas",
    "open_betas",
    "open_maps",
    "open_noise_ceilings",
    "open_rois",
    "open_trials",
    "roi_data",
]
