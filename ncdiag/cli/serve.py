"""`ncdiag serve`: the report as a page that follows the store."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ncdiag.cli.numbers import number_option
from ncdiag.cli.options import StoreOption, takes_terms
from ncdiag.cli.output import emit_text, note, warn
from ncdiag.errors import UnsafeError

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms

EXAMPLES = (
    "ncdiag serve",
    "ncdiag serve --port 0 --where 'dataset=mnist'",
)


@takes_terms
def serve(
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        number_option("--port", kind=int, metavar="N", least=0, most=65535, text="The port; 0 takes any free one."),
    ] = 8787,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let other machines read the store: for a --host beyond this one.")
    ] = False,
    every: Annotated[
        float,
        number_option(
            "--every",
            metavar="SECONDS",
            least=1,
            most=86_400,
            text="How often at most to answer the questions anew.",
        ),
    ] = 60,
    *,
    terms: "Terms",
    store: StoreOption = "",
) -> None:
    """Show the report in a browser, live, while runs are trained.

    The address is printed; Ctrl-C ends it. The server only reads the store. It can be reached from this machine alone,
    and asks for no password: from another machine, ssh -L 8787:localhost:8787 brings it there.
    """
    from ncdiag.cli.live_source import LiveSource
    from ncdiag.cli.plot import quiet_matplotlib
    from ncdiag.execution.signals import exit_code
    from ncdiag.report.server import ReportServer, is_loopback
    from ncdiag.store.engine import open_store

    if not (is_loopback(host) or allow_remote):
        raise UnsafeError(
            f"serving on {host} would let everybody who reaches this machine read the store.\n"
            f"Leave --host away and use ssh -L {port}:localhost:{port} MACHINE, or add --allow-remote if it is meant"
        )
    quiet_matplotlib()
    with open_store(store) as opened:
        source = LiveSource(opened, terms, seconds=every)
        with ReportServer(source, host, port) as server:
            if not server.loopback:
                warn("everybody who reaches this machine can read the store")
            source.start()
            try:
                emit_text(server.url)
                note(f"following {opened.label}; Ctrl-C ends it")
                server.serve_forever()
            except (KeyboardInterrupt, SystemExit) as stop:
                # The questions may be being answered. A thread cannot be made to stop, and where Python takes itself
                # apart under one that draws, the process aborts; so it ends as it is. It has only read.
                os._exit(exit_code(stop))
            finally:
                source.stop()
