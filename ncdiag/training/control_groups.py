"""What the control groups of Linux leave to this process: containers and batch systems limit memory and cores so."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SYSTEM, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def memory_limits(system: Path = SYSTEM, own: Path = OWN) -> Iterator[int]:
    """Give the limits on memory, in bytes, of the groups that this process is in."""
    for folder in _folders("memory", system, own):
        for name in ("memory.max", "memory.limit_in_bytes"):
            yield from _numbers(folder / name)[:1]


def core_limits(system: Path = SYSTEM, own: Path = OWN) -> Iterator[float]:
    """Give the limits on processor time, in cores, of the groups that this process is in: `docker run --cpus`."""
    for folder in _folders("cpu", system, own):
        quota = _numbers(folder / "cpu.max") or [
            *_numbers(folder / "cpu.cfs_quota_us"),
            *_numbers(folder / "cpu.cfs_period_us"),
        ]
        if len(quota) == 2 and quota[0] > 0:  # -1: none, in version 1
            yield quota[0] / quota[1]


def _folders(controller: str, system: Path, own: Path) -> Iterator[Path]:
    """Give the folders of the groups of a controller, from the innermost out, of both versions."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            root = system
        elif controller in controllers.split(","):
            root = system / controller  # version 1
        else:
            continue
        inside = PurePosixPath(group).relative_to("/")
        for folder in (inside, *inside.parents):
            yield root / folder


def _numbers(file: Path) -> list[int]:
    """Give the whole numbers of a file, none for one that says "max" or is not seen from inside a container."""
    try:
        return [int(word) for word in file.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []
