"""Splits: random, stratified, in sequence, in folds; and another one for a dataset that has one."""
import numpy as np
import pytest
from helpers.layouts import draw_camvid, draw_segnet
from helpers.refusals import refuses

from segfast.core.errors import UsageError
from segfast.data.open import open_data
from segfast.data.splits import kfold_split, random_split, sequence_split, stratified_split


# Splits

@pytest.mark.parametrize("n", [2, 3, 7, 101])
@pytest.mark.parametrize("gap", [0, 1, 3])
def test_sequences_are_contiguous(n, gap):
    out = sequence_split(n, gap=gap)
    words = [word for word in out if word]
    assert len(out) == n and words == sorted(words, key=["train", "valid", "test"].index) and {"train",
        "valid"} <= set(words)


@pytest.mark.parametrize("seed", range(5))
def test_stratified_beats_chance(seed):
    present = np.random.default_rng(seed).random((60, 4)) < [.9, .5, .2, .1]
    held = np.array(stratified_split(present, .25, seed)) == "valid"
    assert abs(held.sum() - 15) <= 2 and stratified_split(present, .25, seed) == stratified_split(present, .25, seed)
    assert (np.abs(present[held].sum(0) - .25*present.sum(0)) <= 2).all()


@pytest.mark.parametrize("n, k", [(2, 2), (7, 3), (100, 5)])
def test_every_pair_is_held_out_once(n, k):
    held = np.array([kfold_split(n, k, i) for i in range(k)]) == "valid"
    assert (held.sum(0) == 1).all() and held.sum(1).max() - held.sum(1).min() <= 1
    with refuses(UsageError, n, n + 1):
        kfold_split(n, n + 1)
    assert len(kfold_split(n, n)) == n


# Options

@pytest.mark.parametrize("split, counts", [("random:0.4", {"train": 3, "valid": 2}),
                                           ("stratified:0.2", {"train": 4, "valid": 1}),
                                           ("sequence:0.2,0.2", {"train": 3, "valid": 1, "test": 1}),
                                           ("sequence:0.2,0,gap=1", {"train": 3, "valid": 1}),
                                           ("fold:2/5", {"train": 4, "valid": 1})])
def test_another_split(tmp_path, split, counts):
    draw_camvid(tmp_path)
    data = open_data(tmp_path, split=split)
    assert data.splits == counts and split in data.origin and open_data(tmp_path, split=split).pairs.equals(data.pairs)


def test_a_test_split_stays(tmp_path):
    draw_segnet(tmp_path)
    tested = open_data(tmp_path).split("test")["image"].tolist()
    for split in "random", "stratified", "sequence", "fold:1/3":
        data = open_data(tmp_path, split=split)
        assert data.split("test")["image"].tolist() == tested and data.splits == {"train": 2, "valid": 1, "test": 1}


@pytest.mark.parametrize("split", ["", "half", "random:0", "random:1", "random:nan", "random:inf", "random:x", "fold",
                                   "fold:0/5", "fold:6/5", "fold:1/1", "sequence:1,1", "sequence:.1,.1,.1",
                                   "sequence:.1,step=2", "sequence:.1,gap=x", "stratified:-1"])
def test_splits_that_are_none(tmp_path, split):
    draw_camvid(tmp_path)
    with refuses(UsageError, "split", repr(split), "random:0.2", "stratified:0.2", "sequence:0.15,0.15", "fold:2/5"):
        open_data(tmp_path, split=split)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 99])
def test_random_split_leaves_something_on_both_sides(n):
    split = random_split(n)
    assert len(split) == n and {"train", "valid"} == set(split)
    assert split.count("valid") == max(1, round(n*.2))
