"""What long work runs on: threads and values that belong to one process."""
