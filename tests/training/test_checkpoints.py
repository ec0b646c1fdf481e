"""Which epoch is best, early stopping, and which weights are saved and evaluated."""
import json

import pytest
from helpers.problems import missing
from helpers.training import Said, fit, recipe_of, same, weights_of
from safetensors.torch import load_file

import segfast.training.train as train_module
from segfast.inference.score import score_split
from segfast.models.zoo import seg_model
from segfast.training.checkpoints import BestEpoch
from segfast.training.ema import ema_updates


def accuracy(run, kind, data):
    "The accuracy of a run's saved weights."
    model = seg_model("tiny", data.classes, "none")
    model.load_state_dict(load_file(run.checkpoint_file(kind)))
    return score_split(model, data, (32, 48)).accuracy


def test_the_average_is_saved_and_evaluated(small, tiny, tmp_path):
    plain = fit(small, recipe_of(dict(epochs=2, lr=1e-2)), tmp_path, name="plain")
    ema = fit(small, recipe_of(dict(epochs=2, lr=1e-2), ema=.9), tmp_path, name="ema")
    assert not same(weights_of(plain), weights_of(ema)), "an average that is the last weights does nothing"
    assert plain.history.train_loss.tolist() == ema.history.train_loss.tolist(), "the training itself is the same"
    assert plain.history.valid_loss.tolist() != ema.history.valid_loss.tolist(), "the average is what is validated"
    assert accuracy(ema, "last", small) == pytest.approx(ema.status["accuracy"], abs=1e-6)


def test_the_average_continues_over_stages(small, tiny, tmp_path, monkeypatch):
    seen = []
    real = train_module.run_stage

    def run_stage(training):
        real(training)
        seen.append(ema_updates(training.ema))
    monkeypatch.setattr(train_module, "run_stage", run_stage)
    fit(small, recipe_of(dict(epochs=1), dict(epochs=2), ema=.99), tmp_path)
    assert seen == [2, 6], "8 images, 4 per batch"


def test_best_by_loss(small, tiny, tmp_path):
    run = fit(small, recipe_of(dict(epochs=3, lr=1e-3), dict(epochs=2, lr=5.), monitor="valid_loss", keep="best"),
              tmp_path)
    h, state = run.history, json.loads((run.path/"checkpoints/best/state.json").read_text())
    row = h.iloc[h.valid_loss.argmin()]
    assert (state["stage"], state["epoch"]) == (row.stage, row.epoch) == (run.status["best"]["stage"],
        run.status["best"]["epoch"])
    assert accuracy(run, "best", small) == pytest.approx(run.status["accuracy"],
                                                         abs=1e-6), "the best weights are evaluated"
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
    assert any(not missing(o, run.recipe.monitor, "s1", schedule)
               for o in screen.lines), "it is said why it stops no sooner"


def test_patience_zero_never_stops(small, tiny, tmp_path, monkeypatch):
    stuck(monkeypatch)
    assert len(fit(small, recipe_of(dict(epochs=6, schedule="constant")), tmp_path).history) == 6


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


def test_a_disk_without_hard_links(small, tiny, tmp_path, monkeypatch):
    def refuse(*args, **kwargs): raise OSError(95, "Operation not supported")
    monkeypatch.setattr("os.link", refuse)
    run = fit(small, recipe_of(dict(epochs=2)), tmp_path)
    assert weights_of(run, "best")
