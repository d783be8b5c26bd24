"""`python -m ncdiag` is the same as `ncdiag`."""

from ncdiag.cli.app import main

if __name__ == "__main__":
    main()
