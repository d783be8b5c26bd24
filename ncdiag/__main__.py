"""The command `ncdiag`, and `python -m ncdiag`: they hear Ctrl-C before they load anything else."""

from typing import NoReturn

from ncdiag.execution.signals import ctrl_c_heard


def main() -> NoReturn:
    """Run the command line of this process, and leave with its exit code."""
    with ctrl_c_heard():
        from ncdiag.cli import app

        app.main()


if __name__ == "__main__":
    main()
