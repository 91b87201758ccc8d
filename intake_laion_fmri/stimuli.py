"""The images, under the names of the data set's own package; `open_stimuli` opens them as a lazy array."""

from intake_laion_fmri.subject.images import Stimuli, as_displayed_rgb, load_stimuli

__all__ = ["Stimuli", "as_displayed_rgb", "load_stimuli"]
