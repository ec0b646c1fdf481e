"The systems of the tutorials, each as one command on a small folder: real models, tiny sizes, one or two epochs."
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.problems import missing
from PIL import Image
from helpers.layouts import draw_camseq, draw_camvid, draw_idd, draw_kitti_road, draw_pets
from typer.testing import CliRunner

from segfast.cli import app
from segfast.data.open import open_data
from segfast.runs.presets import preset
from segfast.runs.recipe import to_toml
from segfast.runs.run import Run

pytestmark = pytest.mark.slow # real models are trained

BODY = "body.pth"  # a resnet34 as torchvision saves it: with weights to start from, the recipes freeze and slice


def cli(*args):
    "A command in this process, at 100 columns."
    res = CliRunner().invoke(app, [str(o) for o in args], env={"COLUMNS": "100"})
    assert res.exit_code == 0, res.output
    return res


def row(draw, folder, options, **promised):
    return SimpleNamespace(draw=draw, folder=folder, options=options, promised=promised)


# What the table says of each system: the command, and what recipe and run must hold
ROWS = {"camvid": row(draw_camvid, "CAMVID", f"--progressive --weights {BODY} --size 32x48 --epochs 1,1,2",
                      model="unet_resnet34", optimizer="adam", schedule=["one_cycle"]*3, batch=[8, 8, 4],
                      sizes=[(16, 24), (16, 24), (32, 48)], frozen=[True, False, False], epochs=[1, 1, 2],
                      monitor="accuracy", keep="last", patience=0, samples=[], splits={"train": 3, "valid": 2}),
        "camseq": row(draw_camseq, "CAMSEQ", "--model deeplabv3_resnet50 --recipe camseq --weights none --size 32x48",
                      model="deeplabv3_resnet50", optimizer="adamw", schedule=["step"], batch=[2], sizes=[(32, 48)],
                      frozen=[False], epochs=[6], monitor="valid_loss", keep="best", patience=0, samples=[2, 4, 6],
                      splits={"train": 4, "valid": 1, "test": 1}),
        "pets": row(draw_pets, "PETS", "--model unet --recipe pets --epochs 2 --set samples=1", model="unet",
                    optimizer="adamw", schedule=["constant"], batch=[32], sizes=[(64, 64)], frozen=[False], epochs=[2],
                    monitor="accuracy", keep="best", patience=3, samples=[1, 2],
                    splits={"train": 3, "valid": 1, "test": 2}),
        "idd": row(draw_idd, "IDD", "--model unet_dropout --recipe idd --size 32x32 --epochs 1 --set samples=1",
                   model="unet_dropout", optimizer="adamw", schedule=["constant"], batch=[16], sizes=[(32, 32)],
                   frozen=[False], epochs=[1], monitor="accuracy", keep="last", patience=0, samples=[1],
                   splits={"train": 2, "valid": 1}), "kitti_road": row(draw_kitti_road, "KITTI",
    f"--recipe kitti_road --weights {BODY} --size 32x64 --epochs 1,1 --set samples=2", model="unet_resnet34",
    optimizer="adam", schedule=["one_cycle"]*2, batch=[8, 8], sizes=[(32, 64)]*2, frozen=[True, False], epochs=[1, 1],
    monitor="accuracy", keep="last", patience=0, samples=[2], splits={"train": 5, "valid": 1}),}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "The folder in which all commands run, with a resnet34's weights in it."
    from torchvision.models import resnet34
    root = tmp_path_factory.mktemp("rows")
    torch.save(resnet34(weights=None).state_dict(), root/BODY)
    yield root
    shutil.rmtree(root, ignore_errors=True)  # a gigabyte of checkpoints


@pytest.fixture(scope="module")
def rows(place):
    "Rows by name, each run when it is first asked for: what was promised, the run, the command's output."
    known = {}
    return lambda name: known[name] if name in known else known.setdefault(name, run_row(name, place))


@pytest.fixture(scope="module", params=ROWS)
def done(request, rows): return rows(request.param)


@pytest.fixture(scope="module")
def runs(rows): return lambda name: rows(name).run


def run_row(name, place):
    o = ROWS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        # an automatic batch does not depend on the machine
        patch.setattr("segfast.training.plan.free_bytes", lambda device: 16e9)
        (place/o.folder).mkdir()
        o.draw(place/o.folder)
        res = cli("train", o.folder, *o.options.split(), "--device", "cpu", "--precision", "fp32", "--name", name)
    return SimpleNamespace(name=name, data=place/o.folder, output=res.output, run=Run(place/"runs"/name), **o.promised)


# --- every row ---

def test_recipe_says_what_was_promised(done):
    r = done.run.recipe
    assert (r.model, r.optimizer, r.monitor, r.keep, r.patience) == (done.model, done.optimizer, done.monitor,
        done.keep, done.patience)
    for key, promised in dict(schedule=done.schedule, batch_size=done.batch, size=done.sizes, frozen=done.frozen,
                              epochs=done.epochs).items():
        assert [getattr(s, key) for s in r.stages] == promised, key


def test_folder_is_split_as_the_layout_says(done):
    assert json.loads((done.run.path/"data.json").read_text())["fingerprint"]["splits"] == done.splits


def test_history_has_every_epoch_at_its_size(done):
    h = done.run.history
    assert h["size"].tolist() == [f"{h}x{w}" for (h, w), n in zip(done.sizes, done.epochs) for _ in range(n)]
    assert np.isfinite(h[["train_loss", "valid_loss", "accuracy", "mean_iou", "lr"]]).all(axis=None)


def test_scores_are_said_and_kept(done):
    s = done.run.scores
    assert done.run.state == "done" and missing(done.output, f"{s['mean_iou']:.3f}", f"runs/{done.name}") == []
    assert 0 <= s["mean_iou"] <= 1 and 0 <= s["accuracy"] <= 1 and (s["split"], s["checkpoint"]) == ("valid", done.keep)
    assert all({"iou", "dice", "precision", "recall", "pixels"} <= set(o) for o in s["classes"].values())


def test_scores_are_those_of_the_weights_that_were_kept(done):
    from segfast.models.zoo import seg_model
    from segfast.inference.score import score_split
    model = seg_model(done.model, done.run.classes, str(done.run.checkpoint_file(done.keep)))
    cm = score_split(model, open_data(done.data), done.run.recipe.stages[-1].size)
    assert cm.accuracy == pytest.approx(done.run.scores["accuracy"], abs=5e-3)
    assert cm.matrix.sum() == np.sum(done.run.scores["confusion"])


def test_best_is_the_best_by_what_is_watched(done):
    h, where = done.run.history, done.run.status["best"]
    column = h[done.monitor]
    best = h.loc[column.idxmin() if done.monitor == "valid_loss" else column.idxmax()]
    assert (where["stage"], where["epoch"]) == (best.stage,
                                                best.epoch) and where["value"] == pytest.approx(best[done.monitor])


def test_pictures(done):
    plots = done.run.path/"plots"
    assert sorted(o.name for o in plots.glob("samples/*")) == [f"epoch-{i:03}.png" for i in done.samples]
    for o in plots.rglob("*.png"):
        with Image.open(o) as im: assert min(im.size) > 100, o
    assert {"history.png", "predictions.png"} <= {o.name for o in plots.iterdir()}


# --- what one row promises alone ---

def test_camvid_is_frozen_first_then_sliced(runs):
    frozen, half, full = runs("camvid").recipe.stages
    assert (frozen.spread, half.spread, full.spread) == (1, 100, 100)
    assert (half.lr_range, full.lr_range) == (slice(1e-3/400, 1e-3/4), slice(1e-6, 1e-4))


def test_camseq_halves_the_rate_after_four_epochs(runs):
    assert runs("camseq").history.lr.tolist() == pytest.approx([2e-4]*4 + [1e-4]*2)


def test_camseq_is_split_in_the_order_of_the_film(runs, place):
    runs("camseq")
    pairs = open_data(place/"CAMSEQ").pairs
    assert pairs.sort_values("image").split.tolist() == ["train"]*4 + ["valid", "test"]


def test_camseq_scores_its_test_split_too(runs, place):
    from segfast.metrics.confusion import per_class
    from segfast.models.zoo import seg_model
    from segfast.inference.score import score_split
    run = runs("camseq")
    cm = score_split(seg_model(run.recipe.model, run.classes, str(run.checkpoint_file("best"))),
                     open_data(place/"CAMSEQ"), run.recipe.size, "test")
    assert per_class(cm).index.tolist() == ["Animal", "Road", "Child, small"] and cm.matrix.sum() > 0


def test_pets_stop_early_and_the_best_weights_come_back(place, monkeypatch, runs):
    "A rate at which no weight moves: nothing is better than the first epoch, so three more end it."
    runs("pets")
    monkeypatch.chdir(place)
    still = "--lr", "1e-30", "--size", "32x32", "--epochs", "9", "--set", "model_options.batch_norm=false"
    res = cli("train", "PETS", "--model", "unet", "--recipe", "pets", *still, "--device", "cpu", "--precision", "fp32",
              "--name", "stopped")
    run = Run(place/"runs/stopped")
    value = f"{run.status['best']['value']:.4f}"
    said = [o for o in res.output.splitlines() if "/9" not in o and missing(o, 3, run.recipe.monitor, value) == []]
    assert len(said) == 1 and len(run.history) == 4, "one line, beside those of the epochs"
    assert (run.status["best"]["epoch"], run.scores["checkpoint"]) == (1, "best")


def test_idd_has_seven_classes_dropout_and_transposed_convolutions(runs):
    from torch import nn

    from segfast.models.zoo import seg_model
    run = runs("idd")
    model = seg_model("unet_dropout", run.classes, str(run.checkpoint_file("last")))
    ups = [m for m in model.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert len(run.classes) == 7 and run.classes.void == 255 and list(run.scores["classes"]) == list(run.classes.names)
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.3}
    assert [m.in_channels for m in ups] == [1024, 512, 256, 128] and 30e6 < sum(p.numel()
        for p in model.parameters()) < 32e6


def binary(run):
    "The four scores of road, by hand from the confusion matrix: rows are the truth."
    (_, extra), (missed, both) = run.scores["confusion"]
    def share(a, b): return a/b if b else None
    return dict(iou=share(both, both + missed + extra), dice=share(2*both, 2*both + missed + extra),
                precision=share(both, both + extra), recall=share(both, both + missed))


def same_as_by_hand(run):
    said = run.scores["classes"]["road"]
    for k, o in binary(run).items():
        assert said[k] is None if o is None else said[k] == pytest.approx(o), k


def test_kitti_has_the_four_scores_of_road(runs):
    run = runs("kitti_road")
    same_as_by_hand(run)
    assert run.classes.names == ("not road", "road") and "road" in run.scores["classes"]


def test_kitti_road_itself(shared_data, tmp_path, monkeypatch):
    "Two images of the benchmark: one trains, one validates, at its own 375x1242 pixels or near."
    if not (shared_data/"kitti_road").is_dir(): pytest.skip(f"no kitti_road in {shared_data}")
    monkeypatch.chdir(tmp_path)
    cli("train", shared_data/"kitti_road", "--recipe", "kitti_road", "--weights", "none", "--size", "32x64", "--epochs",
        "1", "--device", "cpu", "--name", "road")
    run = Run(tmp_path/"runs/road")
    same_as_by_hand(run)
    assert run.recipe.model == "unet_resnet34" and run.scores["images"] == 1 and np.sum(
        run.scores["confusion"]) > 300_000


@pytest.mark.parametrize("name, size, epochs", [("camseq", (32, 48), 6), ("pets", (64, 64), 30),
                                                ("idd", (128, 128), 30), ("kitti_road", (256, 256), (5, 15))])
def test_run_differs_from_the_preset_only_where_it_was_told_to(runs, name, size, epochs):
    own = None if name != "camseq" else size
    expected, found = preset(name, own), runs(name).recipe
    assert expected.size == size and [s.epochs for s in expected.stages] == ([epochs] if isinstance(epochs, int)
        else list(epochs))
    told = ("size", "epochs", "batch_size", "precision")
    stages = [replace(e, **{k: getattr(f, k) for k in told}) for e, f in zip(expected.stages, found.stages)]
    assert to_toml(replace(expected, stages=stages, weights=found.weights, samples=found.samples)) == to_toml(found)


# --- Segment Anything ---

@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    "A tiny model with random weights, on disk."
    pytest.importorskip("transformers", reason='the extra "sam" is not installed')
    from segfast.tools.sam import tiny_sam
    return tiny_sam(tmp_path_factory.mktemp("sam")/"tiny")


def picture(path, mode="RGB", seed=0):
    "A noisy picture of 45 x 70 pixels."
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (45, 70, 4), dtype=np.uint8)).convert(mode).save(path)


def pixels(path):
    "A picture's numbers, its file closed again."
    with Image.open(path) as im: return np.array(im)


PROMPTS = {"points": (["--points", "20,10;60,40"], 2), "grid": (["--grid", "2x3"], 6),
           "box": (["--box", "5,5,60,40"], 1), "random": (["--random", "3"], 3),
           "points in a box": (["--points", "20,10;30,30", "--box", "5,5,60,40"], 1)}


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_prompt(kind, mode, sam, tmp_path, monkeypatch):
    options, n = PROMPTS[kind]
    monkeypatch.chdir(tmp_path)
    picture(tmp_path/"photo.png", mode)
    res = cli("prompt", "photo.png", *options, "--model", sam, "--out", "masks", "--json", "--device", "cpu")
    told = json.loads((tmp_path/"masks/masks.json").read_text())
    assert json.loads(res.stdout.splitlines()[-1])["masks"] == told["masks"] and len(told["masks"]) == n
    for o in told["masks"]:
        a = pixels(tmp_path/"masks"/o["file"])
        assert a.shape == (45, 70) and set(np.unique(a)) <= {0,
                                                             255} and (a > 0).sum() == o["pixels"] and np.isfinite(
            o["score"])
    assert pixels(tmp_path/"masks/overlay.png").shape == (45, 70, 3)


def test_prompt_then_train(sam, tmp_path, monkeypatch):
    "Labelling to training in one tool: three pictures, two classes, one training."
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        picture(tmp_path/f"photo-{i}.png", seed=i)
        cli("prompt", f"photo-{i}.png", "--grid", "3x3", "--model", sam, "--as-masks", "Road", "--out", "labelled")
        cli("prompt", f"photo-{i}.png", "--box", "5,5,60,40", "--model", sam, "--as-masks", "Car", "--add", "--out",
            "labelled")
    assert Path("labelled/codes.txt").read_text().split() == ["background", "Road", "Car"]
    cli("train", "labelled", "--model", "unet", "--weights", "none", "--no-progressive", "--size", "32x48", "--epochs",
        "1", "--device", "cpu", "--name", "own")
    assert Run(tmp_path/"runs/own").state == "done"
