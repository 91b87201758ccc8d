"""Masks of things in images, under the data set's own names."""

from intake_laion_fmri.subject.descriptions import Segmentations

__all__ = ["Segmentations"]
