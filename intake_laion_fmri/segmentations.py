"""Masks of things in the images as arrays, under the names of the data set's own package."""

from intake_laion_fmri.subject.descriptions import Segmentations

__all__ = ["Segmentations"]
