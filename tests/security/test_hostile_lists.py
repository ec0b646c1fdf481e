"""Folders of runs from strangers: one bad run or fold is one row that says so, and nothing behind a link is touched."""
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.limits import alarm_after
from helpers.problems import is_crash, missing
from typer.testing import CliRunner

from segfast.cli import app
from segfast.core.errors import DataError
from segfast.core.files import part_path, without, write_json
from segfast.data.classes import ClassTable
from segfast.runs.clean import clean, find_waste
from segfast.runs.listing import FOLD_SET, FoldSet, fold_scores, list_runs, run_rows
from segfast.runs.recipe import Recipe, Stage
from segfast.runs.run import Run

HOUR_AGO = time.time() - 3700


def within(seconds):
    "Fail when the block hangs."
    return alarm_after(seconds, lambda: pytest.fail(f"took more than {seconds} s"))


def make(out, name, status="done"):
    "A run with two checkpoints, without a training."
    recipe = Recipe([Stage("full", (48, 64), 2)], model="unet", weights="none")
    run = Run.create(out, recipe, ClassTable(["sky", "road"]), dict(name="toy"), name=name, files="image\na\n")
    for epoch in 1, 2:
        with run.checkpoint("last", epoch=epoch, optimizer={}) as folder:
            for part in "model", "memory": (folder/f"{part}.safetensors").write_text(f"{part}{epoch}")
    write_json(run.path/"scores.json", dict(accuracy=.9, mean_iou=.5, images=4, classes={}))
    run.update(status=status, accuracy=.9, mean_iou=.5)
    return run


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    "Two finished runs, and a fold set of two folds."
    out = tmp_path_factory.mktemp("lists")/"runs"
    for name in "bad", "good": make(out, name)
    for i in 1, 2: make(out/"set", f"fold-{i}")
    write_json(out/"set"/FOLD_SET, dict(folds=2, data=dict(name="toy", images=4), asked={}, recipe=None))
    return out


@pytest.fixture
def runs(template, tmp_path):
    shutil.copytree(template, tmp_path/"runs")
    return tmp_path/"runs"


def cli(*args):
    with within(60): res = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})
    assert not is_crash(res.output) and "\x1b" not in res.output
    return res


def tree(folder):
    "Everything below a folder: what it is, and what it holds."
    def content(path):
        if path.is_symlink(): return os.readlink(path)
        return path.read_bytes() if path.is_file() and path.stat().st_size < 1e7 else path.lstat().st_mode
    return {path.relative_to(folder): content(path) for path in Path(folder).rglob("*")
            if path.name not in (".lock", ".heartbeat")}


# --- what may lie in the place of a file ---

def device(path):
    try: os.mknod(path, 0o20600, os.makedev(1, 5))  # another /dev/zero
    except OSError: pytest.skip("only root can make a device")


def plug(path):
    "A socket; its address may not be long."
    with socket.socket(socket.AF_UNIX) as found:
        here = os.getcwd()
        os.chdir(path.parent)
        try: found.bind(path.name)
        finally: os.chdir(here)


def sparse(path):
    with open(path, "wb") as file: file.truncate(1 << 40)


PLACES = {"pipe": os.mkfifo, "socket": plug, "device": device, "folder": Path.mkdir,
          "link to zero": lambda path: path.symlink_to("/dev/zero"), "loop": lambda path: path.symlink_to(path.name),
          "link": lambda path: path.symlink_to(path.parents[1]/"good"/path.name)}
TEXTS = {"nothing": "", "null": "null", "list": "[1]", "deep list": "["*100_000, "deep dict": '{"a":'*100_000,
         "digits": '{"status": 1' + "0"*400 + "}", "infinity": '{"seconds": Infinity}', "toml": "a = " + "["*5000,
         "dotted": ".".join("a"*5000) + " = 1", "tables": "[" + ".".join("a"*5000) + "]",
         "toml digits": "a = 1" + "0"*400, "null bytes": "\0"*100, "not utf-8": "\udcff", "long": "x"*2_000_000}


def fill(path, kind):
    "Put something else in the place of a file."
    path.unlink(missing_ok=True)
    if kind == "sparse": sparse(path)
    elif kind in PLACES: PLACES[kind](path)
    else: path.write_text(TEXTS[kind], encoding="utf-8", errors="surrogateescape")


def check_commands(runs, bad="bad"):
    "Every command that takes a folder of runs: the bad one is a row that says so, and the others are served."
    with within(10): rows = {row["name"]: row for row in run_rows(runs)}
    assert {"bad", "good", "set/fold-1", "set/fold-2"} == rows.keys()
    assert [name for name, row in rows.items() if row["status"] != "done"] == [bad] and rows[bad]["status"] == "damaged"
    assert list(list_runs(runs, "mean_iou").name)[-1] == bad
    res = cli("runs", runs)
    assert res.exit_code == 0 and not missing(res.stdout, "bad", "good", "damaged")
    assert len(json.loads(cli("runs", runs, "--json").stdout)) == 4
    before = tree(runs)
    for args in [], ["--failed"], ["--json"]:
        res = cli("clean", runs, *args)
        assert res.exit_code == 0 and "bad" in res.output and tree(runs) == before
    held = tree(runs/bad)
    res = cli("clean", runs, "--failed", "--yes")
    assert res.exit_code == 0 and not missing(res.stdout, "good", "Deleted") and f"Not deleted: {bad}" in res.stderr
    assert tree(runs/bad) == held and Run(runs/"good").is_cleaned and FoldSet(runs/"set").fold(2).is_cleaned


@pytest.mark.parametrize("kind", [*PLACES, "sparse", *TEXTS])
@pytest.mark.parametrize("file", ["status.json", "data.json"])
def test_one_bad_record_is_one_row(runs, file, kind):
    fill(runs/"bad"/file, kind)
    if file == "status.json": check_commands(runs)
    else: # a run without data can still be cleaned: only what is read is judged
        with within(10): rows = {row["name"]: row["status"] for row in run_rows(runs)}
        assert rows == {"bad": "damaged", "good": "done", "set/fold-1": "done", "set/fold-2": "done"}
        assert cli("clean", runs, "--failed", "--yes").exit_code == 0 and Run(runs/"good").is_cleaned


@pytest.mark.parametrize("kind", [kind for kind in PLACES if kind != "folder"])
def test_what_is_no_file_makes_a_run_damaged(runs, kind):
    for file in ("recipe.toml", "scores.json", "history.csv", "classes.csv", "checkpoints/last/memory.safetensors",
                 "plots/new.png", ".lock", "log.txt", ".part-0123456789abcdef.json", "evaluation"):
        kept = (runs/"bad"/file).read_bytes() if (runs/"bad"/file).exists() else None
        fill(runs/"bad"/file, kind)
        with within(10): rows = {row["name"]: row["status"] for row in run_rows(runs)}
        assert rows == {"bad": "damaged", "good": "done", "set/fold-1": "done", "set/fold-2": "done"}
        with within(10), pytest.raises(DataError) as e: Run(runs/"bad")
        assert not missing(e, runs/"bad"/file)
        if file == "log.txt": check_commands(runs)
        (runs/"bad"/file).unlink()
        if kept is not None: (runs/"bad"/file).write_bytes(kept)


@pytest.mark.parametrize("kind", ["sparse", *TEXTS])
def test_a_recipe_that_cannot_be_read_is_a_damaged_run(runs, kind):
    fill(runs/"bad/recipe.toml", kind)
    with within(10): rows = {row["name"]: row["status"] for row in run_rows(runs)}
    assert rows.pop("bad") == "damaged" and set(rows.values()) == {"done"}
    res = cli("compare", runs/"good", runs/"bad")
    assert res.exit_code == 0 or "recipe.toml" in res.stderr


ODD = [["x"], {}, {"a": 1}, -3, "x"*200_000, "", None, True, 2**63, 1e308, "a\x1b[2J\n\u202eb", "done"]


@pytest.mark.parametrize("key", ["status", "started", "stages", "stages_done", "accuracy", "mean_iou", "seconds", "pid",
                                 "pid_started", "host", "error", "format", "updated", "history", "loggers", "best"])
def test_odd_values_in_a_status(runs, key):
    values = without(json.loads((runs/"bad/status.json").read_text()), "checksum")
    for status, value in itertools.product(("done", "running"), ODD):
        write_json(runs/"bad/status.json", values | {"status": status} | {key: value})
        with within(10):
            for sort in "started", "stages", "accuracy", "name", "status":
                rows = {row["name"]: row for row in run_rows(runs, sort)}
                assert len(rows) == 4 and sum(row["status"] == "done" for row in rows.values()) >= 3
        row = rows["bad"]
        assert all(row[k] is None or isinstance(row[k], (int, float)) and not isinstance(row[k], bool)
                   for k in ("accuracy", "mean_iou", "seconds"))
        assert all(row[k] is None or isinstance(row[k], str) for k in ("name", "data", "model", "status", "stages"))
        assert {item.name for item in find_waste(runs, failed=True)} >= {"good", "fold-1", "fold-2"}
    for args in ("runs", runs), ("runs", runs, "--json"), ("clean", runs, "--failed"): assert cli(*args).exit_code == 0


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb", "\u202egnp", "x"*100_000, "", "\0"])
def test_text_of_a_stranger_is_shown_as_text(runs, text):
    values = without(json.loads((runs/"bad/data.json").read_text()), "checksum")
    write_json(runs/"bad/data.json", values | {"name": text})
    (runs/"bad/recipe.toml").write_text(f"model = {json.dumps(text)}\n")
    res = cli("runs", runs)
    assert res.exit_code == 0 and "good" in res.stdout and len(res.stdout) < 3000 and "\u202e" not in res.stdout
    assert len(json.loads(cli("runs", runs, "--json").stdout)) == 4


def test_a_run_without_its_status_is_listed(runs):
    (runs/"bad/status.json").unlink()
    check_commands(runs)


def test_a_folder_of_very_many_files(runs, monkeypatch):
    monkeypatch.setattr("segfast.core.files.MOST_ENTRIES", 50)
    for i in range(60): (runs/"bad"/f"{i}.txt").touch()
    check_commands(runs)


def nest(path, n=1200):
    "Folders in folders, as deep as a path may be."
    path.mkdir()
    for _ in range(n):
        path = path/"a"
        path.mkdir()


@pytest.fixture
def removed(runs):
    "Python's own functions fail at a thousand folders in folders, pytest's too."
    yield
    subprocess.run(["rm", "-rf", runs], check=True)


def test_folders_in_folders(runs, removed):
    nest(runs/"bad/plots/a")
    for part in runs/".part-0123456789abcdef", runs/"set/.part-0123456789abcdef":
        nest(part)
        for path in (part, *part.glob("*")): os.utime(path, (HOUR_AGO, HOUR_AGO))
    with within(10): rows = {row["name"]: row["status"] for row in run_rows(runs)}
    assert rows == {"bad": "damaged", "good": "done", "set/fold-1": "done", "set/fold-2": "done"}
    res = cli("clean", runs, "--failed", "--yes")
    assert res.exit_code == 0 and not missing(res.stderr, "bad", "folders in folders") and Run(runs/"good").is_cleaned
    with pytest.raises(DataError, match="folders in folders"): Run(runs/"bad")


@pytest.mark.skipif(sys.platform == "darwin", reason="names of files are text there")
def test_names_that_are_no_text(runs):
    os.rename(os.fsencode(runs/"bad"), os.fsencode(runs) + b"/bad \xff\n")
    assert cli("runs", runs).exit_code == 0 and len(json.loads(cli("runs", runs, "--json").stdout)) == 4
    assert cli("clean", runs, "--yes").exit_code == 0 and len(cli("clean", runs, "--json").stdout) > 9


@pytest.fixture
def unreadable(runs, monkeypatch):
    "Nobody may look into the run `bad`, not even an administrator who runs the tests."
    inside = str(runs/"bad") + "/"

    def refuse(name):
        real = getattr(os, name)

        def call(path, *args, **kwargs):
            text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
            if text.startswith(inside) or text == inside[:-1] and name == "scandir":
                raise PermissionError(13, "Permission denied", text)
            return real(path, *args, **kwargs)
        monkeypatch.setattr(os, name, call)
    for name in "open", "stat", "lstat", "scandir", "unlink", "rmdir", "rename": refuse(name)
    return runs


def test_an_unreadable_run_hides_nothing(unreadable):
    with within(10): rows = {row["name"]: row["status"] for row in run_rows(unreadable)}
    assert rows == {"bad": "damaged", "good": "done", "set/fold-1": "done", "set/fold-2": "done"}
    res = cli("clean", unreadable, "--yes", "--failed")
    assert res.exit_code == 0 and not missing(res.stderr, "bad", "Permission") and Run(unreadable/"good").is_cleaned


def test_one_hundred_runs_take_little_work(runs):
    for i in range(100): shutil.copytree(runs/"good", runs/f"run-{i}", copy_function=os.link)
    start = time.process_time()
    assert len(run_rows(runs)) == 104
    assert time.process_time() - start < .5


# --- fold sets ---

@pytest.mark.parametrize("kind", [*PLACES, "sparse", *TEXTS])
def test_a_bad_fold_set_file(runs, kind):
    file = runs/"set"/FOLD_SET
    fill(file, kind)
    with within(10): assert {row["name"]: row["status"] for row in run_rows(runs)} == {
        "bad": "done", "good": "done", "set/fold-1": "done", "set/fold-2": "done"}
    res = cli("resume", runs/"set")
    assert res.exit_code == 1 and not missing(res.stderr, file)
    with within(10), pytest.raises(DataError, match="fold_set.json"): _ = FoldSet(runs/"set").states
    assert cli("clean", runs, "--yes").exit_code == 0 and Run(runs/"set/fold-1").is_cleaned
    for i in 1, 2: shutil.rmtree(runs/f"set/fold-{i}")
    assert {row["name"]: row["status"] for row in run_rows(runs)}["set"] == "damaged"


@pytest.mark.parametrize("folds", [10**9, 10**18, -1, 0, 1, 1001, "3", True, 2.5, None, [2], {}, 10**30])
def test_a_number_of_folds_that_cannot_be(runs, folds):
    file = runs/"set"/FOLD_SET
    values = without(json.loads(file.read_text()), "checksum")
    file.write_text(json.dumps(values | {"folds": folds}))
    with within(5):
        for use in (lambda: FoldSet(runs/"set").states, lambda: fold_scores(runs/"set"),
                    lambda: FoldSet(runs/"set").recipe):
            with pytest.raises(DataError, match="fold_set.json"): use()
        assert repr(FoldSet(runs/"set")) == "FoldSet(set, damaged)" and len(run_rows(runs)) == 4
    assert not missing(cli("resume", runs/"set").stderr, file)


@pytest.mark.parametrize("recipe", ["x = [", "a = " + "["*5000, "stages = 3", "x"*50_000])
def test_a_fold_set_with_an_odd_recipe(runs, recipe):
    file = runs/"set"/FOLD_SET
    write_json(file, without(json.loads(file.read_text()), "checksum") | {"recipe": recipe})
    with within(5), pytest.raises(DataError, match="fold_set.json") as e: _ = FoldSet(runs/"set").recipe
    assert len(str(e.value)) < 1000


@pytest.mark.parametrize("spoil", [lambda fold: (fold/"status.json").write_text('{"status": ["x"]}'),
                                   lambda fold: fill(fold/"status.json", "folder"),
                                   lambda fold: (fold/"status.json").unlink()])
def test_a_damaged_fold_does_not_hide_the_others(runs, spoil):
    spoil(runs/"set/fold-1")
    folds, before = FoldSet(runs/"set"), tree(runs)
    assert folds.states == ["damaged", "done"] and "1 of 2" in repr(folds)
    scores = fold_scores(folds)
    assert [row["state"] for row in scores["folds"]] == ["damaged", "done"] and scores["mean"]["mean_iou"] == .5
    assert {row["name"]: row["status"] for row in run_rows(runs)}["set/fold-1"] == "damaged"
    write_json(runs/"set"/FOLD_SET, folds.info | {"recipe": folds.fold(2).recipe and None})
    res = cli("resume", runs/"set")
    assert res.exit_code in (1, 2) and not missing(res.stderr, runs/"set")
    assert {k: v for k, v in tree(runs).items() if k.name != FOLD_SET} == {
        k: v for k, v in before.items() if k.name != FOLD_SET}


def test_a_damaged_score_is_a_damaged_fold(runs):
    (runs/"set/fold-2/scores.json").write_text('{"mean_iou": "high", "classes": 3}')
    assert [row["state"] for row in fold_scores(runs/"set")["folds"]] == ["done", "damaged"]


@pytest.mark.parametrize("name", ["fold-0", "fold-01", "fold--1", "fold-9999999", "fold-" + "9"*200, "fold-²", "fold-٣",
                                  "fold-1x", "fold-1\n"])
def test_folders_that_are_no_folds(runs, name):
    shutil.copytree(runs/"set/fold-1", runs/"set"/name)
    assert len(run_rows(runs)) == 4 and FoldSet(runs/"set").states == ["done", "done"]


# --- cleaning never goes behind a link ---

@pytest.fixture
def private(template, tmp_path):
    "Runs, a fold set and checkpoints that belong to somebody else."
    out = tmp_path/"private"
    make(out, "run", "failed")
    make(out/"set", "fold-1", "failed")
    write_json(out/"set"/FOLD_SET, dict(folds=2, data=dict(name="toy", images=4)))
    (out/"photo.png").write_text("private")
    return out


LINKS = {"run": ("bad", "run"), "fold set": ("set", "set"), "fold": ("set/fold-1", "set/fold-1"),
         "checkpoints": ("bad/checkpoints", "run/checkpoints"),
         "previous": ("bad/checkpoints/previous", "run/checkpoints/last"), "plots": ("bad/plots", ""),
         "file": ("bad/checkpoints/last/memory.safetensors", "photo.png"), "part": ("bad/.part-0123456789abcdef", ""),
         "part beside": (".part-0123456789abcdef", ""), "new": ("new", "set")}


@pytest.mark.parametrize("status", ["done", "failed"])
@pytest.mark.parametrize("link", LINKS)
def test_cleaning_stops_at_links(runs, private, link, status):
    place, target = LINKS[link]
    for run in runs/"bad", runs/"set/fold-1": Run(run).update(status=status)
    if (runs/place).is_dir(): shutil.rmtree(runs/place)
    (runs/place).unlink(missing_ok=True)
    (runs/place).symlink_to(private/target)
    before = tree(private)
    for args in [], ["--failed"], ["--yes"], ["--failed", "--yes"]:
        assert cli("clean", runs, *args).exit_code == 0 and tree(private) == before and (runs/place).is_symlink()
    assert Run(runs/"good").is_cleaned
    if link not in ("part", "part beside"): assert "link" in cli("clean", runs).stderr
    for path in (runs/place, runs/"bad", runs/"set")[target == "":]:  # a path that the user names may be a link
        cli("clean", path, "--failed", "--yes")
        assert tree(private) == before and (runs/place).is_symlink()


def test_a_link_on_the_way_to_the_runs_is_fine(runs, tmp_path):
    (tmp_path/"there").symlink_to(runs)
    assert len(run_rows(tmp_path/"there")) == 4
    assert cli("clean", tmp_path/"there", "--yes").exit_code == 0 and Run(runs/"good").is_cleaned


def test_a_file_with_two_names_keeps_its_content(runs, tmp_path):
    kept = []
    for name in "memory.safetensors", "model.safetensors", "state.json":
        os.link(runs/f"good/checkpoints/last/{name}", tmp_path/name)
        kept.append((tmp_path/name, (tmp_path/name).read_bytes()))
    for name in "log.txt", ".lock", "status.json":
        (runs/"good"/name).touch()
        os.link(runs/"good"/name, tmp_path/f"kept {name}")
        kept.append((tmp_path/f"kept {name}", (tmp_path/f"kept {name}").read_bytes()))
    assert cli("clean", runs, "--yes").exit_code == 0 and Run(runs/"good").is_cleaned
    Run(runs/"good").update(status="failed")
    assert cli("clean", runs, "--failed", "--yes").exit_code == 0 and not (runs/"good").exists()
    assert all(path.read_bytes() == raw for path, raw in kept)


# --- what killed processes left ---

def leave(path, folder=False):
    "A part that was not written to for more than an hour."
    part = part_path(path)
    part.mkdir() if folder else part.write_text("x"*100)
    if folder: (part/"a").write_text("x"*100)
    for entry in (*part.glob("*"), part): os.utime(entry, (HOUR_AGO, HOUR_AGO))
    return part


def test_old_parts_are_waste_and_new_ones_are_not(runs):
    old = [leave(runs/"a.json"), leave(runs/"new run", True), leave(runs/"good/status.json"),
           leave(runs/"set/fold-3", True), leave(runs/"good/checkpoints/last", True), leave(runs/"good/plots/a.png"),
           leave(runs/"set/fold-1/scores.json")]
    new = part_path(runs/"good/a.json"), part_path(runs/"b.json")
    for part in new: part.touch()
    busy = leave(leave(runs/"x", True)/"y", True)  # a new file in an old folder
    (busy/"now").touch()
    mine = [runs/".part-mine", runs/".part-0123456789abcdeg", runs/"good/part.txt", runs/".part-0123456789ABCDEF"]
    for path in mine:
        path.touch()
        os.utime(path, (HOUR_AGO, HOUR_AGO))
    assert sum(map(len, (item.paths for item in find_waste(runs)))) >= len(old) and len(run_rows(runs)) == 4
    assert all(part.exists() for part in old)
    assert cli("clean", runs, "--yes").exit_code == 0
    assert not any(part.exists() for part in old) and all(path.exists() for path in (*new, busy, *mine))
    assert {row["status"] for row in run_rows(runs)} == {"done"}


def test_parts_of_a_run_that_trains_stay(runs):
    import psutil
    part = leave(runs/"good/a.json")
    Run(runs/"good").update(status="running", pid=os.getpid(), pid_started=psutil.Process().create_time())
    cli("clean", runs, "--yes")
    assert part.exists()


def test_what_cannot_be_deleted_is_said_and_the_rest_goes_on(runs, monkeypatch):
    real = os.unlink

    def fail(path, *args, **kwargs):
        if "bad" in os.fsdecode(path) and "memory" in os.fsdecode(path):
            raise OSError(5, "Input/output error", str(path))
        return real(path, *args, **kwargs)
    monkeypatch.setattr(os, "unlink", fail)
    found = find_waste(runs)
    assert [item.name for item in clean(found)] == ["good", "fold-1", "fold-2"]
    assert [item.problem for item in found if item.problem] == [f"[Errno 5] Input/output error: '{found[0].paths[0]}'"]


def test_no_part_is_listed_as_a_run(runs):
    shutil.copytree(runs/"good", runs/".part-0123456789abcdef")
    assert len(run_rows(runs)) == 4
