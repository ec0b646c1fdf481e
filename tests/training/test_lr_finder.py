"""The learning-rate finder: what it leaves alone, agrees with, and changes in a training."""
import math

import numpy as np
import pytest
import torch
from fastai.callback.schedule import LRFinder
from helpers.problems import missing
from helpers.training import fit, recipe_of, same, weights_of

import segfast.training.train as train
from segfast.core.errors import UsageError
from segfast.models.zoo import seg_model
from segfast.training.checkpoints import Training
from segfast.training.lr_finder import find_lr, run_lr_finder


def stage_learner(recipe, data, model):
    return train.stage_learner(Training(recipe=recipe, data=data, model=model, device=torch.device("cpu")))


def test_the_finder_leaves_the_weights_alone(small, tiny):
    recipe = recipe_of({})
    torch.manual_seed(0)
    model = seg_model(tiny, small.classes, "none")
    learn = stage_learner(recipe, small, model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = run_lr_finder(learn, 30)
    assert same(before, model.state_dict())
    assert all(1e-8 < o < 10 for o in found.suggestions.values()) and len(found.lrs) == len(found.losses) and all(
        map(math.isfinite, found.losses))


def test_the_finder_agrees_with_fastais(small, tiny):
    "The same learning rates and losses as fastai's own callback, which keeps its weights in a file."
    def learner():
        torch.manual_seed(0)
        model = seg_model(tiny, small.classes, "none")
        return stage_learner(recipe_of({}), small, model)
    ours = learner()
    losses = run_lr_finder(ours, 30).losses
    theirs = learner()
    with theirs.no_bar(), theirs.no_logging():
        theirs.fit(16, cbs=LRFinder(num_it=30))
    np.testing.assert_allclose(losses, torch.tensor(theirs.recorder.losses[3:-5]), rtol=1e-4)


@pytest.fixture
def found(monkeypatch):
    "The learning rates that the finder takes."
    lrs, real = [], train.run_lr_finder

    def remember(*args, **kwargs):
        out = real(*args, **kwargs)
        lrs.append(out.valley)
        return out
    monkeypatch.setattr(train, "run_lr_finder", remember)
    return lrs


@pytest.mark.slow
def test_a_found_rate_is_used_and_plotted(small, tiny, tmp_path, spy, found):
    run = fit(small, recipe_of(dict(lr="find"), dict(lr="find", spread=10.)), tmp_path)
    assert sorted(p.name for p in (run.path/"plots").glob("lr-*.png")) == ["lr-1.png", "lr-2.png"]
    assert len(found) == 2 and not missing((run.path/"log.txt").read_text(), *(f"{o:.2e}" for o in found))
    for i, rate in enumerate(found, 1):
        used = [lrs for j, lrs in spy.hypers if j == i][-2:]
        assert max(lrs[-1] for lrs in used) <= rate*1.01
        assert min(lrs[-1] for lrs in used) >= 0
    assert spy.hypers[-1][1][-1]/spy.hypers[-1][1][0] == pytest.approx(10)


@pytest.mark.slow
def test_finding_the_rate_does_not_move_the_start(small, tiny, tmp_path, found):
    "A stage whose rate was found trains as the same stage given that rate: same weights in the end."
    once, again = (fit(small, recipe_of(dict(lr="find")), tmp_path/name) for name in ("once", "again"))
    assert len(found) == 2 and found[0] == found[1]
    given = fit(small, recipe_of(dict(lr=float(found[0]))), tmp_path/"given")
    assert len(found) == 2
    assert same(weights_of(once), weights_of(again))
    assert same(weights_of(once), weights_of(given))


def test_find_lr_leaves_nothing(small, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = find_lr(small, recipe_of({}, dict(size=(16, 24))), stage=2, steps=20, device="cpu", screen="quiet")
    assert all(1e-8 < o < 10 for o in found.suggestions.values()) and set(found.suggestions) == {"valley", "steep",
        "min10"}
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError) as e:
        find_lr(small, recipe_of({}, {}), stage=3, device="cpu", screen="quiet")
    assert not missing(e, "--stage", 3, 1, 2)


def test_find_lr_is_of_the_stage(small, tiny, spy):
    find_lr(small, recipe_of({}, dict(size=(16, 24), batch_size=2)), stage=2, steps=10, device="cpu", screen="quiet")
    assert {shape for _, training, shape in spy.shapes if training} == {(2, 3, 16, 24)}
