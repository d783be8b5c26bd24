"""What a worker process may do instead of training, for the tests of those who wait for it."""

import os
import signal
import struct
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from ncdiag.domain.records import RunStatus
from ncdiag.training.events import Ended

if TYPE_CHECKING:
    from ncdiag.execution.worker import TrainingOptions


def die_in_mid_message(pipe: Connection, store_url: str, options: "TrainingOptions") -> None:
    """Take a group, announce a thousand bytes, send three of them, and be killed."""
    pipe.recv()
    os.write(pipe.fileno(), struct.pack("!i", 1000) + b"abc")
    os.kill(os.getpid(), signal.SIGKILL)


def die_after_two_ends(pipe: Connection, store_url: str, options: "TrainingOptions") -> None:
    """Take a group, say that its first run diverged and its second one failed, and be killed."""
    group = pipe.recv()
    for member, status in enumerate((RunStatus.DIVERGED, RunStatus.FAILED)):
        pipe.send((group[member], Ended(member=member, status=status, reason="because")))
    os.kill(os.getpid(), signal.SIGKILL)


def hear_no_sigterm(pipe: Connection) -> None:
    """Wait for ever, whatever is asked; say when it has begun."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe.send("deaf")
    while True:
        time.sleep(1)
