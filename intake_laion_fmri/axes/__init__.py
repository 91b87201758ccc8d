"""Axes and memberships: trials, images, voxels, vertices and regions of interest."""
