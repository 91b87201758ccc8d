"""Captions of images, under the data set's own names."""

from intake_laion_fmri.subject.descriptions import Captions

__all__ = ["Captions"]
