"""Templates: from a subject's space to fsaverage and MNI305.

`to_fsaverage` and `to_mni305` take data opened by this package, lazily and for many trials at once;
`Subject.to_template` takes NumPy arrays. MNI152 is not supported: the data set has no warp to it.
"""

from intake_laion_fmri.subject.templates import to_fsaverage, to_mni305

__all__ = ["to_fsaverage", "to_mni305"]
