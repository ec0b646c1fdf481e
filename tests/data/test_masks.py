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


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_color_is_refused(mode, tmp_path):
    path = tmp_path/("m.tif" if mode == "CMYK" else "m.png")
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


def test_values_beyond_16_bits_and_below_zero(tmp_path):
    deep = Encoding("values", ((0, 0), (7, 1), (65535, 255), (-1, 255)))
    Image.fromarray(np.int32([[0, 7, -1, 65535]])).save(tmp_path/"sound.tif")
    assert decode_mask(tmp_path/"sound.tif", deep).tolist() == [[0, 1, 255, 255]]
    Image.fromarray(np.int32([[0, 7, -1, 70000]])).save(tmp_path/"stray.tif")
    with refuses(DataError, 70000, "1 pixel", code="mask-values", found=[70000], pixels=1):
        decode_mask(tmp_path/"stray.tif", deep)
    Image.fromarray(np.int32([[0, -2, -32768, 65536]])).save(tmp_path/"stray.tif")
    with refuses(DataError, -2, -32768, 65536, code="mask-values", pixels=3):
        decode_mask(tmp_path/"stray.tif", Encoding("values", ((0, 0), (7, 1))))


def test_a_table_of_values_is_a_loop():
    rng = np.random.default_rng(0)
    for low, high, dtype in ((0, 1 << 16, np.uint16), (-1 << 16, 1 << 20, np.int32), (0, 256, np.uint8)):
        known = np.unique(rng.integers(low, high, 40))[:20].tolist()
        encoding = Encoding("values", tuple((v, i) for i, v in enumerate(known)))
        raw = np.array(rng.choice(known, (5, 6)), dtype)
        assert decode_mask(Image.fromarray(raw), encoding).tolist() == [[known.index(v) for v in row]
                                                                        for row in raw.tolist()]


def test_ids_go_back_to_the_values_of_the_dataset():
    colors = Encoding("colors", (((1, 2, 3), 0), ((4, 5, 6), 1)))
    assert colors.inverse() == {0: (1, 2, 3), 1: (4, 5, 6)}
    mixed = Encoding("values", ((0, 0), (1, 1), (255, 1), (-1, 255), (65535, 255)))
    assert mixed.inverse() == {0: 0, 1: 1, 255: -1}
    assert Encoding().inverse() == {i: i for i in range(256)}


@pytest.mark.parametrize("value", [0., .5, 1., np.nan, np.inf])
@pytest.mark.parametrize("encoding", [Encoding(), Encoding("values", ((0, 0), (1, 1))), Encoding("colors")])
def test_floating_point_masks_are_refused(value, encoding, tmp_path):
    Image.fromarray(np.full((3, 4), value, np.float32)).save(tmp_path/"m.tif")
    with refuses(DataError, "floating-point", "m.tif", code="mask-mode", found="F"):
        decode_mask(tmp_path/"m.tif", encoding)
