"""Captions of the images as texts, under the names of the data set's own package."""

from intake_laion_fmri.subject.descriptions import Captions

__all__ = ["Captions"]
