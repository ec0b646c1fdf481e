"""Batches: the cache, nearest masks, images as PIL resizes them, augmentation of both alike, seeds."""

import numpy as np
import pytest
import torch
from fastai.torch_core import TensorImage
from helpers.refusals import refuses
from PIL import Image

from segfast.core.errors import DataError, UsageError
from segfast.data.cache import UncachedPairs, write_cache
from segfast.data.dataset import SegData
from segfast.data.formats.camvid import camvid
from segfast.data.loaders import seed_epoch, seg_dls
from segfast.data.masks import decode_mask

SIZE = 32, 48


def test_a_second_epoch_opens_no_file(copy, cache, monkeypatch):
    first = [tensor.clone() for b in seg_dls(copy, SIZE, bs=4, aug="none", device="cpu").valid for tensor in b]

    def refuse(*args, **kwargs): raise AssertionError("a file was decoded again")
    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(SegData, "ids", refuse)
    dls = seg_dls(copy, SIZE, bs=4, aug="none", device="cpu")
    for _ in range(2):
        assert sum(len(x) for x, _ in dls.train) == 8
        for expected, got in zip(first, [tensor for batch in dls.valid for tensor in batch]):
            assert torch.equal(expected, got)
    with pytest.raises(DataError, match="decoded again"):
        write_cache(copy, (40, 48))


def test_without_the_cache_every_epoch_opens_files(copy, cache):
    dls = seg_dls(copy, SIZE, bs=4, aug="none", cache=False, device="cpu")
    assert not cache.exists()
    for (image, mask), (cached_image, cached_mask) in zip(dls.valid,
                                                          seg_dls(copy, SIZE, bs=4, aug="none", device="cpu").valid):
        assert torch.equal(image, cached_image) and torch.equal(mask, cached_mask)
    one, two = UncachedPairs(copy, SIZE), write_cache(copy, SIZE)
    assert len(one) == len(two) == 10
    assert all(np.array_equal(one.image(i), two.image(i)) and np.array_equal(one.mask(i), two.mask(i))
               for i in range(10))


def test_ids_of_a_palette_survive_the_whole_way(copy, cache):
    for rel in copy.pairs["mask"]:
        im = Image.fromarray(decode_mask(copy.path(rel)))
        im.putpalette([v for i in range(256) for v in (255 - i, i, 7)])
        im.save(copy.path(rel))
    _, y = seg_dls(copy, (48, 64), bs=2, aug="none", device="cpu").valid.one_batch()
    rows = [i for i, split in enumerate(copy.pairs.split) if split == "valid"]
    for mask, i in zip(y, rows):
        assert np.array_equal(mask.numpy(), decode_mask(copy.path(copy.pairs["mask"][i])))
    assert y.dtype == torch.int64


# Augmentation

def twins(root, n=4):
    "A dataset whose masks show what its images show: 0 where black, 1 where white."
    rng = np.random.default_rng(0)
    for sub in "images", "labels":
        (root/sub).mkdir(parents=True)
    for i in range(n):
        small = Image.fromarray((rng.random((6, 8)) > .5).astype(np.uint8)*255)
        big = np.asarray(small.resize((64, 48), Image.NEAREST))
        Image.fromarray(np.stack([big]*3, -1)).save(root/"images"/f"{i}.png")
        Image.fromarray(big//255).save(root/"labels"/f"{i}_P.png")
    (root/"codes.txt").write_text("black\nwhite\n")
    (root/"valid.txt").write_text("0.png\n")
    return camvid(root)


def test_augmentation_moves_image_and_mask_alike(tmp_path, cache):
    dls = seg_dls(twins(tmp_path/"twins", 9), (48, 64), bs=8, device="cpu")
    moved, agree = 0, []
    for epoch in range(6):
        seed_epoch(dls, 1, 1, epoch)
        x, y = dls.one_batch()
        gray = torch.Tensor(x).mean(1)
        middle = (gray.amax((1, 2)) + gray.amin((1, 2)))/2  # brightness and contrast are augmented too
        white = gray > middle[:, None, None]
        agree.append((white == (y == 1)).float().mean().item())
        moved += int(set(y.unique().tolist()) <= {0, 1})
    assert moved == 6, "values other than the two were made"
    assert np.mean(agree) > .9, agree


def test_augmentation_changes_batches_and_none_does_not(small):
    for aug, equal in ("none", True), ("default", False):
        dls = seg_dls(small, SIZE, bs=8, aug=aug, device="cpu")
        seed_epoch(dls, 0)
        first = sorted(float(image.sum()) for image in dls.one_batch()[0])
        seed_epoch(dls, 1)
        second = sorted(float(image.sum()) for image in dls.one_batch()[0])
        assert (first == pytest.approx(second, rel=1e-5)) == equal


def test_validation_is_not_augmented(small):
    dls = seg_dls(small, SIZE, bs=2, aug="default", device="cpu")
    one, other = (next(iter(dls.valid)) for _ in range(2))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_void_is_never_invented(copy, cache):
    "No padding, no interpolation, no border makes a void pixel, in any augmented batch."
    for rel in copy.pairs["mask"]:
        mask = decode_mask(copy.path(rel))
        Image.fromarray(np.where(mask == copy.classes.void, 4, mask)).save(copy.path(rel))
    dls = seg_dls(copy, (40, 40), bs=8, device="cpu")
    present = set(np.unique(write_cache(copy, (40, 40)).masks))
    assert copy.classes.void not in present
    for epoch in range(10):
        seed_epoch(dls, epoch)
        assert set(dls.one_batch()[1].unique().tolist()) <= present


def test_an_unknown_augmentation(small):
    with refuses(UsageError, "augmentation", "nope", "none", "light", "default", "strong"):
        seg_dls(small, SIZE, aug="nope", device="cpu")


# Seeds

def batches(dls, *key):
    seed_epoch(dls, *key)
    return [(torch.Tensor(x).clone(), torch.Tensor(y).clone()) for x, y in dls.train]


def equal(first, second):
    return len(first) == len(second) and all(torch.equal(x, y) for pair in zip(first, second) for x, y in zip(*pair))


def test_an_epoch_is_a_function_of_its_seed(small):
    made = [seg_dls(small, SIZE, bs=4, workers=w, device="cpu") for w in (0, 0, 2)]
    for key in (42, 0, 0), (42, 0, 1), (42, 1, 0), (7, 0, 0):
        torch.rand(5)
        first, second, third = (batches(dls, *key) for dls in made)
        assert equal(first, second) and equal(first, third)
    others = [batches(made[0], *key) for key in ((42, 0, 0), (42, 0, 1), (42, 1, 0), (7, 0, 0))]
    assert not any(equal(others[i], others[k]) for i in range(4) for k in range(i))
    assert equal(others[0], batches(made[0], 42, 0, 0)), "epochs in between change nothing"


def test_every_image_once_an_epoch(small):
    dls = seg_dls(small, SIZE, bs=4, aug="none", device="cpu")
    loaded = batches(dls, 1)
    sums = sorted(float(x.sum()) for b, _ in loaded for x in b)
    assert len({round(total, 2) for total in sums}) == 8
    firsts = {float(batches(dls, k)[0][0][0].sum()) for k in range(8)}
    assert len(firsts) > 2, "the order differs from epoch to epoch"


# Odds and ends

def test_mixed_own_sizes(copy, cache):
    for rel in copy.pairs["image"][2], copy.pairs["mask"][2]:
        with Image.open(copy.path(rel)) as im:
            im.resize((31, 57), Image.NEAREST).save(copy.path(rel))
    x, y = seg_dls(copy, SIZE, bs=8, device="cpu").one_batch()
    assert x.shape == (8, 3, *SIZE) and y.shape == (8, *SIZE) and isinstance(x, TensorImage)


def test_test_images_are_neither_trained_on_nor_held_out(small):
    data = SegData(small.pairs.assign(split=["test"]*3 + ["train"]*5 + ["valid"]*2), small.classes, small.root, "three",
                   "camvid")
    dls = seg_dls(data, SIZE, bs=4, device="cpu")
    assert list(dls.train.items) == [3, 4, 5, 6, 7] and list(dls.valid.items) == [8, 9]
