"""Catalogs that tests write and open."""

from __future__ import annotations

from hypothesis import strategies as st

from intake_laion_fmri.catalog.inventory import RoiRecord, SessionRecord

names = st.text("abcXYZ0123456789+", min_size=1, max_size=6) | st.sampled_from(
    ["on", "no", "null", "1e3", "0x1", "012"]
)

counts = st.none() | st.integers(0, 2**40)
sessions = st.lists(st.integers(1, 34), unique=True, max_size=4).map(
    lambda numbers: tuple(SessionRecord(f"ses-{n:02}", held_out=n > 30) for n in sorted(numbers))
)
formats = st.none() | st.permutations(["volume", "label"]).map(tuple)
rois = st.lists(st.builds(RoiRecord, names, names, formats, counts), max_size=4, unique_by=lambda roi: roi.roi).map(
    tuple
)
