"""Which epoch is best, early stopping, and which weights are saved and evaluated."""
import json
import os
import shutil

import pytest
import torch
from helpers.problems import missing
from helpers.training import Said, fit, recipe_of, same, weights_of
from safetensors.torch import load_file
from typer.testing import CliRunner

import segfast.training.train as train_module
from segfast.cli import app
from segfast.core.errors import DataError
from segfast.core.files import file_checksum, read_json, write_json
from segfast.inference.score import score_split
from segfast.models.zoo import seg_model
from segfast.runs.run import Run
from segfast.training.checkpoints import BestEpoch, Training, load_checkpoint, write_tensors
from segfast.training.ema import ema_updates
from segfast.training.resume import resume


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


# A checkpoint of a stranger, or one that somebody changed

def fresh(run, data):
    "A training of the run that has read nothing yet."
    return Training(recipe=run.recipe, data=data, model=seg_model("tiny", data.classes, "none"), run=run, screen=Said(),
                    device=torch.device("cpu"))


@pytest.fixture
def copied(tiny_run, tmp_path):
    return Run(shutil.copytree(tiny_run.path, tmp_path/"copied"))


def rewrite(folder, **changes):
    "Change a checkpoint's state, and make all checksums right again."
    state = read_json(folder/"state.json") | changes
    sums = {file.name: file_checksum(file) for file in folder.glob("*.safetensors")}
    write_json(folder/"state.json", state | dict(sha256=sums))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(copied, small, value):
    folder = copied.path/"checkpoints/last"
    tensors = load_file(folder/"model.safetensors")
    tensors["1.bias"][0] = value
    write_tensors(tensors, folder/"model.safetensors")
    rewrite(folder)
    with pytest.raises(DataError, match="not numbers") as e: load_checkpoint(fresh(copied, small))
    assert not missing(e, folder) and folder.is_dir()


ODD = [dict(stage=0), dict(stage=9), dict(stage="1"), dict(epoch=10**9), dict(epoch=None), dict(lrs="x"),
       dict(lrs=[[]]), dict(best_so_far={"value": "x"}), dict(best_so_far=7), dict(smooth_loss=[1]), dict(batches=-1),
       dict(optimizer=[]), dict(optimizer={"state": [{"tensor": "none"}]}), dict(batch="x"), dict(ema_updates=[])]


@pytest.mark.parametrize("changes", ODD, ids=str)
def test_a_state_of_odd_values_is_named(copied, small, changes):
    folder = copied.path/"checkpoints/last"
    rewrite(folder, **changes)
    with pytest.raises(DataError) as e: load_checkpoint(fresh(copied, small))
    assert str(folder) in str(e.value)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_follow_the_umask(small, tiny, tmp_path, mask, mode):
    "A folder that a group shares: safetensors alone would write 0600."
    before = os.umask(mask)
    try: run = fit(small, recipe_of(dict(epochs=1), samples=1), tmp_path/"runs", name="shared")
    finally: os.umask(before)
    modes = {str(path.relative_to(run.path)): oct(path.stat().st_mode & 0o777) for path in run.path.rglob("*")
             if path.is_file()}
    assert set(modes.values()) == {oct(mode)}, modes


def hard_copy(run, dest):
    "`cp -al`: the same files under other names."
    return shutil.copytree(run.path, dest, copy_function=os.link)


def content(folder): return {str(o.relative_to(folder)): o.read_bytes() for o in folder.rglob("*") if o.is_file()}


@pytest.mark.slow
def test_a_backup_of_hard_links_never_changes(demo_dir, tiny, tmp_path):
    "`cp -al` before every step; none of them may write into the backup."
    run, backups = fit(str(demo_dir), recipe_of(dict(epochs=1), samples=1), tmp_path/"runs", name="one"), []
    def command(*args):
        res = CliRunner().invoke(app, [*map(str, args)])
        assert res.exit_code == 0, res.output
    for step in (lambda: resume(run, extend=1, device="cpu", screen="quiet"),
                 lambda: command("evaluate", run.path, "--device", "cpu"), lambda: command("report", run.path),
                 lambda: command("evaluate", run.path, "--device", "cpu"),
                 lambda: resume(run, extend=1, device="cpu", screen="quiet")):
        backups.append((hard_copy(run, tmp_path/f"backup{len(backups)}"), None))
        backups[-1] = backups[-1][0], content(backups[-1][0])
        step()
        for folder, before in backups: assert content(folder) == before
    assert run.state == "done" and len(run.history) == 3
