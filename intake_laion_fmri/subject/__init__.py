"""One subject as NumPy arrays, under the data set's own names."""

from intake_laion_fmri.subject.accessors import Subject, load_subject, resolve_subject_id

__all__ = ["Subject", "load_subject", "resolve_subject_id"]
