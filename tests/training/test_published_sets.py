"""Every published set, fetched from a server on this machine that has it in small, and read."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from public_sets import META, make_all, md5, packed

from ncdiag.errors import UnavailableError
from ncdiag.training import builtin_sets
from ncdiag.training.builtin_sets import BUILTINS

SETS = {"mnist": "MNIST", "fashion_mnist": "FASHION_MNIST", "cifar10": "CIFAR10"}


class Server(http.server.ThreadingHTTPServer):
    """Serves files by the last part of their path; `spoil` says what becomes of the largest of them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.spoil = "nothing"
        self.asked = 0

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # torchvision hangs up on a first request, which only follows redirections


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        name = self.path.rpartition("/")[2]
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if name == max(self.server.files, key=lambda file: len(self.server.files[file])):
            if self.server.spoil == "cut":
                content = content[: len(content) // 2]
            elif self.server.spoil == "altered":
                content = content[:-20] + bytes(20)
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(params=SETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of one of the sets, in the place of the one that torchvision knows."""
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not load: {error}")
    files, content = make_all()[SETS[name]]
    served = packed(SETS[name], content)
    theirs = getattr(datasets, files.torchvision_class)
    with Server(served) as running:
        place = f"http://127.0.0.1:{running.server_port}/"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        if name == "cifar10":
            batches = [[file, digest] for file, digest in files.md5.items()]
            (archive,) = served
            monkeypatch.setattr(theirs, "url", place + archive)
            monkeypatch.setattr(theirs, "tgz_md5", md5(served[archive]))
            monkeypatch.setattr(theirs, "train_list", batches[:5])
            monkeypatch.setattr(theirs, "test_list", batches[5:])
            monkeypatch.setattr(theirs, "meta", theirs.meta | {"md5": md5(META)})
        else:
            monkeypatch.setattr(theirs, "mirrors", [place])
            monkeypatch.setattr(theirs, "resources", [(file, md5(data)) for file, data in served.items()])
        monkeypatch.setattr(builtin_sets, SETS[name], files)
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_it_is_fetched_once_and_read_from_then_on(server: Server, name: str, tmp_path: Path) -> None:
    data = BUILTINS[name].read(tmp_path)
    files, content = make_all()[SETS[name]]
    if name == "cifar10":
        assert data.x_train.shape == (200, 3, 32, 32)
        # 40 images a batch, of classes 0 to 9 in turn; the first byte of a batch's pixels is its first red one
        assert content["data_batch_2"].find(data.x_train[40].tobytes()) > 0
    else:
        assert content["train-images-idx3-ubyte"][16:] == data.x_train.tobytes()
        assert content["t10k-images-idx3-ubyte"][16:] == data.x_test.tobytes()
    assert data.y_train.tolist() == list(range(10)) * 20
    assert sorted(path.name for path in (tmp_path / files.folder).iterdir()) == sorted(files.md5)
    assert [path.name for path in tmp_path.iterdir()] == [files.folder.partition("/")[0]]
    asked = server.asked
    assert np.array_equal(BUILTINS[name].read(tmp_path).x_test, data.x_test)
    assert server.asked == asked


def test_of_several_that_need_it_at_once_one_fetches(server: Server, name: str, tmp_path: Path) -> None:
    """A killed one has left something, too."""
    (tmp_path / ".download-killed" / "half").mkdir(parents=True)
    threads = [threading.Thread(target=BUILTINS[name].read, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files, _ = make_all()[SETS[name]]
    assert files.missing(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [files.folder.partition("/")[0]]
    assert server.asked <= 2 * len(server.files)  # torchvision asks twice for a file


@pytest.mark.parametrize("spoil", ["cut", "altered"])
def test_half_a_file_and_an_altered_one_are_refused_and_leave_nothing(
    server: Server, name: str, tmp_path: Path, spoil: str
) -> None:
    server.spoil = spoil
    with pytest.raises(UnavailableError, match=r"is not in .*: could not be fetched \(.*\)\.\nTo go on, put ") as error:
        BUILTINS[name].read(tmp_path)
    files, _ = make_all()[SETS[name]]
    assert str(tmp_path / files.folder) in str(error.value)
    assert list(tmp_path.iterdir()) == []
    server.spoil = "nothing"
    assert len(BUILTINS[name].read(tmp_path).x_train) == 200
