from pathlib import Path

from ncdiag.training.control_groups import core_limits, memory_limits


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_limits_on_memory_are_found_in_both_versions_and_on_every_level(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("5:cpu,cpuacct:/other\n4:memory:/slurm/job:7\n0::/user.slice/a\n")
    system = tmp_path / "system"
    write(system / "memory/slurm/job:7/memory.limit_in_bytes", "3000\n")
    write(system / "memory/slurm/memory.limit_in_bytes", "4000\n")
    write(system / "user.slice/a/memory.max", "max\n")
    write(system / "user.slice/memory.max", "5000\n")
    write(system / "cpu/other/memory.limit_in_bytes", "1\n")
    assert sorted(memory_limits(system, own)) == [3000, 4000, 5000]
    # inside a container the group's own path is not there, and its limit is at the root
    write(system / "memory.max", "2000\n")
    own.write_text("0::/not/seen\n")
    assert list(memory_limits(system, own)) == [2000]
    assert list(memory_limits(system, tmp_path / "no Linux")) == []


def test_limits_on_cores_are_found_in_both_versions(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("5:cpu,cpuacct:/docker/a\n4:memory:/other\n0::/pod/b\n")
    system = tmp_path / "system"
    write(system / "cpu/docker/a/cpu.cfs_quota_us", "150000\n")
    write(system / "cpu/docker/a/cpu.cfs_period_us", "100000\n")
    write(system / "cpu/docker/cpu.cfs_quota_us", "-1\n")
    write(system / "cpu/docker/cpu.cfs_period_us", "100000\n")
    write(system / "pod/b/cpu.max", "max 100000\n")
    write(system / "pod/cpu.max", "400000 200000\n")
    assert sorted(core_limits(system, own)) == [1.5, 2.0]
