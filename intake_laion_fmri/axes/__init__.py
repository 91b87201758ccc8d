"""The axes of a Dataset and who belongs to what: trials, voxels, vertices and regions of interest."""
