"""The SQLite store: takes and returns domain values."""
