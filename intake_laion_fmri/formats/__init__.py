"""Formats: file objects in, arrays out, without any knowledge of the bucket.

The readers are strict: for any bytes they return what the file says or raise DataIntegrityError, in a time
and a memory that the size of the file bounds. `content` is the bytes of a file, `name` what to call it in errors, and
`n_vertices` the number of vertices of the hemisphere that the file is of.
"""
