"""Ways of training: averaged weights, accumulation, schedules, early stopping, out of memory, numbers not finite."""

import numpy as np
import pytest
import torch
from helpers.problems import missing
from helpers.training import Said, fit, only_run, recipe_of

import segfast.training.train as train_module
from segfast.runs.recipe import Recipe, Stage, from_toml, load_recipe, to_toml

# Schedules and optimizers

@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["one_cycle", "flat_cos", "step", "poly", "constant"])
def test_the_rate_follows_the_schedule(small, tiny, tmp_path, spy, schedule):
    fit(small, recipe_of(dict(epochs=6, lr=1e-3, schedule=schedule)), tmp_path)
    lrs = [h[-1] for _, h in spy.hypers]
    assert len(lrs) == 12
    rising, falling = any(np.diff(lrs) > 1e-9), any(np.diff(lrs) < -1e-9)
    assert (rising, falling) == dict(one_cycle=(True, True), flat_cos=(False, True), step=(False, True),
                                     poly=(False, True), constant=(False, False))[schedule]
    if schedule == "step":
        assert lrs == pytest.approx([1e-3]*8 + [5e-4]*4)
    if schedule == "constant":
        assert set(lrs) == {1e-3}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "ranger"])
def test_every_optimizer_trains(small, tiny, tmp_path, optimizer):
    run = fit(small, recipe_of(dict(epochs=3, lr=1e-2)), tmp_path, name="a") if optimizer == "adam" else fit(small,
        recipe_of(dict(epochs=3, lr=1e-2), optimizer=optimizer), tmp_path, name="a")
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
    assert [(s.batch_size, s.accumulate) for s in load_recipe(run.path/"recipe.toml").stages] == [(2, 4),
        (2, 2)], "the recipe records what ran"
    for stage, batch in ("s1", 8), ("s1", 4), ("s2", 4):
        assert sum(not missing(o, stage, batch, batch//2) for o in screen.lines) == 1, (stage, batch)


def test_out_of_memory_with_one_image_is_the_end(small, tiny, tmp_path, monkeypatch):
    def run_stage(*args, **kwargs): raise torch.cuda.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(train_module, "run_stage", run_stage)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        fit(small, recipe_of(dict(batch_size=2)), tmp_path)
    assert only_run(tmp_path).state == "failed"


def test_recipes_with_everything_round_trip():
    r = Recipe([Stage("a", (32, 48), 2, schedule="step", accumulate=4)], model_options=dict(blur=True),
               class_weights="inverse", optimizer="sgd", clip=1., ema=.999, monitor="valid_loss", patience=3, samples=5,
               keep="best")
    assert from_toml(to_toml(r)) == r
