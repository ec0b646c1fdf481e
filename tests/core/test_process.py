"""Output that may be lost, and signals that ask a process to end."""
import io
import os
import signal
import subprocess
import sys
import threading

import pytest

from segfast.core.process import (BY_HAND, STOP_SIGNALS, LossyStream, StopHandler, drop_output, interrupt,
                                  lossy_output, on_stop_signals)

posix = pytest.mark.skipif(os.name != "posix", reason="signals and descriptors of POSIX")


@pytest.fixture
def free():
    "All stop signals at their default, and as they were afterwards."
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS: signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items(): signal.signal(number, handler)


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def to_nobody():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


STREAMS = {"closed": closed, "None": lambda: None}
if os.name == "posix": STREAMS |= {"pipe": to_nobody, "full": lambda: open("/dev/full", "w", buffering=1)}


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_what_cannot_be_written_is_lost(make):
    stream = make()
    lossy = LossyStream(stream)
    for _ in range(3): print("epoch", file=lossy, flush=True)
    assert lossy.isatty() is False and len(lossy.lost) == (stream is not None)
    drop_output(lossy)
    if stream: stream.close()


@posix
def test_bytes_and_text_share_their_errors():
    stream = to_nobody()
    lossy = LossyStream(stream)
    lossy.buffer.write(b"x"*100_000)
    assert lossy.lost and lossy.buffer.lost is lossy.lost
    drop_output(lossy)
    stream.close()


def test_what_the_encoding_lacks_is_escaped():
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print("Straße \udcff", file=LossyStream(raw), flush=True)
    assert raw.buffer.getvalue() == b"Stra\\xdfe \\udcff\n"


def in_python(code, **kwargs):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **kwargs)
    return done.returncode, done.stdout, done.stderr


@posix
def test_nothing_is_written_as_python_ends():
    code = ("import os, sys; from segfast.core.process import lossy_output\n"
            "r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n"
            "with lossy_output(): print('x'*100_000); print('y')\n"
            "print('ended', file=sys.stderr)")
    assert in_python(code) == (0, "", "ended\n")


@posix
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    "Else what a C library writes to stderr lands in the next file that is opened."
    code = (f"import os\nfrom segfast.core.process import open_descriptors\nfor i in (0, 1, 2): os.close(i)\n"
            f"open_descriptors()\nwith open({str(tmp_path/'weights')!r}, 'wb') as f:\n"
            f"    f.write(b'weights'); f.flush(); os.write(2, b'warning'); os.write(1, b'progress')\n")
    in_python(code)
    assert (tmp_path/"weights").read_bytes() == b"weights"


@posix
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_stop_signal_calls_the_function_and_is_given_back(free, number):
    called = []
    with on_stop_signals(lambda: called.append(number)):
        signal.raise_signal(number)
        assert called == [number]
        signal.raise_signal(number)
        assert len(called) == (2 if number in BY_HAND else 1), "a scheduler repeats its signals, a person insists"
    assert signal.getsignal(number) == signal.SIG_DFL


@posix
def test_ignored_signals_and_those_of_others_stay(free):
    "`nohup` ignores SIGHUP on purpose; a cluster's library handles SIGUSR2 itself."
    heard = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    with on_stop_signals(interrupt):
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGUSR2)
    assert heard == [signal.SIGUSR2] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@posix
def test_inner_blocks_know_what_came_before(free):
    "The second SIGHUP of a terminal that closes must not end the work that the first one began."
    with on_stop_signals(interrupt):
        with pytest.raises(KeyboardInterrupt), on_stop_signals(interrupt): signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGXCPU)
        with pytest.raises(KeyboardInterrupt): signal.raise_signal(signal.SIGINT)


def test_outside_the_main_thread_nothing_changes():
    before, seen = signal.getsignal(signal.SIGTERM), []
    def work():
        with on_stop_signals(interrupt): seen.append(signal.getsignal(signal.SIGTERM))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@posix
@pytest.mark.parametrize("number, ends", [(signal.SIGTERM, True), (signal.SIGINT, False), (signal.SIGHUP, False)])
def test_a_fork_ends_with_its_parent_or_by_sigterm(number, ends):
    handler, pid = StopHandler(interrupt), os.fork()
    if not pid:
        try: handler(number, None)
        finally: os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (-signal.SIGTERM if ends else 7)


def test_streams_come_back():
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyboardInterrupt), lossy_output(): raise KeyboardInterrupt
    assert (sys.stdout, sys.stderr) == before
