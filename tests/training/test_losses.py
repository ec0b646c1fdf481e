"""Every loss without void, against PyTorch's own, other libraries and arithmetic by hand."""
import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastai.callback.progress import ProgressCallback  # noqa: F401 - gives learners no_bar
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.torch_core import TensorImage, TensorMask
from helpers.refusals import first_named, refuses

from segfast.core.errors import UsageError
from segfast.data.classes import ClassTable
from segfast.training.losses import (
    LOSSES,
    WEIGHT_SCHEMES,
    VoidCrossEntropy,
    loss_terms,
    register_loss,
    seg_loss,
    uses_class_weights,
    weight_tensor,
    weights_from_counts,
    with_aux,
)

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
def test_is_pytorchs_where_something_is_labeled(void, layout):
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
    if void < N:  # the comparison can fail: void learned as a class gives another loss and pulls at void pixels
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
    torch.testing.assert_close(torch.as_tensor(losses), pixels.mean((1, 2)).as_subclass(torch.Tensor), rtol=1e-4,
                               atol=1e-5)


def test_registry():
    t = ClassTable(["a", "b"])
    assert seg_loss("cross_entropy", t).ignore_index == -100
    with refuses(UsageError, "loss", "'focl'", *LOSSES) as e:
        seg_loss("focl", t)
    assert first_named(e, LOSSES) == "focal" != list(LOSSES)[0]
    with refuses(UsageError, "None", *LOSSES):
        seg_loss(None, t)

    @register_loss
    def ours(classes):
        return VoidCrossEntropy(classes.ignore_index, weight=[1, 2])
    try:
        assert seg_loss("ours", t).weight.tolist() == [1, 2]
    finally:
        del LOSSES["ours"]

# ---- the other losses, each against somebody else's arithmetic

NAMES = [f"class{i}" for i in range(N)]
W = [.5, 2., .7, 1., 3.]


def table(void):
    return ClassTable(NAMES, void=void)


def flat(logits, targ, void):
    "Labeled pixels in float64: probabilities (pixels, classes), ids (pixels,)."
    p = torch.softmax(logits.double(), 1).permute(0, 2, 3, 1).reshape(-1, N).numpy()
    t = targ.reshape(-1).numpy()
    keep = t != (-100 if void is None else void)
    return p[keep], t[keep]


def np_ce(p, t): return -np.log(p[range(len(t)), t])


def np_weighted(p, t):
    w = np.array(W)[t]
    return (w*np_ce(p, t)).sum() / w.sum()


def np_focal(p, t, gamma=2.):
    return ((1 - p[range(len(t)), t])**gamma * np_ce(p, t)).mean()


def np_dice(p, t):
    return np.mean([1 - 2*p[t == c, c].sum()/(p[:, c].sum() + (t == c).sum()) for c in np.unique(t)])


def np_lovasz(p, t):
    "The definition: the set function 1 - IoU, evaluated on growing sets of wrong pixels."
    def jaccard(truth, wrong): return 1 - (truth & ~wrong).sum()/(truth | wrong).sum()
    losses = []
    for c in np.unique(t):
        truth = t == c
        errors = np.abs(truth - p[:, c])
        wrong, before, total = np.zeros(len(t), bool), 0., 0.
        for i in np.argsort(-errors, kind="stable"):
            wrong[i] = True
            now = jaccard(truth, wrong)
            total, before = total + errors[i]*(now - before), now
        losses.append(total)
    return np.mean(losses)


def np_ohem(p, t, thresh=.7, share=.1):
    order = np.argsort(p[range(len(t)), t])
    n = max(math.ceil(share*len(t)), (p[range(len(t)), t] < thresh).sum())
    return np_ce(p, t)[order[:n]].mean()


REFERENCES = dict(cross_entropy=lambda p, t: np_ce(p, t).mean(), weighted=np_weighted, focal=np_focal, dice=np_dice,
                  lovasz=np_lovasz, ohem=np_ohem)
REFERENCES["0.375·ce+1.125*dice"] = lambda p, t: .375*np_ce(p, t).mean() + 1.125*np_dice(p, t)
REFERENCES["ce + 2*lovasz + 0.5*weighted"] = lambda p, t: np_ce(p, t).mean() + 2*np_lovasz(p, t) + .5*np_weighted(p, t)
every = pytest.mark.parametrize("name", REFERENCES)


def make(name, void):
    return seg_loss(name, table(void), weights=W if uses_class_weights(name, need=True) else None)


def test_every_loss_has_a_reference():
    assert set(LOSSES) <= set(REFERENCES)


@every
@voids
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_is_its_definition(name, void, layout):
    for seed in range(3):
        logits, targ = batch(void, seed)
        got = make(name, void)(logits.to(memory_format=layout), targ)
        p, t = flat(logits, targ, void)
        assert got.dtype == torch.float32 and got.ndim == 0
        assert got.item() == pytest.approx(REFERENCES[name](p, t), rel=2e-5)
    # a loss that counted void or did nothing would not pass
    if void is not None and void < N:
        counted = REFERENCES[name](*flat(logits, targ, None))
        assert abs(counted - got.item()) > 1e-3*got.item()
    assert got > 0.01


@every
@pytest.mark.parametrize("void", [0, 2, N - 1, 255])
def test_no_loss_sees_void(name, void):
    logits, targ = batch(void)
    loss = make(name, void)
    value, g = grad(loss, logits, targ)
    is_void = (targ == void)[:, None].expand_as(g)
    assert (g[is_void] == 0).all() and g[~is_void].abs().sum() > 0
    other = torch.where(is_void, 50*torch.randn(logits.shape), logits)
    value2, g2 = grad(loss, other, targ)
    torch.testing.assert_close(value2, value)
    torch.testing.assert_close(g2, g)


@every
@pytest.mark.parametrize("void", [0, 2, 255])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_void_is_zero_with_every_loss(name, void, dtype):
    logits = 100*batch(None)[0].to(dtype)
    value, g = grad(make(name, void), logits, torch.full((2, 6, 7), void))
    assert value.item() == 0. and value.requires_grad is False and (g == 0).all() and g.dtype == dtype


@every
def test_gradient_is_the_slope(name):
    "Against finite differences; and downhill the loss falls to almost nothing, with every labeled pixel right."
    logits, targ = batch(2)
    loss = make(name, 2)
    x = logits[:, :, :3, :3].clone().requires_grad_()
    t = targ[:, :3, :3]
    value, g = grad(loss, x, t)
    step, e = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), 1e-2
    slope = (loss(x.detach() + e*step, t) - loss(x.detach() - e*step, t))/(2*e)
    assert slope.item() == pytest.approx((g*step).sum().item(), rel=0.03, abs=2e-3)
    x = torch.zeros_like(logits).requires_grad_()
    opt = torch.optim.Adam([x], lr=.3)
    start = loss(x, targ).item()
    for _ in range(60):
        opt.zero_grad()
        loss(x, targ).backward()
        opt.step()
    assert loss(x, targ).item() < .05*start
    wrong = (x.argmax(1) != targ) & (targ != 2)
    assert not wrong.any()


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_whatever_the_model_ran_in(name, dtype):
    logits, targ = batch(2)
    loss, half = make(name, 2), logits.to(dtype)
    want, g = grad(loss, half.float(), targ)
    with torch.autocast("cpu", dtype=dtype):
        got, g_half = grad(loss, half, targ)
    assert got.dtype == torch.float32 and got == want
    torch.testing.assert_close(g_half, g.to(dtype))


@every
def test_every_loss_survives_extremes(name):
    logits, targ = batch(2)
    for scale in 0, 1e4:
        value, g = grad(make(name, 2), scale*logits, targ)
        assert torch.isfinite(value) and torch.isfinite(g).all()
    certain = 200*F.one_hot(targ, N).movedim(-1, 1).float()
    value, g = grad(make(name, 2), certain, targ)
    assert value.abs() < 1e-5 and torch.isfinite(g).all()


@every
def test_every_loss_refuses_ids_outside(name):
    logits, targ = batch(2)
    targ[0, 0, 0] = 77
    with pytest.raises(IndexError, match="77"):
        make(name, 2)(logits, targ)


@every
def test_the_loss_of_each_image(name):
    "fastai sets `reduction` to none for `get_preds(with_loss=True)`."
    logits, targ = batch(2)
    targ[1, :3] = 2
    loss = make(name, 2)
    loss.reduction = "none"
    got = loss(logits, targ)
    assert got.shape[0] == 2
    if got.ndim == 1:
        loss.reduction = "mean"
        want = torch.stack([loss(logits[i:i+1], targ[i:i+1]) for i in range(2)])
        torch.testing.assert_close(got, want)


@voids
def test_segmentation_models_agree(void):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smp = pytest.importorskip("segmentation_models_pytorch.losses")
    for seed in range(3):
        logits, targ = batch(void, seed)
        present = len(targ[targ != (-100 if void is None else void)].unique())
        theirs = smp.LovaszLoss("multiclass", ignore_index=void)(logits, targ)
        torch.testing.assert_close(make("lovasz", void)(logits, targ), theirs, rtol=1e-4, atol=1e-6)
        if void is None or void < N:  # theirs builds one-hot targets of void as well
            # 0 for absent classes, averaged over all
            theirs = smp.DiceLoss("multiclass", ignore_index=void)(logits, targ)
            torch.testing.assert_close(make("dice", void)(logits, targ), theirs*N/present, rtol=1e-4, atol=1e-6)


def test_dice_is_over_the_classes_that_occur():
    logits, targ = batch(2)
    targ[targ == 4] = 3
    p, t = flat(logits, targ, 2)
    assert seg_loss("dice", table(2))(logits, targ).item() == pytest.approx(np_dice(p, t), rel=1e-5)
    assert len(np.unique(t)) == 3


@pytest.mark.parametrize("gamma", [0, .5, 1, 2, 5])
def test_focal_gamma_and_alpha(gamma):
    logits, targ = batch(2)
    p, t = flat(logits, targ, 2)
    got = seg_loss("focal", table(2), gamma=gamma)(logits, targ)
    assert got.item() == pytest.approx(np_focal(p, t, gamma), rel=1e-5)
    w = np.array(W)[t]
    alpha = seg_loss("focal", table(2), weights=W, gamma=gamma)(logits, targ)
    assert alpha.item() == pytest.approx((w*(1 - p[range(len(t)), t])**gamma*np_ce(p, t)).sum()/w.sum(), rel=1e-5)
    if gamma == 0:
        torch.testing.assert_close(got, seg_loss("ce", table(2))(logits, targ))


def test_focal_is_torchvisions_for_two_classes():
    "A softmax over (0, x) is a sigmoid of x."
    from torchvision.ops import sigmoid_focal_loss
    x, targ = torch.randn(2, 6, 7), torch.randint(2, (2, 6, 7))
    got = seg_loss("focal", ClassTable(["off", "on"]))(torch.stack([torch.zeros_like(x), x], 1), targ)
    torch.testing.assert_close(got, sigmoid_focal_loss(x, targ.float(), alpha=-1, gamma=2, reduction="mean"))


@pytest.mark.parametrize("thresh,share", [(.7, .1), (.05, .5), (.01, .1), (1., .1), (.7, 1.)])
def test_ohem_keeps_the_hard(thresh, share):
    logits, targ = batch(2)
    p, t = flat(logits, targ, 2)
    got, g = grad(seg_loss("ohem", table(2), thresh=thresh, min_kept=share), logits, targ)
    assert got.item() == pytest.approx(np_ohem(p, t, thresh, share), rel=1e-5)
    kept = max(math.ceil(share*len(t)), (p[range(len(t)), t] < thresh).sum())
    assert (g.abs().sum(1) > 0).sum() == kept
    for bad in dict(thresh=0), dict(thresh=1.1), dict(min_kept=0):
        with refuses(UsageError, *(o for item in bad.items() for o in item), 0, 1):
            seg_loss("ohem", table(2), **bad)


def test_lovasz_is_iou_for_certain_answers():
    from sklearn.metrics import jaccard_score
    logits, targ = batch(2)
    guess = torch.randint(N, targ.shape)
    certain = 200*F.one_hot(guess, N).movedim(-1, 1).float()
    keep = targ != 2
    present = targ[keep].unique().tolist()
    want = jaccard_score(targ[keep].numpy(), guess[keep].numpy(), labels=present, average="macro", zero_division=0)
    assert seg_loss("lovasz", table(2))(certain, targ).item() == pytest.approx(1 - want, rel=1e-5)


def test_lovasz_steps_are_exact_at_a_million_pixels():
    "Differences of neighboring IoUs, as they are usually taken, are noise in float32."
    from segfast.training.losses import _jaccard_steps
    truth = torch.rand(1_000_000, generator=torch.Generator().manual_seed(0)) < .3
    def by_differences(dtype):
        gts, t = truth.sum(), truth.to(dtype)
        j = 1 - (gts - t.cumsum(0))/(gts + (1 - t).cumsum(0))
        return torch.cat([j[:1], j[1:] - j[:-1]])
    want = by_differences(torch.float64)
    def error(x): return ((x.double() - want).abs()/want.clamp(min=1e-12))[:500_000].median().item()
    assert error(_jaccard_steps(truth)) < 1e-6 < 1e-3 < error(by_differences(torch.float32))


# ---- class weights

COUNTS = [9000, 900, 0, 90, 10]


def test_inverse_is_scikit_learns_balanced():
    from sklearn.utils.class_weight import compute_class_weight
    y = np.repeat(range(N), COUNTS)
    seen = np.unique(y)
    want = np.zeros(N)
    want[seen] = compute_class_weight("balanced", classes=seen, y=y)
    torch.testing.assert_close(weights_from_counts(COUNTS, "inverse"), torch.tensor(want).float())


def test_median_frequency_is_what_check_suggests(small):
    from segfast.data.check import check, class_weights
    report = check(small)
    pixels, images = report.pixels.sum(axis=1), report.sums["images"].sum(0)
    names = small.classes.names
    counts = {names[i]: int(pixels[i]) for i in range(len(names))}
    got = weights_from_counts(counts, images={n: int(images[i]) for i, n in enumerate(names)}, classes=small.classes)
    for name, w in class_weights(report).items():
        assert got[name] == pytest.approx(w or 0, abs=1e-4)
    assert weight_tensor(class_weights(report), small.classes).shape == (len(names),)


@pytest.mark.parametrize("beta", [0, .9, .99, .9999, None])
def test_effective_number(beta):
    got = weights_from_counts(COUNTS, "effective_number", beta=beta)
    n = np.array([c for c in COUNTS if c], dtype=np.longdouble)
    b = np.longdouble(1 - 1/n.mean() if beta is None else beta)
    w = (1 - b)/(1 - b**n)
    np.testing.assert_allclose(got[got > 0], (w*len(n)/w.sum()).astype(float), rtol=1e-5)
    assert got[2] == 0 and got.sum() == pytest.approx(4, rel=1e-5)


def test_weights_of_void_and_of_nothing():
    for scheme in WEIGHT_SCHEMES:
        got = weights_from_counts([5, 10**9, 10, 20, 40], scheme, classes=table(1))
        want = weights_from_counts([5, 0, 10, 20, 40], scheme)
        torch.testing.assert_close(got, want)
        assert got[1] == 0 and (got.diff()[2:] <= 0).all()
        named = weights_from_counts(dict(zip(NAMES, [5, 10**9, 10, 20, 40])), scheme, classes=table(1))
        assert list(named) == NAMES and list(named.values()) == pytest.approx(got.tolist(), rel=1e-5)
        torch.testing.assert_close(weights_from_counts([5, 10, 20], scheme, classes=ClassTable("abc", void=255)),
                                   weights_from_counts([5, 10, 20], scheme))
        with pytest.raises(UsageError):
            weights_from_counts([0, 7], scheme, classes=ClassTable("ab", void=1))
        assert weights_from_counts([1, 7], scheme, classes=ClassTable("ab", void=1)).isfinite().all()
    for bad in [-1, 2], [float("nan"), 1], [[1, 2], [3, 4]]:
        with refuses(UsageError, bad, 0):
            weights_from_counts(bad)
    with refuses(UsageError, "'inverted'", *WEIGHT_SCHEMES) as e:
        weights_from_counts([1, 2], "inverted")
    assert first_named(e, WEIGHT_SCHEMES) == "inverse"
    with refuses(UsageError, "beta", 0, 1):
        weights_from_counts([1, 2], "effective_number", beta=1)


def test_weights_that_do_not_fit():
    t = table(2)
    for bad, named in (([1, 2], ["(2,)", 5, *t.names]), ([1, 2, 3, 4, -1], ["-1.0"]),
                       ([0, 0, 9, 0, 0], ["[0.0, 0.0, 0.0, 0.0, 0.0]"]), ([1, 1, 1, 1, float("nan")], ["nan"]),
                       (dict(class0=1), ["class1", "class3", "class4"]),
                       (dict.fromkeys([*NAMES, "tree"], 1), ["'tree'", *t.names])):
        with refuses(UsageError, *named):
            seg_loss("weighted", t, weights=bad)
    by_name = seg_loss("weighted", t, weights={"class4": 3, "class0": .5, "class3": 1., "class1": 2})
    torch.testing.assert_close(by_name.weight, torch.tensor([.5, 2., 0., 1., 3.]))
    with refuses(UsageError, "'ce+weighted'", *WEIGHT_SCHEMES):
        seg_loss("ce+weighted", t)
    with refuses(UsageError, "'ce+dice'", *(o for o in LOSSES if uses_class_weights(o))):
        seg_loss("ce+dice", t, weights=W)


# ---- names

NO_SUMS = [
    ("", ["''"]), ("+ce", ["'+ce'"]), ("ce++dice", ["'ce++dice'", "'+dice'"]), ("ce dice", ["'ce dice'"]),
    ("ce+0.5 dice", ["'0.5 dice'"]), ("ce*0.5", ["'ce*0.5'"]), ("-1*ce+dice", ["'-1*ce+dice'"]),
    ("ce+dicee", ["'dicee'"]),
    ("0*ce+dice", ["cross_entropy", 0]), ("dice+2*dice", ["dice", 2]), ("1e999*ce", ["cross_entropy", "inf"])]


def test_sums_as_they_are_written():
    for text, want in (("ce", [(1, "cross_entropy")]), (" 2 * dice ", [(2, "dice")]),
                       ("1e-1*ce+.5·dice+2.×lovasz", [(.1, "cross_entropy"), (.5, "dice"), (2, "lovasz")]),
                       ("1e+1*ce+dice", [(10, "cross_entropy"), (1, "dice")])):
        assert loss_terms(text) == want
    for text, named in NO_SUMS:
        with refuses(UsageError, *named):
            loss_terms(text)
    with pytest.raises(UsageError) as e:
        loss_terms("ce+dicee")
    assert first_named(e, LOSSES) == "dice"
    with refuses(UsageError, "'focal+dice'", "gamma"):
        seg_loss("focal+dice", table(2), gamma=1)
    assert [uses_class_weights(o) for o in ("ce", "focal+ce", "weighted")] == [False, True, True]
    assert [uses_class_weights(o, need=True) for o in ("ce", "focal+ce", "0.5*weighted+dice")] == [False, False, True]


def test_a_sum_gives_weights_to_those_that_take_them():
    logits, targ = batch(2)
    ce, w, d = (seg_loss(n, table(2), weights=W if n == "weighted" else None)(logits, targ)
                for n in ("ce", "weighted", "dice"))
    torch.testing.assert_close(seg_loss("ce+2*weighted+0.5*dice", table(2), weights=W)(logits, targ), ce + 2*w + .5*d)


# ---- auxiliary outputs

@every
def test_auxiliary_output(name):
    logits, targ = batch(2)
    second = batch(2, seed=9)[0]
    loss = make(name, 2)
    want = loss(logits, targ) + .4*loss(second, targ)
    for out in dict(out=logits, aux=second), (logits, second), [logits, second]:
        got = with_aux(loss)(out, targ)
        torch.testing.assert_close(got, want)
        assert torch.equal(with_aux(loss).decodes(out),
                           logits.argmax(1)) and torch.equal(with_aux(loss).activation(out), logits.softmax(1))
    assert with_aux(loss)(logits, targ) == loss(logits, targ)
    torch.testing.assert_close(with_aux(loss, .7)((logits, second), targ), loss(logits, targ) + .7*loss(second, targ))
    second.requires_grad_()
    with_aux(loss)((logits, second), targ).backward()
    assert second.grad.abs().sum() > 0
    zero = with_aux(loss)((logits, second), torch.full_like(targ, 2))
    assert zero == 0


def test_learner_with_two_heads():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.aux = torch.nn.Conv2d(3, N, 1), torch.nn.Conv2d(3, N, 1)
        def forward(self, x):
            return dict(out=self.main(x), aux=self.aux(x)) if self.training else self.main(x)
    items = [(x, TensorMask(y)) for x, y in zip(torch.randn(4, 3, 6, 7), batch(2)[1].repeat(2, 1, 1))]
    dls = DataLoaders(DataLoader(items, bs=2), DataLoader(items, bs=2))
    net = Two()
    before = net.aux.weight.detach().clone()
    learn = Learner(dls, net, loss_func=with_aux(seg_loss("ce+dice", table(2))))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.1)
        probs, _, decoded, losses = learn.get_preds(with_decoded=True, with_loss=True)
    assert (net.aux.weight != before).all() and probs.shape == (4, N, 6, 7) and losses.shape == (4,)
    assert learn.loss_func.reduction == "mean" and torch.equal(decoded, probs.argmax(1))
