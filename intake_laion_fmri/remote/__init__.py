"""Bytes: buckets and copies, atomic files, locks, and patience with servers."""
