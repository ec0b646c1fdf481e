"Cross-validation: a fold set that holds out every image once, survives an interruption, and adds up."
import json
import os
import re
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from helpers.problems import is_crash, missing
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import segfast.training.crossval as crossval
from segfast.cli import app
from segfast.core.errors import DataError, UsageError
from segfast.core.files import write_json
from segfast.data.open import open_data
from segfast.runs.listing import FoldSet, fold_runs, fold_scores, is_fold_set, run_rows
from segfast.runs.presets import RecipeOptions
from segfast.runs.recipe import Recipe, Stage
from segfast.runs.run import Run
from segfast.training.crossval import resume_folds, train_folds

SETTINGS = "--model tiny --weights none --size 32x48 --epochs 1,1,1 --device cpu".split()


@pytest.fixture(scope="module", autouse=True)
def free_memory():
    "A batch size that is left open must not depend on what else the machine does."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segfast.training.plan.free_bytes", lambda device: 16e9)
        yield


def cli(*args, code=0):
    res = CliRunner().invoke(app, [str(o) for o in args], env={"COLUMNS": "100"})
    assert res.exit_code == code, (res.output, res.exception)
    return res


def last_json(res): return json.loads(res.stdout.splitlines()[-1])


def text_of(res): return " ".join(res.output.split())


def weights(run): return {k: v for k, v in load_file(run.checkpoint_file("last")).items()}


def same_weights(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def stamps(folder):
    return {o.relative_to(folder): (o.stat().st_ino, o.stat().st_mtime_ns) for o in Path(folder).rglob("*")
            if o.is_file()}


@pytest.fixture
def place(demo_dir, tmp_path, monkeypatch, tiny):
    "A folder with data, where commands run; one thread, so that bits can be compared."
    shutil.copytree(demo_dir, tmp_path/"data")
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained_once():
    "The first fold set of this module: its folder, and what the command said."
    return {}


@pytest.fixture
def fold_set(place, trained_once, tmp_path_factory):
    "Three folds of ten images, by the command line; trained once, and copied to where each test is."
    if not trained_once:
        res = cli("train", "data", "--folds", 3, *SETTINGS, "--name", "three", "--json")
        trained_once.update(res=res, place=place, copy=shutil.copytree(place,
            tmp_path_factory.mktemp("fold_set")/"kept"))
    shutil.rmtree(place/"runs", ignore_errors=True)
    shutil.copytree(trained_once["copy"]/"runs", place/"runs")
    for o in (place/"runs").rglob("*.json"):
        if o.name in ("data.json", "fold_set.json"):  # where the data was opened
            values = json.loads(o.read_text().replace(str(trained_once["place"]), str(place)))
            write_json(o, values)  # with the checksum of the new values
    return FoldSet("runs/three"), trained_once["res"]


# A training that does nothing

@pytest.fixture
def no_training(monkeypatch):
    "What `train` is given, instead of a training."
    seen = []

    def train(data, recipe, out, name, device, workers, screen, check, loggers, **options):
        data = data if not isinstance(data, (str, Path)) else open_data(data, **options)
        run = Run.create(out, Recipe([Stage("only", (32, 48), 1, batch_size=4)]), data.classes, dict(name=data.name),
                         name)
        (run.path/"data.csv").write_text("image,mask,split\n")
        run.update(status="done", accuracy=0.5, mean_iou=0.25, seconds=1.)
        seen.append(data.pairs)
        return run
    monkeypatch.setattr(crossval, "train", train)
    return seen


@pytest.mark.parametrize("k", [2, 3, 7, 10])
@pytest.mark.parametrize("kind", ["folder", "SegData"])
def test_each_image_is_held_out_once(k, kind, small, place, no_training):
    train_folds(place/"data" if kind == "folder" else small, k=k, out=place/"runs", screen="quiet")
    assert len(no_training) == k
    held = pd.concat([o[o.split == "valid"] for o in no_training])
    assert sorted(held.image) == sorted(small.pairs.image)
    sizes = [(o.split == "valid").sum() for o in no_training]
    assert max(sizes) - min(sizes) <= 1
    assert all(sorted(o.image) == sorted(small.pairs.image) for o in no_training)


def test_test_images_stay_out(small, tmp_path, no_training):
    pairs = small.pairs.copy()
    pairs.loc[[1, 6, 9], "split"] = "test"
    train_folds(replace(small, pairs=pairs), k=7, out=tmp_path, screen="quiet")
    kept = set(pairs.image[pairs.split == "test"])
    for o in no_training:
        assert set(o.image[o.split == "test"]) == kept
    assert sorted(i for o in no_training for i in o.image[o.split == "valid"]) == sorted(set(pairs.image) - kept)
    with pytest.raises(UsageError) as e:
        train_folds(replace(small, pairs=pairs), k=8, out=tmp_path, screen="quiet")
    assert not missing(e, 8, 7)


# Trained for once

def test_folds_are_ordinary_runs_that_add_up(fold_set, place):
    fold_set, res = fold_set
    assert is_fold_set("runs/three") and not is_fold_set("runs") and [o.name
        for o in fold_runs("runs/three")] == ["fold-1", "fold-2", "fold-3"]
    assert fold_set.states == ["done"]*3 and not missing(repr(fold_set), "three", 3)
    recipes = {(o.path/"recipe.toml").read_text() for o in fold_set.runs}
    assert len(recipes) == 1 and recipes.pop().startswith(fold_set.info["recipe"])
    assert [o["state"] for o in fold_set.info["runs"]] == ["done"]*3

    # the JSON
    out = last_json(res)
    each = [o.scores for o in fold_set.runs]
    assert out["fold_set"] == "runs/three" and [o["fold"] for o in out["folds"]] == [1, 2, 3] and [o["images"]
        for o in out["folds"]] == [4, 3, 3]
    for key in ("accuracy", "mean_iou", "mean_dice"):
        values = [o[key] for o in each]
        assert [o[key] for o in out["folds"]] == values
        assert out["mean"][key] == pytest.approx(statistics.mean(values)) and out["sd"][key] == pytest.approx(
            statistics.stdev(values))
    for name, row in out["classes"].items():
        values = [o["classes"][name]["iou"] for o in each if o["classes"][name]["iou"] is not None]
        assert row["folds"] == len(values) and row["pixels"] == sum(o["classes"][name]["pixels"] for o in each)
        assert row["iou"]["mean"] == (pytest.approx(statistics.mean(values)) if values else None)
        assert row["iou"]["sd"] == (pytest.approx(statistics.stdev(values)) if len(values) > 1 else None)

    # all folds together: the labeled pixels of all masks, each once, and the right ones as per_image_counts.csv has
    # them
    counted, table = sum(np.array(o.scores["confusion"]) for o in fold_set.runs), fold_set.runs[0].classes
    masks = np.concatenate([np.asarray(Image.open(o)).ravel() for o in sorted((place/"data"/"labels").iterdir())])
    counts = np.bincount(masks, minlength=len(table))
    counts[table.void] = 0
    assert counted.sum(1).tolist() == counts.tolist()
    images = pd.concat([pd.read_csv(o.path/"per_image_counts.csv") for o in fold_set.runs])
    assert images.groupby("id").tp.sum().reindex(range(len(table)),
                                                 fill_value=0).tolist() == counted.diagonal().tolist()
    assert images.image.nunique() == 10

    # what a person sees
    seen, said = cli("resume", "runs/three").output.splitlines(), res.output.splitlines()
    assert seen[-1].endswith("runs/three")
    for i, scores in enumerate([*each, out["mean"], out["sd"]]):
        values = [f"{scores[k]:.3f}" for k in ("accuracy", "mean_iou", "mean_dice")]
        assert not missing(seen[2 + i], *values) and (i >= 3 or seen[2 + i].split()[:2] == [str(i + 1),
            str(scores["images"])])
        assert i >= 3 or any(not missing(o, i + 1, 3, *values[:2]) for o in said if not o.startswith(" "))
    assert said[0].startswith("note: ") and missing(said[0], 1) and not missing(said[1], 1, 3)
    assert {o["name"] for o in run_rows("runs")} == {"three/fold-1", "three/fold-2", "three/fold-3"}
    assert "three/fold-2" in cli("runs").output and len(last_json(cli("runs", "runs/three", "--json"))) == 3

    # the second fold is the run that --split fold:2/3 trains
    # left open, they follow the memory that is free at the moment
    batches = ",".join(str(o.batch_size) for o in fold_set.fold(2).recipe.stages)
    cli("train", "data", "--split", "fold:2/3", *SETTINGS, "--batch-size", batches, "--name", "alone")
    assert same_weights(Run("runs/alone"), fold_set.fold(2)) and not same_weights(Run("runs/alone"), fold_set.fold(1))
    assert Run("runs/alone").scores["confusion"] == fold_set.fold(2).scores["confusion"]

    # the recipe of a fold, repeated in a fold set: its own split is not taken along
    again = last_json(cli("train", "--recipe", "runs/three/fold-2", "--folds", 2, "--device", "cpu", "--name", "two",
                          "--json"))
    assert [o["images"] for o in again["folds"]] == [5, 5]


@pytest.mark.slow
def test_interrupted_fold_set_goes_on(fold_set, place, monkeypatch):
    peace, _ = fold_set
    saved, real = [], crossval.train.__globals__["run_stage"]

    def stage(t):
        if t.run.path.match("cut/fold-2") and t.stage == 1: raise KeyboardInterrupt
        saved.append(t.run.path)
        return real(t)
    with monkeypatch.context() as m:
        m.setattr("segfast.training.train.run_stage", stage)
        res = cli("train", "data", "--folds", 3, *SETTINGS, "--name", "cut", code=130)
    assert re.findall(r"segfast resume (\S+)", text_of(res)) == ["runs/cut"]
    cut = FoldSet("runs/cut")
    assert cut.states == ["done", "interrupted", "missing"] and [o["state"] for o in cut.info["runs"]] == cut.states
    assert [o["accuracy"] is None for o in fold_scores(cut)["folds"]] == [False, True, True]
    before = stamps(cut.path/"fold-1")

    out = last_json(cli("resume", "runs/cut", "--device", "cpu", "--json"))
    assert [o["state"] for o in out["folds"]] == ["done"]*3
    assert stamps(cut.path/"fold-1") == before
    for a, b in zip(peace.runs, cut.runs):
        assert same_weights(a, b) and a.scores["confusion"] == b.scores["confusion"]
    assert not same_weights(*peace.runs[:2])

    # once more: nothing is left to do
    before = stamps(cut.path)
    cli("resume", "runs/cut")
    assert stamps(cut.path) == before


@pytest.mark.slow
def test_stopped_before_its_first_step(fold_set, place):
    "A fold that had not begun to train holds nothing: it begins again. Even its folder may have been all there was."
    fold_set, _ = fold_set
    want = [o.scores["confusion"] for o in fold_set.runs]
    (fold_set.path/"fold-2/data.csv").unlink()
    shutil.rmtree(fold_set.path/"fold-2/checkpoints")
    fold_set.fold(2).update(status="running", pid=2**22 - 1)
    shutil.rmtree(fold_set.path/"fold-3")
    (fold_set.path/"fold-3").mkdir()
    assert fold_set.states == ["done", "interrupted", "missing"]
    assert resume_folds("runs/three", device="cpu", screen="quiet").states == ["done"]*3
    assert [o.scores["confusion"] for o in fold_set.runs] == want

    # nor had the fold set
    for o in fold_set.runs:
        shutil.rmtree(o.path)
    crossval.write_json(fold_set.path/"fold_set.json", {**fold_set.info, "recipe": None})
    before = stamps(fold_set.path)
    with pytest.raises(DataError) as e:
        resume_folds(fold_set, screen="quiet")
    assert str(fold_set.path) in str(e.value) and "segfast resume" not in str(e.value) and stamps(
        fold_set.path) == before
    assert train_folds("data", RecipeOptions(model="tiny", weights="none", size=(32, 48), epochs=(1, 1, 1)), 3,
                       name="three", device="cpu", screen="quiet").states == ["done"]*3


@pytest.mark.slow
def test_all_folds_have_the_first_ones_settings(place, monkeypatch):
    "A batch size that is fitted to free memory is fitted once."
    free = iter([16e9]*3)
    monkeypatch.setattr("segfast.training.plan.free_bytes", lambda device: next(free, 1e9))
    cli("train", "data", "--folds", 2, *SETTINGS, "--name", "fitted")
    a, b = (o.recipe for o in FoldSet("runs/fitted").runs)
    assert a == b and a.stages[0].batch_size == 8
    cli("train", "data", *SETTINGS, "--name", "later")
    assert Run("runs/later").recipe.stages[0].batch_size == 4


def test_data_that_changed(fold_set, place):
    fold_set, _ = fold_set
    shutil.rmtree(fold_set.path/"fold-3")
    image = sorted((place/"data/images").iterdir())[0]
    image.rename(image.with_name("aaa" + image.suffix))
    mask = next(o for o in (place/"data/labels").iterdir() if o.stem.startswith(image.stem))
    mask.rename(mask.with_name(mask.name.replace(image.stem, "aaa")))
    for o in (place/"data").glob("*.txt"):
        o.write_text(o.read_text().replace(image.name, "aaa" + image.suffix))
    said = text_of(cli("resume", "runs/three", code=1))
    assert not missing(said, "runs/three", 10) and "--data-changed" not in said, "which a fold set does not take"
    assert fold_set.states == ["done", "done", "missing"]


def test_data_that_moved(fold_set, place):
    fold_set, _ = fold_set
    want = fold_set.fold(3).scores["confusion"]
    shutil.rmtree(fold_set.path/"fold-3")
    os.rename("data", "elsewhere")
    cli("resume", "runs/three", "--device", "cpu", code=1)
    cli("resume", "runs/three", "--device", "cpu", "--data", "elsewhere")
    assert fold_set.fold(3).scores["confusion"] == want


def test_from_python(small, place):
    recipe = Recipe([Stage("only", (32, 48), 1, batch_size=4, precision="fp32")], model="tiny", weights="none")
    fold_set = train_folds(small, recipe, 2, out=place/"runs", name="python", device="cpu", screen="quiet")
    shutil.rmtree(fold_set.path/"fold-2")
    with pytest.raises(UsageError) as e:
        resume_folds(fold_set, screen="quiet")
    assert not missing(e, "SegData", "data=")
    with pytest.raises(DataError) as e:
        resume_folds(fold_set, replace(small, pairs=small.pairs[1:]), screen="quiet")
    assert not missing(e, 10, 9)
    assert resume_folds(fold_set, small, device="cpu", screen="quiet").states == ["done"]*2
    assert train_folds(small, recipe, 2, out=place/"runs", name="python", device="cpu",
                       screen="quiet").states == ["done"]*2


# What is refused

@pytest.mark.parametrize("options, named", [(["--folds", 0], ["--folds 0"]), (["--folds", 1], ["--folds 1"]),
                                            (["--folds", -3], ["--folds -3"]), (["--folds", 11], [11, 2, 10]),
                                            (["--folds", "x"], ["--folds", "train --help"]),
                                            (["--folds", 2, "--split", "random"], ["--folds", "--split"]),
                                            (["--folds", 2, "--name", "a/b"], ["--name", "a/b"]),
                                            (["--folds", 2, "--model", "resnetty"], ["resnetty", "unet_resnet34"]),
                                            (["--folds", 2, "--set", "colour=blue"], ["colour", "wd"]),])
def test_contradictions_and_wrong_numbers(options, named, place):
    res = cli("train", "data", *SETTINGS, *options, code=2)
    assert not missing(text_of(res), *named) and not is_crash(res.output)
    assert not list(place.glob("runs/*"))


def test_bad_data_leaves_nothing_behind(place):
    next((place/"data/images").iterdir()).write_bytes(b"no image")
    cli("train", "data", "--folds", 2, *SETTINGS, code=1)
    assert not list(place.glob("runs/*"))


def test_names(fold_set, place):
    "A fold set's name is taken for runs and for other fold sets."
    fold_set, _ = fold_set
    shutil.copytree("data", "other")
    differ = [text_of(cli("train", *options, *SETTINGS, "--name", "three", code=2)) for options in (
        ("data", "--folds", 2), ("data", "--folds", 3, "--seed", 1), ("other", "--folds", 3))]
    assert not any(missing(o, "runs/three", "--name") for o in differ)
    assert ["--folds" in o for o in differ] == [True, False, False] and len(set(differ)) == 3, "each says what differs"
    assert not missing(text_of(cli("train", "data", *SETTINGS, "--name", "three", code=2)), "--name",
                       "segfast resume runs/three")
    shutil.move("runs/three/fold-1", "runs/single")
    assert not missing(text_of(cli("train", "data", "--folds", 3, *SETTINGS, "--name", "single", code=2)), "--name",
                       "segfast resume runs/single")


def test_fold_set_is_no_run(fold_set):
    assert not missing(text_of(cli("resume", "runs/three", "--extend", 1, code=2)), "runs/three", "--extend")
    assert not missing(text_of(cli("resume", "runs/three", "--data-changed", code=2)), "runs/three", "--data-changed")
    with pytest.raises(DataError) as e:
        FoldSet("runs/three/fold-1")
    assert not missing(e, "runs/three/fold-1", "fold_set.json")


def test_fold_set_that_is_being_trained(fold_set):
    fold_set, _ = fold_set
    run = fold_set.fold(3)
    run.take_over()
    with FileLock(fold_set.path/".lock"):
        before = stamps(fold_set.path)
        said = text_of(cli("resume", "runs/three", code=1))
        assert not missing(said, "runs/three") and "fold-" not in said, "the fold set is locked, not one of its runs"
        assert stamps(fold_set.path) == before


def test_spoilt_fold_set_file(fold_set):
    fold_set, _ = fold_set
    for text in ("", "[]", "{}", '{"folds": "3", "data": {}}'):
        (fold_set.path/"fold_set.json").write_text(text)
        res = cli("resume", "runs/three", code=1)
        assert not missing(res.output, "runs/three/fold_set.json") and not is_crash(res.output)
        assert len(run_rows("runs")) == 3


# A fold set is there completely or not at all, and a stranger's does no harm

class Crash(BaseException): pass


CALLS = "open", "mkdir", "rename", "replace", "fsync"


def crash_at(patch, name, i):
    "From the i-th call on, a function of `os` ends the process."
    left = [i]

    def crash(*args, _real=getattr(os, name), **kwargs):
        if left[0] <= 0: raise Crash
        left[0] -= 1
        return _real(*args, **kwargs)
    patch.setattr(os, name, crash)


@pytest.mark.parametrize("name", CALLS)
def test_a_new_fold_set_that_is_cut_short_at_any_call(small, tmp_path, name):
    about = dict(folds=2, data=crossval.describe_data(small, small, True, {}), asked=dict(recipe={}, loggers=[]))
    seen = set()
    for i in range(40):
        out = tmp_path/str(i)
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, name, i)
            try: crossval.open_fold_set(out, "set", "toy", about)
            except Crash: pass
            else: break
        there = (out/"set").exists()
        assert not there or FoldSet(out/"set").k == 2, i
        assert run_rows(out) == [] if out.exists() else True
        fold_set, new = crossval.open_fold_set(out, "set", "toy", about)
        assert new != there and fold_set.states == ["missing"]*2
        seen.add(there)
    assert i < 39 and False in seen


def test_the_next_training_sweeps_what_was_killed(two):
    parts = two.path/".part-0123456789abcdef.json", two.path/".part-0123456789abcdef"
    parts[0].touch(); parts[1].mkdir(); (parts[1]/"a").touch()
    shutil.rmtree(two.path/"fold-2")
    assert resume_folds(two.path, screen="quiet").states == ["done"]*2
    assert not any(part.exists() for part in parts)


@pytest.fixture
def two(small, place, no_training):
    "A finished fold set of two runs that were not trained."
    return train_folds("data", k=2, out="runs", name="two", screen="quiet")


def test_a_fold_with_weights_is_never_deleted(two):
    weights = two.path/"fold-2/checkpoints/last/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_text("a night of work")
    two.fold(2).update(status="failed")
    for lost in "data.csv", "status.json", "recipe.toml":
        (two.path/"fold-2"/lost).unlink()
        res = cli("resume", two.path, code=1)
        assert "fold-2" in res.output and weights.read_text() == "a night of work"


LINKS = {"fold": ("fold-2", "photos"), "new fold": ("fold-3", "photos"), "record": ("fold_set.json", "photos/set.json"),
         "lock": (".lock", "photos/a.png"), "part": (".part-0123456789abcdef", "photos"),
         "status": ("fold-1/status.json", "photos/a.png"), "log": ("fold-1/log.txt", "photos/a.png"),
         "dangling": ("fold-1/scores.csv", "photos/new.csv")}


@pytest.mark.parametrize("link", LINKS)
def test_a_fold_set_with_a_link_is_refused(two, place, link):
    (place/"photos").mkdir()
    (place/"photos/a.png").write_text("private")
    (place/"photos/set.json").write_text((two.path/"fold_set.json").read_text())
    name, target = LINKS[link]
    if (two.path/name).is_dir(): shutil.rmtree(two.path/name)
    (two.path/name).unlink(missing_ok=True)
    (two.path/name).symlink_to(place/target)
    before = stamps(place)
    for args in ("resume", two.path), ("train", "data", "--folds", 2, "--name", "two"):
        assert not missing(text_of(cli(*args, code=1)), two.path/name, "link")
    assert stamps(place) == before and (place/"photos/a.png").read_text() == "private"


def test_a_lock_with_two_names_is_not_emptied(two, place):
    shutil.rmtree(two.path/"fold-2")
    (place/"note.txt").write_text("private")
    (two.path/".lock").unlink(missing_ok=True)
    os.link(place/"note.txt", two.path/".lock")
    assert resume_folds(two.path, screen="quiet").states == ["done"]*2
    assert (place/"note.txt").read_text() == "private"


@pytest.mark.parametrize("options", [{"progress": 1, "evil": 2, "source": "x"}, {"layout": "nowhere"},
                                     {"classes": "/dev/zero"}, {"split": "a"*99}, {"seed": 2**63 - 1}])
def test_settings_of_a_stranger(two, options):
    "They are used, ignored or refused; never a crash."
    info = two.info
    write_json(two.path/"fold_set.json", info | dict(data=info["data"] | dict(options=options)))
    shutil.rmtree(two.path/"fold-2")
    try: resume_folds(two.path, screen="quiet")
    except (DataError, UsageError) as e: assert len(str(e)) < 600
    else: assert FoldSet(two.path).states == ["done"]*2


def test_very_many_folds(place):
    assert not missing(text_of(cli("train", "data", "--folds", 10**6, *SETTINGS, code=2)), "--folds", 1000)
