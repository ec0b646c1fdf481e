"The trainings of the lessons, each as one command on a small folder: real models, tiny sizes, a few epochs."
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

ENCODER = "encoder.pth"  # a resnet34 as torchvision saves it: with weights to start from, the recipes freeze and slice


def cli(*args):
    "A command in this process, at 100 columns."
    res = CliRunner().invoke(app, [str(word) for word in args], env={"COLUMNS": "100"})
    assert res.exit_code == 0, res.output
    return res


def row(draw, folder, options, **promised):
    return SimpleNamespace(draw=draw, folder=folder, options=options, promised=promised)


# What each recipe promises: the command, and what recipe and run must hold
CAMVID = row(draw_camvid, "CAMVID", f"--progressive --weights {ENCODER} --size 32x48 --epochs 1,1,2",
             model="unet_resnet34", optimizer="adam", schedule=["one_cycle"]*3, batch=[8, 8, 4],
             sizes=[(16, 24), (16, 24), (32, 48)], frozen=[True, False, False], epochs=[1, 1, 2], monitor="accuracy",
             keep="last", patience=0, samples=[], splits={"train": 3, "valid": 2})
CAMSEQ = row(draw_camseq, "CAMSEQ", "--model deeplabv3_resnet50 --recipe camseq --weights none --size 32x48",
             model="deeplabv3_resnet50", optimizer="adamw", schedule=["step"], batch=[2], sizes=[(32, 48)],
             frozen=[False], epochs=[6], monitor="valid_loss", keep="best", patience=0, samples=[2, 4, 6],
             splits={"train": 4, "valid": 1, "test": 1})
PETS = row(draw_pets, "PETS", "--model unet --recipe pets --epochs 2 --set samples=1", model="unet",
           optimizer="adamw", schedule=["constant"], batch=[32], sizes=[(64, 64)], frozen=[False], epochs=[2],
           monitor="accuracy", keep="best", patience=3, samples=[1, 2], splits={"train": 3, "valid": 1, "test": 2})
IDD = row(draw_idd, "IDD", "--model unet_dropout --recipe idd --size 32x32 --epochs 1 --set samples=1",
          model="unet_dropout", optimizer="adamw", schedule=["constant"], batch=[16], sizes=[(32, 32)],
          frozen=[False], epochs=[1], monitor="accuracy", keep="last", patience=0, samples=[1],
          splits={"train": 2, "valid": 1})
KITTI = row(draw_kitti_road, "KITTI",
            f"--recipe kitti_road --weights {ENCODER} --size 32x64 --epochs 1,1 --set samples=2",
            model="unet_resnet34", optimizer="adam", schedule=["one_cycle"]*2, batch=[8, 8], sizes=[(32, 64)]*2,
            frozen=[True, False], epochs=[1, 1], monitor="accuracy", keep="last", patience=0, samples=[2],
            splits={"train": 5, "valid": 1})
ROWS = dict(camvid=CAMVID, camseq=CAMSEQ, pets=PETS, idd=IDD, kitti_road=KITTI)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "The folder in which all commands run, with a resnet34's weights in it."
    from torchvision.models import resnet34
    root = tmp_path_factory.mktemp("rows")
    torch.save(resnet34(weights=None).state_dict(), root/ENCODER)
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
    row = ROWS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        # an automatic batch size must not depend on the machine
        patch.setattr("segfast.training.plan.free_bytes", lambda device: 16e9)
        (place/row.folder).mkdir()
        row.draw(place/row.folder)
        res = cli("train", row.folder, *row.options.split(), "--device", "cpu", "--precision", "fp32", "--name", name)
    return SimpleNamespace(name=name, data=place/row.folder, output=res.output, run=Run(place/"runs"/name),
                           **row.promised)


# --- every row ---

def test_recipe_says_what_was_promised(done):
    recipe = done.run.recipe
    for key in ("model", "optimizer", "monitor", "keep", "patience"):
        assert getattr(recipe, key) == getattr(done, key), key
    for key, promised in dict(schedule=done.schedule, batch_size=done.batch, size=done.sizes, frozen=done.frozen,
                              epochs=done.epochs).items():
        assert [getattr(stage, key) for stage in recipe.stages] == promised, key


def test_folder_is_split_as_the_layout_says(done):
    assert json.loads((done.run.path/"data.json").read_text())["fingerprint"]["splits"] == done.splits


def test_history_has_every_epoch_at_its_size(done):
    history = done.run.history
    expected = [f"{h}x{w}" for (h, w), n in zip(done.sizes, done.epochs) for _ in range(n)]
    assert history["size"].tolist() == expected
    assert np.isfinite(history[["train_loss", "valid_loss", "accuracy", "mean_iou", "lr"]]).all(axis=None)


def test_scores_are_printed_and_kept(done):
    scores = done.run.scores
    assert done.run.state == "done"
    assert missing(done.output, f"{scores['mean_iou']:.3f}", f"runs/{done.name}") == []
    assert 0 <= scores["mean_iou"] <= 1 and 0 <= scores["accuracy"] <= 1
    assert (scores["split"], scores["checkpoint"]) == ("valid", done.keep)
    assert all({"iou", "dice", "precision", "recall", "pixels"} <= set(row) for row in scores["classes"].values())


def test_scores_are_those_of_the_weights_that_were_kept(done):
    from segfast.models.zoo import seg_model
    from segfast.inference.score import score_split
    model = seg_model(done.model, done.run.classes, str(done.run.checkpoint_file(done.keep)))
    cm = score_split(model, open_data(done.data), done.run.recipe.stages[-1].size)
    assert cm.accuracy == pytest.approx(done.run.scores["accuracy"], abs=5e-3)
    assert cm.matrix.sum() == np.sum(done.run.scores["confusion"])


def test_best_epoch_is_the_best_by_the_monitored_score(done):
    history, where = done.run.history, done.run.status["best"]
    column = history[done.monitor]
    best = history.loc[column.idxmin() if done.monitor == "valid_loss" else column.idxmax()]
    assert (where["stage"], where["epoch"]) == (best.stage, best.epoch)
    assert where["value"] == pytest.approx(best[done.monitor])


def test_plots(done):
    plots = done.run.path/"plots"
    assert sorted(path.name for path in plots.glob("samples/*")) == [f"epoch-{i:03}.png" for i in done.samples]
    for path in plots.rglob("*.png"):
        with Image.open(path) as im: assert min(im.size) > 100, path
    assert {"history.png", "predictions.png"} <= {path.name for path in plots.iterdir()}


# --- what one row promises alone ---

def test_camvid_is_frozen_first_then_sliced(runs):
    frozen, half, full = runs("camvid").recipe.stages
    assert (frozen.spread, half.spread, full.spread) == (1, 100, 100)
    assert (half.lr_range, full.lr_range) == (slice(1e-3/400, 1e-3/4), slice(1e-6, 1e-4))


def test_camseq_halves_the_learning_rate_after_four_epochs(runs):
    assert runs("camseq").history.lr.tolist() == pytest.approx([2e-4]*4 + [1e-4]*2)


def test_camseq_is_split_in_the_order_of_the_video(runs, place):
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
    "A learning rate at which no weight changes: nothing is better than the first epoch, so three more end it."
    runs("pets")
    monkeypatch.chdir(place)
    still = "--lr", "1e-30", "--size", "32x32", "--epochs", "9", "--set", "model_options.batch_norm=false"
    res = cli("train", "PETS", "--model", "unet", "--recipe", "pets", *still, "--device", "cpu", "--precision", "fp32",
              "--name", "stopped")
    run = Run(place/"runs/stopped")
    value = f"{run.status['best']['value']:.4f}"
    lines = [line for line in res.output.splitlines()
             if "/9" not in line and missing(line, 3, run.recipe.monitor, value) == []]
    assert len(lines) == 1 and len(run.history) == 4, "one line, besides those of the epochs"
    assert (run.status["best"]["epoch"], run.scores["checkpoint"]) == (1, "best")


def test_idd_has_seven_classes_dropout_and_transposed_convolutions(runs):
    from torch import nn

    from segfast.models.zoo import seg_model
    run = runs("idd")
    model = seg_model("unet_dropout", run.classes, str(run.checkpoint_file("last")))
    ups = [layer for layer in model.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert len(run.classes) == 7 and run.classes.void == 255 and list(run.scores["classes"]) == list(run.classes.names)
    assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.3}
    assert [layer.in_channels for layer in ups] == [1024, 512, 256, 128]
    assert 30e6 < sum(p.numel() for p in model.parameters()) < 32e6


def binary(run):
    "The four scores of road, by hand from the confusion matrix: rows are the truth."
    (_, extra), (missed, found) = run.scores["confusion"]
    def share(part, whole): return part/whole if whole else None
    return dict(iou=share(found, found + missed + extra), dice=share(2*found, 2*found + missed + extra),
                precision=share(found, found + extra), recall=share(found, found + missed))


def same_as_by_hand(run):
    kept = run.scores["classes"]["road"]
    for name, value in binary(run).items():
        assert kept[name] is None if value is None else kept[name] == pytest.approx(value), name


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
    assert run.recipe.model == "unet_resnet34" and run.scores["images"] == 1
    assert np.sum(run.scores["confusion"]) > 300_000


@pytest.mark.parametrize("name, size, epochs", [("camseq", (32, 48), 6), ("pets", (64, 64), 30),
                                                ("idd", (128, 128), 30), ("kitti_road", (256, 256), (5, 15))])
def test_run_differs_from_the_preset_only_in_what_was_given(runs, name, size, epochs):
    own = None if name != "camseq" else size
    expected, found = preset(name, own), runs(name).recipe
    assert expected.size == size
    assert [stage.epochs for stage in expected.stages] == ([epochs] if isinstance(epochs, int) else list(epochs))
    given = ("size", "epochs", "batch_size", "precision")
    stages = [replace(stage, **{key: getattr(trained, key) for key in given})
              for stage, trained in zip(expected.stages, found.stages)]
    assert to_toml(replace(expected, stages=stages, weights=found.weights, samples=found.samples)) == to_toml(found)


# --- Segment Anything ---

@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    "A tiny model with random weights, on disk."
    pytest.importorskip("transformers", reason='the extra "sam" is not installed')
    from segfast.tools.sam import tiny_sam
    return tiny_sam(tmp_path_factory.mktemp("sam")/"tiny")


def draw_image(path, mode="RGB", seed=0):
    "A noisy image of 45 x 70 pixels."
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (45, 70, 4), dtype=np.uint8)).convert(mode).save(path)


def pixels(path):
    "The pixels of an image file."
    with Image.open(path) as im: return np.array(im)


PROMPTS = {"points": (["--points", "20,10;60,40"], 2), "grid": (["--grid", "2x3"], 6),
           "box": (["--box", "5,5,60,40"], 1), "random": (["--random", "3"], 3),
           "points in a box": (["--points", "20,10;30,30", "--box", "5,5,60,40"], 1)}


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_prompt(kind, mode, sam, tmp_path, monkeypatch):
    options, n = PROMPTS[kind]
    monkeypatch.chdir(tmp_path)
    draw_image(tmp_path/"photo.png", mode)
    res = cli("prompt", "photo.png", *options, "--model", sam, "--out", "masks", "--json", "--device", "cpu")
    written = json.loads((tmp_path/"masks/masks.json").read_text())
    assert json.loads(res.stdout.splitlines()[-1])["masks"] == written["masks"] and len(written["masks"]) == n
    for entry in written["masks"]:
        mask = pixels(tmp_path/"masks"/entry["file"])
        assert mask.shape == (45, 70) and set(np.unique(mask)) <= {0, 255}
        assert (mask > 0).sum() == entry["pixels"] and np.isfinite(entry["score"])
    assert pixels(tmp_path/"masks/overlay.png").shape == (45, 70, 3)


def test_prompt_then_train(sam, tmp_path, monkeypatch):
    "From prompts to a training: three images, two classes."
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        draw_image(tmp_path/f"photo-{i}.png", seed=i)
        cli("prompt", f"photo-{i}.png", "--grid", "3x3", "--model", sam, "--as-masks", "Road", "--out", "labelled")
        cli("prompt", f"photo-{i}.png", "--box", "5,5,60,40", "--model", sam, "--as-masks", "Car", "--add", "--out",
            "labelled")
    assert Path("labelled/codes.txt").read_text().split() == ["background", "Road", "Car"]
    cli("train", "labelled", "--model", "unet", "--weights", "none", "--no-progressive", "--size", "32x48", "--epochs",
        "1", "--device", "cpu", "--name", "own")
    assert Run(tmp_path/"runs/own").state == "done"
