"""Images and their descriptions: table, pictures, embeddings, captions, segmentations."""
