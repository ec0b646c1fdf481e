"""The golden numbers of a small training, its scores, a mask and an ONNX file do not change; see `helpers/golden.py`.

Where they change for a good reason: `python tests/helpers/golden.py --write`, and say the reason in the commit.
"""
import copy
import math

import numpy as np
import pytest
from helpers import golden


@pytest.fixture
def stored(): return golden.read()


@pytest.fixture
def found(stored): return copy.deepcopy(stored)


def test_the_numbers_are_the_stored_ones(stored):
    for package in "onnx", "onnxscript", "onnxruntime": pytest.importorskip(package)
    found = golden.compute_in_process()
    assert not golden.differences(stored, found), golden.comparison(stored, found)


def test_the_stored_numbers_are_of_the_training_that_is_described(stored):
    training = stored["values"]["training"]
    assert stored["made_with"]["threads"] == 1
    assert [len(training[k][stage]) for k in ("losses", "steps") for stage in ("half", "full")] == [9, 9, 6, 6]
    assert len(training["epochs"]) == 6 and training["best"] == dict(stage=2, epoch=1)
    assert training["norms"]["best"] != training["norms"]["ema"] != training["norms"]["raw"]
    assert len(set(stored["values"]["mask"]["counts"])) > 2, "a mask of several classes"
    assert golden.STORED.stat().st_size < 60_000


def changed(values, path, value):
    "Put a value at a path; the old one."
    *way, last = path.split("/")
    for key in way: values = values[int(key) if isinstance(values, list) else key]
    last = int(last) if isinstance(values, list) else last
    old, values[last] = values[last], value(values[last])
    return old


NORM = "training/norms/raw/body.conv1.weight"


def up(value): return math.nextafter(value, math.inf)
def by(share): return lambda value: value*(1 + share)


def repaint(share):
    "Give a share of a mask's pixels another class."
    def value(ids):
        a = golden.unpack(ids).reshape(1, -1).copy()
        a[:, :round(share*a.size)] += 1
        return golden.mask_values(a, 10)["ids"]
    return value


def move(pixels):
    "Count so many pixels of the confusion matrix as another class."
    def value(matrix):
        a = np.array(matrix)
        a[0, 0] -= pixels
        a[0, 1] += pixels
        return a.tolist()
    return value


@pytest.mark.parametrize("path, change", [
    (NORM, up), ("training/norms/ema/head.bias", up), ("training/losses/full/8", up),
    ("training/steps/half/0/lr/0", up), ("training/epochs/5/mean_iou", up),
    ("training/bits/best", lambda v: v[::-1]), ("training/best/epoch", lambda v: v + 1),
    ("evaluation/iou/Road", up), ("evaluation/iou/Void", lambda v: 0.), ("evaluation/confusion", move(1)),
    ("mask/ids", repaint(1e-4)), ("mask/counts/3", lambda v: v + 1), ("onnx/90x121/norm", up)])
def test_on_the_same_processor_every_bit_counts(stored, found, path, change):
    assert not golden.differences(stored, found), "nothing is changed yet"
    changed(found["values"], path, change)
    lines = golden.differences(stored, found)
    assert len(lines) == 1 and lines[0].startswith(f"{path}: stored ") and "exact" in lines[0]


@pytest.mark.parametrize("path, small, large", [
    (NORM, by(1e-4), by(0.02)), ("training/norms/best/head.bias", by(0.05), by(0.15)),
    ("training/norms/ema/body.bn1.running_var", by(0.02), by(0.06)), ("training/losses/half/0", by(1e-3), by(5e-3)),
    ("training/losses/full/8", by(0.02), by(0.04)), ("training/steps/full/2/lr/0", by(1e-9), by(1e-4)),
    ("training/epochs/0/valid_loss", by(0.05), by(0.15)), ("evaluation/accuracy", by(0.01), by(0.05)),
    ("evaluation/iou/Sky", by(0.01), by(0.05)), ("evaluation/confusion", move(300), move(1500)),
    ("mask/ids", repaint(0.01), repaint(0.05)), ("onnx/64x96/mask/ids", repaint(0.01), repaint(0.05)),
    ("onnx/90x121/norm", by(0.02), by(0.06))])
@pytest.mark.parametrize("elsewhere", ["processor", "instructions", "torch"])
def test_elsewhere_small_differences_pass_and_large_ones_do_not(stored, found, elsewhere, path, small, large):
    found["made_with"][elsewhere] = "another"
    old = changed(found["values"], path, small)
    assert golden.flat(found["values"]).keys() == golden.flat(stored["values"]).keys()
    assert golden.differences(stored, found, exact=True) and not golden.differences(stored, found)
    changed(found["values"], path, lambda _: large(old))
    lines = golden.differences(stored, found)
    assert len(lines) == 1 and lines[0].startswith(f"{path}: stored ") and "within limits" in lines[0]


@pytest.mark.parametrize("exact", [True, False])
def test_a_value_that_is_gone_or_new_is_a_difference(stored, found, exact):
    del found["values"]["training"]["norms"]["raw"]["head.bias"]
    found["values"]["training"]["losses"]["full"].append(0.9)
    lines = golden.differences(stored, found, exact)
    assert lines == ["training/losses/full/9: only in the computed values",
                     "training/norms/raw/head.bias: only in the stored values"]


@pytest.mark.parametrize("exact", [True, False])
def test_a_mask_of_another_shape_or_the_wrong_way_round_is_a_difference(stored, found, exact):
    ids = golden.unpack(stored["values"]["mask"]["ids"]).reshape(golden.ODD)
    for other in (ids[:, ::-1], ids[::-1], ids.T, ids[1:]):
        found["values"]["mask"] = golden.mask_values(other, 10)
        assert any(line.startswith("mask/") for line in golden.differences(stored, found, exact))


def test_the_onnx_file_is_exact_only_with_what_wrote_and_runs_it(stored, found):
    changed(found["values"], "onnx/90x121/norm", up)
    assert len(golden.differences(stored, found)) == 1
    found["made_with"]["onnxruntime"] = "another"
    assert not golden.differences(stored, found)
    assert [line.split(":")[0] for line in golden.other_surroundings(stored, found)] == ["onnxruntime"]
    changed(found["values"], NORM, up)
    assert len(golden.differences(stored, found)) == 1, "the rest stays exact"
