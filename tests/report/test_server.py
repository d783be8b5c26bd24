"""The server of a report in this process, and clients that behave badly."""

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from ncdiag.report.server import ReportServer


class Fixed:
    """A source that always says the same, and whose answers cannot be had."""

    def page(self) -> str:
        return "x" * 10_000_000  # more than a socket takes at once

    def runs(self) -> str:
        return "{}"

    def answers(self) -> str:
        raise ZeroDivisionError("in the\nanswers")

    def curves(self, run_id: int, after: int) -> bytes | None:
        return None


@pytest.fixture
def server() -> Iterator[ReportServer]:
    with ReportServer(Fixed(), "127.0.0.1", 0) as server:
        server.daemon_threads = False  # closing waits for the requests, and so for what they say
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: ReportServer, path: str = "/runs", host: str = "localhost") -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize("host", ["[x", "[", "[::1", "]", "[zz]"])
def test_a_host_that_is_no_address_is_not_known(
    server: ReportServer, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    assert ask(server, host=host).startswith(b"HTTP/1.1 421 ")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("path", ["http://[x/", "http://[/runs"])
def test_a_path_that_is_none_leads_nowhere(server: ReportServer, capsys: pytest.CaptureFixture[str], path: str) -> None:
    assert ask(server, path).startswith(b"HTTP/1.1 404 ")
    assert capsys.readouterr().err == ""


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("request_", [b"", b"GET /runs HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_a_client_that_goes_away_is_no_matter(
    server: ReportServer, capsys: pytest.CaptureFixture[str], request_: bytes
) -> None:
    client = socket.create_connection(("127.0.0.1", server.server_port))
    client.sendall(request_)
    time.sleep(0.2)
    reset(client)
    time.sleep(0.2)
    assert ask(server).startswith(b"HTTP/1.1 200 ")
    server.shutdown()
    server.server_close()  # waits for the threads
    assert capsys.readouterr().err == ""


def test_another_error_is_one_line(server: ReportServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(server, "/answers") == b""
    assert ask(server).startswith(b"HTTP/1.1 200 ")
    server.shutdown()
    server.server_close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ncdiag: error: a request could not be answered: ZeroDivisionError(")
