"""Accumulation, clipping, precision, samples, and losses and weights that are not numbers."""
import pytest
import torch
from helpers.problems import missing
from helpers.training import Bad, fit, only_run, recipe_of, weights_of, with_bad

from segfast.core.errors import DataError
from segfast.training.callbacks import AccumulateGradients, Precision, batch_files


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
    "Every image has as many labeled pixels, so that a mean of means is the mean."
    from dataclasses import replace
    return replace(data, classes=replace(data.classes, void=None))


def test_two_batches_of_two_are_one_of_four(small, plain_net, tmp_path):
    data = no_void(small)
    one = fit(data, recipe_of(dict(batch_size=4, lr=.1, epochs=2, schedule="constant"), **plain_net), tmp_path,
              name="one", check=False)
    two = fit(data, recipe_of(dict(batch_size=2, accumulate=2, lr=.1, epochs=2, schedule="constant"), **plain_net),
              tmp_path, name="two", check=False)
    off = fit(data, recipe_of(dict(batch_size=2, lr=.1, epochs=2, schedule="constant"), **plain_net), tmp_path,
              name="off", check=False)
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
        run = fit(small, recipe_of(dict(lr=1., epochs=1, schedule="constant"), clip=clip, seed=3, **plain_net),
                  tmp_path, name=f"clip{clip}")
        torch.manual_seed(3)
        start = Net(len(small.classes)).state_dict()
        return sum(float((v - start[k]).norm()**2) for k, v in weights_of(run).items())**.5
    assert moved(1e-3) < 3e-3 < moved(0.)


def test_samples_are_drawn(small, tiny, tmp_path):
    run = fit(small, recipe_of(dict(epochs=3), dict(epochs=2), samples=2), tmp_path)
    assert sorted(o.name for o in (run.path/"plots/samples").iterdir()) == ["epoch-002.png", "epoch-004.png"]


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


def test_the_scaler_is_for_fp16_alone():
    p = Precision("bf16", torch.device("cpu"))
    assert p.dtype == torch.bfloat16
    p.learn = type("L", (), {})()
    p.before_fit()
    assert not p.learn.scaler.is_enabled()


def spoil(cb):
    with torch.no_grad():
        next(cb.model.parameters()).fill_(float("nan"))


def test_a_loss_that_is_not_finite_ends_the_run(small, tiny, tmp_path, monkeypatch):
    with_bad(monkeypatch, 1, spoil)
    with pytest.raises(DataError) as e:
        fit(small, recipe_of(dict(epochs=3)), tmp_path)
    assert not missing(e, "s1", 2, "nan", "--lr")
    run = only_run(tmp_path)
    assert run.state == "failed" and "nan" in run.status["error"] and "accuracy" not in run.status
    assert list(run.history.epoch) == [1]
    assert all(torch.isfinite(v).all() for v in weights_of(run).values())
    assert not (run.path/"scores.json").exists()


def test_an_interrupt_in_the_forward_pass_ends_autocast(small, tiny, tmp_path, monkeypatch):
    "What is computed next in the same notebook must not silently be in bf16."
    def interrupt(cb): raise KeyboardInterrupt
    monkeypatch.setattr(Bad, "order", Precision.order + 1)
    with_bad(monkeypatch, 0, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(small, recipe_of(dict(precision="bf16")), tmp_path)
        assert not torch.is_autocast_enabled("cpu")
    finally:
        torch.set_autocast_enabled("cpu", False)
