"""Learning rates of the schedules, against PyTorch's and fastai's own and closed forms."""
import math

import numpy as np
import pytest
import torch
from fastai.callback.schedule import ParamScheduler, combine_scheds
from helpers.nets import learner
from helpers.refusals import refuses

from segfast.core.errors import UsageError
from segfast.training.schedules import SCHEDULE_FUNCTIONS, seg_schedule


def torch_rates(scheduler, n, lr=1., **kw):
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=.9)
    sched, rates = scheduler(opt, **kw), []
    for _ in range(n):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        sched.step()
    return rates


def test_step_is_pytorchs():
    for epochs in 1, 6, 49, 100:  # 49: 1/49*49 is below 1
        for every, gamma in ((4, .5), (1, .9), (7, .1)):
            f = seg_schedule("step", 3e-4, epochs, every=every, gamma=gamma)["lr"]
            want = torch_rates(torch.optim.lr_scheduler.StepLR, epochs, 3e-4, step_size=every, gamma=gamma)
            np.testing.assert_allclose([f(e/epochs) for e in range(epochs)], want, rtol=1e-9)
            np.testing.assert_allclose([f((e + .99)/epochs) for e in range(epochs)], want, rtol=1e-9)
    assert [seg_schedule("step", 2e-4, 6)["lr"](e/6) for e in range(6)] == [2e-4]*4 + [1e-4]*2


@pytest.mark.parametrize("power", [.9, 1, 2])
def test_poly_is_pytorchs(power):
    f = seg_schedule("poly", .01, 10, power=power)["lr"]
    want = torch_rates(torch.optim.lr_scheduler.PolynomialLR, 200, .01, total_iters=200, power=power)
    np.testing.assert_allclose([f(i/200) for i in range(200)], want, rtol=1e-8)
    assert f(1) == f(1 + 1e-12) == 0
    assert seg_schedule("poly", 1., 10)["lr"](.5) == pytest.approx(.5**.9)


def test_one_cycle_is_pytorchs():
    "Theirs ends at the last step, fastai's one step behind it, and their momentum is a group's."
    n, pct = 201, .25
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1, momentum=.9)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, .01, total_steps=n, pct_start=(pct*(n - 1) + 1)/n, div_factor=25,
                                                final_div_factor=1e5/25, base_momentum=.85, max_momentum=.95)
    f, got, want = seg_schedule("one_cycle", .01, 10), [], []
    for i in range(n):
        want.append((opt.param_groups[0]["lr"], opt.param_groups[0]["momentum"]))
        got.append((f["lr"](i/(n - 1)), f["mom"](i/(n - 1))))
        opt.step()
        if i < n - 1: sched.step()
    np.testing.assert_allclose(got, want, rtol=1e-5)


def fitted(fit):
    learn = learner()
    with learn.no_bar(), learn.no_logging():
        fit(learn)
    return {k: [float(o) for o in v] for k, v in learn.recorder.hps.items()}


@pytest.mark.parametrize("name,theirs", [("one_cycle", "fit_one_cycle"), ("flat_cos", "fit_flat_cos")])
def test_is_fastais_own(name, theirs):
    want = fitted(lambda l: getattr(l, theirs)(4, slice(1e-4, 1e-2)))
    got = fitted(lambda l: l.fit(4, cbs=ParamScheduler(seg_schedule(name, np.array([1e-4, 1e-2]), 4))))
    assert set(got) == set(want) and len(got["lr"]) == 20
    for k in want:
        np.testing.assert_allclose(got[k], want[k], rtol=1e-5)
    assert max(got["lr"]) > 1.05*min(got["lr"])


@pytest.mark.parametrize("name", SCHEDULE_FUNCTIONS)
@pytest.mark.parametrize("start", [1, 3, 5])
def test_goes_on_from_an_epoch(name, start):
    epochs = 6
    whole = fitted(lambda l: l.fit(epochs, cbs=ParamScheduler(seg_schedule(name, np.array([1e-4, 1e-2]), epochs))))
    rest = fitted(lambda l: l.fit(epochs, cbs=ParamScheduler(seg_schedule(name, np.array([1e-4, 1e-2]), epochs)),
                                  start_epoch=start))
    for k in whole:
        np.testing.assert_allclose(rest[k], whole[k][5*start:], rtol=1e-9)
    if name != "constant":
        again = fitted(lambda l: l.fit(epochs - start,
                                       cbs=ParamScheduler(seg_schedule(name, np.array([1e-4, 1e-2]), epochs - start))))
        assert not np.allclose(again["lr"], whole["lr"][5*start:], rtol=1e-3) or (name == "step" and start == 1
            and epochs - start <= 4)


@pytest.mark.parametrize("name", SCHEDULE_FUNCTIONS)
def test_groups_keep_their_proportion(name):
    f, one = seg_schedule(name, np.array([1e-5, 1e-4, 1e-3]), 8)["lr"], seg_schedule(name, 1e-3, 8)["lr"]
    for x in np.linspace(0, .999, 50):
        np.testing.assert_allclose(f(x), one(x)*np.array([.01, .1, 1]), rtol=1e-9)
        assert 0 < one(x) <= 1e-3*(1 + 1e-12)
    assert callable(combine_scheds([.5, .5], [one, one]))


def test_flat_cos_by_hand():
    f = seg_schedule("flat_cos", 2., 10)["lr"]
    assert [f(x) for x in (0, .3, .7499)] == [2.]*3
    for x in .75, .8, .9, 1:
        # fastai computes the progress within a part in float32
        assert f(x) == pytest.approx(2e-5 + (2 - 2e-5)*(1 + math.cos(math.pi*(x - .75)/.25))/2, rel=1e-6)


@pytest.mark.parametrize("name, kw, named", [
    ("cosine", {}, ["'cosine'", *SCHEDULE_FUNCTIONS]),
    ("step", dict(pct_start=.2), ["'step'", "'pct_start'", "every", "gamma"]),
    ("constant", dict(power=1), ["'constant'", "'power'"]),
    ("one_cycle", dict(pct_start=0), ["one_cycle", "pct_start", 0]),
    ("flat_cos", dict(pct_start=1), ["flat_cos", "pct_start", 1]),
    ("step", dict(every=0), ["step", "every", 0]),
    ("step", dict(gamma=1.5), ["step", "gamma", 1.5]),
    ("poly", dict(power=-1), ["poly", "power", -1])])
def test_schedule_errors(name, kw, named):
    with refuses(UsageError, *named):
        seg_schedule(name, 1e-3, 5, **kw)
