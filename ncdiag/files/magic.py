"""What a file is by how it begins, whatever its name: two that are taken for something else by mistake."""

LONGEST = 16  # bytes that are needed to tell


def looks_packed(content: bytes) -> bool:
    """Tell whether content is what gzip makes."""
    return content.startswith(b"\x1f\x8b")


def looks_like_database(content: bytes) -> bool:
    """Tell whether content is an SQLite database, and so most likely a store."""
    return content.startswith(b"SQLite format 3\0")
