"""Infrastructure of long work: threads, per-process values, progress bars."""
