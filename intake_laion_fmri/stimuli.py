"""Images, under the data set's own names; see also `open_stimuli`."""

from intake_laion_fmri.subject.images import Stimuli, as_displayed_rgb, load_stimuli

__all__ = ["Stimuli", "as_displayed_rgb", "load_stimuli"]
