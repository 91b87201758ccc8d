"""A session's trials as torch tensors, under the data set's own names."""

from intake_laion_fmri.subject.torch_items import LaionFMRIDataset

__all__ = ["LaionFMRIDataset"]
