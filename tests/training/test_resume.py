"""A training that was killed, stopped or out of disk space, and resumed, equals an undisturbed one bit for bit."""
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers import killing
from helpers.killing import Killed, Server, differences, kill_at_each, leftovers, plans, variant, whole
from helpers.problems import is_crash, missing

from segfast.core.errors import DataError
from segfast.runs.run import HISTORY, SEAL, Run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def server():
    with Server() as it: yield it


@pytest.fixture(scope="module")
def folder(demo_dir, tmp_path_factory):
    "A place with data and runs."
    made = tmp_path_factory.mktemp("resume")
    shutil.copytree(demo_dir, made/"data")
    return made


@pytest.fixture(scope="module")
def undisturbed(server, folder):
    "Trainings without an interruption, by variant."
    done = {}

    def of(variant):
        if variant not in done: done[variant] = whole(server, folder, variant)
        return done[variant]
    return of


@pytest.fixture
def begin(server, folder, request):
    "A training of a variant that has a name of its own."
    def make(variant, **more):
        return Killed(server, folder, variant, name=re.sub(r"\W+", "-", request.node.name), **more)
    return make


def equal(k, undisturbed):
    "That a run is done, has all bits of the undisturbed one, and left nothing lying about."
    assert differences(undisturbed(k.variant).path, k.path) == {}, f"{k.name}: {k.kills}"
    assert leftovers(k.path) == []
    assert Run(k.path).state == "done"


def state_of(k, kind="last"): return json.loads((k.checkpoints/kind/"state.json").read_text())


# Killed

# In the order of a training of three stages, half, half and full, of two epochs each. "x-done" is right after x.
MOMENTS = [
    ["stage", 1], ["load", 3], ["backward", 2], ["backward-done", 1], ["batch", 1], ["validate", 1],
    ["validate-done", 1], ["epoch-end", 1],
    # inside a checkpoint, before it takes its place
    ["file", 1], ["file-done", 1], ["file-done", 2], ["file", 3], ["sum", 2], ["fsync", 5],
    # while it takes its place
    ["rename", 1], ["rename-done", 1], ["rmtree", 1], ["rename", 3],
    # between last, best, and history
    ["save-done", 1], ["best", 1], ["link-done", 1], ["best-done", 1], ["row", 1], ["row-done", 1],
    # between stages; half to full
    ["replace", 4], ["atomic-done", 6], ["stage-done", 1], ["stage", 2], ["stage-done", 2], ["stage", 3],
    ["finish", 1], ["evaluate-done", 1], ["finish-done", 1]]


@pytest.mark.slow
def test_killed_at_every_kind_of_moment(server, folder, undisturbed):
    assert kill_at_each(server, folder, "ema", MOMENTS, lambda k: equal(k, undisturbed)) == len(MOMENTS) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("variant, kills, seed",
                         [("ranger", 4, 1), ("workers", 3, 2), ("bf16", 4, 3), ("sgd", 4, 4), ("patience", 3, 5)])
def test_killed_at_moments_drawn_by_lot(server, folder, undisturbed, variant, kills, seed):
    assert kill_at_each(server, folder, variant, plans(undisturbed(variant).traces[0], kills, seed, most=4),
                        lambda k: equal(k, undisturbed)) == kills


@pytest.mark.slow
def test_killed_in_the_finder(begin, undisturbed):
    k = begin("ranger")
    assert k.go(["finder", 1]) and k.go(["finder-done", 1])
    equal(k.finish(), undisturbed)


@pytest.mark.slow
def test_killed_while_a_crash_is_repaired(begin, undisturbed):
    k = begin("ema")
    assert k.go(["best", 1]) and k.go(["best-again", 1]) and k.go(["rewind", 1]) and k.go(["replace-done", 1])
    equal(k.finish(), undisturbed)


def test_killed_before_it_began(begin):
    k = begin("ema")
    for moment in ["replace-done", 1], ["replace", 3], ["rename", 1]: # a run is complete or not there
        assert k.go(moment) and not k.path.exists()
    k.finish()


def test_another_seed_is_another_result(begin, undisturbed):
    k = begin("ema", seed=43)
    k.go(["save", 2])
    odd = differences(undisturbed("ema").path, k.finish().path)
    assert {"last/model.safetensors", "last/training.safetensors", "last/memory.safetensors", "history",
            "scores"} <= odd.keys()


def test_an_epoch_that_is_seeded_otherwise_shows(begin, undisturbed):
    k = begin("sgd")
    assert k.go(["save", 4])
    recipe = k.path/"recipe.toml"
    edited = recipe.read_text().replace("seed = 42", "seed = 43")
    recipe.write_text(edited)
    k.go()
    assert k.code == 1 and not missing(k.err, recipe) and SEAL.strip() in k.err, "said, and how to keep the change"
    recipe.write_text(edited.partition(SEAL)[0])
    odd = differences(undisturbed("sgd").path, k.finish().path)
    assert {"last/model.safetensors", "last/memory.safetensors",
            "history"} <= odd.keys(), "the same up to the last epochs, and yet it is seen"


@pytest.mark.slow
def test_the_size_on_disk_is_bounded(begin, undisturbed):
    undisturbed("sgd") # fills the cache, which is renamed too
    k, seen = begin("sgd"), set()
    for moment in ["rename-done", 3], ["file", 2], ["rmtree", 1], ["rename", 2], ["rename-done", 2], ["replace",
        3], ["replace", 3]:
        k.go(moment)
        seen |= {o.name for o in k.checkpoints.iterdir()}
        assert len(leftovers(k.path)) <= 2, "those of the last kill alone"
    assert seen <= {"last", "previous", "best", ".last.part", ".best.part", ".best.old"}
    assert leftovers(k.finish().path) == []


# Asked to stop

@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
@pytest.mark.parametrize("variant, at, batch", [("ema", ["backward", 2], 2), ("ema", ["backward", 5], 2),
                                                ("ema", ["backward-done", 4], 4), ("bf16", ["batch", 7], 3),
                                                ("sgd", ["load", 40], 2)])
def test_stopped_after_a_batch(begin, undisturbed, variant, at, batch, number):
    if number != "SIGINT" and at != ["backward", 5]: pytest.skip("once is enough")
    k = begin(variant)
    k.go(signals=[[*at, number]])
    assert k.code == 130 and Run(k.path).state == "interrupted"
    assert state_of(k)["batch"] == batch
    equal(k.finish(), undisturbed)


@pytest.mark.slow
def test_stopped_again_and_again_in_one_epoch(begin, undisturbed):
    k, seen = begin("bf16"), []
    for _ in range(4):
        k.go(signals=[["backward", 1, "SIGINT"]])
        seen.append((state_of(k)["stage"], state_of(k)["epoch"], state_of(k).get("batch")))
    assert seen == [(1, 0, 1), (1, 0, 2), (1, 0, 3), (1, 0, 4)]
    equal(k.finish(), undisturbed)


@pytest.mark.slow
def test_stopped_while_batches_are_skipped(begin, undisturbed):
    k = begin("bf16")
    k.go(signals=[["backward", 3, "SIGINT"]])
    k.go(signals=[["load", 1, "SIGINT"]])
    assert k.code == 130 and state_of(k)["batch"] == 3 and "backward" not in k.traces[-1]
    equal(k.finish(), undisturbed)


@pytest.mark.slow
def test_stopped_and_killed(begin, undisturbed):
    k = begin("ema")
    k.go(signals=[["backward", 2, "SIGINT"]])
    assert k.go(["load", 3]) and k.go(["backward-done", 1]) and k.go(["rename-done", 1])
    k.go(signals=[["backward", 1, "SIGINT"]])
    assert k.code == 130 and k.go(["row", 1])
    equal(k.finish(), undisturbed)


def test_stopped_twice_ends_at_once(begin, undisturbed):
    k = begin("ema")
    k.go(signals=[["backward", 6, "SIGINT"], ["backward-done", 6, "SIGINT"]])
    assert k.code == 130 and "batch" not in state_of(k) and k.traces[-1][-1] != "save-done"
    equal(k.finish(), undisturbed)


def test_a_scheduler_that_repeats_itself_is_heard_once(begin, undisturbed):
    "A terminal that closes sends SIGHUP twice, a limit of CPU time SIGXCPU once per second."
    k = begin("ema")
    k.go(signals=[["backward", 6, "SIGHUP"], ["backward-done", 6, "SIGHUP"], ["backward-done", 6, "SIGXCPU"],
                  ["save", 2, "SIGXCPU"], ["sum", 8, "SIGUSR1"]])
    assert k.code == 130 and state_of(k)["batch"] == 2
    equal(k.finish(), undisturbed)


@pytest.mark.slow
def test_stopped_twice_in_a_checkpoint(begin, undisturbed):
    k = begin("ema")
    k.go(signals=[["backward", 2, "SIGINT"], ["rename-done", 1, "SIGTERM"]])
    assert k.code == 130
    equal(k.finish(), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("at", [["validate", 2], ["validate-done", 2], ["save", 2], ["row", 2]])
def test_stopped_in_a_validation(begin, undisturbed, at):
    k = begin("ema")
    k.go(signals=[[*at, "SIGINT"]])
    assert k.code == 130 and (state_of(k)["epoch"], "batch" in state_of(k)) == (2,
        False) and len(Run(k.path).history) == 2
    equal(k.finish(), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("at", [["finder", 1], ["evaluate", 1], ["stage", 1]])
def test_stopped_between_fits(begin, undisturbed, at, number):
    k = begin("ranger")
    k.go(signals=[[*at, number]])
    assert k.code == 130 and Run(k.path).state == "interrupted"
    equal(k.finish(), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number", ["all-SIGINT", "all-SIGTERM"])
def test_stopped_with_its_loaders(begin, undisturbed, number):
    "As a terminal and a cluster do it: every process of the job hears the signal."
    k = begin("workers")
    k.go(signals=[["backward", 6, number]], options=dict(screen="lines"))
    lines = k.err.splitlines()
    assert k.code == 130 and len(lines) == len(set(lines)) > 0 and not is_crash(
        k.err), f"each line is said by one process:\n{k.err}"
    equal(k.finish(), undisturbed)


# The command line

def toml(tmp_path, name):
    from segfast.runs.recipe import to_toml
    path = tmp_path/f"{name}.toml"
    path.write_text(to_toml(variant(name)))
    return path


@pytest.mark.slow
def test_the_command_line(server, folder, undisturbed, begin, tmp_path):
    "A process of its own: a lock that others respect, Ctrl-C, exit code 130, and the advised command, which resumes."
    k = begin("ema")
    recipe = toml(tmp_path, "ema")
    args = [sys.executable, killing.__file__, "cli", "train", folder/"data", "--recipe", recipe, "--out", folder/"runs",
            "--name", k.name, "--device", "cpu"]
    env = os.environ | dict(SEGFAST_CACHE=str(folder/"cache"), OMP_NUM_THREADS="1", COLUMNS="200",
                            PYTHONWARNINGS="ignore")
    with subprocess.Popen([*map(str, args)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        while not (k.path/"history.csv").exists(): assert p.poll() is None and not time.sleep(.005), p.stderr.read()
        os.kill(p.pid, signal.SIGSTOP)
        k.go(argv=["resume", str(k.path)])
        assert k.code == 1 and not missing(k.err, k.path, p.pid) and len(k.err.splitlines()) == 1
        os.kill(p.pid, signal.SIGINT)
        os.kill(p.pid, signal.SIGCONT)
        err = p.communicate(timeout=60)[1]
    assert p.returncode == 130 and not is_crash(err)
    line = err.strip().splitlines()[-1]
    assert line.endswith(f"segfast resume {k.path}")
    k.go(argv=line[line.index("segfast resume"):].split()[1:])
    assert k.code == 0 and str(k.path) in [o.split()[-1] for o in k.out.splitlines() if o.strip()]
    equal(k, undisturbed)


@pytest.mark.slow
def test_stopped_before_it_resumes(begin, undisturbed):
    k = begin("sgd")
    k.go(["save", 1])
    k.go(argv=["resume", str(k.path)], signals=[["rewind", 1, "SIGINT"]])
    assert k.code in (130, 0)
    if not k.done: assert f"segfast resume {k.path}" in k.err
    equal(k.finish(), undisturbed)


def test_a_lock_of_a_killed_process_is_free(begin, undisturbed):
    k = begin("workers")
    assert k.go(["backward", 2])
    assert Run(k.path).state == "interrupted" and (k.path/".lock").exists()
    equal(k.finish(), undisturbed)


def test_a_lock_that_is_held_is_respected(begin):
    k = begin("ema")
    k.go(["save", 2])
    # what was half written is swept away
    before = {o: o.read_bytes() for o in k.path.rglob("*") if o.is_file() and o.name != "status.json"
              and ".part" not in str(o) and o.name != ".heartbeat"}
    with Run(k.path).lock():
        Run(k.path).take_over()
        k.go()
    assert k.code == 1 and not missing(k.err, k.path, os.getpid())
    assert before == {o: o.read_bytes() for o in before if o.exists()}


def test_what_is_finished_is_extended_only(folder, begin):
    k = begin("sgd").finish()
    k.go(argv=["resume", str(k.path)])
    assert k.code == 2 and not missing(k.err, k.path, "--extend")
    k.go(argv=["train", str(folder/"data"), "--out", str(folder/"runs"), "--name", k.name])
    assert k.code == 2 and not missing(k.err, "--name", f"segfast resume {k.path}")
    old = Run(k.path).history
    k.go(argv=["resume", str(k.path), "--extend", "2", "--device", "cpu"])
    run = Run(k.path)
    assert k.code == 0 and run.state == "done" and run.status["stages"] == run.status["stages_done"] == 3, k.err
    assert run.history[:len(old)].equals(old) and list(run.history["name"][len(old):]) == ["extra-1"]*2


@pytest.mark.slow
def test_an_extension_that_is_killed(begin):
    a, b = begin("patience"), begin("patience")
    a.name += "-a"
    for k in a, b: k.finish()
    a.go(options=dict(extend=2))
    assert a.code == 0
    assert b.go(["stage", 1], options=dict(extend=2))
    assert b.go(["row", 1]) and b.go(["stage-done", 1])
    assert differences(a.path, b.finish().path) == {}


@pytest.mark.slow
def test_data_that_changed_is_refused(server, folder, begin, tmp_path):
    from PIL import Image
    k = begin("sgd")
    shutil.copytree(folder/"data", tmp_path/"data")
    k.go(["save", 2], data=str(tmp_path/"data"))
    mask = sorted((tmp_path/"data/labels").iterdir())[3]
    with Image.open(mask) as im: changed = im.point(lambda o: min(o, 1)) if im.mode == "L" else im.copy()
    changed.putpixel((0, 0), changed.getpixel((5, 5)))
    changed.save(mask)
    before = (k.path/"status.json").read_text()
    k.go(argv=["resume", str(k.path), "--device", "cpu"])
    assert k.code == 1 and not missing(k.err, k.path, 1, mask.name, "--data-changed")
    assert (k.path/"status.json").read_text() == before
    k.go(argv=["resume", str(k.path), "--device", "cpu", "--data-changed"])
    assert k.code == 0


def change_seed(path): path.write_text(path.read_text().replace("seed = 42", "seed = 43"))
def rename_class(path): path.write_text(path.read_text().replace("Sky", "Sea"))
def swap_splits(path): path.write_text(path.read_text().replace("train", "valid", 1))
def rename_data(path): path.write_text(path.read_text().replace('"layout": "camvid"', '"layout": "pets"'))


@pytest.mark.parametrize("name, edit", [("classes.csv", rename_class), ("recipe.toml", change_seed),
                                        ("data.csv", swap_splits), ("data.json", rename_data)])
def test_a_file_that_was_edited_between_kill_and_resume(begin, undisturbed, name, edit):
    "Refused at once, with the file's name and how to keep the change; nothing is written. Restored, it goes on."
    k = begin("sgd")
    assert k.go(["save", 2])
    path = k.path/name
    kept = path.read_bytes()
    edit(path)
    assert path.read_bytes() != kept
    before = {o: o.read_bytes() for o in k.path.rglob("*") if o.is_file() and o.name not in (".lock", ".heartbeat")}
    k.go()
    assert k.code == 1 and not missing(k.err, path) and not is_crash(k.err)
    assert "was changed since segfast wrote it" in k.err and "to keep the change" in k.err
    assert {o: o.read_bytes() for o in before} == before
    path.write_bytes(kept)
    equal(k.finish(), undisturbed)


# A loader process that is killed, a folder that moves, output that is lost

@pytest.mark.parametrize("after", [["epoch", 2], *(pytest.param(at, marks=pytest.mark.slow) for at in (
    ["epoch", 1], ["validate", 1], ["stage", 2], ["validate", 4]))], ids=lambda at: f"{at[0]}-{at[1]}")
def test_a_loader_process_that_is_killed(begin, undisturbed, after):
    "As the system does it when memory is short: in a training, in a validation."
    k = begin("workers")
    k.go(loader=after)
    assert k.code == 1 and not missing(k.err, k.path) and "Out of memory?" in k.err, k.err
    assert k.err.splitlines()[-1] == f"To resume: segfast resume {k.path}" and not is_crash(k.err)
    assert Run(k.path).status["status"] == "failed"
    equal(k.finish(), undisturbed)


MOVES = [["backward", 6], ["save", 2], ["file", 4], ["sum", 8], ["rename", 4], ["row", 2], ["stage", 2],
         ["evaluate", 1], ["evaluate-done", 1]]


@pytest.mark.parametrize("at", [*MOVES[:2], *(pytest.param(at, marks=pytest.mark.slow) for at in MOVES[2:])],
                         ids=lambda at: f"{at[0]}-{at[1]}")
@pytest.mark.parametrize("how", ["renamed", pytest.param("deleted", marks=pytest.mark.slow),
                                 pytest.param("replaced", marks=pytest.mark.slow)])
def test_a_run_whose_folder_goes_away(begin, undisturbed, at, how):
    if how == "replaced" and at[0] not in ("backward", "stage", "evaluate"): pytest.skip("between a look and a write")
    k = begin("ema")
    dest = k.path.with_name(f"{k.name}-elsewhere")
    other = Run(undisturbed("ema").path).path
    k.go(moves=[*at, str(k.path), str(dest)] if how != "deleted" else [*at, str(k.path), None],
         **(dict(replaced=str(other)) if how == "replaced" else {}))
    assert k.code == 1 and not missing(k.err, k.path) and "moved or deleted" in k.err and not is_crash(k.err), k.err
    if how == "replaced": assert files_of(k.path) == files_of(other), "nothing is written into the run that is there"
    else: assert not k.path.exists(), "no second run at the old place"
    if how != "deleted":
        k.name = dest.name
        equal(k.finish(), undisturbed)


def files_of(folder): return {str(o.relative_to(folder)): o.read_bytes() for o in folder.rglob("*") if o.is_file()}


@pytest.mark.parametrize("how", ["full", "gone", "terminal", "none"])
@pytest.mark.parametrize("number", [1, 2])
def test_output_that_is_lost(begin, folder, undisturbed, tmp_path, number, how):
    "A log on a full disk, `| head -3`, a terminal that was closed, `>&-`: the training goes on, and ends well."
    k = begin("ema")
    k.go(argv=["train", str(folder/"data"), "--recipe", str(toml(tmp_path, "ema")), "--out", str(k.path.parent),
               "--name", k.name, "--device", "cpu"], streams={number: how})
    assert k.code == 0
    equal(k, undisturbed)


def test_a_disk_that_is_full_before_the_run_exists(begin):
    k = begin("ema")
    before = set(k.path.parent.glob(".part-*")) # of trainings that were killed
    for at in ["replace", 2], ["fsync", 4], ["rename", 1]:
        k.go(fails=[*at, errno.ENOSPC, "somewhere"])
        assert k.code == 1 and not missing(k.err, k.path.parent, os.strerror(errno.ENOSPC))
        assert "segfast resume" not in k.err
        assert not k.path.exists() and set(k.path.parent.glob(".part-*")) <= before, "complete or not there"


# A disk that is full, or spoils files

@pytest.mark.slow
@pytest.mark.parametrize("what", ["ENOSPC", "EROFS"])
@pytest.mark.parametrize("at", [["file", 4], ["fsync", 45], ["rename", 4], ["link", 1], ["row", 2], ["replace", 8],
                                ["atomic", 9]])
def test_a_disk_that_is_full(begin, undisturbed, at, what):
    "From one moment on, every such call fails."
    if what == "EROFS" and at[0] not in ("file", "row"): pytest.skip("once is enough")
    k = begin("ema")
    k.go(fails=[*at, getattr(errno, what), "somewhere"])
    text = os.strerror(getattr(errno, what))
    assert k.code == 1 and text in k.err and f"segfast resume {k.path}" in k.err and len(k.err.splitlines()) == 2, k.err
    assert (Run(k.path).newest_checkpoint() is not None) == any((k.checkpoints/o).is_dir()
        for o in ("last", "previous")), "what was there before is whole"
    equal(k.finish(), undisturbed)


@pytest.mark.slow
def test_a_small_disk(server, folder, begin, undisturbed):
    k = begin("ema", runs="small")
    k.path.parent.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", k.path.parent],
                                      capture_output=True).returncode:
        pytest.skip("needs to mount a file system")
    try:
        k.go(["save", 3])
        filler = k.path.parent/"filler"
        with open(filler, "wb") as f: f.write(b"0"*(shutil.disk_usage(filler.parent).free - 12_000))
        kept = {o: o.read_bytes() for o in k.checkpoints.rglob("*") if o.is_file()}
        k.go(argv=["resume", str(k.path), "--device", "cpu"])
        assert k.code == 1 and os.strerror(
            errno.ENOSPC) in k.err and f"segfast resume {k.path}" in k.err and not is_crash(k.err)
        assert kept == {o: o.read_bytes() for o in kept} and leftovers(k.path) == []
        filler.unlink()
        k.go(argv=["resume", str(k.path), "--device", "cpu"])
        assert k.code == 0, k.err
        equal(k, undisturbed)
    finally: subprocess.run(["umount", k.path.parent], check=True)


def cut(path): path.write_bytes(path.read_bytes()[:-20])
def flip(path):
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
def edit(path): path.write_text(re.sub(r'"since": \d+', '"since": 7', path.read_text()))
def forget(path): path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("name, harm", [("model.safetensors", cut), ("training.safetensors", flip),
                                        ("memory.safetensors", flip), ("memory.safetensors", forget),
                                        ("state.json", cut), ("state.json", edit), ("state.json", forget)])
def test_a_damaged_checkpoint_is_passed_over(begin, undisturbed, name, harm):
    k = begin("ema")
    k.go(["finish", 1]) # everything is written by now
    harm(k.checkpoints/"last"/name)
    k.go(["rename-done", 1], options=dict(screen="lines")) # the next checkpoint comes only half in
    assert f"last/{name}" in k.err and "DataError" not in k.err, "which is a warning: the checkpoint before it is taken"
    k.finish()
    equal(k, undisturbed)


@pytest.mark.slow
def test_a_finished_run_whose_weights_are_damaged(begin, undisturbed):
    "As the error of those who want the weights advises: its last epoch is trained again."
    k = begin("sgd")
    k.finish()
    flip(k.checkpoints/"last/model.safetensors")
    with pytest.raises(DataError, match="segfast resume"):
        _ = Run(k.path).weights_file
    k.finish()
    equal(k, undisturbed)


@pytest.mark.slow
def test_no_checkpoint_is_whole(begin):
    k = begin("ema")
    k.go(["finish", 1])
    cut(k.checkpoints/"last/model.safetensors")
    cut(k.checkpoints/"previous/memory.safetensors")
    history = (k.path/"history.csv").read_text()
    k.go()
    assert k.code == 1 and not missing(k.err, k.path, k.checkpoints/"last/model.safetensors",
                                       k.checkpoints/"previous/memory.safetensors")
    assert (k.path/"history.csv").read_text() == history


@pytest.mark.slow
@pytest.mark.parametrize("bytes", [1, 12, 70])
def test_a_row_that_was_cut_short(begin, undisturbed, bytes):
    k = begin("ema")
    k.go(["row-done", 3])
    path = k.path/"history.csv"
    path.write_bytes(path.read_bytes()[:-bytes])
    equal(k.finish(), undisturbed)


def test_scores_that_are_no_numbers_come_back_alike(tmp_path):
    from segfast.data.classes import ClassTable
    from segfast.runs.presets import progressive
    row = dict.fromkeys(HISTORY, .5) | dict(stage=1, epoch=1, mean_iou=float("nan"))
    texts = []
    for name in "appended", "fixed":
        run = Run.create(tmp_path, progressive((64, 96)), ClassTable(["a", "b"]), dict(name="data"), name)
        with run.checkpoint("last", **row) as folder: (folder/"model.safetensors").write_bytes(b"")
        if name == "appended": run.append(row)
        else: run.rewind(1, 1, json.loads((run.path/"checkpoints/last/state.json").read_text()))
        texts.append((run.path/"history.csv").read_bytes())
    assert texts[0] == texts[1]
