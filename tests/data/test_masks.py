"""Class tables and masks in all the shapes they come in."""
import io

import numpy as np
import pytest
from helpers.refusals import refuses
from PIL import Image

from segfast.core.errors import DataError
from segfast.data.classes import ClassTable
from segfast.data.masks import colorize, decode_mask, encode_mask, Encoding, pack_colors, raw_mask, unpack_colors

n_classes = 32
names = tuple(f"class {i}" for i in range(n_classes))
voids = pytest.mark.parametrize("void", [0, 15, 30, 31, 255, None])


# Masks

def ids(n=n_classes, size=(13, 17), seed=0): return np.random.default_rng(seed).integers(0, n, size).astype(np.uint8)


def saved(im, **kwargs):
    f = io.BytesIO()
    im.save(f, "PNG", **kwargs)
    f.seek(0)
    return f


@pytest.mark.parametrize("n", [2, 3, 16, 17, 64, 255, 256])
def test_gray_and_palette_keep_their_ids(n):
    mask = ids(n)
    assert np.array_equal(decode_mask(saved(Image.fromarray(mask))), mask)
    im = Image.fromarray(mask)
    im.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tolist())
    assert im.mode == "P"
    assert np.array_equal(decode_mask(saved(im)), mask)
    assert np.array_equal(decode_mask(saved(im, transparency=0)), mask)
    assert np.array_equal(decode_mask(saved(im, transparency=bytes(range(256)))), mask)


def test_a_palette_of_two_equal_colors_keeps_its_ids():
    mask = ids(4)
    im = Image.fromarray(mask)
    im.putpalette([9, 9, 9]*256)
    assert np.array_equal(decode_mask(saved(im)), mask)


def test_one_bit_and_sixteen_bits():
    mask = ids(2)
    assert np.array_equal(decode_mask(saved(Image.fromarray(mask.astype(bool)))), mask)
    b = ids(256).astype(np.uint16)
    deep = saved(Image.fromarray(b))
    assert Image.open(deep).mode.startswith("I")
    assert np.array_equal(decode_mask(deep), b)
    with refuses(DataError, 300, code="mask-values", found=[300], pixels=1):
        decode_mask(saved(Image.fromarray(np.array([[0, 300]], np.uint16))))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "F"])
def test_color_is_refused(mode, tmp_path):
    path = tmp_path/("m.tif" if mode in "CMYK F" else "m.png")
    Image.new(mode, (3, 2)).save(path)
    with refuses(DataError, mode, code="mask-mode", file=str(path), found=mode):
        decode_mask(path)


@voids
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (8, 1), (33, 20)])
def test_encode_and_decode(void, size):
    table = ClassTable(names, void)
    mask = ids(n_classes, size)
    if void == 255:
        mask.flat[0] = 255
    im = encode_mask(mask, table)
    assert im.mode == "P" and np.array_equal(decode_mask(saved(im)), mask)
    assert np.array_equal(np.asarray(im.convert("RGB")), colorize(mask, table))


@voids
def test_colorize_is_a_loop(void):
    table = ClassTable(names, void)
    mask = ids()
    if void == 255:
        mask[::3] = 255
    slow = np.zeros((*mask.shape, 3), np.uint8)
    for y, x in np.ndindex(mask.shape):
        slow[y, x] = table.colors[mask[y, x]] if mask[y, x] < n_classes else (0, 0, 0)
    assert np.array_equal(colorize(mask, table), slow)
    assert np.array_equal(colorize(mask.astype(np.int64), table), slow)


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (1, 2, 3)])
def test_a_color_is_packed_and_unpacked(color):
    assert pack_colors(color) == sum(v*256**i for i, v in enumerate(color)) and unpack_colors(
        pack_colors(color)) == color


def test_an_image_is_packed_as_its_colors_are():
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    raw = raw_mask(Image.fromarray(image), Encoding("colors"))
    assert np.array_equal(raw, pack_colors(np.moveaxis(image.astype(int), -1, 0)))
    assert np.array_equal(np.stack(unpack_colors(raw), -1), image)
