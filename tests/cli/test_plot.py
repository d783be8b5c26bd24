import csv
import struct
from pathlib import Path

import pytest
from clihelp import Cli, run_ncdiag
from falling import make_falling_store

PNG = b"\x89PNG\r\n\x1a\n"
KINDS = [
    "phase-portrait",
    "threshold",
    "lead",
    "calibration",
    "grid",
    "attractor",
    "depth",
    "width",
    "activation",
    "weight-decay",
    "claims",
]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a small store, the one that commands use when none is named, in an otherwise empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NCDIAG_STORE", raising=False)
    return make_falling_store(tmp_path / "ncdiag.db")


def size_of(png: bytes) -> tuple[int, int]:
    """Read width and height in pixels from the first chunk."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_a_figure_goes_to_a_file_of_the_kinds_name(store: Path, cli: Cli):
    answer = cli("plot", "trajectory")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "ncdiag: note: figure of 5 runs written to trajectory.png\n"
    assert store.with_name("trajectory.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (("-o", "f.svg"), b"<?xml"),
        (("-o", "f.pdf"), b"%PDF"),
        (("-o", "f.png"), PNG),
        (("-o", "f", "--format", "svg"), b"<?xml"),
        (("-o", "f"), PNG),
    ],
)
def test_the_format_is_the_ending_of_the_file_or_what_was_asked(
    store: Path, cli: Cli, arguments: tuple[str, ...], start: bytes
):
    assert cli("plot", "trajectory", *arguments).code == 0
    assert store.with_name(arguments[1]).read_bytes().startswith(start)


@pytest.mark.parametrize(("width", "pixels"), [("column", 1050), ("page", 2160), ("slide", 1999)])
def test_a_figure_is_as_wide_as_its_place(store: Path, cli: Cli, width: str, pixels: int):
    """3.5 and 7.2 inches at 300 dots, 13.33 inches at 150."""
    cli("plot", "trajectory", "--width", width)
    assert size_of(store.with_name("trajectory.png").read_bytes())[0] == pixels


@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
def test_the_same_store_gives_the_same_bytes(store: Path, cli: Cli, form: str):
    for name in ("one", "two"):
        cli("plot", "trajectory", "-o", f"{name}.{form}")
    assert store.with_name(f"one.{form}").read_bytes() == store.with_name(f"two.{form}").read_bytes()


def test_a_figure_goes_to_stdout_alone_and_needs_neither_display_nor_home(store: Path):
    done = run_ncdiag(
        *("plot", "trajectory", "-o", "-", "--format", "svg", "--run", "deep-0", "--store", str(store)),
        DISPLAY="",
        MPLBACKEND="no_such_backend",
        MPLCONFIGDIR="/dev/null/x",
        HOME="/dev/null",
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("<?xml")
    assert done.stdout.rstrip().endswith("</svg>")


def test_the_table_behind_the_figure_can_be_had(store: Path, cli: Cli):
    answer = cli("plot", "trajectory", "--data", "-", "--run", "deep-0", "--run", "short")
    rows = list(csv.DictReader(answer.out.splitlines()))
    assert len(rows) == 12 + 8
    assert {row["condition"] for row in rows} == {"depth 5", "depth 3"}
    deep, short = rows[0], rows[-1]
    # NC1 = exp(-epoch / 20) passes 0.01 between 90 and 100, at 20 ln 100.
    assert deep["onset_state"] == "collapsed"
    assert float(deep["onset_epoch"]) == pytest.approx(92.103403719762)
    assert (deep["onset_lo"], deep["onset_hi"], deep["fn_star"]) == ("90.0", "100.0", "1.1")
    assert (short["onset_state"], short["onset_epoch"], short["fn_star"]) == ("censored", "", "")
    assert store.with_name("trajectory.png").exists()


@pytest.mark.usefixtures("store")
def test_the_onset_options_decide_the_onset(cli: Cli):
    answer = cli("plot", "trajectory", "--data", "-", "--run", "deep-0", "--rule", "first", "--eps", "0.05")
    row = next(csv.DictReader(answer.out.splitlines()))
    assert float(row["onset_epoch"]) == 60  # the first tenth after 20 ln 20 = 59.9


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("kind", KINDS)
def test_figures_that_are_planned_say_so(cli: Cli, kind: str):
    answer = cli("plot", kind)
    assert answer.code == 2
    assert answer.err == f"ncdiag: error: the figure {kind} is not available yet; there is trajectory\n"


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("trajektory",), 2, "did you mean trajectory"),
        (("trajectory", "-o", "f.gif"), 2, "expected .png, .svg or .pdf"),
        (("trajectory", "-o", "-", "--data", "-"), 2, "cannot both go to stdout"),
        (("trajectory", "--run", "deep-9"), 4, "no run 'deep-9'"),
        (("trajectory", "--where", "depth=9"), 2, "none of the 5 runs fits"),
        (("trajectory", "--by", "colour"), 2, "no column 'colour'"),
        (("trajectory", "-o", "nowhere/f.png"), 2, "does not exist"),
    ],
)
def test_what_cannot_be_drawn_is_said(cli: Cli, arguments: tuple[str, ...], code: int, what: str):
    answer = cli("plot", *arguments)
    assert answer.code == code
    assert what in answer.err
    assert not Path("trajectory.png").exists()
