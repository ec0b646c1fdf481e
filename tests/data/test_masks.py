"""Class tables and masks in all the shapes they come in."""
import io

import numpy as np
import pytest
from helpers.refusals import refuses
from PIL import Image

from segfast.core.errors import DataError
from segfast.data.classes import ClassTable
from segfast.data.masks import colorize, decode_mask, encode_mask, Encoding, pack_colors, raw_mask, unpack_colors

N = 32
names = tuple(f"class {i}" for i in range(N))
voids = pytest.mark.parametrize("void", [0, 15, 30, 31, 255, None])


# Masks

def ids(n=N, size=(13, 17), seed=0): return np.random.default_rng(seed).integers(0, n, size).astype(np.uint8)


def saved(im, **kwargs):
    f = io.BytesIO()
    im.save(f, "PNG", **kwargs)
    f.seek(0)
    return f


@pytest.mark.parametrize("n", [2, 3, 16, 17, 64, 255, 256])
def test_grey_and_palette_keep_their_ids(n):
    a = ids(n)
    assert np.array_equal(decode_mask(saved(Image.fromarray(a))), a)
    im = Image.fromarray(a)
    im.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tolist())
    assert im.mode == "P"
    assert np.array_equal(decode_mask(saved(im)), a)
    assert np.array_equal(decode_mask(saved(im, transparency=0)), a)
    assert np.array_equal(decode_mask(saved(im, transparency=bytes(range(256)))), a)


def test_a_palette_of_two_equal_colours_keeps_its_ids():
    a = ids(4)
    im = Image.fromarray(a)
    im.putpalette([9, 9, 9]*256)
    assert np.array_equal(decode_mask(saved(im)), a)


def test_one_bit_and_sixteen_bits():
    a = ids(2)
    assert np.array_equal(decode_mask(saved(Image.fromarray(a.astype(bool)))), a)
    b = ids(256).astype(np.uint16)
    deep = saved(Image.fromarray(b))
    assert Image.open(deep).mode.startswith("I")
    assert np.array_equal(decode_mask(deep), b)
    with refuses(DataError, 300, code="mask-values", found=[300], pixels=1):
        decode_mask(saved(Image.fromarray(np.array([[0, 300]], np.uint16))))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "F"])
def test_colour_is_refused(mode, tmp_path):
    path = tmp_path/("m.tif" if mode in "CMYK F" else "m.png")
    Image.new(mode, (3, 2)).save(path)
    with refuses(DataError, mode, code="mask-mode", file=str(path), found=mode):
        decode_mask(path)


@voids
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (8, 1), (33, 20)])
def test_encode_and_decode(void, size):
    t = ClassTable(names, void)
    a = ids(N, size)
    if void == 255:
        a.flat[0] = 255
    im = encode_mask(a, t)
    assert im.mode == "P" and np.array_equal(decode_mask(saved(im)), a)
    assert np.array_equal(np.asarray(im.convert("RGB")), colorize(a, t))


@voids
def test_colorize_is_a_loop(void):
    t = ClassTable(names, void)
    a = ids()
    if void == 255:
        a[::3] = 255
    slow = np.zeros((*a.shape, 3), np.uint8)
    for y, x in np.ndindex(a.shape):
        slow[y, x] = t.colors[a[y, x]] if a[y, x] < N else (0, 0, 0)
    assert np.array_equal(colorize(a, t), slow)
    assert np.array_equal(colorize(a.astype(np.int64), t), slow)


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (1, 2, 3)])
def test_a_color_is_packed_and_unpacked(color):
    assert pack_colors(color) == sum(v*256**i for i, v in enumerate(color)) and unpack_colors(
        pack_colors(color)) == color


def test_a_picture_is_packed_as_its_colors_are():
    a = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    raw = raw_mask(Image.fromarray(a), Encoding("colors"))
    assert np.array_equal(raw, pack_colors(np.moveaxis(a.astype(int), -1, 0)))
    assert np.array_equal(np.stack(unpack_colors(raw), -1), a)
