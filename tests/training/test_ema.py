"""The moving average of the weights, in closed form, against PyTorch's own, and through a file."""
from copy import deepcopy

import numpy as np
import pytest
import torch
from helpers.nets import gradients, learner, make_net, weights
from helpers.refusals import refuses

from segfast.core.errors import UsageError
from segfast.training.ema import AverageWeights, ema_decay, ema_updates, load_ema, make_ema
from segfast.training.optimizers import seg_optimizer


def shaken(net, n, decay=.9):
    "Random weights at each step, and every state the model was in."
    ema, states = make_ema(net, decay), [deepcopy(net.state_dict())]
    for i in range(n):
        g = torch.Generator().manual_seed(i)
        with torch.no_grad():
            for p in net.parameters(): p.copy_(torch.randn(p.shape, generator=g))
        net(torch.randn(2, 3, 8, 8, generator=g))
        ema.update_parameters(net)
        states.append(deepcopy(net.state_dict()))
    return ema, states


@pytest.mark.parametrize("decay", [0., .5, .9, .999])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_in_closed_form(decay, layout):
    net = make_net().to(memory_format=layout)
    ema, states = shaken(net, 30, decay)
    d = [min(decay, (1 + t)/(10 + t)) for t in range(30)]
    share = [np.prod(d)] + [(1 - d[t])*np.prod(d[t+1:]) for t in range(30)]  # of each state in the average
    assert sum(share) == pytest.approx(1)
    got, params = ema.module.state_dict(), dict(net.named_parameters())
    for k, v in net.state_dict().items():
        want = sum(s*state[k].double() for s, state in zip(share, states)) if k in params else v
        torch.testing.assert_close(got[k].double(), want.double(), rtol=1e-5, atol=1e-6)
        assert got[k].dtype == v.dtype
    assert ema_updates(ema) == 30 and got["1.num_batches_tracked"] == 30
    if decay: assert (got["0.weight"] - net[0].weight).abs().max() > .1


def test_is_pytorchs_without_the_warm_up(monkeypatch):
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    monkeypatch.setattr("segfast.training.ema.ema_decay", lambda updates, decay: decay)
    net = make_net()
    ref = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(.9))
    ref.update_parameters(net)  # theirs begins with a copy
    ema = make_ema(net, .9)
    for _ in range(20):
        with torch.no_grad():
            for p in net.parameters(): p.add_(torch.randn(p.shape))
        ema.update_parameters(net)
        ref.update_parameters(net)
    ours = ema.module.state_dict()
    for k, v in ref.module.named_parameters():
        torch.testing.assert_close(ours[k], v.detach())


def test_a_step_is_one_lerp():
    "Bit for bit the step that checkpoints of earlier trainings were made with."
    net = make_net()
    ema, want = make_ema(net, .9), {k: p.detach().clone() for k, p in net.named_parameters()}
    for i in range(12):
        with torch.no_grad():
            for p in net.parameters(): p.add_(torch.randn(p.shape))
        ema.update_parameters(net)
        for k, p in net.named_parameters(): want[k].lerp_(p.detach(), 1 - ema_decay(i, .9))
    assert all(torch.equal(want[k], v) for k, v in ema.module.named_parameters())


def test_the_average_is_validated():
    "In evaluation mode, and the model that trains is in its place again afterwards, whatever happens."
    from fastai.callback.core import Callback
    learn, seen = learner(), []
    ema, model = make_ema(learn.model, .9), learn.model

    class Look(Callback):
        def after_pred(self):
            if not self.training:
                seen.append((self.model is ema.module, self.model.training, self.learn.model[1].training))
        def after_epoch(self): seen.append(self.learn.model is model)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, cbs=[AverageWeights(ema), Look()])
    assert seen == [(True, False, False), True]*2
    assert ema_updates(ema) == 10 and any(not torch.equal(a, b)
                                          for a, b in zip(model.parameters(), ema.module.parameters()))


def test_leaves_the_training_alone():
    def trained(watched):
        net = make_net()
        opt, ema = seg_optimizer("adam")(list(net.parameters()), lr=1e-2), make_ema(net, .9)
        for i in range(12):
            gradients(net, i)
            opt.step()
            if watched:
                ema.update_parameters(net)
                with torch.no_grad(): ema.module.eval()(torch.randn(1, 3, 8, 8))
        return weights(net)
    assert torch.equal(trained(True), trained(False))


def test_continues_exactly_from_a_file(tmp_path):
    from safetensors.torch import load_file, save_file
    net = make_net().to(memory_format=torch.channels_last)
    ema, _ = shaken(net, 9)
    save_file({k: v.contiguous() for k, v in ema.module.state_dict().items()}, tmp_path/"ema.safetensors")
    twin, cold = make_ema(deepcopy(net), .9), make_ema(deepcopy(net), .9)
    load_ema(twin, load_file(tmp_path/"ema.safetensors"), ema_updates(ema))
    for e in ema, twin, cold:
        for i in range(5):
            with torch.no_grad():
                for p in net.parameters():
                    p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(100 + i)))
            e.update_parameters(net)
    a, b, c = (e.module.state_dict() for e in (ema, twin, cold))
    assert all(torch.equal(a[k], b[k]) for k in a) and any(not torch.equal(a[k], c[k]) for k in a)
    assert ema_updates(twin) == ema_updates(ema) == 14
    for state in {k: v for k, v in b.items() if k != "3.bias"}, {**b, "3.bias": torch.zeros(7)}:
        with pytest.raises(RuntimeError, match="3.bias"): load_ema(twin, state, 1)


def test_warm_up_and_errors():
    assert [ema_decay(t) for t in (0, 1, 8, 90)] == [.1, 2/11, .5, .91] and ema_decay(10**5) == .999 and ema_decay(5,
        .3) == .3
    for bad in 1, -.1, 1.5, float("nan"):
        with refuses(UsageError, "EMA", bad, 0, 1):
            make_ema(make_net(), bad)
