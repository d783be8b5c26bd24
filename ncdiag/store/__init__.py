"""The store: takes and returns domain values."""
