"""docs/fields.md names every field that is printed, and no other; what it says is never null never is."""

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from clihelp import ROOT
from imagined import imagined_runs
from small import SMALL_OPTIONS

import ncdiag
from ncdiag.cli.app import run
from ncdiag.domain.questions import FIGURE_NAMES, QUESTIONS
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.domain.spec import Intervention
from ncdiag.plotting.figures import FIGURES
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs

PAGE = (ROOT / "docs" / "fields.md").read_text(encoding="utf-8")
COMMON = "fields of every result"
UNPRINTED = ("run_id", "nonfinite")  # columns that a DataFrame has, and an export has not
OF_RUNS = ("trajectory", "phase-portrait", "threshold")  # figures that draw runs without an onset, too


@dataclass(frozen=True, kw_only=True)
class Row:
    """A documented field: its name, the quantities that have it (none said: all), and whether it may be null."""

    name: str
    of: frozenset[str]
    nullable: bool

    def names(self, path: str) -> bool:
        stem = self.name.removesuffix(".*")
        return path == stem or (stem != self.name and path.startswith(f"{stem}."))


@dataclass(frozen=True, kw_only=True)
class Section:
    rows: list[Row]
    quantities: frozenset[str]


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def read_page(text: str) -> dict[str, Section]:
    """Give the sections of the page by their headings, in small letters."""
    found = {}
    for part in text.split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        rows, quantities, columns = [], set(), []
        for line in body.splitlines():
            if not line.startswith("|"):
                columns = []
            elif not columns:
                columns = cells_of(line)
            elif not set(line) <= set("|-"):
                cells = dict(zip(columns, [*cells_of(line), ""], strict=False))
                if columns[0] == "quantity":
                    quantities |= set(quoted(cells["quantity"]))
                else:
                    said = cells.get("of", "")
                    of = quantities.difference(quoted(said)) if said.startswith("all but") else set(quoted(said))
                    rows += _rows(quoted(cells["field"]), frozenset(of), cells["null"])
        found[heading.lower().replace("`", "")] = Section(rows=rows, quantities=frozenset(quantities))
    return found


def _rows(names: list[str], of: frozenset[str], null: str) -> list[Row]:
    """Give the fields of a line; where its last cell names some of them, the others are never null."""
    some = {name for name in names if {name, name.rpartition(".")[2]}.intersection(quoted(null))} or set(names)
    return [Row(name=name, of=of, nullable=bool(null) and name in some) for name in names]


SECTIONS = read_page(PAGE)
_REGULARITIES = ("depth", "width", "activation", "weight-decay")


def section_of(question: str) -> Section:
    name = ", ".join(_REGULARITIES) if question in _REGULARITIES else question
    return SECTIONS[f"analyze {name}"]


def paths_of(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Give the fields of a printed object by their paths, `a.b` in an object and `a[].b` in a list of objects."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key != "nonfinite":
                yield from paths_of(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for item in value:
            yield from paths_of(item, f"{path}[]")
    if path and not path.endswith("]") and not (isinstance(value, Mapping) and value):
        yield path, value


def said(*arguments: str | Path) -> str:
    """Give what a command line prints on stdout."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline=""), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    assert code == 0, err.getvalue()
    out.flush()
    return out.buffer.getvalue().decode()  # type: ignore[attr-defined]


def document(*arguments: str | Path) -> Any:
    """Give the JSON that a command prints; NaN and Infinity, which JSON has not, would raise."""
    return json.loads(said(*arguments, "--format", "json"), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def rows_of_csv(text: str) -> list[dict[str, str | None]]:
    return [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(io.StringIO(text))]


def plain_run(name: str, norm: float, *, time: float = 20.0, end: int = 120, **config: Any) -> ImportedRun:
    """Give a run with NC1 = exp(-epoch / time) and a constant norm, in one phase but for `switch`."""
    switch = config.pop("switch", 0)
    config = {"arch": "mlp", "dataset": "digits", "seed": 0, **config}
    epochs = tuple(
        EpochRecord(
            epoch=epoch,
            phase=1 if epoch <= switch else 2,
            loss="ce" if epoch <= switch else "mse",
            train_accuracy=1.0,
            feature_norm=norm,
            nc1=math.exp(-epoch / time),
        )
        for epoch in range(2, end + 1, 2)
    )
    return ImportedRun(name=name, config=config, epochs=epochs, source="plain.csv")


def grid_runs(norms: Mapping[tuple[str, str], float], **config: Any) -> Iterator[ImportedRun]:
    for (arch, dataset), norm in norms.items():
        for seed, apart in enumerate((0.99, 1.0, 1.01)):
            about = {"arch": arch, "dataset": dataset, "seed": seed, **config}
            yield plain_run(f"{arch}-{dataset}-{seed}", norm * apart, **about)


CELLS = list(itertools.product(("mlp", "cnn"), ("digits", "mnist")))
UP, DOWN = Intervention(alpha=3.0, epoch=10), Intervention(alpha=0.3, epoch=10)


def many_runs() -> Iterator[ImportedRun]:
    """Give runs for every question: pairs, depths, widths, activations, weight decays, and rescaled ones."""
    yield from imagined_runs(depth=(3, 5, 7), weight_decay=(1e-5, 1e-4), seed=range(2))
    yield from imagined_runs(weight_decay=(1e-3,), seed=range(2))
    yield from imagined_runs(activation=("gelu",), seed=range(2))
    yield from imagined_runs(width=(128, 256), seed=range(2))
    yield from imagined_runs(arch=("mlp", "cnn"), dataset=("mnist",), seed=range(2))
    yield from imagined_runs(arch=("cnn",), seed=range(2))
    yield from imagined_runs(activation=("relu", "gelu"), scale_features=(UP, DOWN), seed=range(2))
    yield plain_run("live", 1.0, time=60, end=40, depth=5)
    yield plain_run("unlike", 1.0, time=60, end=200, dataset="flowers")


STORES: dict[str, Iterable[ImportedRun]] = {
    "cells": imagined_runs(arch=("mlp", "cnn", "resnet20"), dataset=("mnist", "digits", "cifar10"), seed=(0,)),
    "crossing": grid_runs(dict(zip(CELLS, (1.0, 2.0, 2.0, 1.0), strict=True))),
    "removable": grid_runs(dict(zip(CELLS, (4.0, 25.0, 16.0, 49.0), strict=True))),  # their roots add
    "mixed": (
        *grid_runs({("mlp", "digits"): 1.0, ("mlp", "mnist"): 1.1}),
        *grid_runs({("cnn", "digits"): 1.2, ("cnn", "mnist"): 1.3}, switch=110),
    ),
    "two": imagined_runs(weight_decay=(1e-4, 2e-4), seed=range(3)),
    "one": (plain_run("one", 1.0), plain_run("short", 1.1, end=30, seed=1), plain_run("early", 1.0, time=0.1, seed=2)),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the stores, each called after its runs."""
    folder = tmp_path_factory.mktemp("fields")
    for name, runs in {"many": many_runs(), **STORES}.items():
        with open_store(str(folder / f"{name}.db"), write=True) as store:
            import_runs(store, list(runs))
    return folder


@pytest.fixture(scope="module")
def results(stores: Path) -> list[dict[str, Any]]:
    """Give the results of every question over all stores."""
    asked = [
        ("many",),
        ("one",),
        ("one", "--rule", "first", "--phase", "1"),
        *((name, "additivity") for name in ("cells", "crossing", "removable", "mixed")),
        ("mixed", "additivity", "--mix-phases"),
        ("many", "additivity", "--by", "arch"),
        ("two", "weight-decay"),
    ]
    found = []
    for store, *options in asked:
        printed = document("analyze", *options, "--store", stores / f"{store}.db")
        assert {*printed, *printed["rule"]} == {"results", "rule", "metric", "eps", "patience", "phase"}
        found += printed["results"]
    return found


def compare(printed: Iterable[tuple[str, Mapping[str, Any]]], rows: list[Row]) -> None:
    """Compare printed objects, each of a quantity, with the documented rows, in both directions."""
    missing, null, seen = set(), set(), set()
    for quantity, values in printed:
        own = [row for row in rows if not row.of or quantity in row.of]
        for path, value in paths_of(values):
            named = [row for row in own if row.names(path)]
            if not named:
                missing.add((quantity, path))
            elif value is None and not any(row.nullable for row in named):
                null.add((quantity, path))
            seen |= {(quantity if row.of else "", row.name) for row in named}
    documented = {(quantity, row.name) for row in rows for quantity in row.of or [""]}
    assert sorted(missing) == [], "printed, not documented"
    assert sorted(null) == [], "null, documented as never null"
    assert sorted(documented - seen) == [], "documented, not printed"


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_fields_of_a_question(results: list[dict[str, Any]], question: str) -> None:
    own = [(result["quantity"], result) for result in results if result["question"] == question]
    section, common = section_of(question), SECTIONS[COMMON].rows
    quantities = {quantity for quantity, _ in own}
    if question not in _REGULARITIES:
        assert quantities == section.quantities
    rows = [replace(row, of=row.of & quantities) for row in section.rows if not row.of or row.of & quantities]
    compare(own, rows + common)


def test_every_quantity_of_the_regularities_is_listed(results: list[dict[str, Any]]) -> None:
    found = {result["quantity"] for result in results if result["question"] in _REGULARITIES}
    assert found == section_of("depth").quantities


def test_fields_are_of_quantities_that_there_are() -> None:
    for name, section in SECTIONS.items():
        known = set(FIGURE_NAMES) if name == "plot --data" else section.quantities
        assert {quantity for row in section.rows for quantity in row.of} <= known


@pytest.mark.filterwarnings("ignore:.*were rescaled are left out")
def test_csv_and_data_frames_have_the_same_fields(stores: Path) -> None:
    for question in ("threshold", "attractor"):
        store = stores / "many.db"
        results = document("analyze", question, "--store", store)["results"]
        table = rows_of_csv(said("analyze", question, "--store", store, "--format", "csv"))
        flat = [{**{f"group_{key}": value for key, value in r["group"].items()}, **r} for r in results]
        named = {name for result in flat for name in result} - {"group", "nonfinite"}
        assert set(table[0]) == named == set(ncdiag.analyze(question, store))
        for row, result in zip(table, flat, strict=True):
            for name, cell in row.items():
                value = result.get(name)
                if isinstance(value, (bool, list, dict)):
                    assert json.loads(str(cell)) == value
                elif value is None:
                    assert cell in (None, *result.get("nonfinite", {}).values())
                else:
                    assert type(value)(str(cell or "")) == value


def test_the_fields_of_predict(stores: Path) -> None:
    many, one = stores / "many.db", stores / "one.db"
    asked = [("live", many), ("run-1", many), ("unlike", many), ("short", one)]
    printed = [document("predict", run_, "--store", store) for run_, store in asked]
    assert {values["status"] for values in printed} == {"forecast", "collapsed", "no_calibration", "insufficient"}
    compare((("", values) for values in printed), SECTIONS["predict"].rows)
    (row,) = rows_of_csv(said("predict", "live", "--store", many, "--format", "csv"))
    assert list(row) == [name for name in printed[0] if name != "nonfinite"]
    table = rows_of_csv(said("predict", "live", "--tournament", "--store", many, "--format", "csv"))
    assert [list(row) for row in table] == [["run", *printed[0]["rules"][0]]] * len(printed[0]["rules"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Train a grid of two runs whose features are rescaled, and give its store and what was printed."""
    store = tmp_path_factory.mktemp("trained") / "runs.db"
    varied = [option if option != "2" else "2,3" for option in SMALL_OPTIONS]
    return store, document("sweep", *varied, "--scale-features", "0.5@2", "--jobs", "1", "--store", store)


@pytest.mark.parametrize("content", ["epochs", "runs", "onsets"])
def test_the_fields_of_an_export(stores: Path, trained: tuple[Path, Any], content: str) -> None:
    rows, read = SECTIONS[f"export {content}"].rows, getattr(ncdiag, f"read_{content}")
    printed: list[dict[str, Any]] = []
    for store in (stores / "many.db", stores / "one.db", trained[0]):
        objects = document("export", content, "--store", store)[content]
        table = rows_of_csv(said("export", content, "--store", store))
        assert list(table[0]) == list(objects[0]) == [name for name in read(store) if name not in UNPRINTED]
        printed += objects
    compare((("", found) for found in printed), rows)


def test_the_columns_that_a_data_frame_has_besides(stores: Path) -> None:
    for content, besides in (("epochs", {"run_id", "nonfinite"}), ("runs", {"run_id"}), ("onsets", set())):
        columns = set(getattr(ncdiag, f"read_{content}")(stores / "one.db"))
        documented = {row.name.removesuffix(".*") for row in SECTIONS[f"export {content}"].rows}
        assert columns - documented == besides
        assert besides <= set(quoted(PAGE.partition(f"\n## export {content}\n")[2].partition("\n## ")[0]))


def test_the_fields_of_runs(stores: Path, trained: tuple[Path, Any]) -> None:
    listed, shown = [], []
    for store in (stores / "one.db", trained[0]):
        rows = document("runs", "ls", "--store", store)["runs"]
        listed += rows
        shown += [document("runs", "show", row["run"], "--store", store) for row in rows]
        assert [list(row) for row in rows_of_csv(said("runs", "ls", "--store", store, "--format", "csv"))] == [
            list(row) for row in rows
        ]
        (row,) = rows_of_csv(said("runs", "show", rows[0]["run"], "--store", store, "--format", "csv"))
        assert list(row) == list(rows[0])
    compare((("", row) for row in listed), SECTIONS["runs ls"].rows)
    compare((("", found) for found in shown), SECTIONS["runs show"].rows)
    latest = {path.removeprefix("latest.") for found in shown for path, _ in paths_of(found) if "latest." in path}
    assert latest == {row.name for row in SECTIONS["export epochs"].rows} - {"run"}


def test_the_fields_of_a_sweep(trained: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncdiag.cli.sweep._say_how_long", lambda *_: None)  # it would train for seconds to tell
    compare((("", row) for row in trained[1]["runs"]), SECTIONS["sweep"].rows)
    grid = ["sweep", "--dataset", "digits", "--seed", "0:2", "--dry-run", "--store", trained[0].with_name("none.db")]
    points = document(*grid)["points"]
    compare((("", row) for row in points), SECTIONS["sweep --dry-run"].rows)
    assert [list(row) for row in rows_of_csv(said(*grid, "--format", "csv"))] == [list(row) for row in points]


def test_the_columns_of_the_tables_behind_figures(
    stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncdiag.plotting.style.figure_bytes", lambda *_: b"")
    printed = []
    for kind in FIGURE_NAMES:
        monkeypatch.setitem(FIGURES, kind, replace(FIGURES[kind], draw=lambda *_: None))
        # A store of every kind is for all figures, and runs with little to say for those that draw single runs.
        asked = [("many", "arch in (mlp,cnn)")] if kind not in OF_RUNS else [("many", "depth = 5"), ("one", "")]
        for store, where in asked:
            options = ["-o", tmp_path / "f.png", "--data", "-", "--store", stores / f"{store}.db", "--where", where]
            printed += [(kind, row) for row in rows_of_csv(said("plot", kind, *options))]
    compare(printed, SECTIONS["plot --data"].rows)


def test_a_field_that_is_not_on_the_page_is_noticed(results: list[dict[str, Any]]) -> None:
    """The comparison fails in each of its three directions."""
    rows = [*section_of("claims").rows, *SECTIONS[COMMON].rows]
    claims = [(result["quantity"], result) for result in results if result["question"] == "claims"]
    compare(claims, rows)
    with pytest.raises(AssertionError, match="printed, not documented"):
        compare(claims, [row for row in rows if row.name != "parts[].p"])
    with pytest.raises(AssertionError, match="documented, not printed"):
        compare(claims, [*rows, Row(name="parts[].q", of=frozenset(), nullable=False)])
    with pytest.raises(AssertionError, match="never null"):
        compare(claims, [replace(row, nullable=False) for row in rows])
