"""Run folders: written in one step or not at all, and read whatever state they are in."""
import errno
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.problems import is_crash, missing
from PIL import Image

from segfast.core.errors import DataError, UsageError
from segfast.data.classes import ClassTable
from segfast.runs.presets import progressive
from segfast.runs.recipe import to_toml
from segfast.runs.run import HISTORY, SEAL, Run, environment, new_name
from segfast.runs.listing import FoldSet, list_runs, run_rows
from segfast.core.files import to_plain, read_json
from segfast.core.files import write_atomic, write_json

classes = ClassTable(["sky", "road, wet", "void"], 2)


@pytest.fixture
def run(tmp_path): return make(tmp_path/"runs", "one")


def make(out, name):
    return Run.create(out, progressive((64, 96)), classes, dict(name="data", root="/d", layout="camvid"), name)


def put(run, kind, text, **state):
    with run.checkpoint(kind, **state) as folder:
        (folder/"model.safetensors").write_text(text)
        (folder/"optimizer.safetensors").write_text(text*2)


class Crash(Exception): pass


# Files

@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path/"a.json"
    write_json(path, dict(a=1))

    def fail(*args): raise Crash
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(Crash):
        write_json(path, dict(a=2))
    monkeypatch.undo()
    assert read_json(path) == dict(a=1) and os.listdir(tmp_path) == ["a.json"]


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path):
    write_atomic(tmp_path/"a.json", "{}")
    with pytest.raises(TypeError):
        write_json(tmp_path/"a.json", dict(a=object()))
    assert (tmp_path/"a.json").read_text() == "{}"


def test_plain():
    values = dict(a=float("nan"), b=[1, float("inf"), np.float32("nan")], c=np.int64(3), d=np.arange(3),
             e=(np.nan, True, None), f={1: np.bool_(True)}, g="ü")
    assert to_plain(values) == dict(a=None, b=[1, None, None], c=3, d=[0, 1, 2], e=[None, True, None], f={"1": True},
                                    g="ü")
    json.dumps(to_plain(values), allow_nan=False)


@pytest.mark.parametrize("text", ["", "{", "nonsense", "\x00"])
def test_broken_json_is_named(tmp_path, text):
    (tmp_path/"a.json").write_text(text)
    with pytest.raises(DataError) as broken:
        read_json(tmp_path/"a.json")
    with pytest.raises(DataError) as gone:
        read_json(tmp_path/"b.json")
    assert not missing(broken, tmp_path/"a.json") and isinstance(broken.value.__context__, ValueError)
    assert not missing(gone, tmp_path/"b.json") and isinstance(gone.value.__context__, FileNotFoundError)


# Checkpoints

def os_calls(work):
    "How often a piece of work calls each function of `os` that changes the disk."
    counts = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            def counted(*args, _name=name, _real=getattr(os, name), **kwargs):
                counts[_name] = counts.get(_name, 0) + 1
                return _real(*args, **kwargs)
            patch.setattr(os, name, counted)
        work()
    return [(name, i) for name, n in counts.items() for i in range(n)]


CALLS = "rename", "replace", "fsync", "mkdir", "rmdir", "unlink"


@pytest.mark.parametrize("crashed", [False, True])
def test_a_crash_at_any_call_leaves_a_checkpoint(tmp_path, crashed):
    "Wherever writing the second checkpoint stops, the first or the second is complete; even after an earlier crash."
    template = make(tmp_path/"template", "run")
    put(template, "last", "old", epoch=1)
    if crashed: # between the two renames
        (template.path/"checkpoints/last").rename(template.path/"checkpoints/previous")

    def copied(name): return Run(shutil.copytree(template.path, tmp_path/name))
    spots = os_calls(lambda: put(copied("count"), "last", "new", epoch=2))
    assert {"rename", "fsync"} <= {name for name, _ in spots}
    seen = set()
    for k, (name, i) in enumerate(spots):
        run = copied(f"crash-{k}")
        with pytest.MonkeyPatch.context() as patch:
            left = [i]

            def crash(*args, _real=getattr(os, name), _left=left, **kwargs):
                if _left[0] <= 0:
                    raise Crash
                _left[0] -= 1
                return _real(*args, **kwargs)
            patch.setattr(os, name, crash)
            try:
                put(run, "last", "new", epoch=2)
            except Crash:
                pass
        text = run.checkpoint_file("last").read_text()
        other = run.checkpoint_file("last", "optimizer.safetensors").read_text()
        assert text in ("old", "new") and other == text*2, (name, i)
        seen.add(text)
        put(run, "last", "newer", epoch=3)
        assert run.checkpoint_file("last").read_text() == "newer", (name, i)
        assert sorted(os.listdir(run.path/"checkpoints")) == ["last", "previous"], (name, i)
    assert seen == {"old", "new"}


def test_a_process_killed_while_it_writes(tmp_path):
    "Not an exception but the end of the process, at a random moment, several times."
    run = make(tmp_path, "killed")
    put(run, "last", "0"*1000)
    code = ("import sys; from segfast.runs.run import Run\nrun = Run(sys.argv[1]); print('go', flush=True)\nfor i in "
            "range(100000):\n  with run.checkpoint('last', epoch=i) as f: (f/'model.safetensors').write_text(str(i % "
            "10)*1000)")
    for wait in .05, .11, .13:
        p = subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True)
        p.stdout.readline()
        try:
            p.wait(wait)
        except subprocess.TimeoutExpired:
            p.kill()
        p.communicate()
        assert len(set(run.checkpoint_file("last").read_text())) == 1


def test_a_block_that_fails_changes_nothing(run):
    put(run, "last", "old")
    with pytest.raises(Crash):
        with run.checkpoint("last") as folder:
            (folder/"model.safetensors").write_text("half")
            raise Crash
    assert run.checkpoint_file("last").read_text() == "old"
    put(run, "last", "new")
    assert run.checkpoint_file("last").read_text() == "new" and sorted(os.listdir(run.path/"checkpoints")) == ["last",
        "previous"]


@pytest.mark.parametrize("change", [lambda p: p.write_text("other"), lambda p: p.write_text(p.read_text()[:-1]),
                                    lambda p: p.write_text(""), lambda p: p.unlink()])
def test_a_changed_file_is_not_used(run, change):
    put(run, "best", "weights")
    change(run.path/"checkpoints/best/model.safetensors")
    with pytest.raises(DataError, match="best.model.safetensors"):
        run.checkpoint_file("best")


def test_a_file_that_the_checkpoint_never_had(run):
    put(run, "best", "weights")
    with pytest.raises(DataError, match="best.nothing.safetensors"):
        run.checkpoint_file("best", "nothing.safetensors")
    with pytest.raises(DataError) as e:
        run.checkpoint_file("last")
    assert not missing(e, run.path, "'last'")


# Folders of runs

def test_create_writes_all_and_takes_nothing(tmp_path):
    run = make(tmp_path/"deep"/"runs", "a b ü")
    assert run.recipe == progressive((64,
                                      96)) and run.classes == classes and run.state == "running" and run.name == "a b ü"
    assert sorted(os.listdir(run.path)) == ["classes.csv", "data.json", "environment.json", "plots", "recipe.toml",
                                            "status.json"]
    with pytest.raises(UsageError) as e:
        make(tmp_path/"deep"/"runs", "a b ü")
    assert not missing(e, run.path, "--name", f"segfast resume '{run.path}'")
    for name in "", ".", "..", "a/b", "/abs", "a\nb", "a\0b":
        with pytest.raises(UsageError, match="--name"):
            make(tmp_path, name)
    (tmp_path/"file").touch()
    with pytest.raises(DataError) as e:
        make(tmp_path/"file", "x")
    assert not missing(e, tmp_path/"file")


def test_names_are_folder_names():
    for data in "camvid", "Häuser & Co.", "../x", "", "a"*300:
        name = new_name(data)
        assert name == Path(name).name and len(name) < 100 and name.isprintable()
    assert len({new_name("x") for _ in range(50)}) > 40


def test_history_reads_as_it_was_written(run):
    assert list(run.history.columns) == list(HISTORY) and not len(run.history)
    row = dict.fromkeys(HISTORY, 1.5) | dict(stage=1, name='half, "frozen"', epoch=1, size="32x48",
                                             mean_iou=float("nan"), extra=3)
    run.append(row)
    run.append(row | dict(epoch=2))
    h = run.history
    assert list(h.epoch) == [1, 2] and h["name"][0] == row["name"] and np.isnan(h.mean_iou).all() and list(
        h.columns) == list(HISTORY)


def test_status(run):
    run.update(accuracy=float("nan"), note="ü")
    assert run.status["accuracy"] is None and run.status["note"] == "ü" and run.status[
        "status"] == "running" and run.status["updated"]


def dead_pid():
    p = subprocess.Popen([sys.executable, "-c", ""])
    p.wait()
    return p.pid


@pytest.mark.parametrize("change, state", [({}, "running"), (dict(pid=-1), "interrupted"),
                                           (dict(pid_started=1.), "interrupted"),
                                           (dict(host="elsewhere", pid=1), "running"),
                                           (dict(pid_started=None), "interrupted"), (dict(pid="x"), "interrupted"),
                                           (dict(status="done", pid=-1), "done"), (dict(status="failed"), "failed"),
                                           (dict(status=None), "unknown")])
def test_state(run, change, state):
    run.update(**change)
    assert run.state == state or (state == "unknown" and run.state in (None, "unknown"))


def test_state_of_a_process_that_ended(run):
    run.update(pid=dead_pid(), pid_started=psutil.Process().create_time(), host=platform.node())
    assert run.state == "interrupted"


def test_rows_newest_first(tmp_path):
    for i, name in enumerate("cab"):
        make(tmp_path, name).update(started=f"2026-01-0{i+1}T00:00:00+00:00", status="done", accuracy=.5, mean_iou=None)
    assert [row["name"] for row in run_rows(tmp_path)] == ["b", "a", "c"]
    df = list_runs(tmp_path)
    assert list(df.name) == ["b", "a", "c"] and list(df.status) == ["done"]*3 and df.accuracy.tolist() == [.5]*3


@pytest.mark.parametrize("out", ["nothing", "empty", "file"])
def test_no_runs(tmp_path, out):
    (tmp_path/"empty").mkdir()
    (tmp_path/"file").touch()
    assert run_rows(tmp_path/out) == [] and len(list_runs(tmp_path/out)) == 0


@pytest.mark.parametrize("file, text", [("status.json", ""), ("status.json", "{"), ("status.json", "[]"),
                                        ("status.json", "null"), ("status.json", "{}"), ("data.json", None),
                                        ("data.json", "{"), ("data.json", "{}"), ("recipe.toml", None),
                                        ("status.json", '{"started": null}')])
def test_one_broken_run_does_not_hide_the_others(tmp_path, file, text):
    "`segfast runs` lists the good runs, whatever stands beside them."
    make(tmp_path, "good")
    bad = make(tmp_path, "bad").path/file
    bad.unlink() if text is None else bad.write_text(text)
    rows = run_rows(tmp_path)
    assert [row["status"] for row in rows if row["name"] == "good"] == ["running"]


def test_other_folders_are_no_runs(tmp_path):
    make(tmp_path, "good")
    (tmp_path/"notes").mkdir()
    (tmp_path/"status.json").write_text("{}")
    assert [row["name"] for row in run_rows(tmp_path)] == ["good"]
    for path in tmp_path/"notes", tmp_path/"nothing":
        with pytest.raises(DataError) as e:
            Run(path)
        assert not missing(e, path, "status.json")


def test_the_card_escapes(tmp_path):
    run = make(tmp_path, "<b>&")
    assert "<b>&" not in run._repr_html_() and "&lt;b&gt;&amp;" in run._repr_html_()


def test_environment_is_json():
    e = environment()
    json.dumps(to_plain(e), allow_nan=False)
    assert {"torch", "fastai", "numpy"} <= set(e["packages"]) and e["cores"] >= 1 and e["memory_gb"] > 0


# Sorting

@pytest.fixture
def four(tmp_path):
    "Four runs of which one has no score and one is damaged."
    for i, (name, score, seconds) in enumerate((("d", .5, 30.), ("a", .7, None), ("c", None, 10.), ("b", .6, 20.))):
        make(tmp_path, name).update(started=f"2026-01-0{i+1}", status="done", mean_iou=score, seconds=seconds,
                                    stages_done=(2, 10, 0, 3)[i], stages=12)
    (make(tmp_path, "e").path/"status.json").write_text("{")
    return tmp_path


@pytest.mark.parametrize("column, names", [("mean_iou", "dbac"), ("seconds", "cbd"), ("started", "bcad"),
                                           ("name", "abcde"), ("stages", "abdc"), ("model", "bcad"), ("accuracy", "")])
def test_sorting(four, column, names):
    "The best, newest and shortest first; what has no value last, the newest first."
    got = [row["name"] for row in run_rows(four, column)]
    want = "abdce" if column == "mean_iou" else names
    assert sorted(got) == list("abcde") and got[-1] == "e"
    assert "".join(got[:len(want)]) == want
    assert list(list_runs(four, column).name) == got


def test_sorting_by_what_is_no_column(four):
    with pytest.raises(UsageError) as e:
        run_rows(four, "miou")
    assert not missing(e, "miou", "mean_iou", "name", "data", "model", "status")


def test_the_model_is_known_even_of_a_recipe_from_elsewhere(run):
    recipe = run.path/"recipe.toml"
    recipe.write_text("key_of_the_future = 1\n" + to_toml(run.recipe).replace("unet_resnet34", "other"))
    assert run_rows(run.path.parent)[0]["model"] == "other"
    recipe.write_text("][")
    assert run_rows(run.path.parent)[0]["model"] is None


def make_outdated(run):
    "Write a run's status as versions before 0.1.0 did."
    status = {k: v for k, v in run.status.items() if k not in ("format", "accuracy")}
    write_json(run.path/"status.json", status | dict(status="done", void_accuracy=.5))
    return run.path


@pytest.fixture
def outdated(tmp_path):
    "A run and a fold set of another version, beside a run of this one."
    folds = make(tmp_path/"folds", "fold-1").path.parent
    (folds/"family.json").write_text('{"folds": 2, "data": {}}')
    make(tmp_path, "new")
    old = make(tmp_path, "old")
    for run in old.path, folds/"fold-1":
        (run/"checkpoints/last").mkdir(parents=True, exist_ok=True)
        (run/"checkpoints/last/model.safetensors").write_bytes(b"weights")
    return make_outdated(old), make_outdated(Run(folds/"fold-1")).parent


def test_runs_of_another_version_are_listed_and_refused(outdated, tmp_path):
    rows = {row["name"]: row["status"] for row in run_rows(tmp_path)}
    assert rows == {"new": "running", "old": "outdated", "folds/fold-1": "outdated"}
    for opened, path in (Run, outdated[0]), (FoldSet, outdated[1]):
        with pytest.raises(DataError) as e:
            opened(path)
        weights = next(path.glob("**/model.safetensors"))
        assert not missing(e, path, f"--weights {weights}") and "\n" not in str(e.value)
        weights.unlink()
        with pytest.raises(DataError) as e: # no file to start from
            opened(path)
        assert "--weights" not in str(e.value)


@pytest.mark.parametrize("command", ["report", "evaluate", "predict", "export", "resume", "compare"])
def test_a_command_given_a_run_of_another_version_says_so(outdated, tmp_path, command):
    for path in outdated:
        if command in ("report", "export", "compare") and path.name == "folds": # they take single runs
            continue
        Image.new("RGB", (8, 8)).save(tmp_path/"image.png")
        more = dict(predict=[tmp_path/"image.png", "--out", tmp_path/"masks"], compare=[tmp_path/"new"]).get(command,
            [])
        before = tree(tmp_path)
        res = cli(command, path, *more)
        assert res.exit_code == 1 and not is_crash(res.output) and len(res.stderr.strip().splitlines()) <= 4, res.output
        assert not missing(res.stderr.replace("\n", ""), "another version of segfast") and tree(tmp_path) == before


def cli(*args):
    from typer.testing import CliRunner

    from segfast.cli import app
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "120"})


def test_the_command_runs(four):
    rows = json.loads(cli("runs", four, "--sort", "mean_iou", "--json").stdout)
    assert [row["name"] for row in rows] == list("abdce") and rows[0]["model"] == "unet_resnet34" and rows[-1][
        "status"] == "damaged"
    text = cli("runs", four, "--sort", "mean_iou").stdout
    assert [line.split()[0] for line in text.splitlines()[2:] if line.strip()] == list("abdce")
    res = cli("runs", four, "--sort", "x")
    assert res.exit_code == 2 and "mean_iou" in res.output and not is_crash(res.output)
    make(four, "gone").update(pid=dead_pid())
    states = {row["name"]: row["status"] for row in json.loads(cli("runs", four, "--json").stdout)}
    assert states["gone"] == "interrupted"


# Cleaning

def finished(out, name="one", status="done", **state):
    run = make(out, name)
    for epoch in 1, 2:
        with run.checkpoint("last", epoch=epoch, optimizer=dict(lr=1)) as folder:
            for part in "model", "memory", "training":
                (folder/f"{part}.safetensors").write_text(f"{part}{epoch}"*100)
        if epoch == 1:
            with run.checkpoint("best", epoch=1) as folder:
                os.link(run.path/"checkpoints/last/model.safetensors", folder/"model.safetensors")
    run.update(status=status)
    return run


def tree(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in Path(path).rglob("*")
            if p.is_file() and p.name != ".lock"}


def test_clean_shows_and_then_deletes(tmp_path):
    run = finished(tmp_path)
    before, args = tree(tmp_path), ("clean", tmp_path)
    shown = cli(*args)
    assert shown.exit_code == 0 and tree(
        tmp_path) == before and f"segfast clean {tmp_path} --yes" in shown.stdout.replace("\n", "")
    assert json.loads(cli(*args, "--json").stdout)["deleted"] == [] and tree(tmp_path) == before
    found = json.loads(cli(*args, "--json").stdout)
    assert [Path(path).name for path in found["kept"][0]["paths"]] == ["memory.safetensors", "training.safetensors",
        "previous"]
    assert cli(*args, "--yes").exit_code == 0
    after = tree(tmp_path)
    assert before.keys() - after.keys() == {f"one/checkpoints/{name}"
                                            for name in ("last/memory.safetensors", "last/training.safetensors",
                                                      *(f"previous/{p}" for p in ("model.safetensors",
        "memory.safetensors", "training.safetensors", "state.json")))}
    assert run.weights_file.read_text() == "model2"*100 and run.checkpoint_file(
        "best").read_text() == "model1"*100 and run.is_cleaned
    again = json.loads(cli(*args, "--yes", "--json").stdout)
    assert again["deleted"] == again["kept"] == [] and "--yes" not in cli(*args).stdout and tree(tmp_path) == after


def test_what_clean_says_it_frees_is_freed(tmp_path):
    from segfast.runs.clean import find_waste, clean

    def used():
        return sum({p.stat().st_ino: p.stat().st_size for p in tmp_path.rglob("*")
                    if p.is_file() and p.parent.name in ("last", "previous", "best")
                    and p.suffix == ".safetensors"}.values())
    run = finished(tmp_path)
    state = (run.path/"checkpoints/previous/state.json").stat().st_size
    before, found = used(), find_waste(tmp_path)
    clean(found)
    assert before - used() == found[
        0].bytes - state > 0, "the first epoch's weights are the best too, and stay under that name"


def test_a_damaged_last_checkpoint_keeps_the_one_before_it(tmp_path):
    run = finished(tmp_path)
    for name in "model", "memory":
        path = run.path/f"checkpoints/last/{name}.safetensors"
        good = path.read_text()
        path.write_text("spoilt")
        before = tree(tmp_path)
        assert cli("clean", tmp_path, "--yes").exit_code == 0 and tree(tmp_path).keys() == before.keys()
        path.write_text(good)


def test_what_clean_never_touches(tmp_path):
    out = tmp_path/"runs"
    finished(out, "running", "running")
    finished(out, "elsewhere").update(status="running", host="elsewhere", pid=1)
    (finished(out, "damaged", "failed").path/"status.json").write_text("{")
    finished(out, "odd", "something")
    (out/"notes").mkdir()
    (out/"notes/a.txt").write_text("mine")
    linked = finished(tmp_path/"other", "linked", "failed")
    (out/"linked").symlink_to(linked.path)
    before = tree(tmp_path)
    assert cli("clean", out, "--failed", "--yes").exit_code == 0
    assert tree(tmp_path) == before and (out/"linked").is_symlink()


def test_failed_and_interrupted_runs_go_only_when_asked(tmp_path):
    for name, status in (("bad", "failed"), ("stopped", "interrupted"), ("gone", "running"), ("good", "done")):
        finished(tmp_path, name, status)
    Run(tmp_path/"gone").update(pid=dead_pid())
    cli("clean", tmp_path, "--yes")
    assert {p.name for p in tmp_path.iterdir()} == {"bad", "stopped", "gone",
                                                    "good"} and (tmp_path/"bad/checkpoints/previous").exists()
    res = cli("clean", tmp_path, "--failed", "--yes")
    assert res.exit_code == 0 and not missing(res.stdout, "bad", "stopped", "gone") and missing(res.stdout,
        "good") and [p.name for p in tmp_path.iterdir()] == ["good"]


def test_a_run_that_another_process_trains_is_left_alone(tmp_path):
    "Its status still says failed, because the resume is looking at its data; the lock says more."
    run = finished(tmp_path, "busy", "failed")
    code = ("import sys; from segfast.runs.run import Run\nwith Run(sys.argv[1]).lock(): print('held', flush=True); "
            "sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as p:
        p.stdout.readline()
        before = tree(tmp_path)
        res = cli("clean", tmp_path, "--failed", "--yes")
        assert res.exit_code == 0 and "busy" in res.stderr and tree(tmp_path) == before
        p.stdin.close()
    cli("clean", tmp_path, "--failed", "--yes")
    assert not run.path.exists()


def test_a_run_that_changed_since_the_list_was_made(tmp_path):
    from segfast.runs.clean import find_waste, clean
    run = finished(tmp_path, "one", "failed")
    found = find_waste(tmp_path, failed=True)
    run.update(status="done")
    assert clean(found) == [] and (run.path/"checkpoints/previous").exists()
    found = find_waste(tmp_path)
    shutil.rmtree(run.path)
    assert clean(found) == []


@pytest.mark.parametrize("status", ["done", "failed"])
def test_clean_that_is_cut_short_at_any_call_can_be_done_again(tmp_path, status):
    from segfast.runs.clean import find_waste, clean
    template = finished(tmp_path/"template", "run", status)

    def copied(name): return Run(shutil.copytree(template.path, tmp_path/name/"run"))
    spots = os_calls(lambda: clean(find_waste(copied("count").path.parent, True)))
    assert len(spots) > 5
    for k, (name, i) in enumerate(spots):
        run = copied(f"cut-{k}")
        with pytest.MonkeyPatch.context() as patch:
            left = [i]

            def crash(*args, _real=getattr(os, name), _left=left, **kwargs):
                if _left[0] <= 0:
                    raise Crash
                _left[0] -= 1
                return _real(*args, **kwargs)
            patch.setattr(os, name, crash)
            try:
                clean(find_waste(run.path.parent, True))
            except Crash:
                pass
        if status == "done":
            assert run.weights_file.read_text() == "model2"*100, (name, i)
        clean(find_waste(run.path.parent, True))
        if status == "done":
            assert run.weights_file.exists() and not (run.path/"checkpoints/previous").exists() and not (
                run.path/"checkpoints/last/memory.safetensors").exists(), (name, i)
        else:
            assert not (run.path/"status.json").exists(), (name, i)


def test_a_cleaned_run_says_that_it_cannot_be_resumed(tmp_path):
    from segfast.training.resume import resume
    run = finished(tmp_path)
    cli("clean", run.path, "--yes")
    for extend in 0, 3:
        with pytest.raises(DataError) as e:
            resume(run, extend=extend, screen="quiet")
        assert not missing(e, f"--from {run.path}")
    assert run.state == "done"


WHOLE = """import sys
from segfast.runs.run import Run
run = Run(sys.argv[1])
assert not {"torch", "fastai"} & set(sys.modules)
print(run.predict(sys.argv[2], device="cpu").shape, type(run.model("cpu").eval()).__name__, callable(run.learner))
"""


@pytest.mark.slow
def test_a_run_is_whole_as_soon_as_it_is_imported(tmp_path, demo_dir):
    from segfast.runs.recipe import Recipe, Stage
    from segfast.training.train import train
    recipe = Recipe([Stage("full", (32, 48), 1, batch_size=8)], model="fast", weights="none")
    trained = train(demo_dir, recipe, out=tmp_path, name="one", device="cpu", screen="quiet")
    image = sorted((demo_dir/"images").iterdir())[0]
    done = subprocess.run([sys.executable, "-c", WHOLE, trained.path, image], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("(48, 64) "), done.stderr


# A run of a stranger, and a run that changed

@pytest.mark.parametrize("name", ["log.txt", "scores.csv", "plots", "plots/history.png", "evaluation", "export",
                                  ".report.html.7.part", ".lock", "checkpoints/last/model.safetensors", "status.json"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_a_run_with_a_link_or_a_pipe_is_refused(run, tmp_path, name, kind):
    private = tmp_path/"private"
    private.write_text("private")
    put(run, "last", "weights")
    path = run.path/name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(private if kind == "link" else tmp_path/"nowhere")
    with pytest.raises(DataError) as e:
        Run(run.path)
    assert not missing(e, path) and private.read_text() == "private" and not (tmp_path/"nowhere").exists()


def test_a_link_on_the_way_to_a_run_is_fine(run, tmp_path):
    (tmp_path/"disk").symlink_to(run.path.parent)
    (tmp_path/"alias").symlink_to(run.path)
    for path in tmp_path/"disk/one", tmp_path/"alias":
        Run(path).log("seen")
    assert (run.path/"log.txt").read_text().count("seen") == 2


@pytest.mark.parametrize("name", ["log.txt", "history.csv", "status.json", "recipe.toml", ".lock", ".heartbeat"])
def test_a_second_name_of_a_file_is_never_written(run, tmp_path, name):
    "As `cp -al` makes them for a backup."
    row = dict.fromkeys(HISTORY, .5) | dict(stage=1, epoch=1, name="half")
    run.log("first"); run.append(row); run.update()
    (run.path/name).touch()
    os.link(run.path/name, tmp_path/"backup")
    before, mode = (tmp_path/"backup").read_bytes(), (tmp_path/"backup").stat().st_mtime_ns
    with run.lock():
        run.log("second"); run.append(row | dict(epoch=2)); run.update(note=1); run.save_recipe(run.recipe)
        run.take_over(); run.rewind(1, 1)
    assert ((tmp_path/"backup").read_bytes(), (tmp_path/"backup").stat().st_mtime_ns) == (before, mode)


def full_after(n, real=os.fsync):
    "An `os.fsync` that succeeds `n` times."
    left = iter(range(n))

    def fsync(fd):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        real(fd)
    return fsync


def test_a_run_that_could_not_be_written_is_not_there(tmp_path, monkeypatch):
    "Wherever the disk is full: no half run, and the error names the folder."
    files = "image,mask\na,b\n"
    def create(): return Run.create(tmp_path/"runs", progressive((64, 96)), classes, dict(name="d"), "one", files=files)
    for k in range(100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full_after(k))
            try:
                create()
                break
            except DataError as e:
                assert not missing(e, tmp_path/"runs", "No space left"), e
        if (tmp_path/"runs/one").exists(): # it was whole: only the last name was not on the disk yet
            shutil.rmtree(tmp_path/"runs/one")
        assert list((tmp_path/"runs").iterdir()) == []
    assert k > 4 and Run(tmp_path/"runs/one").status["status"] == "running"
    assert (tmp_path/"runs/one/data.csv").read_text() == files


def test_a_run_that_another_process_made_meanwhile_is_kept(tmp_path, monkeypatch):
    other, real = make(tmp_path/"other", "one"), os.fsync

    def full(fd):
        if not (tmp_path/"runs/one").exists():
            shutil.copytree(other.path, tmp_path/"runs/one")
            raise OSError(28, "No space left on device")
        real(fd)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        make(tmp_path/"runs", "one")
    assert os.listdir(tmp_path/"runs") == ["one"] and Run(tmp_path/"runs/one").status == other.status


def test_old_half_runs_are_swept(tmp_path):
    old, young = tmp_path/"runs/.part-0123456789abcdef", tmp_path/"runs/.part-fedcba9876543210"
    old.mkdir(parents=True); young.mkdir()
    os.utime(old, (1, 1))
    make(tmp_path/"runs", "one")
    assert sorted(os.listdir(tmp_path/"runs")) == [young.name, "one"]


@pytest.mark.parametrize("file, read", [("recipe.toml", "recipe"), ("classes.csv", "classes"),
                                        ("scores.json", "scores"),
                                        ("history.csv", "history"), ("checkpoints/last/state.json", "weights_file"),
                                        ("checkpoints/last/model.safetensors", "weights_file")])
def test_a_flipped_bit_is_named(run, file, read):
    "Bits all over the file: an error that names the file, or the same values."
    put(run, "last", "weights")
    write_json(run.path/"scores.json", dict(accuracy=.9123, classes=dict(sky=dict(iou=.5, pixels=7))))
    run.append(dict.fromkeys(HISTORY, .25) | dict(stage=1, epoch=1, name="half"))
    run.update()
    def values(): # an unknown key may come in, if the name of the checksum was hit
        found = getattr(Run(run.path), read)
        known = ("accuracy", "classes")
        return {k: found[k] for k in known if k in found} if isinstance(found, dict) else str(found)
    path, want = run.path/file, values()
    raw, noticed = path.read_bytes(), 0
    for i in range(0, len(raw)*8, max(1, len(raw)*8//97)):
        flipped = bytearray(raw)
        flipped[i//8] ^= 1 << i % 8
        path.write_bytes(flipped)
        try:
            assert values() == want, (i, bytes(flipped))
        except (DataError, UsageError) as e:
            noticed += 1 # a flip in the sum of another file is found as a change of that file
            assert not missing(e, path.parent if path.name == "state.json" else path), e
    assert noticed > 20


def test_a_change_can_be_kept(run):
    recipe = run.path/"recipe.toml"
    recipe.write_text("".join(line for line in recipe.read_text().replace("seed = 42", "seed = 7").splitlines(True)
                              if not line.startswith(SEAL)))
    assert run.recipe.seed == 7
    run.save_recipe(run.recipe)
    assert recipe.read_text().count(SEAL) == 1 and run.recipe.seed == 7


def test_an_edited_status_is_used_and_said(run, caplog):
    status = run.path/"status.json"
    status.write_text(status.read_text().replace('"running"', '"failed"'))
    for _ in range(2):
        assert Run(run.path).state == "failed"
    assert len(caplog.records) == 1 and str(status) in caplog.text
    run.update(note=1)
    caplog.clear()
    assert Run(run.path).state == "failed" and not caplog.records


def test_readers_get_no_other_weights(run):
    "Only a resume takes the checkpoint before: with the scores of the lost one, the weights would lie."
    put(run, "last", "old", epoch=1)
    put(run, "last", "new", epoch=2)
    run.update(status="done")
    weights = run.path/"checkpoints/last/model.safetensors"
    weights.write_text("nev")
    with pytest.raises(DataError) as e:
        _ = run.weights_file
    assert not missing(e, weights, "segfast resume")
    assert run.newest_checkpoint([].append).name == "previous"
    shutil.rmtree(run.path/"checkpoints/last")
    with pytest.raises(DataError) as e:
        _ = run.weights_file
    assert not missing(e, run.path, "last")


@pytest.mark.parametrize("name", ["/proc/self/mem", "../../status.json", "/dev/zero", "..", "a/../model.safetensors"])
def test_checksums_name_no_file_elsewhere(run, name):
    put(run, "last", "weights")
    state = read_json(run.path/"checkpoints/last/state.json")
    write_json(run.path/"checkpoints/last/state.json", dict(state, sha256=dict(state["sha256"], **{name: "0"})))
    with pytest.raises(DataError) as e:
        _ = run.weights_file
    assert "missing" in str(e.value) and len(str(e.value).splitlines()) <= 2


# A process on another machine, and file systems without locks

@pytest.mark.parametrize("age, state", [(0, "running"), (600, "running"), (3600, "interrupted")])
@pytest.mark.parametrize("beats", [True, False])
def test_a_process_on_another_machine(run, age, state, beats):
    run.update(host="elsewhere", pid=1)
    status, then = run.path/"status.json", time.time() - age
    if beats:
        (run.path/".heartbeat").touch()
        os.utime(run.path/".heartbeat", (then, then))
    else:
        os.utime(status, (then, then))
    assert run.state == state and run_rows(run.path.parent)[0]["status"] == state


def test_the_updated_time_counts_too(run):
    "A run that was copied has new times of its files."
    run.update(host="elsewhere", pid=1)
    status = read_json(run.path/"status.json")
    write_json(run.path/"status.json", dict(status, updated="2026-01-01T00:00:00+00:00"))
    assert run.state == "interrupted"


def test_the_heart_beats_while_the_lock_is_held(run, monkeypatch):
    monkeypatch.setattr("segfast.runs.run.BEAT", .01)
    beat = run.path/".heartbeat"
    with run.lock():
        wait_for(beat.exists)
        os.utime(beat, (1, 1))
        wait_for(lambda: beat.stat().st_mtime > 1)
    assert not beat.exists()


def wait_for(what):
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(.01)


def test_a_heartbeat_makes_no_run_at_the_old_place(run, tmp_path, monkeypatch):
    monkeypatch.setattr("segfast.runs.run.BEAT", .01)
    with run.lock():
        wait_for((run.path/".heartbeat").exists)
        os.rename(run.path, tmp_path/"moved")
        time.sleep(.05)
        for write in (lambda: run.log("x"), lambda: run.append({}), run.update, lambda: put(run, "last", "weights")):
            with pytest.raises((OSError, DataError)):
                write()
    assert not run.path.exists() and Run(tmp_path/"moved").status["status"] == "running"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks(run, monkeypatch, code):
    def unsupported(*args): raise OSError(code, os.strerror(code))
    monkeypatch.setattr("fcntl.flock", unsupported)
    with run.lock(): # of this process
        assert run.status["pid"] == os.getpid()
    assert "no locks" in (run.path/"log.txt").read_text()
    run.update(pid=os.getppid(), pid_started=psutil.Process(os.getppid()).create_time())
    with pytest.raises(DataError, match="another process"):
        with run.lock():
            pass
    run.update(pid=dead_pid())
    with run.lock():
        pass


def test_names_of_stages_are_no_formulas(tmp_path):
    "A spreadsheet shows the name, and segfast reads it exactly."
    names = ["=HYPERLINK(1)", "'=1", "-1", "plain"]
    run = Run.create(tmp_path, progressive((64, 96)), ClassTable(["sky"]), dict(name="d"), "one")
    for i, name in enumerate(names, 1):
        run.append(dict.fromkeys(HISTORY, -.5) | dict(stage=1, epoch=i, name=name))
    run.rewind(1, len(names))
    assert list(run.history.name) == names and set(run.history.lr) == {-.5}
    cells = [cell for line in (run.path/"history.csv").read_text().splitlines() for cell in line.split(",")]
    assert "'=HYPERLINK(1)" in cells and "''=1" in cells and not any(cell.startswith("=") for cell in cells)


@pytest.mark.parametrize("file, read", [("classes.csv", "classes"), ("recipe.toml", "recipe"),
                                        ("status.json", "status"), ("history.csv", "history"),
                                        ("scores.json", "scores"),
                                        ("checkpoints/last/model.safetensors", "weights_file")])
def test_a_file_of_a_terabyte_is_not_read(run, file, read):
    "It takes no space on the disk."
    put(run, "last", "weights")
    with open(run.path/file, "wb") as big:
        big.truncate(1 << 40)
    start = time.monotonic()
    with pytest.raises((DataError, UsageError)) as e:
        getattr(Run(run.path), read)
    assert not missing(e, run.path/file) and time.monotonic() - start < 10
