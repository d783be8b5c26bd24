"""The commands of ncdiag put together, and `main`: the only place where errors end."""

import errno
import os
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer

from ncdiag import __version__
from ncdiag.cli import analyze, export_data, import_data, plot, predict, report, runs, serve, store, sweep, train, watch
from ncdiag.cli.options import StoreOption, show_examples
from ncdiag.cli.output import without_controls
from ncdiag.cli.streams import prepare_streams
from ncdiag.errors import NCDiagError, OutOfMemoryError, SpecError, StoreError
from ncdiag.execution.signals import EXIT_INTERRUPTED

EXIT_BUG = 1
EXIT_BROKEN_PIPE = 141
# The system refuses to write: no space, quota used up, read-only, not permitted, file too large, fault of the device;
# or there can be no such place.
STORAGE_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO),
    *(errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
)

app = typer.Typer(
    name="ncdiag",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=show_examples("ncdiag sweep --preset quickstart", "ncdiag analyze threshold"),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ncdiag {__version__}")
        raise typer.Exit


@app.callback()
def ncdiag(
    store: StoreOption = "",
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the Python traceback of an error; works after the command too.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train networks, measure neural collapse every epoch, and see what the runs do and do not show."""
    try:
        os.getcwd()
    except FileNotFoundError:  # in which no path leads anywhere, and torch does not load
        raise SpecError("the folder that this shell is in was removed; go to one that exists, with cd") from None


for _command, _name, _examples in (
    (train.train, "train", train.EXAMPLES),
    (sweep.sweep, "sweep", sweep.EXAMPLES),
    (analyze.analyze, "analyze", analyze.EXAMPLES),
    (predict.predict, "predict", predict.EXAMPLES),
    (plot.plot, "plot", plot.EXAMPLES),
    (report.report, "report", report.EXAMPLES),
    (serve.serve, "serve", serve.EXAMPLES),
    (watch.watch, "watch", watch.EXAMPLES),
    (export_data.export, "export", export_data.EXAMPLES),
    (import_data.import_, "import", import_data.EXAMPLES),
):
    app.command(_name, epilog=show_examples(*_examples))(_command)
app.add_typer(runs.app, name="runs")
app.add_typer(store.app, name="store")


def main() -> NoReturn:
    """Run the command line of this process and leave with the exit code that the contract names."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line, print its error if it has one, and give the exit code."""
    prepare_streams()
    arguments, debug = _debug_first(arguments)
    try:
        code = _run_typer(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_output()
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error)


def _debug_first(arguments: list[str]) -> tuple[list[str], bool]:
    """Move --debug, which belongs to no command, before the command, and say whether it was given."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != "--debug"]
    given = len(options) < end
    return ["--debug"] * given + options + arguments[end:], given


def _run_typer(arguments: list[str]) -> int:
    """Let Typer read the arguments and call the command, and give the exit code."""
    try:
        code = app(arguments, prog_name="ncdiag", standalone_mode=False)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # Typer would end with 1
            raise stop.__context__ from None
        code = stop.code  # completions end so
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the whole help
            sys.stderr.write(f"{error.format_message()}\n")
            return SpecError.exit_code
        raise _misused(error) from None
    return code if isinstance(code, int) else 0


def _misused(error: Any) -> SpecError:
    """Give an error of Typer the form that all errors have; it has no public name in some versions."""
    message, context = error.format_message().replace("Value error, ", ""), getattr(error, "ctx", None)
    command = context.command_path if context else "ncdiag"  # none of an option at the end of the line, without a value
    return SpecError(f"{message[:1].lower()}{message[1:]}\n`{command} --help` says what there is")


def _report(error: Exception) -> int:
    """Say on stderr what went wrong, and give the exit code."""
    if isinstance(error, NCDiagError):
        message, code = str(error), error.exit_code
    elif isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        where = f" {str(error.filename)[:200]!r}" if error.filename else ""
        message = (
            f"the system refused to read or write{where}: {error.strerror}.\n"
            "Check free space and permissions, then repeat the command"
        )
        code = StoreError.exit_code
        _discard_output()
    elif isinstance(error, MemoryError):
        message = "out of memory; ask for less at once (--where), or use a machine with more"
        code = OutOfMemoryError.exit_code
    elif isinstance(error, ImportError) and "failed to map segment" in str(error):
        message = (
            f"a library does not fit into the memory that this process may have: {error}.\n"
            "Raise the limit (ulimit -v; torch takes some gigabytes of addresses), or use a machine with more"
        )
        code = OutOfMemoryError.exit_code
    else:
        message = (
            f"{type(error).__name__}: {error}\n"
            "this is a bug in ncdiag; rerun with --debug to see where, and please report it"
        )
        code = EXIT_BUG
    sys.stderr.write(without_controls(f"ncdiag: error: {message}\n"))
    return code


def _discard_output() -> None:
    """Point stdout at nothing, so that Python does not complain at exit of what it could not write."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
