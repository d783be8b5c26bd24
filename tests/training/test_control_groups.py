from collections.abc import Mapping
from pathlib import Path

from ncdiag.training.control_groups import core_limits, memory_limits


def lay_out(folder: Path, groups: str, files: Mapping[str, str]) -> tuple[Path, Path]:
    """Make the files of control groups; give their root, and the file that says in which ones this process is."""
    own, system = folder / "cgroup", folder / "system"
    own.write_text(groups)
    for name, text in files.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(text)
    return system, own


def test_limits_on_memory_are_found_in_both_versions_and_on_every_level(tmp_path: Path) -> None:
    groups = "5:cpu,cpuacct:/other\n4:memory:/slurm/job:7\n0::/user.slice/a\n"
    files = {
        "memory/slurm/job:7/memory.limit_in_bytes": "3000\n",
        "memory/slurm/memory.limit_in_bytes": "4000\n",
        "user.slice/a/memory.max": "max\n",
        "user.slice/memory.max": "5000\n",
        "cpu/other/memory.limit_in_bytes": "1\n",
    }
    system, own = lay_out(tmp_path, groups, files)
    assert sorted(memory_limits(system, own)) == [3000, 4000, 5000]
    # inside a container the group's own path is not there, and its limit is at the root
    system, own = lay_out(tmp_path, "0::/not/seen\n", {"memory.max": "2000\n"})
    assert list(memory_limits(system, own)) == [2000]
    assert list(memory_limits(system, tmp_path / "no Linux")) == []


def test_limits_on_cores_are_found_in_both_versions(tmp_path: Path) -> None:
    files = {
        "cpu/docker/a/cpu.cfs_quota_us": "150000\n",
        "cpu/docker/a/cpu.cfs_period_us": "100000\n",
        "cpu/docker/cpu.cfs_quota_us": "-1\n",
        "cpu/docker/cpu.cfs_period_us": "100000\n",
        "pod/b/cpu.max": "max 100000\n",
        "pod/cpu.max": "400000 200000\n",
    }
    system, own = lay_out(tmp_path, "5:cpu,cpuacct:/docker/a\n4:memory:/other\n0::/pod/b\n", files)
    assert sorted(core_limits(system, own)) == [1.5, 2.0]
