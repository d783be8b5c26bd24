"""x"""

EXAMPLES = ("ncdiag predict run-1", "ncdiag predict run-1 --format json")


def predict() -> None:
    """Answer."""
