"""A map of a hemisphere, as a worker reads it; see `blocks`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.formats.gifti import read_vertex_values
from intake_laion_fmri.remote.access import Bucket, ObjectInfo


@dataclass(frozen=True)
class SurfaceBlock:
    """A map of a hemisphere, as a worker reads it."""

    bucket: Bucket
    """Where to read from."""
    info: ObjectInfo
    """The map's file."""
    hemi: str
    """``L`` or ``R``."""
    n_vertices: int
    """Vertices of the hemisphere, which the file must have."""

    def __dask_tokenize__(self) -> object:
        source = (self.bucket.__dask_tokenize__(), self.info.__dask_tokenize__())
        return ("intake_laion_fmri.SurfaceBlock", *source, self.n_vertices)

    def __len__(self) -> int:
        return 1

    def read(self, vertices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the file and return chosen vertices, shape (1, vertex).

        Raises
        ------
        DataIntegrityError
            If it is broken, of the other hemisphere, or has another number of vertices.
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        name = self.bucket.locate(self.info.key)
        content = self.bucket.fetch([self.info])[self.info.key]
        values = read_vertex_values(content, name=name, hemi=self.hemi)
        if len(values) != self.n_vertices:
            raise DataIntegrityError(
                f"{name}: expected {self.n_vertices} vertices, as in the hemisphere's other maps, found {len(values)}. "
                "Fetch the files again; if it persists, report it."
            )
        return values[np.newaxis, vertices]
