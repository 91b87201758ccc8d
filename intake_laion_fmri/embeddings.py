"""Embeddings of the images as arrays, under the names of the data set's own package."""

from intake_laion_fmri.subject.descriptions import Embeddings, load_embeddings

__all__ = ["Embeddings", "load_embeddings"]
