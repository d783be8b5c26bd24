"""On what kind of file system a store lies: SQLite needs locks that work, and over a network they may not."""

import re
from pathlib import Path

# As /proc/self/mounts names them. Their locks depend on server, version and mount options, and fail without a word.
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "9p", "afs", "fuse.sshfs")


def find_network_type(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Give the type of the network file system that a path is on; None for a local one, or where nobody can tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    best, found = Path(), None
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place))  # a space is \040
        if path.is_relative_to(mounted) and len(mounted.parts) >= len(best.parts):
            best, found = mounted, kind
    return found if found in _NETWORK else None
