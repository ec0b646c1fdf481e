"""Steps of the optimisers, rates of the schedules and averages of the weights, against PyTorch's own and closed forms."""
import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from fastai.callback.progress import ProgressCallback  # noqa: F401 - gives learners no_bar
from fastai.callback.schedule import ParamScheduler, combine_scheds
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from helpers.refusals import first_named, refuses
from torch import nn

from segfast.core.errors import DataError, UsageError
from segfast.training.ema import EMA, ema_decay
from segfast.training.optimizers import OPTIMIZERS, seg_optimizer
from segfast.training.schedules import schedules, seg_schedule


def make_net():
    "Without a bias before the norm: its gradient is 0 but for rounding, which Adam would blow up."
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 3))


def gradients(net, i):
    net.zero_grad()
    g = torch.Generator().manual_seed(i)
    x, y = torch.randn(4, 3, 8, 8, generator=g), torch.randn(4, 2, 4, 4, generator=g)
    (net(x) - y).pow(2).mean().backward()


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


class SlowAndFast:
    "Lookahead (Zhang et al. 2019), written from the paper: every k steps the slow weights go half the way, and the fast ones start there."
    def __init__(self, opt, k=6, alpha=.5):
        self.opt, self.k, self.alpha, self.t = opt, k, alpha, 0
        self.params = [p for g in opt.param_groups for p in g["params"]]
        self.slow = [p.detach().clone() for p in self.params]
        self.param_groups = opt.param_groups

    @torch.no_grad()
    def step(self):
        self.opt.step()
        self.t += 1
        if self.t % self.k == 0:
            for p, s in zip(self.params, self.slow):
                s += self.alpha*(p - s)
                p.copy_(s)


class Decayed:
    "Decoupled decay in front of an optimiser that has none: weights shrink by 1 - lr*wd."
    def __init__(self, opt, wds):
        self.opt, self.wds, self.param_groups = opt, wds, opt.param_groups

    @torch.no_grad()
    def step(self):
        for g, wd in zip(self.param_groups, self.wds):
            for p in g["params"]:
                p.mul_(1 - g["lr"]*wd)
        self.opt.step()


def theirs(name, groups, wds):
    def dicts(**kw): return [dict(params=p, **({"weight_decay": wd} if kw.get("decay", True) else {})) for p, wd in zip(groups, wds)]
    if name == "adam":
        return torch.optim.AdamW(dicts(), lr=1, betas=(.9, .99), eps=1e-5)
    if name == "adamw":
        return torch.optim.AdamW(dicts(), lr=1)
    if name == "sgd":
        return Decayed(torch.optim.SGD(dicts(decay=False), lr=1, momentum=.9), wds)
    if name == "ranger":
        return SlowAndFast(torch.optim.RAdam(dicts(), lr=1, betas=(.95, .99), eps=1e-6, decoupled_weight_decay=True))
    raise AssertionError(f"{name} has no reference")


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("wd", [0., .3])
def test_steps_are_pytorchs_with_rates_by_group_and_no_decay_of_norms(name, wd):
    ours_net, ref_net = make_net(), make_net()
    learn = Learner(DataLoaders([], []), ours_net, loss_func=nn.MSELoss(), opt_func=seg_optimizer(name), splitter=lambda m: [list(m[:3].parameters()), list(m[3].parameters())], wd=wd)
    learn.create_opt()
    opt = learn.opt
    opt.set_hyper("wd", wd)
    m = ref_net
    # fastai decays neither batch norms nor biases; the first conv and its norm are the deeper group
    groups = [[m[0].weight], [m[1].weight, m[1].bias], [m[3].weight], [m[3].bias]]
    ref = theirs(name, groups, [wd, 0, wd, 0])
    start = weights(ours_net)
    for i in range(25):
        rates = [1e-3/(1 + i/10), 1e-2/(1 + i/10)]
        opt.set_hyper("lr", rates)
        for g, r in zip(ref.param_groups, [rates[0], rates[0], rates[1], rates[1]]):
            g["lr"] = r
        gradients(ours_net, i)
        gradients(ref_net, i)
        opt.step()
        ref.step()
    ours = weights(ours_net)
    torch.testing.assert_close(ours, weights(ref_net), rtol=2e-5, atol=2e-6 if name != "ranger" else 1e-5)
    assert (ours - start).abs().max() > 5e-3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_comparison_can_fail(name):
    "Another decay, the same rate for all groups, and decay of everything lead elsewhere."
    def end(wd, low, everything=False):
        net = make_net()
        learn = Learner(DataLoaders([], []), net, loss_func=nn.MSELoss(), opt_func=seg_optimizer(name), splitter=lambda m: [list(m[:3].parameters()), list(m[3].parameters())], wd_bn_bias=everything)
        learn.create_opt()
        learn.opt.set_hypers(wd=wd, lr=[low, 1e-2])
        for i in range(10):
            gradients(net, i)
            learn.opt.step()
        return weights(net)
    base = end(.3, 1e-3)
    for other in end(0., 1e-3), end(.3, 1e-2), end(.3, 1e-3, everything=True):
        assert (other - base).abs().max() > 1e-4


def assert_same_steps(ours_net, opt, ref_net, ref):
    "Twenty steps on the same gradients lead to the same weights."
    for i in range(20):
        gradients(ours_net, i)
        gradients(ref_net, i)
        opt.step()
        ref.step()
    torch.testing.assert_close(weights(ours_net), weights(ref_net), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wd", [0., .1])
def test_sgd_with_pytorchs_decay(wd):
    ours_net, ref_net = make_net(), make_net()
    opt = seg_optimizer("sgd", decouple_wd=False)(list(ours_net.parameters()), lr=1e-2, wd=wd)
    ref = torch.optim.SGD(ref_net.parameters(), lr=1e-2, momentum=.9, weight_decay=wd)
    assert_same_steps(ours_net, opt, ref_net, ref)


def test_adamw_without_decay_is_pytorchs_adam():
    ours_net, ref_net = make_net(), make_net()
    opt, ref = seg_optimizer("adamw")(list(ours_net.parameters()), lr=1e-3, wd=0.), torch.optim.Adam(ref_net.parameters(), lr=1e-3)
    assert_same_steps(ours_net, opt, ref_net, ref)


def learner(name="adam", n=40, moms=(.95, .85, .95)):
    torch.manual_seed(1)
    items = [(x, 2*x[:2, 2:6, 2:6]) for x in torch.randn(n, 3, 8, 8)]
    dls = DataLoaders(DataLoader(items, bs=8), DataLoader(items[:8], bs=8))
    return Learner(dls, make_net(), loss_func=nn.MSELoss(), opt_func=seg_optimizer(name), moms=moms, lr=1e-2,
                   splitter=lambda m: [list(m[:3].parameters()), list(m[3].parameters())], wd=1e-2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_learner_trains_frozen_and_free(name):
    learn = learner(name)
    body, head = weights(learn.model[:3]), weights(learn.model[3])
    with learn.no_bar(), learn.no_logging():
        first = learn.validate(ds_idx=0)[0]
        learn.freeze()
        learn.fit_one_cycle(2, 2e-2)
        moved = weights(learn.model[3])
        assert (moved != head).any() and torch.equal(learn.model[0].weight.detach().flatten(), body[:162])
        learn.unfreeze()
        learn.fit_one_cycle(3, slice(1e-3, 2e-2))
        assert not torch.equal(learn.model[0].weight.detach().flatten(), body[:162])
        assert learn.validate(ds_idx=0)[0] < first


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_goes_on_exactly(name):
    a = make_net()
    opt = seg_optimizer(name)(list(a.parameters()), lr=1e-2)
    for i in range(7):
        gradients(a, i)
        opt.step()
    b = deepcopy(a)
    opt2 = seg_optimizer(name)(list(b.parameters()), lr=1e-2)
    opt2.load_state_dict(deepcopy(opt.state_dict()))
    fresh = deepcopy(a)
    opt3 = seg_optimizer(name)(list(fresh.parameters()), lr=1e-2)
    for i in range(7, 14):
        for net, o in ((a, opt), (b, opt2), (fresh, opt3)):
            gradients(net, i)
            o.step()
    assert torch.equal(weights(a), weights(b)) and not torch.equal(weights(a), weights(fresh))


def test_names():
    with refuses(UsageError, "optimizer", "'rangr'", *OPTIMIZERS) as e:
        seg_optimizer("rangr")
    assert first_named(e, OPTIMIZERS) == "ranger" != list(OPTIMIZERS)[0]
    assert seg_optimizer("adam") is OPTIMIZERS["adam"]


# ---- schedules

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
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, .01, total_steps=n, pct_start=(pct*(n - 1) + 1)/n, div_factor=25, final_div_factor=1e5/25, base_momentum=.85, max_momentum=.95)
    f, got, want = seg_schedule("one_cycle", .01, 10), [], []
    for i in range(n):
        want.append((opt.param_groups[0]["lr"], opt.param_groups[0]["momentum"]))
        got.append((f["lr"](i/(n - 1)), f["mom"](i/(n - 1))))
        opt.step()
        if i < n - 1: sched.step()
    np.testing.assert_allclose(got, want, rtol=1e-6)


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


@pytest.mark.parametrize("name", schedules)
@pytest.mark.parametrize("start", [1, 3, 5])
def test_goes_on_from_an_epoch(name, start):
    epochs = 6
    whole = fitted(lambda l: l.fit(epochs, cbs=ParamScheduler(seg_schedule(name, np.array([1e-4, 1e-2]), epochs))))
    rest = fitted(lambda l: l.fit(epochs, cbs=ParamScheduler(seg_schedule(name, np.array([1e-4, 1e-2]), epochs)), start_epoch=start))
    for k in whole:
        np.testing.assert_allclose(rest[k], whole[k][5*start:], rtol=1e-9)
    if name != "constant":
        again = fitted(lambda l: l.fit(epochs - start, cbs=ParamScheduler(seg_schedule(name, np.array([1e-4, 1e-2]), epochs - start))))
        assert not np.allclose(again["lr"], whole["lr"][5*start:], rtol=1e-3) or (name == "step" and start == 1 and epochs - start <= 4)


@pytest.mark.parametrize("name", schedules)
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
        assert f(x) == pytest.approx(2e-5 + (2 - 2e-5)*(1 + math.cos(math.pi*(x - .75)/.25))/2, rel=1e-9)


@pytest.mark.parametrize("name, kw, named", [
    ("cosine", {}, ["'cosine'", *schedules]),
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


def test_schedules_need_no_torch():
    import subprocess
    import sys
    code = "import sys, segfast.training.schedules; assert not {'torch', 'fastai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- averages

def shaken(net, n, decay=.9):
    "Random weights at each step, and every state the model was in."
    ema, states = EMA(net, decay), [deepcopy(net.state_dict())]
    for i in range(n):
        g = torch.Generator().manual_seed(i)
        with torch.no_grad():
            for p in net.parameters(): p.copy_(torch.randn(p.shape, generator=g))
        net(torch.randn(2, 3, 8, 8, generator=g))
        ema.update()
        states.append(deepcopy(net.state_dict()))
    return ema, states


@pytest.mark.parametrize("decay", [0., .5, .9, .999])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_ema_in_closed_form(decay, layout):
    net = make_net().to(memory_format=layout)
    ema, states = shaken(net, 30, decay)
    d = [min(decay, (1 + t)/(10 + t)) for t in range(30)]
    share = [np.prod(d)] + [(1 - d[t])*np.prod(d[t+1:]) for t in range(30)]  # of each state in the average
    assert sum(share) == pytest.approx(1)
    got, params = ema.state_dict(), dict(net.named_parameters())
    for k, v in net.state_dict().items():
        want = sum(s*o[k].double() for s, o in zip(share, states)) if k in params else v
        torch.testing.assert_close(got[k].double(), want.double(), rtol=1e-5, atol=1e-6)
        assert got[k].dtype == v.dtype and got[k].is_contiguous()
    assert ema.updates == 30 and got["1.num_batches_tracked"] == 30
    if decay: assert (got["0.weight"] - net[0].weight).abs().max() > .1


def test_ema_is_pytorchs_without_the_warm_up(monkeypatch):
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    monkeypatch.setattr("segfast.training.ema.ema_decay", lambda updates, decay: decay)
    net = make_net()
    ref = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(.9))
    ref.update_parameters(net)  # theirs begins with a copy
    ema = EMA(net, .9)
    for _ in range(20):
        with torch.no_grad():
            for p in net.parameters(): p.add_(torch.randn(p.shape))
        ema.update()
        ref.update_parameters(net)
    for k, v in ref.module.named_parameters():
        torch.testing.assert_close(ema.state_dict()[k], v.detach())


def test_ema_swaps_in_and_out():
    ema, _ = shaken(make_net(), 10)
    net, live = ema.model, deepcopy(ema.model.state_dict())
    average = ema.state_dict()
    with pytest.raises(KeyboardInterrupt), ema.averaged() as inside:
        assert inside is net and all(torch.equal(v, average[k]) for k, v in net.state_dict().items())
        assert any(not torch.equal(v, live[k]) for k, v in net.state_dict().items())
        net.eval()
        net[1].running_mean.add_(1)  # whatever happens inside is forgotten
        for f in ema.update, ema.averaged().__enter__:
            with refuses(RuntimeError, "EMA"):
                f()
        assert all(torch.equal(v, average[k]) for k, v in ema.state_dict().items())
        raise KeyboardInterrupt
    assert all(torch.equal(v, live[k]) for k, v in net.state_dict().items())
    assert all(torch.equal(v, average[k]) for k, v in ema.state_dict().items())
    ema.swap()
    ema.swap()
    assert all(torch.equal(v, live[k]) for k, v in net.state_dict().items()) and ema.live is None


def test_ema_leaves_the_training_alone():
    def trained(watched):
        net = make_net()
        opt, ema = seg_optimizer("adam")(list(net.parameters()), lr=1e-2), EMA(net, .9)
        for i in range(12):
            gradients(net, i)
            opt.step()
            if watched:
                ema.update()
                if i % 4 == 3:
                    with ema.averaged(), torch.no_grad(): net.eval()(torch.randn(1, 3, 8, 8)); net.train()
        return weights(net)
    assert torch.equal(trained(True), trained(False))


def test_ema_through_safetensors_goes_on_exactly(tmp_path):
    from safetensors.torch import load_file, save_file
    net = make_net().to(memory_format=torch.channels_last)
    ema, _ = shaken(net, 9)
    save_file(ema.state_dict(), tmp_path/"ema.safetensors")
    twin = EMA(deepcopy(net), .9)
    twin.load_state_dict(load_file(tmp_path/"ema.safetensors"), updates=ema.updates)
    cold = EMA(deepcopy(net), .9)
    for e in ema, twin, cold:
        for i in range(5):
            with torch.no_grad():
                for p in e.model.parameters(): p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(100 + i)))
            e.update()
    a, b, c = (o.state_dict() for o in (ema, twin, cold))
    assert all(torch.equal(a[k], b[k]) for k in a) and any(not torch.equal(a[k], c[k]) for k in a)
    fresh = make_net()
    fresh.load_state_dict(load_file(tmp_path/"ema.safetensors"))
    snapshot = twin.state_dict()
    twin.update()
    assert all(torch.equal(snapshot[k], b[k]) for k in b)  # a state does not change afterwards
    with refuses(DataError, 1, "3.bias"):
        twin.load_state_dict({k: v for k, v in b.items() if k != "3.bias"}, 1)
    with refuses(DataError, 1, "3.bias"):
        twin.load_state_dict({**b, "3.bias": torch.zeros(7)}, 1)


def test_ema_of_low_precision_does_not_stand_still():
    net = nn.Linear(4, 4, bias=False).bfloat16()
    nn.init.ones_(net.weight)
    ema = EMA(net, .999)
    ema.updates = 10**6  # no warm-up
    with torch.no_grad(): net.weight += 1
    for _ in range(1000): ema.update()
    want = 2 - .999**1000
    assert ema.average["weight"].mean().item() == pytest.approx(want, rel=1e-4)
    stuck = torch.ones(1).bfloat16()
    for _ in range(1000): stuck.lerp_(torch.full((1,), 2.).bfloat16(), .001)
    assert stuck < 1.2 < want
    assert ema.state_dict()["weight"].dtype == torch.bfloat16
    with ema.averaged(): assert net.weight.dtype == torch.bfloat16 and net.weight.mean() > 1.5


def test_ema_warm_up_and_errors():
    assert [ema_decay(t) for t in (0, 1, 8, 90)] == [.1, 2/11, .5, .91] and ema_decay(10**5) == .999 and ema_decay(5, .3) == .3
    for bad in 1, -.1, 1.5, float("nan"):
        with refuses(UsageError, "EMA", bad, 0, 1):
            EMA(make_net(), bad)
