"""Cross-entropy without void, against PyTorch's own and against arithmetic by hand."""
import math

import pytest
import torch
import torch.nn.functional as F
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.torch_core import TensorImage, TensorMask

from segfast.errors import UsageError
from segfast.losses import LOSSES, VoidCrossEntropy, register_loss, seg_loss
from segfast.masks import ClassTable

N = 5
voids = pytest.mark.parametrize("void", [0, 2, N - 1, 255, None])


def batch(void, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits, targ = 3*torch.randn(2, N, 6, 7, generator=g), torch.randint(N, (2, 6, 7), generator=g)
    if void is not None:
        targ[torch.rand(targ.shape, generator=g) < 0.3] = void
    return logits, targ


def loss_for(void):
    return seg_loss("cross_entropy", ClassTable([f"class{i}" for i in range(N)], void=void))


def grad(f, logits, targ):
    x = logits.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    value = f(x, targ)
    value.backward()
    return value.detach(), x.grad


@voids
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_is_pytorchs_where_something_is_labelled(void, layout):
    logits, targ = batch(void)
    logits = logits.to(memory_format=layout)
    ignore = -100 if void is None else void
    got = grad(loss_for(void), logits, targ)
    want = grad(lambda x, y: F.cross_entropy(x, y, ignore_index=ignore), logits, targ)
    torch.testing.assert_close(got, want)
    pixels = VoidCrossEntropy(ignore, reduction="none")(logits, targ)
    torch.testing.assert_close(pixels, F.cross_entropy(logits, targ, ignore_index=ignore, reduction="none"))
    torch.testing.assert_close(VoidCrossEntropy(ignore, reduction="sum")(logits, targ), pixels.sum())


def test_by_hand():
    logits = torch.log(torch.tensor([[.5, .25, .25], [.1, .8, .1], [.2, .2, .6]])).T.reshape(1, 3, 1, 3) + 7
    got = VoidCrossEntropy(2)(logits, torch.tensor([[[0, 1, 2]]]))
    assert got.item() == pytest.approx(-(math.log(.5) + math.log(.8))/2, rel=1e-5)


@pytest.mark.parametrize("void", [0, 2, N - 1, 255])
def test_void_gets_no_gradient_and_no_say(void):
    logits, targ = batch(void)
    value, g = grad(loss_for(void), logits, targ)
    is_void = (targ == void)[:, None].expand_as(g)
    assert (g[is_void] == 0).all() and (g[~is_void] != 0).all()
    assert loss_for(void)(torch.where(is_void, 50*torch.ones(()), logits), targ) == value
    if void < N:  # the comparison can fail: void learnt as a class gives another loss and pulls at void pixels
        value2, g2 = grad(VoidCrossEntropy(), logits, targ)
        assert abs(value2 - value) > 1e-3 and (g2[is_void] != 0).any()


@pytest.mark.parametrize("weight", [None, [1., 2., 3., 4., 5.]])
@pytest.mark.parametrize("void", [0, 255])
def test_all_void_is_zero_not_nan(void, weight):
    logits = batch(None)[0]
    value, g = grad(VoidCrossEntropy(void, weight), logits, torch.full((2, 6, 7), void))
    assert value.item() == 0. and (g == 0).all()
    assert F.cross_entropy(logits, torch.full((2, 6, 7), void), ignore_index=void).isnan()


@voids
def test_weights_are_pytorchs(void):
    logits, targ = batch(void)
    weight = torch.tensor([.1, 0., .3, .01, .02])
    ignore = -100 if void is None else void
    got = VoidCrossEntropy(ignore, weight.tolist())(logits, targ)
    torch.testing.assert_close(got, F.cross_entropy(logits, targ, weight=weight, ignore_index=ignore))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_logits_are_summed_in_float32(dtype):
    logits, targ = batch(2)
    logits = logits.to(dtype)
    value, g = grad(loss_for(2), logits, targ)
    assert value.dtype == torch.float32 and g.dtype == dtype
    torch.testing.assert_close(value, loss_for(2)(logits.float(), targ))


def test_float32_under_autocast():
    logits, targ = batch(2)
    want = loss_for(2)(logits, targ)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = loss_for(2)(logits, targ)
    assert got.dtype == torch.float32 and got == want


@voids
def test_forms_of_input(void):
    logits, targ = batch(void)
    loss = loss_for(void)
    want = loss(logits, targ)
    for x, y in ((TensorImage(logits), TensorMask(targ)), (logits, TensorMask(targ.byte())), (logits, targ.int())):
        got = loss(x, y)
        assert type(got) is torch.Tensor and got == want


def test_mask_of_another_shape_or_value():
    logits, targ = batch(2)
    with pytest.raises((RuntimeError, ValueError)):
        loss_for(2)(logits, targ[:, None])
    targ[0, 0, 0] = 77
    with pytest.raises(IndexError, match="77"):
        loss_for(2)(logits, targ)


def test_activation_and_decodes():
    logits, _ = batch(2)
    loss = loss_for(2)
    p = loss.activation(logits)
    torch.testing.assert_close(p.sum(1), torch.ones(2, 6, 7))
    assert torch.equal(loss.decodes(p), loss.decodes(logits)) and loss.decodes(logits).shape == (2, 6, 7)


def test_learner_predicts_and_gives_losses():
    items = [(x, TensorMask(y)) for x, y in zip(torch.randn(4, 3, 6, 7), batch(2)[1].repeat(2, 1, 1))]
    dls = DataLoaders(DataLoader(items, bs=2), DataLoader(items, bs=2))
    learn = Learner(dls, torch.nn.Conv2d(3, N, 1), loss_func=loss_for(2))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.1)
        probs, targs, decoded, losses = learn.get_preds(with_decoded=True, with_loss=True)
    assert probs.shape == (4, N, 6, 7) and decoded.shape == targs.shape == (4, 6, 7)
    torch.testing.assert_close(probs.sum(1), torch.ones(4, 6, 7))
    assert learn.loss_func.reduction == "mean"
    # fastai averages an image's loss over all its pixels, and those of void are 0
    pixels = -probs.gather(1, targs.clamp(max=N - 1)[:, None])[:, 0].log() * (targs != 2)
    torch.testing.assert_close(torch.as_tensor(losses), pixels.mean((1, 2)).as_subclass(torch.Tensor), rtol=1e-4, atol=1e-5)


def test_registry():
    t = ClassTable(["a", "b"])
    assert seg_loss("cross_entropy", t).ignore_index == -100
    with pytest.raises(UsageError, match=r"Unknown loss 'cros_entropy'. Did you mean 'cross_entropy'\? Accepted: cross_entropy"):
        seg_loss("cros_entropy", t)
    with pytest.raises(UsageError, match="Accepted: cross_entropy"):
        seg_loss(None, t)

    @register_loss
    def ours(classes):
        return VoidCrossEntropy(classes.ignore_index, weight=[1, 2])
    try:
        assert seg_loss("ours", t).weight.tolist() == [1, 2]
    finally:
        del LOSSES["ours"]
