"""`ncdiag serve` as a process of its own, over a store that another process writes to."""

import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import console, open_browser, requests, set_window, wait_for
from clihelp import PYTHON, ROOT, Cli
from falling import make_falling_store
from recorded import append

from ncdiag.domain.records import EpochRecord
from ncdiag.domain.spec import DataSpec, NetworkSpec, OptimizerSpec, PhaseSpec, RunSpec
from ncdiag.report.runs import CURVES
from ncdiag.store.engine import open_store
from ncdiag.store.leases import hold_lease, new_owner
from ncdiag.store.runs import add_run, claim_run, finish_run

SPEC = RunSpec(
    network=NetworkSpec(arch="mlp", depth=3, width=32),
    data=DataSpec(dataset="digits"),
    phases=(PhaseSpec(loss="ce", epochs=20),),
    optimizer=OptimizerSpec(name="adam", lr=1e-3, weight_decay=1e-4),
    batch_size=32,
    seed=0,
)
# Trains nothing, but writes as training does: an epoch for each line that comes in.
WRITER = """
import sys
from test_serve import write_run
write_run(sys.argv[1])
"""


def write_run(url: str) -> None:
    """Store an epoch of a running run for each line of stdin, and finish the run at the end."""
    import sys

    owner = new_owner()
    with open_store(url, write=True) as store:
        run, _ = add_run(store, SPEC)
        with hold_lease(store, run.id, owner):
            claim_run(store, run.id, owner=owner, device="cpu", environment={})
            print(run.id, flush=True)  # noqa: T201  # to the test
            for epoch, _ in enumerate(sys.stdin, start=1):
                record = EpochRecord(epoch=epoch, phase=1, loss="ce", feature_norm=10 / epoch, nc1=1 / epoch**2)
                append(store, run, record, owner=owner)
                print(epoch, flush=True)  # noqa: T201
            finish_run(store, run.id, owner=owner, status="done")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_falling_store(tmp_path / "runs.db")


@pytest.fixture
def serve(store: Path) -> "Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]":
    """Start the server with some options, and give the process and its address."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> "tuple[subprocess.Popen[str], str]":
        process = subprocess.Popen(
            [PYTHON, "-m", "ncdiag", "serve", "--port", "0", "--every", "1", "--store", str(store), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def writer(store: Path) -> "Iterator[subprocess.Popen[str]]":
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)])
    process = subprocess.Popen(
        [PYTHON, "-c", WRITER, str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    yield process
    process.kill()
    process.communicate()


def write_epoch(writer: "subprocess.Popen[str]") -> int:
    """Let the writer store an epoch, and give its number once it is stored."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write("\n")
    writer.stdin.flush()
    return int(writer.stdout.readline())


def get(url: str, path: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def rows(url: str) -> dict[int, dict[str, object]]:
    return {row["id"]: row for row in json.loads(get(url, "/runs")[2])["runs"]}


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


TAKEN_APART = """
import atexit, sys
atexit.register(sys.stderr.write, "taken apart")
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_at_once_whatever_is_computed(store: Path, tmp_path: Path, sent: signal.Signals, code: int):
    """A thread that draws when Python takes itself apart aborts the process: "terminate called without ..."."""
    (tmp_path / "sitecustomize.py").write_text(TAKEN_APART)
    process = subprocess.Popen(
        [PYTHON, "-m", "ncdiag", "serve", "--port", "0", "--store", str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    assert process.stderr is not None
    assert "following" in process.stderr.readline()
    process.send_signal(sent)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == code


@pytest.mark.slow
def test_the_page_follows_a_store_that_is_written_to(
    serve: "Callable[..., tuple[subprocess.Popen[str], str]]", writer: "subprocess.Popen[str]"
) -> None:
    assert writer.stdout is not None
    run_id = int(writer.stdout.readline())
    process, url = serve()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
    first = rows(url)[run_id]
    assert (first["status"], first["epochs_done"], first["nc1"]) == ("running", 0, None)
    for _ in range(3):
        write_epoch(writer)
    second = rows(url)[run_id]
    assert (second["epochs_done"], second["feature_norm"], second["nc1"]) == (3, 10 / 3, 1 / 9)
    packed = np.frombuffer(get(url, f"/curves/{run_id}?after=1")[2], dtype="<f4").reshape(len(CURVES), -1)
    assert packed[0].tolist() == [2, 3]
    assert packed[CURVES.index("nc1")] == pytest.approx([1 / 4, 1 / 9])
    assert np.isnan(packed[CURVES.index("nc4")]).all()
    writer.communicate()  # the end of its input, and so of the run
    assert rows(url)[run_id]["status"] == "done"
    until(lambda: rows(url)[run_id]["state"] == "censored")  # the questions have been answered again
    assert b'<section id="threshold"' in get(url, "/answers")[2]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == ""
    assert re.fullmatch(r"ncdiag: note: following .*runs\.db; Ctrl-C ends it\n", err)


@pytest.mark.slow
def test_an_open_page_takes_in_what_is_new_and_nothing_else(
    serve: "Callable[..., tuple[subprocess.Popen[str], str]]", writer: "subprocess.Popen[str]"
) -> None:
    assert writer.stdout is not None
    run_id = int(writer.stdout.readline())
    write_epoch(writer)
    _, url = serve()
    with open_browser() as driver:
        set_window(driver, width=1440)
        driver.get(url)
        wait_for(driver, "document.querySelectorAll('#answers section.question').length > 5")
        driver.execute_script("window.marker = document.querySelector('#runs-table a[href=\"#run-1\"]')")
        driver.execute_script(f"location.hash = 'run-{run_id}'")
        wait_for(driver, "Charts.drawn.size === 2")
        write_epoch(writer), write_epoch(writer)
        wait_for(driver, "[...Charts.drawn].every(c => c.data[0].length === 3)")
        data = driver.execute_script("return [...Charts.drawn].map(c => [...c.data[1]])")
        assert sorted(data) == [pytest.approx([1, 1 / 4, 1 / 9]), pytest.approx([10, 5, 10 / 3])]
        lead = driver.execute_script("return document.getElementById('run-lead').textContent")
        assert "running, 3 of 20 epochs" in lead
        facts = driver.execute_script("return document.getElementById('run-facts').textContent")
        assert "phasesce:20" in facts  # as --phase has it, and not as the configuration is stored
        kept = "return window.marker === document.querySelector('#runs-table a[href=\"#run-1\"]')"
        assert driver.execute_script(kept)
        assert console(driver) == []
        assert {
            url + "x" for url in requests(driver) if not url.startswith(("data:", driver.current_url[:20]))
        } == set()


@pytest.mark.slow
def test_a_page_says_wherever_it_is_read_that_the_server_is_gone(
    serve: "Callable[..., tuple[subprocess.Popen[str], str]]",
) -> None:
    process, url = serve()
    with open_browser() as driver:
        set_window(driver, width=390)
        driver.get(url)
        wait_for(driver, "document.querySelectorAll('#answers section.question').length > 5")
        driver.execute_script("location.hash = 'run-1'")
        wait_for(driver, "Charts.drawn.size > 0")
        seen = "document.getElementById('stale').checkVisibility()"
        assert not driver.execute_script(f"return {seen}")
        process.kill()
        wait_for(driver, seen)
        driver.execute_script("scrollTo(0, document.body.scrollHeight)")
        top = driver.execute_script("return document.getElementById('stale').getBoundingClientRect().top")
        assert 0 <= top < 200
        assert "does not answer" in driver.execute_script("return document.getElementById('stale').textContent")


@pytest.mark.slow
def test_only_known_hosts_and_known_paths_are_answered(
    serve: "Callable[..., tuple[subprocess.Popen[str], str]]", store: Path
) -> None:
    before = store.read_bytes()
    _, url = serve()
    port = urlsplit(url).port
    for host, status in (
        (f"127.0.0.1:{port}", 200),
        (f"localhost:{port}", 200),
        ("LOCALHOST", 200),
        (f"[::1]:{port}", 200),
        ("evil.example", 421),
        (f"127.0.0.1.evil.example:{port}", 421),
        ("192.0.2.7", 421),
        ("", 421),
    ):
        assert get(url, "/runs", Host=host)[0] == status, host
    for path, status in (
        ("/curves/1", 200),
        ("/curves/1?after=x", 200),
        ("/curves/99", 404),
        ("/curves/1e3", 404),
        ("/curves/" + "9" * 400, 404),
        ("/../../etc/passwd", 404),
        ("/favicon.ico", 404),
    ):
        assert get(url, path)[0] == status, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert get(url, "/runs", method=method)[0] == 501
    status, headers, body = get(url, "/", method="HEAD")
    assert (status, body) == (200, b"")
    assert headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in headers
    tag = get(url, "/runs")[1]["ETag"]
    assert get(url, "/runs", **{"If-None-Match": tag})[0] == 304
    assert store.read_bytes() == before
    assert not list(store.parent.glob("runs.db-*"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_a_host_that_others_can_reach_has_to_be_meant(cli: Cli, store: Path, host: str) -> None:
    answer = cli("serve", "--host", host, "--store", store)
    assert (answer.code, answer.out) == (6, "")
    assert "--allow-remote" in answer.err


def test_a_port_that_is_taken_is_said(cli: Cli, store: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = cli("serve", "--port", str(taken.getsockname()[1]), "--store", store)
    assert answer.code == 2
    assert "another --port (0 takes any free one)" in answer.err


def test_there_has_to_be_a_store(cli: Cli, tmp_path: Path) -> None:
    answer = cli("serve", "--store", tmp_path / "none.db")
    assert answer.code == 3
    assert "no store at" in answer.err
