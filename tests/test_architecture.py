import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES = 400


def lint_imports(cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_point_one_way():
    pytest.importorskip("importlinter")
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_import_that_points_up_is_noticed(tmp_path: Path):
    """Without this, a contract that had come to check nothing would look the same as one that is kept."""
    pytest.importorskip("importlinter")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for layer in ("", "cli", "execution", "plotting", "report", "analysis", "training", "store", "files", "domain"):
        (tmp_path / "ncdiag" / layer).mkdir(parents=True, exist_ok=True)
        (tmp_path / "ncdiag" / layer / "__init__.py").write_text("")
    for module in ("run_files.py", "errors.py"):
        (tmp_path / "ncdiag" / module).write_text("")
    assert lint_imports(tmp_path).returncode == 0
    (tmp_path / "ncdiag" / "training" / "loop.py").write_text("import ncdiag.store\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "ncdiag.training.loop -> ncdiag.store" in done.stdout


def test_no_file_is_long():
    files = [path for folder in ("ncdiag", "migrations", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 20
    lines = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}
