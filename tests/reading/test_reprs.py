"""What notebooks show of a Dataset fits a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr

from intake_laion_fmri import (
    open_anatomy,
    open_betas,
    open_bold,
    open_embeddings,
    open_localizers,
    open_maps,
    open_noise_ceilings,
    open_rois,
    open_segmentations,
    open_stimuli,
    open_surfaces,
)

OPENED: dict[str, Callable[[Path], xr.Dataset]] = {
    "betas": lambda tiny: open_betas("sub-01", bucket=tiny),
    "volumes of ROIs": lambda tiny: open_rois("sub-01", bucket=tiny),
    "surfaces": lambda tiny: open_rois("sub-01", format="func.gii", bucket=tiny),
    "labels of one hemisphere": lambda tiny: open_rois("sub-01", format="label", hemi="L", bucket=tiny),
    "all formats": lambda tiny: open_rois("sub-01", format="all", bucket=tiny),
    "noise ceilings": lambda tiny: open_noise_ceilings("sub-01", bucket=tiny),
    "maps": lambda tiny: open_maps("sub-01", bucket=tiny),
    "maps of sessions": lambda tiny: open_maps("sub-01", session="all", bucket=tiny),
    "volumes of maps": lambda tiny: open_maps("sub-01", grid="volume", bucket=tiny),
    "images": lambda tiny: open_stimuli(bucket=tiny),
    "embeddings": lambda tiny: open_embeddings("CLIP", bucket=tiny),
    "segmentations": lambda tiny: open_segmentations(bucket=tiny),
    "cortical surfaces": lambda tiny: open_surfaces("sub-01", bucket=tiny),
    "anatomy": lambda tiny: open_anatomy("sub-01", bucket=tiny),
    "localizers": lambda tiny: open_localizers("sub-01", bucket=tiny),
    "localizers of vertices": lambda tiny: open_localizers("sub-01", space="fsnative", bucket=tiny),
    "time series": lambda tiny: open_bold("sub-01", bucket=tiny),
    "echoes": lambda tiny: open_bold("sub-01", source="raw", bucket=tiny),
}


@pytest.mark.parametrize("name", OPENED)
def test_the_list_of_sources_is_folded(tiny: Path, name: str) -> None:
    """In HTML xarray opens attributes unless they are ten or more; as text each is a line."""
    ds = OPENED[name](tiny)
    sections = re.findall(r"<input [^>]*type='checkbox'\s*([a-z]*)\s*/?><label[^>]*>Attributes:", ds._repr_html_())
    assert sections == [""]
    assert max(map(len, repr(ds).splitlines())) < 200
    assert '"key"' in ds.attrs["sources"]
