"""Building stores, and verifying them against the bucket."""
