"""Plans: files, trials and voxels of a request, found before large files are read."""
