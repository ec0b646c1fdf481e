"""Trainings that are killed on purpose: for tests/training/test_resume.py and tests/soaks.

    python tests/helpers/killing.py serve      reads jobs as lines of JSON, forks a process for each, answers in JSON
    python tests/helpers/killing.py cli ...    the command line of segfast, with the small models of this file

Importing PyTorch takes seconds, so the server does it once, and each attempt at a training is a fork of it. A fork must
not inherit running threads: the server itself
computes nothing, and PyTorch keeps to one thread. A plan names an event and how many of it pass before the attempt
dies: `["rename", 3]` is the moment before the third rename.
"""
import hashlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

HALF, FULL, TIMES = (16, 24), (32, 48), ("seconds", "images_per_second")


# Recipes, all tiny: half size first, then full size

def variant(name, seed=42):
    "A recipe by name."
    from segfast.runs.recipe import Recipe, Stage

    def stages(*some, **common):
        return [Stage(**dict(name=f"s{i}", batch_size=2, precision="fp32", lr=1e-2) | common | s)
                for i, s in enumerate(some, 1)]
    half, full = dict(size=HALF, epochs=2), dict(size=FULL, epochs=2)
    made = dict(ema=lambda: dict(stages=stages(half | dict(frozen=True), half, full, accumulate=2), ema=.9,
                                 augment="default"), ranger=lambda: dict(stages=stages(half
        | dict(schedule="step", epochs=3), full | dict(lr="find", schedule="flat_cos")), optimizer="ranger",
        patience=50, class_weights="inverse"), workers=lambda: dict(stages=stages(half | dict(epochs=3),
        full | dict(spread=10.)), model="dropout", augment="default", keep="best", samples=2),
                bf16=lambda: dict(stages=stages(half, full, precision="bf16"), optimizer="adamw", clip=1., ema=.9,
                                  augment="light", loss="0.375*ce+1.125*dice", monitor="valid_loss"),
                sgd=lambda: dict(stages=stages(half | dict(schedule="poly"), full | dict(schedule="constant", epochs=3),
                                               batch_size=3, accumulate=2), optimizer="sgd", augment="default"),
                patience=lambda: dict(stages=stages(half | dict(schedule="step", epochs=6, lr=1e-9), full), patience=2,
                                      monitor="valid_loss"),)
    return Recipe(**dict(name=name, model="tiny", weights="none", augment="none", seed=seed) | made[name]())


VARIANTS = "ema", "ranger", "workers", "bf16", "sgd", "patience"
LOADERS = dict(workers=2)


def register():
    "Two networks of a few hundred weights, as models of the library."
    from torch import nn

    from segfast.models.zoo import MODELS

    def make(n_out, weights="none", drop=0.):
        def conv(a, b): return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
        body = nn.Sequential(conv(3, 8), *(nn.Identity() for _ in range(5)), conv(8, 8), nn.Dropout2d(drop))
        return nn.Sequential(body, nn.Conv2d(8, n_out, 1))
    MODELS["tiny"] = make
    MODELS["dropout"] = lambda n_out, weights="none": make(n_out, weights, .3)


# Events, at which an attempt may die

class Moments:
    "Counts events, writes them down, and dies at the planned one."
    def __init__(self, job):
        self.plan, self.signals, self.fails = job.get("kill"), job.get("signals") or [], job.get("fails")
        self.loader, self.moves, self.replaced = job.get("loader"), job.get("moves"), job.get("replaced")
        self.trace, self.counts, self.pid = open(job["trace"], "a"), {}, os.getpid()

    def __call__(self, name, dying=None):
        self.counts[name] = n = self.counts.get(name, 0) + 1
        if os.getpid() == self.pid:
            self.trace.write(f"{name}\n")
            self.trace.flush()
        if self.plan and self.plan[:2] == [name, n]:
            if dying: dying()
            os.kill(self.pid, signal.SIGKILL) # from a loader's process too
            time.sleep(60)
        if self.loader and name == "load" and os.getpid() != self.pid and self.counts.get(
            self.loader[0], 0) >= self.loader[1]:
            os.kill(os.getpid(), signal.SIGKILL) # as the system does when memory is short
        if self.moves and self.moves[:2] == [name, n] and os.getpid() == self.pid: self.move(*self.moves[2:])
        for at, i, number in self.signals:
            if [at, i] == [name, n] and os.getpid() == self.pid:
                (os.killpg if number.startswith("all-") else os.kill)(self.pid,
                                                                      getattr(signal, number.removeprefix("all-")))
        if self.fails and self.fails[0] == name and n >= self.fails[1]:
            raise OSError(self.fails[2], os.strerror(self.fails[2]), str(self.fails[3]))

    def move(self, folder, dest):
        "Rename a folder, or without a new name delete it; perhaps a copy of another one takes its place."
        if dest: os.rename(folder, dest)
        else: # a thread may be writing a checkpoint into it
            while os.path.exists(folder): shutil.rmtree(folder, ignore_errors=True)
        if self.replaced: shutil.copytree(self.replaced, folder)

    def around(self, place, name, event, dying=None):
        "Make a function report before and after it is called."
        real = getattr(place, name)

        def wrapped(*args, **kwargs):
            self(event, (lambda: dying(*args, **kwargs)) if dying else None)
            out = real(*args, **kwargs)
            self(f"{event}-done")
            return out
        setattr(place, name, wrapped)

    def only(self, place, name, event, dying=None):
        "Make a function report before it is called."
        real = getattr(place, name)

        def wrapped(*args, **kwargs):
            self(event, (lambda: dying(*args, **kwargs)) if dying else None)
            return real(*args, **kwargs)
        setattr(place, name, wrapped)


def half_a_file(tensors, path, *args, **kwargs): Path(path).write_bytes(b"\x10\0\0\0\0\0\0\0{half a fi")
def half_a_folder(path, *args, **kwargs):
    for file in sorted(Path(path).iterdir())[:1] if Path(path).is_dir() else (): file.unlink()


def watch(moments):
    "Have everything of interest report to `moments`."
    import torch
    from fastai.learner import Learner

    import segfast.core.files as files
    import segfast.data.cache as cache
    import segfast.runs.run as run_module
    import segfast.training.callbacks as callbacks
    import segfast.training.checkpoints as checkpoints
    import segfast.training.resume as resume
    import segfast.training.train as train
    moments.around(cache.CachedPairs, "image", "load")
    moments.around(torch.Tensor, "backward", "backward")
    moments.around(callbacks.RunRecorder, "_between_batches", "batch")
    moments.only(callbacks, "seed_epoch", "epoch")
    moments.only(callbacks.RunRecorder, "after_epoch", "epoch-end")
    moments.around(Learner, "_do_epoch_validate", "validate")
    moments.around(checkpoints, "save_file", "file", half_a_file)
    moments.around(checkpoints, "_link", "link")
    moments.around(checkpoints, "save_best", "best")
    moments.around(resume, "save_best", "best-again")
    moments.around(callbacks, "save_checkpoint", "save")
    moments.around(run_module.Run, "append", "row")
    moments.around(run_module.Run, "rewind", "rewind")
    for place in files, run_module: moments.around(place, "write_atomic", "atomic")
    moments.around(run_module, "file_checksum", "sum")
    moments.around(train, "run_stage", "stage")
    moments.around(train, "run_lr_finder", "finder")
    moments.around(train, "score_split", "evaluate")
    moments.around(train, "_finish", "finish")
    moments.around(os, "rename", "rename")
    moments.around(os, "replace", "replace")
    moments.only(os, "fsync", "fsync")
    real = shutil.rmtree

    def rmtree(path, *args, **kwargs):
        if f"{os.sep}checkpoints{os.sep}" in str(path) and Path(path).exists():
            moments("rmtree", lambda: half_a_folder(path))
        return real(path, *args, **kwargs)
    shutil.rmtree = rmtree


# One attempt, in a process of its own

def attempt(job):
    "Begin a training, or resume it; what is raised becomes an exit code as on the command line."
    if job.get("env"): os.environ.update(job["env"])
    moments = Moments(job)
    watch(moments)
    if "argv" in job: return command_line(job["argv"])
    from segfast.core.errors import DataError, UsageError
    path = Path(job["out"])/job["name"]
    options = dict(device="cpu", screen="quiet", workers=LOADERS.get(job["variant"], 0)) | (job.get("options") or {})
    try:
        if not path.exists():
            from segfast.training.train import train
            train(job["data"], variant(job["variant"], job.get("seed", 42)), out=job["out"], name=job["name"],
                  **options)
        else:
            from segfast.training.resume import resume
            resume(path, **options)
    except KeyboardInterrupt: return 130
    except (DataError, UsageError, OSError) as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr, flush=True)
        return 1
    return 0


def command_line(argv):
    "The exit code of a command of segfast."
    from segfast.cli import app
    sys.argv = ["segfast", *argv]
    try: app()
    except SystemExit as e: return e.code or 0
    return 0


def _break_stream(number, how):
    "Let stdout (1) or stderr (2) go to a full disk, to a pipe or a terminal that has gone, or be closed."
    import pty
    if how == "none":
        setattr(sys, ("stdout", "stderr")[number - 1], None)
        return
    other, end = pty.openpty() if how == "terminal" else os.pipe()
    os.dup2(os.open("/dev/full", os.O_WRONLY) if how == "full" else end, number)
    for fd in other, end: os.close(fd)


def _child(job):
    os.setpgid(0, 0)
    for i, name in enumerate(("out.txt", "err.txt"), 1):
        os.dup2(os.open(Path(job["trace"]).with_name(name), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644), i)
    for i, how in (job.get("streams") or {}).items(): _break_stream(int(i), how)
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = attempt(job)
    except BaseException:
        import traceback
        traceback.print_exc()
    for stream in sys.stdout, sys.stderr:
        if stream and not job.get("streams"): stream.flush()
    os._exit(code)


def _serve():
    "Fork a process for every job that comes in; `after` is the number of seconds until it is killed from outside."
    import torch

    import segfast.cli
    import segfast.training.resume
    import segfast.training.train  # noqa: F401
    torch.set_num_threads(1)
    register()
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if not pid: _child(job)
        if job.get("after") is not None: threading.Timer(job["after"], lambda pid=pid: _kill(pid)).start()
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])), flush=True)


def _kill(pid):
    try: os.kill(pid, signal.SIGKILL)
    except ProcessLookupError: pass


class Server:
    "A process that imports PyTorch once and forks; used as a context."
    def __enter__(self):
        env = os.environ | dict(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", MPLBACKEND="agg", PYTHONWARNINGS="ignore",
                                COLUMNS="200")
        self.process = subprocess.Popen([sys.executable, __file__, "serve"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *args):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def run(self, job, timeout=300):
        "The exit code of a job; the negative number of the signal that ended it."
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            self.process.kill()
            raise TimeoutError(f"{job} took more than {timeout} s")
        return json.loads(self.process.stdout.readline())


# Many attempts at one training

@dataclass
class Killed:
    "A training that is killed and resumed until it is done."
    server: Server
    folder: Path                # of everything
    variant: str
    name: str = "killed"
    seed: int = 42
    runs: str = "runs"
    kills: list = field(default_factory=list) # plans that came to pass
    traces: list = field(default_factory=list) # the events of each attempt
    code: int|None = None
    seconds: float = 0.

    @property
    def path(self): return self.folder/self.runs/self.name
    @property
    def checkpoints(self): return self.path/"checkpoints"
    @property
    def err(self): return (self.folder/f"{self.name}-trace"/"err.txt").read_text()
    @property
    def out(self): return (self.folder/f"{self.name}-trace"/"out.txt").read_text()

    def go(self, kill=None, **more):
        "One attempt; whether it was killed."
        trace = self.folder/f"{self.name}-trace"/f"{len(self.traces)}.txt"
        trace.parent.mkdir(exist_ok=True)
        job = dict(data=str(self.folder/"data"), out=str(self.folder/self.runs), name=self.name, variant=self.variant,
                   seed=self.seed, trace=str(trace), kill=kill, env=dict(SEGFAST_CACHE=str(self.folder/"cache"))) | more
        began = time.perf_counter()
        self.code = self.server.run(job)
        self.seconds = time.perf_counter() - began
        self.traces.append(trace.read_text().split() if trace.exists() else [])
        if self.code == -signal.SIGKILL: self.kills.append(kill or ["time", more.get("after")])
        return self.code == -signal.SIGKILL

    @property
    def done(self):
        "Whether the last attempt came to the end, or found that it had been reached: a kill may come after it."
        return self.code == 0 or self.code == 1 and self.err.startswith("UsageError") and "--extend" in self.err

    def finish(self):
        "Go on to the end."
        self.go()
        assert self.done, f"{self.name} ended with {self.code}:\n{self.err}"
        return self

    def died_too_early(self):
        "Whether the last attempt ended before the run's folder was whole; then it is taken away, to begin anew."
        early = self.path.exists() and not (self.path/"data.csv").exists()
        if early: shutil.rmtree(self.path)
        return early


def survive(k, moments):
    "Kill a training at each of these moments (a plan, or seconds), as far as it comes to pass, and go on to the end."
    for moment in moments:
        k.go(**(dict(after=moment) if isinstance(moment, float) else dict(kill=moment)))
        if k.done: return k
        early = k.died_too_early()
        assert early or k.code == -signal.SIGKILL, (
            f"{k.name} ended with {k.code} on the way to {moment}, after {k.kills}:\n{k.err}")
    return k.finish()


def kill_at_each(server, folder, variant, moments, check):
    """Kill trainings until each of these plans came to pass, with as many kills to a training as it takes; `check`
    every one that is done."""
    todo, k, kills = list(moments), None, 0
    while todo:
        k = k or Killed(server, folder, variant, name=f"killed-{variant}-{len(todo)}")
        if k.go(todo[0]): todo, kills, _ = todo[1:], kills + 1, k.died_too_early()
        else:
            assert k.done, f"{k.name} ended with {k.code} on the way to {todo[0]}, after {k.kills}:\n{k.err}"
            assert len(k.traces) > 1, f"{todo[0]} never comes"
            check(k)
            k = None
    if k: check(k.finish())
    return kills


def whole(server, folder, variant, **more):
    return Killed(server, folder, variant, name=f"whole-{variant}", **more).finish()


# What two runs must have in common

def outcome(path):
    "Everything that a training came to, bit for bit, without the clock: name -> digest or text."
    path, out = Path(path), {}
    for kind in "last", "best":
        state = json.loads((path/"checkpoints"/kind/"state.json").read_text())
        out |= {f"{kind}/{f}": hashlib.sha256((path/"checkpoints"/kind/f).read_bytes()).hexdigest()
                for f in state["sha256"] if f.endswith(".safetensors")}
        out |= {f"{kind}/{k}": v for k, v in state.items() if k not in (*TIMES, "sha256", "checksum")}
    lines = [line.split(",") for line in (path/"history.csv").read_text().splitlines()]
    keep = [i for i, k in enumerate(lines[0]) if k not in TIMES]
    out["history"] = [[line[i] for i in keep] for line in lines]
    out["scores"] = {k: v for k, v in json.loads((path/"scores.json").read_text()).items()
                     if "second" not in k and k != "checksum"}
    status = json.loads((path/"status.json").read_text())
    return out | {f"status/{k}": status.get(k) for k in ("status", "stages_done", "best", "lrs", "accuracy", "mean_iou",
                                                         "error")}


def differences(a, b):
    "What two runs do not have in common."
    a, b = outcome(a), outcome(b)
    return {k: (a.get(k), b.get(k)) for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)}


def leftovers(path):
    "Files that only a crash would leave."
    path = Path(path)
    odd = {file for file in path.rglob("*") if (file.name.endswith((".part", ".old"))
           or file.name.startswith(".part-")) and not file.parent.name.endswith(".part")}
    return sorted(str(file.relative_to(path)) for file in odd
                  | {file for file in (path/"checkpoints").iterdir() if file.name not in ("last", "previous", "best")})


# Plans

def plans(trace, n, seed, most=3):
    "`n` moments drawn from the events of a run that was left in peace: all kinds of event come first, then any."
    rng, there = random.Random(seed), {k: trace.count(k) for k in sorted(set(trace))}
    kinds = rng.sample(sorted(there), len(there))
    drawn = [*kinds, *(rng.choice(kinds) for _ in range(n))][:n]
    return [[k, rng.randint(1, min(there[k], most))] for k in drawn]


if __name__ == "__main__":
    if sys.argv[1] == "serve": _serve()
    else:
        register()
        sys.exit(command_line(sys.argv[2:]))
