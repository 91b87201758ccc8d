"""Stores are built, and verified against the bucket."""
