"""Plans: files, trials and voxels, found before large files are read."""
