"""Output that may be lost, signals that ask a process to end, and scripts that loader processes run again."""
import io
import os
import signal
import subprocess
import sys
import threading

import pytest
from helpers.problems import missing

from segfast.core.process import (BY_HAND, STOP_SIGNALS, LossyStream, StopHandler, drop_output, interrupt,
                                  lossy_output, on_stop_signals, unguarded_statement)

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


# Scripts that loader processes run again

def run_script(folder, text, *more):
    "Run a script; how it ended, and what it wrote on stderr."
    (folder/"lesson.py").write_text(text)
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run([sys.executable, *(more or ["lesson.py"])], cwd=folder, env=env, text=True, timeout=60,
                          capture_output=True)
    return done.returncode, done.stderr


START = "import multiprocessing as mp\nmp.set_start_method({!r})\nfrom segfast.core.process import check_main_guard\n"
CALL = "check_main_guard(workers=2)\n"
methods = pytest.mark.parametrize("method", ["spawn", "forkserver"] if os.name == "posix" else ["spawn"])


@methods
@pytest.mark.parametrize("body, line", [
    (CALL, 4), ("def main():\n    " + CALL + "main()\n", 6), ("with open(__file__):\n    " + CALL, 5),
    ("if __name__ == '__main__': print('first')\n" + CALL, 5), ("import other\n", 4)])
def test_a_script_without_the_guard_is_named(tmp_path, method, body, line):
    (tmp_path/"other.py").write_text("from segfast.core.process import check_main_guard\n" + CALL)
    code, text = run_script(tmp_path, START.format(method) + body)
    assert code == 1
    assert not missing(text, "UsageError", f"lesson.py, line {line}", "workers=0", "if __name__ == '__main__':")
    assert (START.format(method) + body).splitlines()[line - 1].strip() in text.splitlines()[-1]


@methods
@pytest.mark.parametrize("body", [
    "if __name__ == '__main__':\n    " + CALL, "def main():\n    " + CALL + "if __name__ == '__main__': main()\n",
    "try:\n    if mp.parent_process() is None: " + CALL + "finally: pass\n", "check_main_guard(workers=0)\n",
    "import threading\nthread = threading.Thread(target=check_main_guard, args=(2,))\nthread.start()\nthread.join()\n"])
def test_a_script_with_the_guard_is_left_alone(tmp_path, method, body):
    assert run_script(tmp_path, START.format(method) + body) == (0, "")


def test_what_no_process_imports_again_is_left_alone(tmp_path):
    script = START.format("spawn") + CALL
    assert run_script(tmp_path, script, "-c", script) == (0, "")
    (tmp_path/"package").mkdir()
    (tmp_path/"package/__main__.py").write_text(script)
    assert run_script(tmp_path, script, "-m", "package") == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="fork")
def test_a_fork_needs_no_guard(tmp_path):
    assert run_script(tmp_path, START.format("fork") + CALL) == (0, "")


@methods
def test_in_the_process_that_runs_the_script_again(tmp_path, method):
    "A statement that the parent takes as guarded: the child ends with the error, and the parent learns of it."
    code, text = run_script(tmp_path, START.format(method).replace(")", ", force=True)", 1) +
                            "if True:\n    check_main_guard()\n"
                            "    child = mp.Process(target=print)\n    child.start()\n    child.join()\n"
                            "    if mp.parent_process() is None: raise SystemExit(child.exitcode)\n")
    assert code and not missing(text, "UsageError", "lesson.py, line 5", "if __name__ == '__main__':")


def test_statements_of_a_script():
    source = "import x\nrun = train(a,\n            b)\nfor x in y:\n    if x: train(x)\n    train(y)\n"
    assert [unguarded_statement(source, line) for line in (1, 2, 3, 5, 6, 9)] == [
        "import x", "run = train(a,", "run = train(a,", None, "train(y)", None]
