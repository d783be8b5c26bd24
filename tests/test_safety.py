"""Nothing that is read from a file is run: every call that could do so is told not to, without exception."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("ncdiag/**/*.py"), *ROOT.glob("migrations/**/*.py")])

# What each call that can unpickle has to say.
GUARDS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "pd.read_pickle"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler"),
}
FORBIDDEN_MODULES = {"cPickle", "dill", "joblib", "marshal", "shelve", "subprocess"}


def dangers(source: str) -> list[str]:
    """Give the lines of a program on which something that was read could be run."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            said = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            option, needed = GUARDS.get(name, ("", None))
            if name in FORBIDDEN_CALLS or (option and said.get(option, "unsaid") is not needed):
                found.append(f"line {node.lineno}: {name}")
            if any(keyword.arg == "shell" for keyword in node.keywords):
                found.append(f"line {node.lineno}: {name} in a shell")
        elif isinstance(node, ast.ClassDef) and "pickle.Unpickler" in map(ast.unparse, node.bases):
            # one that chooses for itself what a pickle may name
            if not any(isinstance(part, ast.FunctionDef) and part.name == "find_class" for part in node.body):
                found.append(f"line {node.lineno}: {node.name}")
        elif isinstance(node, ast.ImportFrom) and node.module == "pickle":
            found.append(f"line {node.lineno}: pickle")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [f"line {node.lineno}: {name}" for name in names if name.partition(".")[0] in FORBIDDEN_MODULES]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_what_it_reads(path: Path) -> None:
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "pickle.loads(content)",
        "class Reader(pickle.Unpickler):\n    pass",
        "from pickle import loads",
        "eval(text)",
        "run(line, shell=True)",
    ],
)
def test_a_danger_would_be_noticed(line: str) -> None:
    assert dangers(line)


def test_what_is_safe_is_let_pass() -> None:
    assert dangers("torch.load(p, map_location='cpu', weights_only=True)\nnp.load(p, allow_pickle=False)") == []
