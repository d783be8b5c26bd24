import pytest
from clihelp import Answer, Cli

from ncdiag.cli.app import run


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process, errors and exit code included."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Answer(code=code, out=out, err=err)

    return call
