"""Bytes: the bucket and its copies, files that are written whole, locks, and the patience with servers."""
