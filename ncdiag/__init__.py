"""ncdiag measures neural collapse while a network trains, and says what the runs do and do not show."""

__version__ = "0.1.0"
