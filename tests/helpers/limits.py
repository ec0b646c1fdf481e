"""Give up after some seconds, so that a hang is a failure and not the end of all tests."""
import signal
from contextlib import contextmanager


@contextmanager
def alarm_after(seconds, late):
    "In the block, call a function when it took too long; it must raise."
    before = signal.signal(signal.SIGALRM, lambda *args: late())
    signal.alarm(seconds)
    try: yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
