"""Templates: from a subject's space to fsaverage and MNI305.

`to_fsaverage` and `to_mni305` take what this package opens, lazily and for many trials at once; `Subject.to_template`
takes NumPy arrays. There is no way to MNI152: the data set has no warp to it.
"""

from intake_laion_fmri.subject.templates import to_fsaverage, to_mni305

__all__ = ["to_fsaverage", "to_mni305"]
