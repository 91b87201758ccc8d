"""The trials of a session as torch tensors, under the name of the data set's own package."""

from intake_laion_fmri.subject.torch_items import LaionFMRIDataset

__all__ = ["LaionFMRIDataset"]
