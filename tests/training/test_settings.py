"""Ways of training: averaged weights, added-up steps, schedules, what is best, stopping early, and what happens when memory or numbers run out."""
import json

import numpy as np
import pytest
import torch
from helpers.problems import missing
from helpers.training import fit, only_run, recipe_of, same, weights_of, with_bad
from safetensors.torch import load_file

import segfast.training.train as train_module
from segfast.core.errors import DataError, UsageError
from segfast.data.classes import ClassTable
from segfast.inference.score import score_split
from segfast.models.zoo import seg_model
from segfast.runs.recipe import Recipe, Stage, from_toml, load_recipe, to_toml
from segfast.training.callbacks import AccumulateGradients, batch_files
from segfast.training.checkpoints import BestEpoch
from segfast.training.ema import ema_updates
from segfast.training.lr_finder import find_lr
from segfast.training.plan import first_weights, head_tensors


class Said:
    "A screen that remembers what was said."
    def __init__(self): self.lines = []
    def __enter__(self): return self
    def __exit__(self, *args): pass
    def say(self, text): self.lines.append(text)
    def __getattr__(self, name): return lambda *args, **kwargs: None


def accuracy(run, kind, data):
    "The accuracy of a run's saved weights."
    model = seg_model("tiny", data.classes, "none")
    model.load_state_dict(load_file(run.checkpoint_file(kind)))
    return score_split(model, data, (32, 48)).accuracy


# Averaged weights

def test_the_average_is_saved_and_evaluated(small, tiny, tmp_path):
    plain = fit(small, recipe_of(dict(epochs=2, lr=1e-2)), tmp_path, name="plain")
    ema = fit(small, recipe_of(dict(epochs=2, lr=1e-2), ema=.9), tmp_path, name="ema")
    assert not same(weights_of(plain), weights_of(ema)), "an average that is the last weights does nothing"
    assert plain.history.train_loss.tolist() == ema.history.train_loss.tolist(), "the training itself is the same"
    assert plain.history.valid_loss.tolist() != ema.history.valid_loss.tolist(), "the average is what is validated"
    assert accuracy(ema, "last", small) == pytest.approx(ema.status["accuracy"], abs=1e-6)


def test_the_average_goes_on_over_stages(small, tiny, tmp_path, monkeypatch):
    seen = []
    real = train_module.run_stage

    def run_stage(training):
        real(training)
        seen.append(ema_updates(training.ema))
    monkeypatch.setattr(train_module, "run_stage", run_stage)
    fit(small, recipe_of(dict(epochs=1), dict(epochs=2), ema=.99), tmp_path)
    assert seen == [2, 6], "8 images, 4 a batch"


# Steps that are added up

class Net(torch.nn.Module):
    "A network without batch norm, whose gradient is a plain mean over images."
    def __init__(self, n):
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, n, 1)
    def forward(self, x): return self.b(self.a(x).relu())


@pytest.fixture
def plain_net(monkeypatch):
    from segfast.models.zoo import MODELS
    monkeypatch.setitem(MODELS, "net", lambda n, weights="none", **kwargs: Net(n))
    return dict(model="net", optimizer="sgd", wd=0., loss="cross_entropy")


def no_void(data):
    "Every image has as many labelled pixels, so that a mean of means is the mean."
    from dataclasses import replace
    return replace(data, classes=replace(data.classes, void=None))


def test_two_batches_of_two_are_one_of_four(small, plain_net, tmp_path):
    data = no_void(small)
    one = fit(data, recipe_of(dict(batch_size=4, lr=.1, epochs=2, schedule="constant"), **plain_net), tmp_path, name="one", check=False)
    two = fit(data, recipe_of(dict(batch_size=2, accumulate=2, lr=.1, epochs=2, schedule="constant"), **plain_net), tmp_path, name="two", check=False)
    off = fit(data, recipe_of(dict(batch_size=2, lr=.1, epochs=2, schedule="constant"), **plain_net), tmp_path, name="off", check=False)
    for k, v in weights_of(one).items():
        assert torch.allclose(v, weights_of(two)[k], atol=1e-5), k
    assert any(not torch.allclose(v, weights_of(off)[k], atol=1e-5) for k, v in weights_of(one).items())


def test_an_epoch_ends_with_a_step():
    groups = []
    acc = AccumulateGradients(4)
    for i in range(10):
        acc.learn = type("L", (), dict(iter=i, n_iter=10))()
        groups.append(acc._group())
    assert groups == [4]*8 + [2]*2


def test_clipping_bounds_the_step(small, plain_net, tmp_path):
    def moved(clip):
        run = fit(small, recipe_of(dict(lr=1., epochs=1, schedule="constant"), clip=clip, seed=3, **plain_net), tmp_path, name=f"clip{clip}")
        torch.manual_seed(3)
        start = Net(len(small.classes)).state_dict()
        return sum(float((v - start[k]).norm()**2) for k, v in weights_of(run).items())**.5
    assert moved(1e-3) < 3e-3 < moved(0.)


# Schedules and optimisers

@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["one_cycle", "flat_cos", "step", "poly", "constant"])
def test_the_rate_follows_the_schedule(small, tiny, tmp_path, spy, schedule):
    fit(small, recipe_of(dict(epochs=6, lr=1e-3, schedule=schedule)), tmp_path)
    lrs = [h[-1] for _, h in spy.hypers]
    assert len(lrs) == 12
    rising, falling = any(np.diff(lrs) > 1e-9), any(np.diff(lrs) < -1e-9)
    assert (rising, falling) == dict(one_cycle=(True, True), flat_cos=(False, True), step=(False, True), poly=(False, True), constant=(False, False))[schedule]
    if schedule == "step":
        assert lrs == pytest.approx([1e-3]*8 + [5e-4]*4)
    if schedule == "constant":
        assert set(lrs) == {1e-3}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "ranger"])
def test_every_optimiser_trains(small, tiny, tmp_path, optimizer):
    run = fit(small, recipe_of(dict(epochs=3, lr=1e-2)), tmp_path, name="a") if optimizer == "adam" else fit(small, recipe_of(dict(epochs=3, lr=1e-2), optimizer=optimizer), tmp_path, name="a")
    assert run.history.train_loss.iloc[-1] < run.history.train_loss.iloc[0]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["focal", "dice", "lovasz", "ohem", "0.375*ce+1.125*dice"])
def test_every_loss_trains(small, tiny, tmp_path, loss):
    run = fit(small, recipe_of(dict(epochs=3, lr=1e-2), loss=loss), tmp_path)
    assert run.history.train_loss.iloc[-1] < run.history.train_loss.iloc[0]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["inverse", "median_frequency", "effective_number"])
def test_class_weights_change_the_training(small, tiny, tmp_path, scheme):
    plain = fit(small, recipe_of({}), tmp_path, name="plain")
    run = fit(small, recipe_of({}, class_weights=scheme), tmp_path, name="weighted")
    assert run.history.train_loss.iloc[0] != plain.history.train_loss.iloc[0]


# What is best, and stopping

def test_best_by_loss(small, tiny, tmp_path):
    run = fit(small, recipe_of(dict(epochs=3, lr=1e-3), dict(epochs=2, lr=5.), monitor="valid_loss", keep="best"), tmp_path)
    h, state = run.history, json.loads((run.path/"checkpoints/best/state.json").read_text())
    row = h.iloc[h.valid_loss.argmin()]
    assert (state["stage"], state["epoch"]) == (row.stage, row.epoch) == (run.status["best"]["stage"], run.status["best"]["epoch"])
    assert accuracy(run, "best", small) == pytest.approx(run.status["accuracy"], abs=1e-6), "the best weights are evaluated"
    assert json.loads((run.path/"scores.json").read_text())["checkpoint"] == "best"


def stuck(monkeypatch):
    "No epoch is better than the first."
    real = BestEpoch.update

    def update(self, row): return real(self, {**row, self.monitor: .5 - .01*self.epochs})
    monkeypatch.setattr(BestEpoch, "update", update)


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_stopping_early(small, tiny, tmp_path, monkeypatch, schedule):
    stuck(monkeypatch)
    screen = Said()
    run = fit(small, recipe_of(dict(epochs=9, schedule=schedule), dict(epochs=2), patience=3), tmp_path, screen=screen)
    assert list(run.history.epoch) == [1, 2, 3, 4] and run.state == "done"
    assert any(not missing(o, 3, run.recipe.monitor, "0.5000", 1) and schedule not in o for o in screen.lines)


@pytest.mark.parametrize("schedule", ["one_cycle", "flat_cos", "poly"])
def test_a_falling_schedule_is_finished_first(small, tiny, tmp_path, monkeypatch, schedule):
    stuck(monkeypatch)
    screen = Said()
    run = fit(small, recipe_of(dict(epochs=6, schedule=schedule), dict(epochs=2), patience=3), tmp_path, screen=screen)
    assert list(run.history.epoch) == [1, 2, 3, 4, 5, 6] and set(run.history.stage) == {1}
    assert any(not missing(o, run.recipe.monitor, "s1", schedule) for o in screen.lines), "it is said why it stops no sooner"


def test_patience_zero_never_stops(small, tiny, tmp_path, monkeypatch):
    stuck(monkeypatch)
    assert len(fit(small, recipe_of(dict(epochs=6, schedule="constant")), tmp_path).history) == 6


def test_samples_are_drawn(small, tiny, tmp_path):
    run = fit(small, recipe_of(dict(epochs=3), dict(epochs=2), samples=2), tmp_path)
    assert sorted(o.name for o in (run.path/"plots/samples").iterdir()) == ["epoch-002.png", "epoch-004.png"]


# When something runs out

def test_out_of_memory_halves_the_batch(small, tiny, tmp_path, monkeypatch):
    real, tried = train_module.run_stage, []

    def run_stage(training):
        s = training.recipe.stages[training.stage]
        tried.append((s.batch_size, s.accumulate))
        if s.batch_size > 2: raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(training)
    monkeypatch.setattr(train_module, "run_stage", run_stage)
    screen = Said()
    run = fit(small, recipe_of(dict(batch_size=8), {}), tmp_path, screen=screen)
    assert tried == [(8, 1), (4, 2), (2, 4), (4, 1), (2, 2)] and run.state == "done"
    assert [(s.batch_size, s.accumulate) for s in load_recipe(run.path/"recipe.toml").stages] == [(2, 4), (2, 2)], "the recipe records what ran"
    for stage, batch in ("s1", 8), ("s1", 4), ("s2", 4):
        assert sum(not missing(o, stage, batch, batch//2) for o in screen.lines) == 1, (stage, batch)


def test_out_of_memory_with_one_image_is_the_end(small, tiny, tmp_path, monkeypatch):
    def run_stage(*args, **kwargs): raise torch.cuda.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(train_module, "run_stage", run_stage)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        fit(small, recipe_of(dict(batch_size=2)), tmp_path)
    assert only_run(tmp_path).state == "failed"


def test_a_loss_that_is_no_number_names_the_files(small, tiny, tmp_path, monkeypatch):
    def spoil(cb):
        with torch.no_grad():
            next(cb.model.parameters()).fill_(float("nan"))
        cb.files = batch_files(cb.learn)
    with_bad(monkeypatch, 1, spoil)
    with pytest.raises(DataError) as e:
        fit(small, recipe_of(dict(epochs=3)), tmp_path)
    train = set(small.split("train").image)
    named = [o for o in train if o in str(e.value)]
    assert len(named) == 4 and not missing(e, "s1", 2, 1)


def test_recipes_with_everything_round_trip():
    r = Recipe([Stage("a", (32, 48), 2, schedule="step", accumulate=4)], model_options=dict(blur=True), class_weights="inverse", optimizer="sgd", clip=1., ema=.999, monitor="valid_loss",
               patience=3, samples=5, keep="best")
    assert from_toml(to_toml(r)) == r


# Starting from another run

def test_the_weights_of_another_run(small, tiny, tmp_path):
    other = fit(small, recipe_of({}), tmp_path)
    screen = Said()
    model = first_weights(recipe_of({}, model=other.recipe.model, weights=str(other.path)), small.classes, screen)
    assert same(model.state_dict(), weights_of(other)) and str(other.path) in screen.lines[0] and small.classes.names[0] not in screen.lines[0]


@pytest.mark.parametrize("names", [("a", "b", "c"), None])
def test_other_classes_get_a_new_head(small, tiny, tmp_path, names):
    "Also where there are as many of them."
    other = fit(small, recipe_of({}), tmp_path)
    names = names or tuple(f"other {o}" for o in small.classes.names)
    screen, recipe = Said(), recipe_of({}, model=other.recipe.model, weights=str(other.path))
    model, theirs = first_weights(recipe, ClassTable(names), screen), weights_of(other)
    head = head_tensors(recipe.model, {})
    assert 0 < len(head) <= 2 and str(other.path) in screen.lines[0] and small.classes.names[0] in screen.lines[0]
    for k, v in model.state_dict().items():
        assert (v.shape == theirs[k].shape and torch.equal(v, theirs[k])) == (k not in head), k


def test_a_run_starts_from_a_run(small, tiny, tmp_path):
    "By choices, as the command line has them: the other run's model is taken over."
    from segfast.runs.presets import RecipeOptions
    other = fit(small, recipe_of(dict(epochs=2)), tmp_path)
    run = train_module.train(small, RecipeOptions(weights=str(other.path), size=(32, 48), epochs=(1, 1), recipe="single", batch_size=(4,), precision="fp32", lr=1e-9), out=tmp_path, name="next", device="cpu", screen="quiet")
    assert run.recipe.model == other.recipe.model and run.recipe.stages[0].frozen
    gone = max((a - b).abs().max().item() for (k, a), b in zip(weights_of(run).items(), weights_of(other).values()) if "running" not in k and "num_batches" not in k)
    assert gone < 1e-6


def test_another_model_is_refused(small, tiny, tmp_path):
    other = fit(small, recipe_of({}), tmp_path)
    with pytest.raises(UsageError) as e:
        train_module.train(small, recipe_of({}, model="unet", weights=str(other.path)), out=tmp_path, name="x", device="cpu", screen="quiet")
    assert not missing(e, f"--from {other.path}", "tiny", "unet", "--model")
    assert not (tmp_path/"x").exists()


# The finder by itself

def test_find_lr_leaves_nothing(small, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = find_lr(small, recipe_of({}, dict(size=(16, 24))), stage=2, steps=20, device="cpu", screen="quiet")
    assert all(1e-8 < o < 10 for o in found.suggestions.values()) and set(found.suggestions) == {"valley", "steep", "min10"}
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError) as e:
        find_lr(small, recipe_of({}, {}), stage=3, device="cpu", screen="quiet")
    assert not missing(e, "--stage", 3, 1, 2)


def test_find_lr_is_of_the_stage(small, tiny, spy):
    find_lr(small, recipe_of({}, dict(size=(16, 24), batch_size=2)), stage=2, steps=10, device="cpu", screen="quiet")
    assert {shape for _, training, shape in spy.shapes if training} == {(2, 3, 16, 24)}


# What would only show later is said early, and what is broken is not saved

@pytest.mark.parametrize("epochs", [1, 3])
def test_weights_that_the_last_step_broke_are_not_saved(small, tiny, tmp_path, epochs):
    "The loss of the batch was fine; the step after it was not."
    recipe = recipe_of(dict(epochs=1), dict(epochs=epochs, lr=1e38, batch_size=8, schedule="constant"), optimizer="sgd")
    with pytest.raises(DataError) as e:
        fit(small, recipe, tmp_path)
    assert not missing(e, "s2", "--lr", "1.0e+38")
    run = only_run(tmp_path)
    assert run.state == "failed" and len(run.history) == 1
    assert all(torch.isfinite(v).all() for v in weights_of(run).values())


@pytest.mark.parametrize("bad", [dict(loss="dice", class_weights="inverse"), dict(loss="weighted"), dict(loss="0.375*ce+1.125*dice", class_weights="inverse")])
def test_loss_and_weights_that_do_not_go_together_leave_no_run(small, tiny, tmp_path, bad):
    with pytest.raises(UsageError) as e:
        fit(small, recipe_of({}, **bad), tmp_path)
    assert not missing(e, "class_weights", bad["loss"])
    assert not list(tmp_path.iterdir())


def test_no_epoch_was_best(small, tiny, tmp_path):
    "With validation masks that say nothing, the last weights are the best there are."
    screen = Said()
    best = BestEpoch("mean_iou")
    best.update(dict(stage=1, epoch=1, mean_iou=float("nan")))
    assert best.where is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BestEpoch, "update", lambda self, row: bool(setattr(self, "epochs", self.epochs + 1)))
        run = fit(small, recipe_of({}, keep="best"), tmp_path, screen=screen)
    assert run.state == "done" and any(not missing(o, run.recipe.monitor) for o in screen.lines)
    assert same(load_file(run.checkpoint_file("best")), weights_of(run))


def test_a_model_without_a_body_is_not_frozen(small, tiny, tmp_path):
    recipe = recipe_of(dict(frozen=True, spread=100.), model="unet", model_options=dict(channels=[4], middle=4))
    run = fit(small, recipe, tmp_path)
    assert (run.recipe.stages[0].frozen, run.recipe.stages[0].spread) == (False, 1.)
