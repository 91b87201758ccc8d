"""What is needed for an answer: files, trials, voxels, found before anything large is read."""
