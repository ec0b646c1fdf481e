"""Run commands of segfast in forked processes: PyTorch is imported once, each command has its own memory, time limit
and output.

A fork must not inherit running threads, so `load_library` keeps every library to one thread, and `run_forked` refuses
to fork a process that has more.
"""
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

for key in "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS": os.environ.setdefault(key, "1")
os.environ.setdefault("MPLBACKEND", "agg")

LARGE = "segfast.all", "segfast.tools.sam" # a fork copies the tables of all pages: what no command needs is left out
CRASHED = 70 # exit code of a child that raised


@dataclass
class Ended:
    "How a child ended."
    code: int        # exit code; the negative number of a signal
    out: str         # its stdout
    err: str         # its stderr
    seconds: float
    late: bool       # it was killed because of its time limit
    value: object    # what the function returned, through JSON; None if it did not return

    @property
    def text(self):
        "All that it printed."
        return self.out + self.err


def threads():
    "How many threads this process has, those of C libraries included."
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1


def load_library():
    "Import all of segfast and what its commands import late, on one thread; register the model `tiny`."
    import warnings
    warnings.filterwarnings("ignore")
    import matplotlib.pyplot as plt
    import torch

    import segfast
    from helpers.tiny import make_tiny
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(segfast.__path__, "segfast."):
        if module.name not in LARGE: importlib.import_module(module.name)
    from segfast.models.zoo import MODELS
    MODELS["tiny"] = make_tiny
    fig, axes = plt.subplots()
    axes.set_title("$a$ fonts")
    fig.savefig(os.devnull, format="png")
    plt.close(fig)
    for name in "pandas", "safetensors.torch", "rich.console", "rich.progress", "rich.table", "PIL.JpegImagePlugin":
        importlib.import_module(name)
    gc.collect()
    gc.freeze() # the children need not copy the pages of objects that are never freed


def run_command(argv):
    "The exit code of a command of segfast in this process."
    from segfast.cli import app
    sys.argv = ["segfast", *map(str, argv)]
    try: app()
    except SystemExit as e: return e.code if isinstance(e.code, int) else int(e.code is not None)
    return 0


def run_forked(
    function,      # its value must be JSON
    limit=20.,     # seconds until it is killed
    memory=None,   # bytes that it may take beyond what this process has
    after=None,    # seconds until it is killed on purpose
    cwd=None,
):
    "Run a function in a forked process."
    if threads() > 1: raise RuntimeError("a process with threads cannot be forked safely")
    with tempfile.TemporaryDirectory(prefix="child-") as folder:
        sys.stdout.flush()
        sys.stderr.flush()
        began, pid = time.perf_counter(), os.fork()
        if not pid: _child(function, Path(folder), memory, cwd)
        code, late = _wait(pid, began, limit, after)
        names = "out", "err", "value"
        texts = {name: path.read_bytes().decode("utf-8", "backslashreplace") if path.exists() else ""
                 for name in names for path in [Path(folder)/name]}
        return Ended(code, texts["out"], texts["err"], time.perf_counter() - began, late,
                     json.loads(texts["value"]) if texts["value"] else None)


def patience():
    "By how much a busy machine is slower: 1 where each process has a core."
    return max(1, os.getloadavg()[0]/(os.cpu_count() or 1)) if hasattr(os, "getloadavg") else 1


def _wait(pid, began, limit, after):
    "Exit code, and whether the limit was reached."
    limit *= patience()
    pause, late, killed = .001, False, False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done: return os.waitstatus_to_exitcode(status), late
        passed = time.perf_counter() - began
        late = passed > limit
        if (late or after is not None and passed > after) and not killed:
            os.killpg(pid, signal.SIGKILL) if _leads(pid) else os.kill(pid, signal.SIGKILL)
            killed = True
        time.sleep(pause)
        pause = min(pause*1.3, .01)


def _leads(pid):
    try: return os.getpgid(pid) == pid
    except ProcessLookupError: return False


def _child(function, folder, memory, cwd):
    code = CRASHED
    gc.disable() # it would touch, and so copy, the pages of all objects
    try:
        os.setpgid(0, 0)
        for i, name in enumerate(("out", "err"), 1):
            os.dup2(os.open(folder/name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), i)
        sys.stdin = open(os.devnull)
        if memory:
            used = int(Path("/proc/self/statm").read_text().split()[0])*resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + memory,)*2)
        value_file = os.open(folder/"value", os.O_CREAT | os.O_WRONLY, 0o600) # before the function limits anything
        if cwd: os.chdir(cwd)
        value = function()
        os.write(value_file, json.dumps(value).encode())
        code = value if isinstance(value, int) else 0
    except BaseException: traceback.print_exc()
    finally:
        for stream in sys.stdout, sys.stderr:
            try: stream.flush()
            except (OSError, ValueError): pass
        os._exit(code)
