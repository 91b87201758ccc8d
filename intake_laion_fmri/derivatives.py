"""Paths of localizer files, under the data set's own names; see also `open_localizers`."""

from intake_laion_fmri.subject.derivatives import (
    LOCALIZER_TASKS,
    VOLUME_RESOLUTIONS,
    localizer_effect_path,
    localizer_statmap_path,
)

__all__ = ["LOCALIZER_TASKS", "VOLUME_RESOLUTIONS", "localizer_effect_path", "localizer_statmap_path"]
