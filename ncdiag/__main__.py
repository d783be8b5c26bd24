"""The command `ncdiag`, and `python -m ncdiag`: they hear a request to stop before they load anything else."""

from typing import NoReturn

from ncdiag.execution.signals import stops_heard


def main() -> NoReturn:
    """Run the command line of this process, and leave with its exit code."""
    with stops_heard():
        from ncdiag.cli import app

        app.main()


if __name__ == "__main__":
    main()
