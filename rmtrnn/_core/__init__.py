"""Ground: arrays, seeds, status, progress, storage, checks. No mathematics."""
