"""Catalog files of what a bucket or a store holds, and values on their way through Intake."""
