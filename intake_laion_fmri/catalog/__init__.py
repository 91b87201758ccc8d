"""Catalog files of a bucket or store, and arguments on their way through Intake."""
