"""Embeddings of images, under the data set's own names."""

from intake_laion_fmri.subject.descriptions import Embeddings, load_embeddings

__all__ = ["Embeddings", "load_embeddings"]
