"Calibration against torchmetrics on random probabilities, sure and unsure, with void in every place."
import re

import numpy as np
import pytest
import torch
from helpers.refusals import refuses
from torchmetrics.functional.classification import multiclass_calibration_error

from segfast.metrics.calibration import Calibration, plot_reliability
from segfast.data.classes import ClassTable

CLASSES = 6


def table(void=None): return ClassTable([f"class{i}" for i in range(CLASSES)], void=void)


def sample(seed, sharp=1., void=None, shape=(3, 20, 30)):
    "Probabilities (n, classes, h, w), and targets of which some are void."
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(CLASSES, shape, generator=generator)
    logits = torch.randn(shape[0], CLASSES, *shape[1:], generator=generator).scatter_add_(1, truth[:, None],
        torch.full((shape[0], 1, *shape[1:]), 1.))
    if void is not None:
        truth[torch.rand(shape, generator=generator) < 0.3] = void
    return (logits*sharp).softmax(1), truth


def ours(parts, void, bins):
    c = Calibration(table(void), bins)
    for probs, truth in parts:
        for prob, ids in zip(probs, truth):
            c.update(*prob.max(0), ids)
    return c


@pytest.mark.parametrize("void", [None, 0, CLASSES - 1, 255])
@pytest.mark.parametrize("bins", [1, 5, 15, 100])
@pytest.mark.parametrize("sharp", [0.3, 1., 4., 40.])
def test_ece_is_that_of_torchmetrics(void, bins, sharp):
    parts = [sample(seed, sharp, void) for seed in range(2)]
    probs, truth = (torch.cat(part) for part in zip(*parts))
    if sharp == 40.:
        assert (probs.max(1).values == 1).float().mean() > 0.3  # a bin of its own
    want = multiclass_calibration_error(probs, truth, CLASSES, n_bins=bins, norm="l1", ignore_index=void).item()
    assert ours(parts, void, bins).ece == pytest.approx(want, abs=3e-6)  # it adds up in 32 bits
    assert sharp == 1. or want > 0.01  # at 1 the probabilities are nearly honest


def test_table_adds_up():
    probs, truth = sample(0, 40., 2)
    c = ours([(probs, truth)], 2, 15)
    conf, pred = probs.max(1)
    known = truth != 2
    bins = c.table
    assert len(bins) == 16 and bins.pixels.sum() == known.sum().item() and bins.low.iloc[-1] == bins.high.iloc[
        -1] == bins.confidence.iloc[-1] == 1
    assert (bins.pixels*bins.accuracy).sum() == pytest.approx(((pred == truth) & known).sum().item())
    assert (bins.pixels*bins.confidence).sum() == pytest.approx(conf[known].double().sum().item())
    some = bins[bins.pixels > 0]
    assert (some.confidence >= some.low - 1e-9).all() and (some.confidence <= some.high + 1e-9).all()
    assert bins[bins.pixels == 0][["confidence", "accuracy"]].isna().all(axis=None)


def test_perfect_and_worst():
    ids = np.zeros((4, 5), int)
    assert Calibration(table()).update(np.ones((4, 5)), ids, ids).ece == 0
    assert Calibration(table()).update(np.ones((4, 5)), ids + 1, ids).ece == 1
    assert len(Calibration(table()).update(np.full((4, 5), 0.5), ids, ids).table) == 15


def test_nothing_labeled():
    c = Calibration(table(255)).update(np.ones((4, 5)), np.zeros((4, 5), int), np.full((4, 5), 255))
    assert np.isnan(c.ece) and c.table.pixels.sum() == 0
    title = plot_reliability(c.table).axes[0].get_title()
    assert title and not re.search(r"\d|nan", title), "no calibration error of nothing"


def test_plot_shows_the_table(tmp_path):
    c = ours([sample(0, 4.)], None, 10)
    fig = plot_reliability(c.table)
    x, y = fig.axes[0].lines[1].get_data()
    some = c.table[c.table.pixels > 0]
    np.testing.assert_allclose(x, some.confidence)
    np.testing.assert_allclose(y, some.accuracy)
    assert sum(bar.get_height() for bar in fig.axes[1].patches) == pytest.approx(1)
    assert f"{c.ece:.3f}" in fig.axes[0].get_title()
    fig.savefig(tmp_path/"plot.png")


def test_mistakes_are_named():
    ids, c = np.zeros((2, 3), int), Calibration(table())
    for conf in (np.full((2, 3), 1.5), np.full((2, 3), -0.1), np.full((2, 3), np.nan)):
        with refuses(ValueError, 0, 1):
            c.update(conf, ids, ids)
    with refuses(ValueError, "(3, 2)", "(2, 3)"):
        c.update(np.ones((3, 2)), ids, ids)
    with refuses(ValueError, 0):
        Calibration(table(), 0)
    assert len(Calibration(table(), 1).table) == 1
    assert c.table.pixels.sum() == 0
