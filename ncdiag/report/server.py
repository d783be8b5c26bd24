"""The report over HTTP, from the standard library alone: a page that follows a store, for browsers on this machine.

It only reads, and only answers GET and HEAD of four paths. A web page elsewhere could point a name of its own at this
machine and so read the report from within the reader's browser; its requests then carry that name, which is why every
request has to name a host that is known.
"""

import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from ncdiag.errors import NCDiagError, SpecError
from ncdiag.report.page import entity_tag

_HTML, _JSON, _BYTES, _TEXT = "text/html", "application/json", "application/octet-stream", "text/plain"
_NOTHING = b"There is nothing here.\n"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page brings the rest of its policy itself
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Source(Protocol):
    """Where a server gets what it shows; called from several threads at once."""

    def page(self) -> str:
        """Give the whole page."""
        ...

    def runs(self) -> str:
        """Give the rows of all runs as JSON, as they are now."""
        ...

    def answers(self) -> str:
        """Give the part of the page that holds the questions."""
        ...

    def curves(self, run_id: int, after: int) -> bytes | None:
        """Give the packed columns of a run's epochs after one of them, None where there is no such run."""
        ...


class ReportServer(ThreadingHTTPServer):
    """A server of a report at `url`; `serve_forever` runs it, and a KeyboardInterrupt ends it."""

    def __init__(self, source: Source, host: str, port: int) -> None:
        self.source = source
        self.known_hosts = _known_hosts(host)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SpecError(
                f"cannot serve on {host} port {port}: {reason}.\n"
                "Choose another --port (0 takes any free one), or another --host"
            ) from None
        named = f"[{host}]" if ":" in host else host
        self.url = f"http://{named}:{self.server_port}/"

    def knows(self, host: str) -> bool:
        """Tell whether a request may come under this name; an address cannot be pointed elsewhere, so all may."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # an address in brackets that is none
            return False
        return name in self.known_hosts or (not self.loopback and _is_address(name))

    def handle_error(self, request: object, client_address: object) -> None:
        """Say in a line what kept a request from being answered; a client that went away is no matter."""
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError)):
            sys.stderr.write(f"ncdiag: error: a request could not be answered: {error!r}\n")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(str(self.server_address[0]))


def is_loopback(host: str) -> bool:
    """Tell whether a host to listen on can be reached from this machine alone."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _known_hosts(host: str) -> frozenset[str]:
    names = {"localhost", "127.0.0.1", "::1", host.lower()}
    return frozenset(names if is_loopback(host) else names | {socket.gethostname().lower(), socket.getfqdn().lower()})


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ncdiag", ""
    timeout = 30

    def do_GET(self) -> None:
        try:
            status, kind, body = self._answer()
        except NCDiagError as error:  # the store is gone, busy or changed: the page says that it waits
            status, kind, body = HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, str(error).encode()
        tag = entity_tag(body)
        if status is HTTPStatus.OK and self.headers.get("If-None-Match") == tag:
            status, body = HTTPStatus.NOT_MODIFIED, b""
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind if kind == _BYTES else f"{kind}; charset=utf-8")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  # the name that http.server looks for

    def _answer(self) -> tuple[HTTPStatus, str, bytes]:
        if not self.server.knows(self.headers.get("Host", "")):
            return HTTPStatus.MISDIRECTED_REQUEST, _TEXT, b"This server answers under its own name only.\n"
        try:
            address = urlsplit(self.path)
        except ValueError:
            return HTTPStatus.NOT_FOUND, _TEXT, _NOTHING
        source = self.server.source
        match address.path.split("/")[1:]:
            case [""]:
                return HTTPStatus.OK, _HTML, source.page().encode()
            case ["runs"]:
                return HTTPStatus.OK, _JSON, source.runs().encode()
            case ["answers"]:
                return HTTPStatus.OK, _HTML, source.answers().encode()
            case ["curves", number] if _is_number(number):
                after = parse_qs(address.query).get("after", [""])[0]
                packed = source.curves(int(number), int(after) if _is_number(after) else -1)  # an epoch may be 0
                if packed is not None:
                    return HTTPStatus.OK, _BYTES, packed
        return HTTPStatus.NOT_FOUND, _TEXT, _NOTHING

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base class has it
        """Say nothing: a page that asks every two seconds would fill the terminal."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16
