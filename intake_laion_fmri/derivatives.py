"""Paths of the localizers' files, under the names of the data set's own package; `open_localizers` opens them."""

from intake_laion_fmri.subject.derivatives import (
    LOCALIZER_TASKS,
    VOLUME_RESOLUTIONS,
    localizer_effect_path,
    localizer_statmap_path,
)

__all__ = ["LOCALIZER_TASKS", "VOLUME_RESOLUTIONS", "localizer_effect_path", "localizer_statmap_path"]
