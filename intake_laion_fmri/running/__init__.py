"""Infrastructure for long-running work: threads, per-process values, progress bars."""
