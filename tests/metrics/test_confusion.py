"""Scores against scikit-learn and torchmetrics, on random masks with void in every place it can stand."""
from functools import partial

import numpy as np
import pytest
import torch
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import AvgMetric, Learner
from fastai.torch_core import TensorImage, TensorMask
from helpers.problems import missing
from helpers.refusals import refuses
from sklearn.metrics import (
    accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, jaccard_score, precision_score, recall_score,
)
from torch.utils._python_dispatch import TorchDispatchMode

import segfast.metrics.confusion as confusion
from segfast.core.errors import DataError
from segfast.data.classes import ClassTable
from segfast.metrics.fastai_metrics import ConfusionMetric, acc_camvid
from segfast.metrics.confusion import ConfusionMatrix
from segfast.metrics.confusion import per_class
from segfast.metrics.fastai_metrics import seg_metrics, masked_accuracy

CLASSES = 6
voids = pytest.mark.parametrize("void", [0, 3, CLASSES - 1, 255, None])


def table(void, n=CLASSES):
    return ClassTable([f"class{i}" for i in range(n)], void=void)


def batch(void, seed=0, shape=(4, 9, 11), absent=(), n=CLASSES):
    "Logits that are right about half the time, and targets with a fifth of them void."
    generator = torch.Generator().manual_seed(seed)
    kept = torch.tensor([i for i in range(n) if i not in absent and i != void])
    targ = kept[torch.randint(len(kept), shape, generator=generator)]
    logits = torch.randn(shape[0], n, *shape[1:], generator=generator)
    logits.scatter_add_(1, targ[:, None], torch.full((shape[0], 1, *shape[1:]), 1.5))
    if void is not None:
        targ[torch.rand(shape, generator=generator) < 0.2] = void
    return logits, targ


def labeled(logits, targ, void):
    "What scikit-learn is given: prediction and truth of the pixels that are not void."
    pred, targ = logits.argmax(1).flatten().numpy(), targ.flatten().numpy()
    keep = targ != (-100 if void is None else void)
    return targ[keep], pred[keep]


@voids
def test_scores_are_those_of_sklearn(void):
    logits, targ = batch(void)
    classes, cm = table(void), ConfusionMatrix(table(void)).update(*batch(void))
    y, p = labeled(logits, targ, void)
    some = list(classes.labels)
    np.testing.assert_array_equal(cm.matrix, confusion_matrix(y, p, labels=range(CLASSES)))
    assert cm.matrix.dtype == np.int64
    assert cm.accuracy == pytest.approx(accuracy_score(y, p))
    for ours, theirs in ((cm.iou, jaccard_score), (cm.dice, f1_score), (cm.precision, precision_score),
                         (cm.recall, recall_score)):
        np.testing.assert_allclose(ours[some], theirs(y, p, labels=some, average=None))
        assert np.isnan(np.delete(ours, some)).all()
    assert cm.mean_iou == pytest.approx(jaccard_score(y, p, labels=some, average="macro"))
    assert cm.mean_dice == pytest.approx(f1_score(y, p, labels=some, average="macro"))
    assert cm.mean_accuracy == pytest.approx(recall_score(y, p, labels=some, average="macro"))
    assert cm.fw_iou == pytest.approx(jaccard_score(y, p, labels=some, average="weighted"))


@voids
def test_scores_are_those_of_torchmetrics(void):
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

    logits, targ = batch(void, seed=1)
    cm = ConfusionMatrix(table(void)).update(logits, targ)
    how = dict(num_classes=CLASSES, ignore_index=void)
    np.testing.assert_array_equal(cm.matrix, MulticlassConfusionMatrix(**how)(logits, targ))
    assert cm.accuracy == pytest.approx(MulticlassAccuracy(**how, average="micro")(logits, targ).item())
    iou = MulticlassJaccardIndex(**how, average="none")(logits, targ)
    some = list(table(void).labels)
    np.testing.assert_allclose(cm.iou[some], iou[some], rtol=1e-6)


@pytest.mark.parametrize("void", [0, 3, CLASSES - 1])
def test_void_left_in_gives_other_scores(void):
    "The comparison can fail: with void counted as a class like any other, the scores move."
    logits, targ = batch(void)
    right, wrong = ConfusionMatrix(table(void)).update(logits, targ), ConfusionMatrix(table(None)).update(logits, targ)
    y, p = labeled(logits, targ, void)
    assert wrong.accuracy != pytest.approx(accuracy_score(y, p), abs=0.01)
    assert wrong.mean_iou != pytest.approx(right.mean_iou, abs=0.01)


def test_void_outside_the_classes_left_in_is_an_error():
    logits, targ = batch(255)
    cm = ConfusionMatrix(table(None)).update(logits, targ)
    assert cm.invalid == (targ == 255).sum()
    with refuses(DataError, cm.invalid, "0..5", code="mask-values", pixels=cm.invalid) as e:
        cm.mean_iou  # noqa: B018
    assert missing(e.value.problems[0].expected, "0..5", 255) == ["255"]


@voids
def test_absent_class_is_nan_and_its_false_alarms_count(void):
    logits, targ = batch(void, seed=2, absent=(2,))
    cm = ConfusionMatrix(table(void)).update(logits, targ)
    y, p = labeled(logits, targ, void)
    assert (p == 2).any() and not (y == 2).any()
    for score in cm.iou, cm.dice, cm.precision, cm.recall:
        assert np.isnan(score[2])
    some = [i for i in table(void).labels if i != 2]
    np.testing.assert_allclose(cm.iou[some], jaccard_score(y, p, labels=some, average=None))
    assert cm.mean_iou == pytest.approx(jaccard_score(y, p, labels=some, average="macro"))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert cm.mean_accuracy == pytest.approx(balanced_accuracy_score(y, p))
    assert cm.accuracy == pytest.approx(accuracy_score(y, p))


def test_class_never_predicted_scores_zero_and_has_no_precision():
    cm = ConfusionMatrix(table(None, 2)).update(torch.zeros(1, 4).long(), torch.tensor([[0, 0, 0, 1]]))
    assert (cm.iou[1], cm.dice[1], cm.recall[1]) == (0, 0, 0) and np.isnan(cm.precision[1])
    assert cm.mean_iou == 0.375


def test_void_predicted_on_a_labeled_pixel_is_a_miss():
    cm = ConfusionMatrix(table(1, 3)).update(torch.tensor([[1, 0, 2, 2]]), torch.tensor([[0, 0, 1, 2]]))
    np.testing.assert_array_equal(cm.matrix, [[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(cm.iou, [0.5, np.nan, 1])
    assert cm.accuracy == pytest.approx(2 / 3)


def test_nothing_labeled_is_nan_without_a_warning():
    for cm in ConfusionMatrix(table(3)), ConfusionMatrix(table(3)).update(*batch(3)[:1], torch.full((4, 9, 11), 3)):
        for score in "accuracy", "mean_iou", "mean_dice", "mean_accuracy", "fw_iou":
            assert np.isnan(getattr(cm, score))
        assert "–" in cm._repr_html_() and "–" in cm._repr_markdown_()


@voids
def test_forms_of_input(void):
    logits, targ = batch(void)
    want = ConfusionMatrix(table(void)).update(logits, targ).matrix
    ids = logits.argmax(1)
    turned = targ.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not turned.is_contiguous()
    forms = [(ids, targ), (ids.byte(), targ.byte()), (ids.int(), targ.short()),
             (logits.to(memory_format=torch.channels_last), targ),
             (logits.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2), turned), (logits.double(), targ),
             (TensorImage(logits), TensorMask(targ)), (TensorImage(logits), TensorMask(targ.byte())),
             (ids.numpy(), targ.numpy()), (logits.clone().requires_grad_(), targ),]
    for pred, mask in forms:
        np.testing.assert_array_equal(ConfusionMatrix(table(void)).update(pred, mask).matrix, want)
    one_by_one = ConfusionMatrix(table(void))
    for logit, mask in zip(logits, targ):
        one_by_one.update(logit, mask)
    np.testing.assert_array_equal(one_by_one.matrix, want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_logits(dtype):
    logits, targ = batch(3)
    logits = logits.to(dtype)
    np.testing.assert_array_equal(
        ConfusionMatrix(table(3)).update(logits, targ).matrix,
        ConfusionMatrix(table(3)).update(logits.float().argmax(1), targ).matrix)


def test_256_classes_in_uint8():
    classes = table(255, 256)
    generator = torch.Generator().manual_seed(0)
    targ, pred = (torch.randint(256, (2, 20, 20), generator=generator) for _ in range(2))
    keep = (targ != 255).numpy()
    np.testing.assert_array_equal(ConfusionMatrix(classes).update(pred.byte(), targ.byte()).matrix,
                                  confusion_matrix(targ.numpy()[keep], pred.numpy()[keep], labels=range(256)))


def test_merge_and_reset():
    first, second = (ConfusionMatrix(table(3)).update(*batch(3, seed=seed)) for seed in (1, 2))
    both = ConfusionMatrix(table(3)).update(*batch(3, seed=1)).update(*batch(3, seed=2))
    before = first.matrix
    np.testing.assert_array_equal((first + second).matrix, both.matrix)
    np.testing.assert_array_equal(first.matrix, before)
    assert both.reset().matrix.sum() == 0
    for other in table(2), ClassTable([f"class {i}" for i in range(6)], 3):
        with pytest.raises(ValueError):
            first + ConfusionMatrix(other)
    assert (first + ConfusionMatrix(table(3))).matrix.sum() == first.matrix.sum()


def test_matrix_cannot_be_spoilt_by_its_reader():
    cm = ConfusionMatrix(table(3)).update(*batch(3))
    cm.matrix[:] = 0
    assert cm.matrix.sum() > 0


@pytest.mark.parametrize("value", [6, 77, 255, -1])
def test_target_of_no_class_is_counted_and_reported(value):
    logits, targ = batch(3)
    targ[0, 0, :7] = value
    cm = ConfusionMatrix(table(3)).update(logits, targ)
    assert cm.invalid == 7 and missing(repr(cm), 7) == missing(cm._repr_html_(), 7) == []
    for score in "matrix", "accuracy", "iou", "mean_dice", "fw_iou":
        with refuses(DataError, 7, "0..5", 3, code="mask-values", pixels=7):
            getattr(cm, score)
    with refuses(DataError, code="mask-values", pixels=7):
        per_class(cm)
    assert cm.reset().invalid == 0


def test_prediction_of_no_class_is_an_error():
    with refuses(ValueError, 4, "0..5"):
        ConfusionMatrix(table(None)).update(torch.full((2, 2), 6), torch.zeros(2, 2).long()).matrix  # noqa: B018
    # on a void pixel it makes no difference
    assert ConfusionMatrix(table(0)).update(torch.full((2, 2), 6), torch.zeros(2, 2).long()).matrix.sum() == 0


def test_input_that_does_not_fit():
    cm, (logits, targ) = ConfusionMatrix(table(3)), batch(3)
    with refuses(ValueError, 5, 6):
        cm.update(logits[:, :5], targ)
    with refuses(ValueError, "(4, 9, 11)", "(4, 9, 10)"):
        cm.update(logits, targ[..., :10])
    with refuses(ValueError, "torch.float32", "torch.int64"):
        cm.update(logits.argmax(1).float(), targ)


class Seen(TorchDispatchMode):
    "Names of the operations that run."
    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.append(func.overloadpacket._qualified_op_name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


WAITING = {"_local_scalar_dense", "item", "nonzero", "masked_select", "index", "bincount", "unique", "_unique2",
           "is_nonzero", "equal"}


def test_a_batch_asks_the_device_nothing(monkeypatch):
    "What runs where there is an accelerator: no operation whose result Python would have to wait for."
    def scattered(ids, size):
        return torch.zeros(size, dtype=torch.int64).scatter_add_(0, ids, torch.ones_like(ids))

    class Learn:
        pred, yb = batch(3)[0], (TensorMask(batch(3)[1]),)

    mets = seg_metrics(table(3))
    want = ConfusionMatrix(table(3)).update(*batch(3)).matrix
    monkeypatch.setattr(confusion, "count_ids", scattered)
    with Seen() as seen:
        for metric in mets:
            metric.accumulate(Learn)
        masked_accuracy(Learn.pred, Learn.yb[0], 3)
    assert not WAITING & set(seen.ops)
    assert seen.ops.count("max") == 2  # one for the three metrics, one for `masked_accuracy`
    np.testing.assert_array_equal(mets[0].cm.matrix, want)
    with Seen() as seen:  # the lesson's formula does ask
        acc_camvid(*batch(3), void=3)
    assert WAITING & set(seen.ops)


def test_histogram_of_an_accelerator_is_bincount():
    "`meta` stands for a device that is no CPU: the other branch, and the right shape."
    ids = torch.randint(40, (1000,))
    assert confusion.count_ids(ids.to("meta"), 40).shape == (40,)
    scattered = torch.zeros(40, dtype=torch.int64).scatter_add_(0, ids, torch.ones_like(ids))
    assert torch.equal(confusion.count_ids(ids, 40), scattered)


@voids
def test_batch_functions(void):
    logits, targ = batch(void, seed=3)
    y, p = labeled(logits, targ, void)
    ignore = table(void).ignore_index
    ours = masked_accuracy(logits, targ, ignore)
    assert ours.shape == () and ours.item() == pytest.approx(accuracy_score(y, p))
    assert ours.item() == acc_camvid(logits, targ, ignore).item()
    assert masked_accuracy(logits.argmax(1), targ.byte(), ignore).item() == ours.item()
    assert ConfusionMatrix(table(void)).update(logits, targ).accuracy == pytest.approx(ours.item())


def test_accuracy_of_nothing_is_nan():
    assert masked_accuracy(batch(3)[0], torch.full((4, 9, 11), 3), 3).isnan()


def test_per_class():
    cm = ConfusionMatrix(table(3)).update(*batch(3, absent=(2,)))
    df = per_class(cm)
    assert list(df.index) == ["class0", "class1", "class2", "class4", "class5"] and df.index.name == "class"
    assert list(df.columns) == ["iou", "dice", "precision", "recall", "pixels"]
    assert df.loc["class2", "pixels"] == 0 and df.loc["class2"].iloc[:4].isna().all()
    assert df.pixels.sum() == (batch(3, absent=(2,))[1] != 3).sum()


def test_reprs():
    classes = ClassTable(["a<b", "c|d", "Unlabeled"], void=2)
    cm = ConfusionMatrix(classes).update(torch.tensor([[0, 0, 1]]), torch.tensor([[0, 1, 2]]))
    assert missing(repr(cm), "ConfusionMatrix", 3, "0.500", "0.250") == []
    assert "a&lt;b" in cm._repr_html_() and "Unlabeled" not in cm._repr_html_()
    rows = cm._repr_markdown_().splitlines()
    assert rows[-1].split(" | ")[1:3] == ["0.250", "0.333"] and r"c\|d" in rows[-2]


def learner(void, mets):
    "A 1×1 convolution on random images; the last batch is smaller, so that weights matter."
    generator = torch.Generator().manual_seed(5)
    items = []
    for i in range(7):
        mask = batch(void, seed=10 + i, shape=(1, 8, 8))[1][0]
        if i < 3:
            mask[:6] = void
        items.append((torch.randn(3, 8, 8, generator=generator), TensorMask(mask)))
    dls = DataLoaders(DataLoader(items, bs=3), DataLoader(items, bs=3))
    torch.manual_seed(0)
    model = torch.nn.Conv2d(3, CLASSES, 1)
    learn = Learner(dls, model, loss_func=torch.nn.CrossEntropyLoss(ignore_index=void), metrics=mets)
    learn.remove_cb(ProgressCallback)
    return learn, items


def test_learner_reports_what_a_direct_count_gives():
    learn, items = learner(3, [*seg_metrics(table(3)), AvgMetric(partial(acc_camvid, void=3))])
    assert list(learn.metrics.attrgot("name"))[:3] == ["accuracy", "mean_iou", "mean_dice"]
    with learn.no_logging():
        learn.fit(2, 0.01)
    seen = dict(zip(learn.recorder.metric_names[3:], learn.recorder.values[-1][2:]))
    x, y = (torch.stack([torch.as_tensor(item[i]) for item in items]) for i in (0, 1))
    with torch.no_grad():
        logits = learn.model(x)
    cm = ConfusionMatrix(table(3)).update(logits, y)
    assert seen["accuracy"] == cm.accuracy
    assert seen["mean_iou"] == cm.mean_iou and seen["mean_dice"] == cm.mean_dice
    np.testing.assert_array_equal(learn.metrics[0].cm.matrix, cm.matrix)
    by_hand = sum(acc_camvid(logits[rows], y[rows], 3).item() * len(y[rows])
                  for rows in (slice(0, 3), slice(3, 6), slice(6, 7))) / 7
    assert seen["acc_camvid"] == pytest.approx(by_hand)
    assert abs(seen["acc_camvid"] - seen["accuracy"]) > 1e-3  # few labeled pixels in the first batch


def test_the_names_of_scores_are_those_of_a_run():
    from segfast.runs.recipe import SCORES
    assert tuple(metric.name for metric in seg_metrics(table(3))) == SCORES[:3]
    assert all(isinstance(getattr(ConfusionMatrix(table(3)), k), float) for k in SCORES)


def test_metrics_that_stand_alone():
    names = ["accuracy", "mean_iou", "mean_dice"]
    alone = [ConfusionMetric(table(3), name) for name in names]
    got, want = (learner(3, metrics)[0].validate() for metrics in (alone, seg_metrics(table(3))))
    assert [metric.name for metric in alone] == names and len(got) == 4
    assert list(got) == list(want)


def test_learner_stops_at_a_mask_of_no_class():
    learn, items = learner(3, seg_metrics(table(3)))
    items[0][1][0, 0] = 77
    learn.loss_func = lambda p, y: p.sum()
    with refuses(DataError, 1, "0..5", 3, code="mask-values", pixels=1):
        learn.validate()
