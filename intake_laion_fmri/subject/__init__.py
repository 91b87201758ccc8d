"""One subject as NumPy arrays, under the names of the data set's own package."""

from intake_laion_fmri.subject.accessors import Subject, load_subject, resolve_subject_id

__all__ = ["Subject", "load_subject", "resolve_subject_id"]
