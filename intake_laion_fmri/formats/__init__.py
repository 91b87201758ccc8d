"""Bytes become arrays: file objects in, arrays out. Nothing here knows the bucket."""
