"""Steps of the optimizers, against PyTorch's own."""
from copy import deepcopy

import pytest
import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from helpers.nets import gradients, learner, make_net, weights
from helpers.refusals import first_named, refuses
from torch import nn

from segfast.core.errors import UsageError
from segfast.training.optimizers import OPTIMIZERS, seg_optimizer


class SlowAndFast:
    "Lookahead (Zhang et al. 2019): every k steps the slow weights go half the way, the fast ones too."
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
    "Decoupled decay in front of an optimizer that has none: weights shrink by 1 - lr*wd."
    def __init__(self, opt, wds):
        self.opt, self.wds, self.param_groups = opt, wds, opt.param_groups

    @torch.no_grad()
    def step(self):
        for g, wd in zip(self.param_groups, self.wds):
            for p in g["params"]:
                p.mul_(1 - g["lr"]*wd)
        self.opt.step()


def theirs(name, groups, wds):
    def dicts(**kw):
        return [dict(params=p, **({"weight_decay": wd} if kw.get("decay", True) else {})) for p, wd in zip(groups, wds)]
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
    learn = Learner(DataLoaders([], []), ours_net, loss_func=nn.MSELoss(), opt_func=seg_optimizer(name),
                    splitter=lambda m: [list(m[:3].parameters()), list(m[3].parameters())], wd=wd)
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
        learn = Learner(DataLoaders([], []), net, loss_func=nn.MSELoss(), opt_func=seg_optimizer(name),
                        splitter=lambda m: [list(m[:3].parameters()), list(m[3].parameters())], wd_bn_bias=everything)
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
    opt, ref = seg_optimizer("adamw")(list(ours_net.parameters()), lr=1e-3,
                                      wd=0.), torch.optim.Adam(ref_net.parameters(), lr=1e-3)
    assert_same_steps(ours_net, opt, ref_net, ref)


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
