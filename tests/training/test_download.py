import gzip
import hashlib
import http.server
import re
import socket
import sys
import threading
import urllib.request
from urllib.error import URLError

import pytest

from ncdiag.errors import UnavailableError
from ncdiag.training.download import download
from ncdiag.training.public_files import CIFAR10, MNIST, PublicFiles

CONTENT = {name: f"content of {name}".encode() * 5000 for name in MNIST.md5}
PACKED = {f"{name}.gz": gzip.compress(content, 0) for name, content in CONTENT.items()}
FILES = PublicFiles(
    torchvision_class="MNIST",
    folder="MNIST/raw",
    md5={name: hashlib.md5(content).hexdigest() for name, content in CONTENT.items()},
)


@pytest.fixture
def mnist():
    try:
        from torchvision.datasets import MNIST as theirs  # noqa: N811
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not load: {error}")
    return theirs


@pytest.fixture
def server(mnist, monkeypatch):
    """A mirror of four small files; `server.mode` says how it misbehaves."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.server.mode == "silent":
                self.server.never.wait(30)
            content = PACKED[self.path.lstrip("/")]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if "t10k-images" in self.path and self.server.mode == "cut":
                content = content[: len(content) // 2]
            if "t10k-images" in self.path and self.server.mode == "altered":
                content = content[:-1] + b"?"
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        mode = "good"
        never = threading.Event()  # what waits for it is to give up before

        def handle_error(self, request, client_address):
            pass  # torchvision hangs up on its first request, which only follows redirections

    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(mnist, "mirrors", [f"http://127.0.0.1:{running.server_port}/"])
        sums = [(name, hashlib.md5(content).hexdigest()) for name, content in PACKED.items()]
        monkeypatch.setattr(mnist, "resources", sums)
        # torchvision opens the files once they are there; these hold no images. Older ones also print to stdout
        monkeypatch.setattr(mnist, "_load_data", lambda self: (sys.stdout.write("Extracting"), None))
        yield running
        running.shutdown()
        thread.join()


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_puts_whole_files_into_place_and_prints_nothing_off_a_terminal(server, tmp_path, capfd):
    download(FILES, tmp_path / "new")
    assert everything_in(tmp_path) == sorted(f"new/MNIST/raw/{name}" for name in CONTENT)
    assert all(FILES.read(tmp_path / "new", name) == content for name, content in CONTENT.items())
    assert capfd.readouterr() == ("", "")


def test_shows_progress_on_a_terminal(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    download(FILES, tmp_path)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.search(r"100(\.0)?%", printed.err)


@pytest.mark.parametrize("mode", ["cut", "altered"])
def test_a_damaged_download_leaves_nothing(server, tmp_path, mode):
    server.mode = mode
    with pytest.raises(UnavailableError, match=r"MNIST is not in .*: could not be fetched"):
        download(FILES, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(server, tmp_path, monkeypatch):
    server.mode = "silent"
    monkeypatch.setattr("ncdiag.training.download.TIMEOUT_S", 0.2)
    with pytest.raises(UnavailableError, match="timed out"):
        download(FILES, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_an_interrupted_download_leaves_nothing(server, tmp_path, mnist, monkeypatch):
    def interrupt(self):
        assert everything_in(tmp_path)  # the files are there, but not yet in their place
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist, "_load_data", interrupt)
    with pytest.raises(KeyboardInterrupt):
        download(FILES, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("files", [MNIST, CIFAR10])
def test_offline_names_every_file_and_its_place(mnist, tmp_path, monkeypatch, files):
    def refuse(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(UnavailableError) as error:
        download(files, tmp_path)
    message = str(error.value)
    assert message.count("\n") == 2
    assert "Name or service not known" in message
    assert str(tmp_path / files.folder) in message
    assert all(name in message for name in files.md5)
    assert error.value.exit_code == 7
    assert list(tmp_path.iterdir()) == []


def test_data_folder_that_cannot_be_made(mnist, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="could not be fetched"):
        download(MNIST, tmp_path / "file")


@pytest.mark.parametrize("failure", ["RuntimeError('operator torchvision::nms does not exist')", "ImportError('no')"])
def test_broken_torchvision_is_named_with_both_versions(tmp_path, monkeypatch, failure):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text(f"raise {failure}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.metadata.version", {"torch": "2.99", "torchvision": "0.11"}.__getitem__)
    with pytest.raises(UnavailableError, match=r"torchvision 0\.11, .* does not load beside torch 2\.99: ") as error:
        download(MNIST, tmp_path / "data")
    assert str(error.value).count("\n") == 2
    assert str(tmp_path / "data/MNIST/raw") in str(error.value)
