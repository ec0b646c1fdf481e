"Boundary IoU against the paper's formula, class by class, with two ways to erode; void, edges, thin or absent classes."
import numpy as np
import pytest
import torch
from helpers.refusals import refuses
from scipy.ndimage import distance_transform_cdt

from segfast.metrics.boundary import BoundaryIoU, boundary, boundary_width
from segfast.core.errors import DataError
from segfast.data.classes import ClassTable


def table(n, void=None): return ClassTable([f"class{i}" for i in range(n)], void=void)


def by_opencv(mask, ratio=0.02):
    "The band of a mask as the authors' own program has it: padded by one pixel of background, eroded d times."
    cv2 = pytest.importorskip("cv2")  # comes with the extra `augment`
    h, w = mask.shape
    width = max(1, int(round(ratio*np.sqrt(h**2 + w**2))))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:h+1, 1:w+1]
    return (mask.astype(np.uint8) - eroded).astype(bool)


def eroded_by_distance(mask, width):
    "The pixels farther than d, in steps of a chess king, from all that is not the mask."
    return distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1] > width


def slow_sums(pred, truth, n, width, void=None):
    "Intersection and union of the bands of each class, one class after the other."
    unknown = np.zeros(truth.shape, bool) if void is None else truth == void
    out = []
    for c in range(n):
        true, drawn = (truth == c) & ~unknown, (pred == c) & ~unknown
        true_band, drawn_band = (mask & ~eroded_by_distance(mask | unknown, width) for mask in (true, drawn))
        out.append(((true_band & drawn_band).sum(), (true_band | drawn_band).sum(), true_band.sum()))
    return np.array(out)


def slow_iou(sums):
    both, either, true = sums.T
    return np.where(true > 0, both/np.maximum(either, 1), np.nan)


def blobs(seed, shape=(40, 56), n=5, cell=6):
    "A map of class ids in patches, and another that is like it."
    rng = np.random.default_rng(seed)
    rows, cols = -(-shape[0]//cell), -(-shape[1]//cell)
    truth = np.kron(rng.integers(0, n, (rows, cols)), np.ones((cell, cell), int))[:shape[0], :shape[1]]
    pred = np.roll(truth, rng.integers(-3, 4, 2), (0, 1))
    speckle = rng.random(shape) < 0.02
    return np.where(speckle, rng.integers(0, n, shape), pred), truth


# --- by hand ---

def test_widths():
    sizes = (30, 40), (1, 1), (75, 100), (480, 640), (720, 960), (96, 128)
    assert list(map(boundary_width, sizes)) == [1, 1, 2, 16, 24, 3]
    assert boundary_width((30, 40), 0.1) == 5


def test_square_moved_by_one():
    truth = np.zeros((10, 10), int)
    truth[2:8, 2:8] = 1
    b = BoundaryIoU(table(2)).update(np.roll(truth, 1, 1), truth)
    # both bands have 20 pixels; they share two sides of five
    assert (b.true[1], b.pred[1], b.both[1]) == (20, 20, 10)
    assert b.iou[1] == 10/30


def test_square_within_a_square():
    truth, pred = np.zeros((20, 20), int), np.zeros((20, 20), int)
    truth[4:16, 4:16] = 1  # band: 12*12 - 10*10 = 44
    pred[5:15, 5:15] = 1  # band: 10*10 - 8*8 = 36, inside the other: nothing in common
    b = BoundaryIoU(table(2)).update(pred, truth)
    assert (b.true[1], b.pred[1], b.both[1], b.iou[1]) == (44, 36, 0, 0)
    wide = BoundaryIoU(table(2), ratio=2/np.hypot(20, 20)).update(pred, truth)
    # two pixels wide: 144 - 64 = 80 and 100 - 36 = 64, common: the ring between 10 and 8, 36 pixels
    assert (wide.true[1], wide.pred[1], wide.both[1]) == (80, 64, 36)
    assert wide.iou[1] == 36/(80 + 64 - 36)


def test_image_edge_is_an_outline():
    full = np.zeros((9, 12), int)
    band = boundary(full, 2)
    assert band.sum() == 9*12 - 5*8 and not band[2:-2, 2:-2].any()


def test_thin_class_is_all_rim():
    truth = np.zeros((60, 80), int)
    truth[:, 40:44] = 1
    pred = np.roll(truth, 2, 1)
    b = BoundaryIoU(table(2)).update(pred, truth)  # 2 pixels wide, so a pole of 4 has nothing inside
    assert b.iou[1] == pytest.approx(2/6)


# --- as published ---

@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ratio", [0.02, 0.05])
def test_without_void_it_is_the_authors_program(seed, ratio):
    pred, truth = blobs(seed)
    b = BoundaryIoU(table(5), ratio).update(pred, truth)
    for c in range(5):
        true, drawn = by_opencv(truth == c, ratio), by_opencv(pred == c, ratio)
        assert (b.true[c], b.pred[c], b.both[c]) == (true.sum(), drawn.sum(), (true & drawn).sum())


@pytest.mark.parametrize("void", [None, 0, 2, 4, 255])
@pytest.mark.parametrize("seed", range(4))
def test_sums_over_images_are_those_of_the_formula(seed, void):
    rng, b, total = np.random.default_rng(seed), BoundaryIoU(table(5, void)), 0
    for i, shape in enumerate([(40, 56), (56, 40), (7, 90), (1, 1), (3, 3)]):
        pred, truth = blobs(10*seed + i, shape)
        if void is not None:
            truth[np.kron(rng.random((15, 15)) < 0.2, np.ones((6, 6), bool))[:shape[0], :shape[1]][:truth.shape[0],
                :truth.shape[1]]] = void
        b.update(pred, truth)
        total = total + slow_sums(pred, truth, 5, boundary_width(shape), void)
    want = slow_iou(total)
    if void in range(5):
        want[void] = np.nan
    np.testing.assert_allclose(b.iou, want)
    assert b.mean == pytest.approx(np.nanmean(want))


def test_comparison_can_fail():
    pred, truth = blobs(0)
    right = slow_sums(pred, truth, 5, 1)
    assert (right != slow_sums(pred, truth, 5, 2)).any() and (right != slow_sums(truth, pred[::-1], 5, 1)).any()


# --- void ---

def test_void_hides_an_outline_and_makes_none():
    truth = np.zeros((12, 12), int)
    truth[:, 6:] = 1
    hidden = truth.copy()
    hidden[:, 4:8] = 255  # the whole outline between the two, and a band of one pixel more
    b = BoundaryIoU(table(2, 255)).update(truth, hidden)
    # of each half, four columns are known: a column at the image's edge, and the ends of the other three
    edge = 12 + 2*3
    assert b.true.tolist() == b.pred.tolist() == b.both.tolist() == [edge, edge]
    assert b.iou.tolist() == [1, 1]


def test_prediction_under_void_does_not_matter():
    pred, truth = blobs(3)
    truth[10:25, 10:40] = 255
    first = BoundaryIoU(table(5, 255)).update(pred, truth)
    rng = np.random.default_rng(0)
    other = np.where(truth == 255, rng.choice([0, 3, 4, 77, 255], truth.shape), pred)
    second = BoundaryIoU(table(5, 255)).update(other, truth)
    assert all((getattr(first, name) == getattr(second, name)).all() for name in ("both", "true", "pred"))


def test_void_that_is_predicted_is_another_class():
    truth = np.zeros((10, 10), int)
    pred = truth.copy()
    pred[4, 4] = 1  # class 1 is void: a hole in the prediction, with a band of its own
    b = BoundaryIoU(table(2, 1)).update(pred, truth)
    assert b.true[0] == 36 and b.pred[0] == 36 + 8 and np.isnan(b.iou[1]) and b.iou[0] == 36/44


def test_outline_under_void_everywhere_gives_no_score():
    truth = np.full((11, 11), 255)
    truth[5, 5] = 1
    b = BoundaryIoU(table(2, 255)).update(np.ones((11, 11), int), truth)
    assert np.isnan(b.iou).all() and np.isnan(b.mean)


# --- absent classes, types, mistakes ---

def test_absent_class_has_no_score_even_if_predicted():
    truth, pred = np.zeros((10, 10), int), np.zeros((10, 10), int)
    pred[:5] = 2
    b = BoundaryIoU(table(3)).update(pred, truth)
    assert np.isnan(b.iou[1:]).all() and b.mean == b.iou[0] < 1
    assert np.isnan(BoundaryIoU(table(3)).mean)


@pytest.mark.parametrize("make", [torch.tensor, lambda ids: torch.tensor(ids, dtype=torch.uint8),
                                  lambda ids: ids.astype(np.uint8), lambda ids: ids[::-1][::-1]])
def test_all_kinds_of_ids(make):
    pred, truth = blobs(1)
    assert BoundaryIoU(table(5)).update(make(pred), make(truth)).iou.tolist() == BoundaryIoU(table(5)).update(pred,
        truth).iou.tolist()


def test_mistakes_are_named():
    ids = np.zeros((4, 4), int)
    b = BoundaryIoU(table(2))
    for pred, truth, named in [(ids, ids[:2], ["(4, 4)", "(2, 4)"]), (ids[None], ids[None], ["(1, 4, 4)"]),
                               (ids*1., ids, ["float64", "int64"]), (ids + 2, ids, [16, "0..1"]),
                               (ids - 1, ids, [16, "0..1"])]:
        with refuses(ValueError, *named):
            b.update(pred, truth)
    with refuses(DataError, 16, "0..1", code="mask-values", pixels=16):
        b.update(ids, ids + 7)
    assert b.true.sum() == b.pred.sum() == 0
