import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, not whether the code is right. On CI the parent is hypothesis'
# own profile for it, whose examples are the same in every run.
settings.register_profile("ncdiag", parent=settings(), deadline=None)
settings.load_profile("ncdiag")

# A shell starts what it runs in the background deaf to Ctrl-C, and so would be every command that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """What the command line leaves behind at its end, deaf handlers among it, is not for the next test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
