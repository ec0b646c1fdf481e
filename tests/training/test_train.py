"""What a training does: sizes, weights, learning rates, precision, checkpoints, and how it may end."""
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.problems import missing
from helpers.training import FULL, HALF, Said, fit, only_run, recipe_of, same, weights_of, with_bad
from PIL import Image
from rich.console import Console
from sklearn.metrics import accuracy_score, jaccard_score

from segfast.cli import interruption_text
from segfast.core.errors import DataError, UsageError
from segfast.data.cache import open_pair
from segfast.data.classes import ClassTable
from segfast.data.dataset import SegData
from segfast.data.formats.camvid import camvid
from segfast.data.masks import decode_mask
from segfast.inference.predictor import normalize
from segfast.inference.score import score_split
from segfast.models.zoo import seg_model
from segfast.report.console import score_table
from segfast.runs.run import Run
from segfast.training.checkpoints import Training
from segfast.training.resume import resume
from segfast.training.train import run_stage

# The default model, once for all

def test_batches_have_the_size_of_their_stage(trained):
    _, seen = trained
    for stage, size in (1, HALF), (2, HALF), (3, FULL):
        shapes = {shape[1:] for i, training, shape in seen.shapes if i == stage and training}
        assert shapes == {(3, *size)}, f"stage {stage}"
    assert {shape[1:] for i, training, shape in seen.shapes if not training and i == 3} == {(3, *FULL)}
    assert sum(training for i, training, _ in seen.shapes if i == 3) == 4, "2 epochs of 2 batches of 4 images"


def test_a_stage_starts_where_the_one_before_ended(trained):
    run, seen = trained
    (_, end1), (start2, end2), (start3, end3) = seen.stages
    assert same(end1, start2) and same(end2, start3)
    assert not same(start2, end2) and not same(start3, end3)
    assert same(end3, weights_of(run))


def test_a_frozen_stage_changes_no_weight_of_the_encoder(trained):
    _, seen = trained
    start, end = seen.stages[0]
    encoder = [k for k in start if k.startswith("layers.0.")
               and not k.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert encoder and all(torch.equal(start[k], end[k]) for k in encoder)
    assert any(not torch.equal(start[k], end[k]) for k in start if not k.startswith("layers.0."))


def test_bf16_autocasts_and_fp32_does_not(trained):
    _, seen = trained
    dtypes = {i: {d for j, _, d in seen.convs if j == i} for i in (1, 3)}
    assert dtypes == {1: {torch.float32}, 3: {torch.float32}}
    assert {d for i, training, d in seen.convs if i == 2 and training} == {torch.bfloat16}


def test_discriminative_learning_rates_reach_the_optimizer(trained):
    _, seen = trained
    last = {i: [lrs for j, lrs in seen.hypers if j == i] for i in (1, 2, 3)}
    for lrs in last[2]:
        assert len(lrs) == 3
        assert lrs[-1]/lrs[0] == pytest.approx(100) and lrs[-1]/lrs[1] == pytest.approx(10)
    for lrs in last[3]:
        assert max(lrs) == pytest.approx(min(lrs))
    assert 0 < max(lrs[-1] for lrs in last[3]) <= 5e-4*1.0001


def test_history_has_a_row_for_every_epoch_of_every_stage(trained):
    run, _ = trained
    h = run.history
    assert list(h.stage) == [1, 2, 3, 3] and list(h.epoch) == [1, 1, 1, 2]
    assert list(h["name"]) == ["half-frozen", "half", "full", "full"]
    assert list(h["size"]) == ["16x24", "16x24", "32x48", "32x48"]
    numbers = h[["lr", "train_loss", "valid_loss", "accuracy", "mean_iou", "seconds", "images_per_second"]]
    assert np.isfinite(numbers.to_numpy()).all() and (numbers > 0).all().all()


def test_the_finished_run_is_whole(trained):
    run, _ = trained
    assert run.state == "done" and run.status["stages_done"] == 3
    for name in ("recipe.toml", "data.csv", "classes.csv", "data.json", "environment.json", "scores.json",
                 "per_class.csv", "per_image.csv", "per_image_counts.csv", "log.txt"):
        assert (run.path/name).stat().st_size, name
    assert (run.path/"plots/history.png").stat().st_size
    assert not [p for p in run.path.rglob("*") if p.name.endswith((".part", ".old"))]
    assert run.recipe.stages[1].precision == "bf16" and run.classes.names[run.classes.void] == "Void"
    data = pd.read_csv(run.path/"data.csv")
    assert list(data.split.value_counts()[["train", "valid"]]) == [8, 2]


def test_best_follows_the_accuracy_over_all_stages(trained):
    run, _ = trained
    h, state = run.history, json.loads((run.path/"checkpoints/best/state.json").read_text())
    top = h.loc[h.accuracy.idxmax()]
    assert (state["stage"], state["epoch"]) == (top.stage, top.epoch)
    assert state["accuracy"] == pytest.approx(top.accuracy)


def test_best_survives_a_later_and_worse_stage(small, tiny, tmp_path):
    wrecked = recipe_of(dict(lr=1e-2, epochs=3), dict(lr=1e4))
    run = fit(small, wrecked, tmp_path)
    h = run.history
    assert h.accuracy[3] < h.accuracy[:3].max(), "the second stage was meant to spoil the model"
    assert json.loads((run.path/"checkpoints/best/state.json").read_text())["stage"] == 1
    assert json.loads((run.path/"checkpoints/last/state.json").read_text())["stage"] == 2
    assert not same(weights_of(run, "best"), weights_of(run))


def test_scores_are_those_of_the_kept_weights(trained, small):
    run, _ = trained
    model = seg_model("unet_resnet34", small.classes, str(run.checkpoint_file()))
    cm = score_split(model, small, FULL)
    assert cm.matrix.tolist() == run.scores["confusion"]
    assert run.status["accuracy"] == pytest.approx(cm.accuracy) and run.status["mean_iou"] == pytest.approx(cm.mean_iou)


# Evaluation, computed once more with other means

def independent(model, data, size, split):
    "Truth and prediction of every labeled pixel: PIL for the images, NumPy for the rest."
    truth, pred = [], []
    mean, std = (np.array(o, np.float32) for o in ([.485, .456, .406], [.229, .224, .225]))
    model.eval()
    for row in data.pairs[data.pairs.split == split].itertuples():
        # no more than the commonest size
        im = Image.open(data.root/row.image).convert("RGB").resize((64, 48), Image.BILINEAR)
        x = (np.asarray(im, np.float32)/255 - mean)/std
        mask = np.asarray(Image.open(data.root/row.mask))
        with torch.no_grad():
            small = torch.nn.functional.interpolate(torch.tensor(x.transpose(2, 0, 1)[None]), size=size,
                                                    mode="bilinear", align_corners=False)
            logits = model(small)
        big = torch.nn.functional.interpolate(logits, size=mask.shape, mode="bilinear", align_corners=False)[0].numpy()
        keep = mask != data.classes.void
        truth.append(mask[keep])
        pred.append(big.argmax(0)[keep])
    return np.concatenate(truth), np.concatenate(pred)


@pytest.fixture
def mixed(demo_dir, tmp_path):
    "The scenes with two of their pairs at other sizes, one of them held out."
    root = shutil.copytree(demo_dir, tmp_path/"mixed")
    for stem, size in ("scene_001", (50, 37)), ("scene_009", (91, 33)):
        for p in root/"images"/f"{stem}.png", root/"labels"/f"{stem}_P.png":
            with Image.open(p) as im:
                im.resize(size, Image.NEAREST).save(p)
    return camvid(root)


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("cache", [True, False])
def test_evaluate_agrees_with_scikit_learn(mixed, tiny, split, cache):
    torch.manual_seed(3)
    model = seg_model(tiny, mixed.classes, "none")
    cm = score_split(model, mixed, FULL, split, bs=3, cache=cache)
    truth, pred = independent(model, mixed, FULL, split)
    assert cm.matrix.sum() == len(truth)
    assert cm.accuracy == pytest.approx(accuracy_score(truth, pred), abs=2e-4)
    ids = np.unique(truth)
    iou = jaccard_score(truth, pred, labels=ids, average=None)
    np.testing.assert_allclose(cm.iou[ids], iou, atol=2e-3)
    assert cm.mean_iou == pytest.approx(iou.mean(), abs=1e-3)
    absent = sorted(set(range(len(mixed.classes))) - set(ids))
    assert np.isnan(cm.iou[absent]).all()


def test_evaluate_does_not_depend_on_the_batch_size(mixed, tiny):
    torch.manual_seed(3)
    model = seg_model(tiny, mixed.classes, "none")
    one, all_ = (score_split(model, mixed, FULL, "train", bs=bs).matrix for bs in (1, 64))
    assert abs(one - all_).sum() <= 4


def test_evaluate_names_a_split_that_is_not_there(small, tiny):
    with pytest.raises(DataError) as e:
        score_split(seg_model(tiny, small.classes, "none"), small, FULL, "test")
    assert not missing(e, "test", "train", "valid")


def test_normalize_is_fastais(small):
    from segfast.data.loaders import seg_dls
    dls = seg_dls(small, FULL, bs=2, aug="none", device="cpu")
    x, _ = dls.valid.one_batch()
    rows = [i for i, s in enumerate(small.pairs.split) if s == "valid"]
    images = torch.stack([torch.tensor(open_pair(small, i)[0]) for i in rows])
    torch.testing.assert_close(torch.Tensor(x), normalize(images, FULL))


# The loss and the void

def test_void_pixels_have_no_say_in_a_training(demo_dir, tiny, tmp_path):
    "Whether void is written as a class of its own or as 255 changes no weight."
    root = shutil.copytree(demo_dir, tmp_path/"data")
    data = camvid(root, name="small")
    void = data.classes.void
    assert void is not None
    for rel in data.pairs["mask"]:
        mask = decode_mask(root/rel)
        Image.fromarray(np.where(mask == void, 255, mask).astype(np.uint8)).save(root/rel)
    outside = SegData(data.pairs, ClassTable(data.classes.names, 255, data.classes.colors), root, "small", "camvid")
    a = fit(camvid(demo_dir, name="small"), recipe_of({}), tmp_path/"a")
    b = fit(outside, recipe_of({}), tmp_path/"b")
    assert same(weights_of(a), weights_of(b))
    assert a.scores["accuracy"] == b.scores["accuracy"]


def test_no_gradient_in_the_body_of_a_frozen_stage(small, trained, tmp_path):
    "Without `train_bn`, and with it only in the batch norms."
    from segfast.data.loaders import seg_dls
    from segfast.training.learner import seg_learner
    dls = seg_dls(small, HALF, bs=4, aug="none", device="cpu")
    for train_bn, touched in (False, set()), (True, {torch.nn.BatchNorm2d}):
        learn = seg_learner(dls, small.classes, weights="none", train_bn=train_bn)
        learn.freeze()
        x, y = dls.one_batch()
        learn.loss_func(learn.model(x), y).backward()
        kinds = {torch.nn.BatchNorm2d if isinstance(m, torch.nn.BatchNorm2d) else type(m)
                 for m in learn.model[0].modules() for p in m.parameters(recurse=False)
                 if p.grad is not None and p.grad.abs().sum() > 0}
        assert kinds == touched
        assert any(p.grad is not None for p in learn.model[2:].parameters())


# Repeating

def test_a_run_repeats_bit_for_bit_and_another_seed_does_not(small, tiny, tmp_path):
    stages = dict(size=HALF, frozen=True), dict(lr=slice(1e-4, 1e-2), epochs=2)
    a, b, c = (fit(small, recipe_of(*stages, augment="default", seed=seed), tmp_path/name)
               for name, seed in (("a", 42), ("b", 42), ("c", 43)))
    assert same(weights_of(a), weights_of(b))
    scores = ["stage", "epoch", "lr", "train_loss", "valid_loss", "accuracy", "mean_iou", "mean_dice"]
    pd.testing.assert_frame_equal(a.history[scores], b.history[scores])
    assert not same(weights_of(a), weights_of(c))


@pytest.mark.slow
def test_workers_change_nothing(small, tiny, tmp_path):
    stages = dict(epochs=2), dict(size=(40, 40))
    a, b = (fit(small, recipe_of(*stages, augment="default"), tmp_path/str(n), workers=n) for n in (0, 2))
    assert same(weights_of(a), weights_of(b))


def test_the_cache_changes_nothing(small, tiny, tmp_path):
    a, b = (fit(small, recipe_of({}, cache=cache), tmp_path/str(cache)) for cache in (True, False))
    assert same(weights_of(a), weights_of(b))


def test_what_came_before_in_the_process_changes_nothing(small, tiny, tmp_path):
    a = fit(small, recipe_of({}), tmp_path/"a")
    torch.rand(17), np.random.rand(3)
    assert same(weights_of(a), weights_of(fit(small, recipe_of({}), tmp_path/"b")))


# How it may end


def test_an_interrupt_keeps_the_finished_epochs(small, tiny, tmp_path, monkeypatch):
    def interrupt(cb): raise KeyboardInterrupt
    with_bad(monkeypatch, 1, interrupt)
    with pytest.raises(KeyboardInterrupt) as e:
        fit(small, recipe_of(dict(epochs=3)), tmp_path)
    run = only_run(tmp_path)
    assert e.value.segfast_run.path == run.path
    assert run.state == "interrupted" and list(run.history.epoch) == [1] and weights_of(run)


def test_an_interrupt_before_the_first_epoch_ends(small, tiny, tmp_path, monkeypatch):
    def interrupt(cb): raise KeyboardInterrupt
    with_bad(monkeypatch, 0, interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(small, recipe_of({}), tmp_path)
    run = only_run(tmp_path)
    assert run.state == "interrupted" and not len(run.history)
    with pytest.raises(DataError) as e:
        run.checkpoint_file()
    assert not missing(e, run.path, "'last'")


def test_an_unexpected_error_is_written_down(small, tiny, tmp_path, monkeypatch):
    def fall(cb): raise RuntimeError("out of memory, say")
    with_bad(monkeypatch, 0, fall)
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(small, recipe_of({}), tmp_path)
    run = only_run(tmp_path)
    assert run.state == "failed" and "out of memory" in run.status["error"]
    assert "out of memory" in (run.path/"log.txt").read_text()


@pytest.mark.slow
def test_the_smallest_size_and_batch(small, tmp_path):
    "What the settings allow must not fall over in a batch norm: 16x16 in the half stage, one image a batch."
    recipe = recipe_of(dict(size=(16, 16), batch_size=1), dict(size=(32, 32), batch_size=1), model="unet_resnet34")
    try:
        assert fit(small, recipe, tmp_path).state == "done"
    except UsageError as e:
        assert "batch" in str(e)


def test_a_module_of_another_shape(small, tmp_path, monkeypatch):
    "A new model costs one function that returns an `nn.Module`."
    from segfast.models.zoo import MODELS
    monkeypatch.setitem(MODELS, "flat", lambda n_out, weights="none": torch.nn.Conv2d(3, n_out, 1))
    assert fit(small, recipe_of(dict(epochs=2), model="flat"), tmp_path).state == "done"


def test_nothing_is_written_for_bad_input(small, tmp_path, tiny):
    bad = SegData(small.pairs.assign(image=["images/none.png", *small.pairs["image"][1:]]), small.classes, small.root,
                  "bad", "camvid")
    with pytest.raises(DataError, match="none.png"):
        fit(bad, recipe_of({}), tmp_path/"runs")
    for change, accepted in (dict(model="nope"), "unet_resnet34"), (dict(loss="nope"),
        "cross_entropy"), (dict(augment="nope"), "light"):
        with pytest.raises(UsageError) as e:
            fit(small, recipe_of({}, **change), tmp_path/"runs")
        assert not missing(e, "'nope'", accepted)
    with pytest.raises(UsageError) as e:
        fit(small, recipe_of({}, model="unet_resnet34", weights="nope.pth"), tmp_path/"runs")
    assert not missing(e, "--weights", "nope.pth")
    assert not (tmp_path/"runs").exists() or not any((tmp_path/"runs").iterdir())


def test_more_images_a_batch_than_there_are(small, tiny, tmp_path):
    run = fit(small, recipe_of(dict(batch_size=64)), tmp_path)
    assert run.state == "done" and len(run.history) == 1


def test_a_single_training_image(small, tiny, tmp_path):
    one = SegData(small.pairs.iloc[[0, 9]].reset_index(drop=True), small.classes, small.root, "one", "camvid")
    assert list(one.pairs.split) == ["train", "valid"]
    assert fit(one, recipe_of({}), tmp_path).state == "done"


def test_run_stage_alone(small, tiny, tmp_path):
    "The layer under `train` works by itself."
    from segfast.report.console import make_screen
    from segfast.runs.run import Run
    recipe = recipe_of(dict(epochs=2))
    torch.manual_seed(0)
    model = seg_model(tiny, small.classes, "none")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    run = Run.create(tmp_path, recipe, small.classes, dict(name="small"))
    training = Training(recipe=recipe, data=small, model=model, run=run, screen=make_screen("quiet"),
                        device=torch.device("cpu"))
    run_stage(training)
    assert training.done and (training.stage, training.epoch, training.lrs) == (1, 0,
        [recipe.stages[0].lr]) and len(run.history) == 2
    assert training.best.value == pytest.approx(run.history.accuracy.max())
    assert not same(before, model.state_dict())


# What people meet

CLASSES = ["sky", "road", "tree"]


def street_folder(folder, n=6, size=(48, 64), valid=None, classes=CLASSES, rows=None):
    "Images with masks of blocks, in CamVid's way; of some rows, the masks are void (255) everywhere."
    rng = np.random.default_rng(n)
    for part in "images", "masks": (folder/part).mkdir(parents=True)
    for i in range(n):
        ids = rng.integers(0, 3, (size[0]//8, size[1]//8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        Image.fromarray(np.stack([ids*60 + 20, ids*30, 255 - ids*50], 2)).save(folder/f"images/a{i}.png")
        Image.fromarray(np.full_like(ids, 255) if i in (rows or ()) else ids).save(folder/f"masks/a{i}.png")
    (folder/"codes.txt").write_text("\n".join(classes))
    if valid is not None: (folder/"valid.txt").write_text("".join(f"a{i}.png\n" for i in valid))
    return folder


def quick(folder, out, **kwargs):
    return fit(folder, recipe_of(dict(batch_size=4) | kwargs), out)


@pytest.mark.parametrize("void_rows", [(0,), (0, 1, 2)])
def test_case_batch_all_void(tiny, tmp_path, void_rows):
    "A batch without a labeled pixel teaches nothing; the loss stays a number."
    run = quick(street_folder(tmp_path/"data", valid=[4, 5], rows=void_rows), tmp_path, batch_size=1, epochs=2)
    assert run.state == "done" and np.isfinite(run.history.train_loss).all()
    assert all(tensor.isfinite().all() for tensor in weights_of(run).values())


def test_a_validation_image_that_is_void_everywhere(tiny, tmp_path):
    run = quick(street_folder(tmp_path/"data", valid=[4, 5], rows=[4]), tmp_path, batch_size=2)
    assert run.state == "done" and run.scores["images"] == 2 and np.isfinite(run.scores["mean_iou"])


@pytest.mark.parametrize("split", [[4, 5], [0, 1, 2]])
def test_a_split_that_is_void_everywhere_is_refused(tiny, tmp_path, split):
    data = street_folder(tmp_path/"data", valid=[4, 5] if split == [4, 5] else [3, 4, 5], rows=split)
    with pytest.raises(DataError) as e: quick(data, tmp_path/"runs")
    assert not missing(e, "void", len(split)) and not (tmp_path/"runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("n, batch_size", [(5, 4), (6, 1)])
def test_case_bn_last_batch(tmp_path, n, batch_size):
    "DeepLab with one image in the last batch, or in all: its pooled features are one value per channel."
    data = street_folder(tmp_path/"data", n + 1 if batch_size == 4 else n, valid=[0])
    recipe = recipe_of(dict(size=(64, 64), batch_size=batch_size), model="deeplabv3_resnet50")
    assert fit(data, recipe, tmp_path).state == "done"


@pytest.mark.parametrize("model, options", [("unet", {}), ("unet_dropout", dict(batch_norm=True))])
def test_one_value_per_channel_in_a_deep_unet(tmp_path, model, options):
    "Five levels leave one pixel of 32x32, and one image in a batch is one value for a batch norm."
    recipe = recipe_of(dict(size=(32, 32), batch_size=1), model=model,
                       model_options=dict(channels=[4]*5, middle=4) | options)
    run = fit(street_folder(tmp_path/"data", 3, valid=[0]), recipe, tmp_path)
    assert run.state == "done" and np.isfinite(run.history.train_loss).all()


@pytest.mark.parametrize("n, images", [(3, (2, 1)), (2, (1, 1))])
def test_case_fewer_than_a_batch(tiny, tmp_path, n, images):
    run = quick(street_folder(tmp_path/"data", n), tmp_path, batch_size=16)
    assert run.state == "done" and run.scores["images"] == images[1]
    assert np.isfinite(run.history.train_loss).all() and run.history.images_per_second.iloc[0] > 0


def test_a_single_image_is_refused(tiny, tmp_path):
    with pytest.raises(DataError, match="two images"): quick(street_folder(tmp_path/"data", 1), tmp_path/"runs")
    assert not (tmp_path/"runs").exists()


def test_case_valid_lacks_a_class(tiny, tmp_path):
    "Its IoU is missing, the means leave it out, and the table of the scores says so."
    data = street_folder(tmp_path/"data", valid=[4, 5], classes=[*CLASSES, "bus"])
    ids = np.full((48, 64), 3, np.uint8)
    ids[:24] = 0
    Image.fromarray(ids).save(data/"masks/a0.png")
    run = quick(data, tmp_path)
    rows = run.scores["classes"]
    assert rows["bus"]["iou"] is None or np.isnan(rows["bus"]["iou"])
    assert run.scores["mean_iou"] == pytest.approx(np.mean([rows[name]["iou"] for name in CLASSES]))
    console = Console(file=io.StringIO(), width=100)
    console.print(score_table(run.scores, run.classes))
    assert "left out of the means, since it does not occur: bus" in console.file.getvalue()


@pytest.mark.parametrize("names", [["sky", "road", "tree", "bus"], ["sky", "bus", "road", "tree"]])
def test_case_class_added(tiny, tmp_path, names):
    "A resume refuses other classes and names --from, which starts with new last layers."
    data = street_folder(tmp_path/"data")
    run = quick(data, tmp_path)
    (data/"codes.txt").write_text("\n".join(names))
    Image.fromarray(np.full((48, 64), 3, np.uint8)).save(data/"masks/a0.png")
    for changed in False, True:
        with pytest.raises(DataError) as e: resume(run, screen="quiet", extend=1, data_changed=changed)
        assert not missing(e, run.path, "its classes were sky, road, tree", ", ".join(names), f"--from {run.path}")
    said = Said()
    new = fit(data, recipe_of(dict(batch_size=4), weights=str(run.path)), tmp_path, screen=said)
    assert new.state == "done" and list(new.classes.names) == names
    assert any("without its last layers" in line for line in said.lines)


def test_resume_after_an_image_was_removed(tiny, tmp_path):
    data = street_folder(tmp_path/"data", valid=[4, 5])
    run = quick(data, tmp_path)
    for part in "images", "masks": (data/part/"a0.png").unlink()
    with pytest.raises(DataError) as e: resume(run, screen="quiet", extend=1)
    assert not missing(e, run.path, "images/a0.png", "--data-changed")
    assert resume(run, screen="quiet", extend=1, data_changed=True).state == "done"


SCRIPT = """import multiprocessing as mp, sys
mp.set_start_method({method!r}, force=True)
from pathlib import Path
from segfast.training.train import train
from segfast.training.crossval import train_folds
from segfast.training.lr_finder import find_lr
from segfast.runs.presets import single
recipe = single((32, 48), epochs=1, weights='none', model='fast')
{call}
"""


@pytest.mark.slow
@pytest.mark.parametrize("method, call", [
    ("spawn", "train('data', recipe, workers=2, device='cpu')"),
    ("forkserver", "train('data', recipe, workers=2, device='cpu')"),
    ("spawn", "if sys.argv: train('data', recipe, workers=2, device='cpu')"),
    ("spawn", "train_folds('data', recipe, k=2, workers=2, device='cpu')"),
    ("forkserver", "find_lr('data', recipe, workers=2, device='cpu')")])
def test_case_spawn_script(tmp_path, method, call):
    "A script without the main guard, where processes run it again: the guard is named, and no second run is left."
    street_folder(tmp_path/"data")
    (tmp_path/"lesson.py").write_text(SCRIPT.format(method=method, call=call))
    done = subprocess.run([sys.executable, "lesson.py"], cwd=tmp_path, text=True, capture_output=True, timeout=300)
    assert done.returncode == 1
    assert not missing(done.stderr, "lesson.py, line 9", "if __name__ == '__main__':", "workers=0")
    runs = list((tmp_path/"runs").glob("*")) if (tmp_path/"runs").exists() else []
    assert len(runs) == ("if" in call.split()) # of the parent, which failed
    assert all(Run(path).state == "failed" for path in runs)


@pytest.mark.slow
def test_a_script_with_the_guard_trains_with_spawned_loaders(tmp_path):
    street_folder(tmp_path/"data")
    call = "if __name__ == '__main__':\n    train('data', recipe, workers=2, device='cpu', name='done')"
    (tmp_path/"lesson.py").write_text(SCRIPT.format(method="spawn", call=call))
    subprocess.run([sys.executable, "lesson.py"], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    assert Run(tmp_path/"runs/done").state == "done" and len(list((tmp_path/"runs").iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_case_interrupted(tiny, tmp_path, monkeypatch):
    "Ctrl-C in the second epoch; the resumed run ends as the one that was not interrupted."
    data, stage = street_folder(tmp_path/"data", 10, valid=[8, 9]), dict(epochs=3, batch_size=2)
    whole = quick(data, tmp_path/"whole", **stage)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt) as e:
        with_bad(patch, 1, lambda cb: os.kill(os.getpid(), signal.SIGINT) if cb.iter == 1 else None)
        quick(data, tmp_path/"broken", **stage)
    run = e.value.segfast_run
    assert run.status["status"] == "interrupted" and f"segfast resume {run.path}" in interruption_text(e.value)
    assert same(weights_of(resume(run, screen="quiet", device="cpu")), weights_of(whole))


def test_case_odd_sizes(tmp_path):
    "Images of odd sizes, and a size that 32 does not divide: a mask of each image's own size."
    data, sizes = street_folder(tmp_path/"data", 4, valid=[0]), [(97, 33), (50, 61), (33, 97), (41, 40)]
    for i, size in enumerate(sizes):
        for path in data/f"images/a{i}.png", data/f"masks/a{i}.png":
            with Image.open(path) as im: resized = im.resize(size[::-1], Image.NEAREST)
            resized.save(path)
    small_unet = dict(model="unet", model_options=dict(channels=[4, 8], middle=8))
    run = fit(data, recipe_of(dict(size=(45, 61)), **small_unet), tmp_path)
    for i, size in enumerate(sizes):
        assert run.predict(data/f"images/a{i}.png").shape == size
