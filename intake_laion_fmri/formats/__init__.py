"""Formats: file objects in, arrays out, without any knowledge of the bucket.

The readers are strict: for any bytes they return the values of the file or raise DataIntegrityError, in time and memory
that the file's size bounds. `content` is the bytes of a file, `name` its name for errors, and `n_vertices` the number
of vertices of its hemisphere.
"""
