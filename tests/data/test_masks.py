"""Class tables and masks in all the shapes they come in."""
import io

import numpy as np
import pytest
from helpers.refusals import refuses
from PIL import Image

from segfast.core.errors import DataError
from segfast.data.classes import CAMVID_COLORS, ClassTable, codes_table
from segfast.data.masks import Encoding, colorize, decode_mask
from segfast.data.classes import default_colors, find_void, read_codes
from segfast.data.masks import encode_mask, pack_colors, raw_mask
from segfast.data.masks import unpack_colors

N = 32
names = tuple(f"class {i}" for i in range(N))
voids = pytest.mark.parametrize("void", [0, 15, 30, 31, 255, None])


@voids
def test_void_anywhere(void):
    t = ClassTable(names, void)
    assert len(t) == N and t.ignore_index == (-100 if void is None else void)
    assert t.labels == tuple(i for i in range(N) if i != void) and len(t.labels) == (N - 1 if void is not None and void < N else N)
    assert t.valid_values == set(range(N)) | (set() if void is None else {void})
    if void is not None and void < N:
        assert t.colors[void] == (0, 0, 0)
    rows = t._repr_html_().split("<tr>")[2:]
    assert [i for i, row in enumerate(rows) if "void" in row] == ([] if void is None else [min(void, N)])


@voids
@pytest.mark.parametrize("odd", [("a,b", 'say "hello"', "Häuser", "<script>alert(1)</script>", "x;y", "it's", "日本", "a\tb", " padded ")])
def test_csv_round_trip(void, odd, tmp_path):
    t = ClassTable((*odd, *names[len(odd):]), void)
    t.save(tmp_path/"classes.csv")
    assert ClassTable.load(tmp_path/"classes.csv") == t
    assert "<script>" not in t._repr_html_()


def test_csv_round_trip_of_a_class_that_is_one_void():
    t = ClassTable(["only"], 0)
    assert t.labels == () and t.valid_values == {0}


@pytest.mark.parametrize("name", ["None", "nan", "0", "1"])
def test_csv_round_trip_of_names_like_values(name, tmp_path):
    t = ClassTable(["a", name, "b"], 255)
    t.save(tmp_path/"classes.csv")
    assert ClassTable.load(tmp_path/"classes.csv") == t


@pytest.mark.parametrize("bad, named, good", [
    (dict(names=()), [], dict(names=("sky",))),
    (dict(names=("sky", "")), [1], dict(names=("sky", "road"))),
    (dict(names=("sky", "road", "sky")), ["sky"], dict(names=("sky", "road", "Sky"))),
    (dict(names=range(257)), [257, 256], dict(names=range(256))),
    (dict(names=("sky",), void=-1), ["void", -1, 0, 255], dict(names=("sky",), void=0)),
    (dict(names=("sky",), void=256), ["void", 256, 0, 255], dict(names=("sky",), void=255)),
    (dict(names=("sky", "road"), colors=[(0, 0, 0)]), [1, 2], dict(names=("sky", "road"), colors=[(0, 0, 0)]*2))])
def test_bad_tables(bad, named, good):
    with refuses(DataError, *named):
        ClassTable(**bad | dict(names=[str(o) for o in bad["names"]]))
    assert len(ClassTable(**good | dict(names=[str(o) for o in good["names"]]))) == len(good["names"])


def test_colors_differ():
    assert len(set(default_colors(64))) == 64
    assert all(0 <= v <= 255 for c in default_colors(256) for v in c)


# codes.txt

@pytest.mark.parametrize("text, expected", [
    ("Sky\nRoad\nVoid\n", ("Sky", "Road", "Void")),
    ("\ufeffSky\nRoad\nVoid", ("Sky", "Road", "Void")),
    ("Sky\r\nRoad\r\nVoid\r\n", ("Sky", "Road", "Void")),
    ("Sky  \nRoad\t\n  Void\n", ("Sky", "Road", "Void")),
    ("Sky\nroad works\nVoid\n\n\n", ("Sky", "road works", "Void")),
    ("# Sky\nRoad #2\n", ("# Sky", "Road #2")),
    ("Bäume\nStraße\n日本\n", ("Bäume", "Straße", "日本")),
])
def test_codes(text, expected, tmp_path):
    (tmp_path/"codes.txt").write_bytes(text.encode())
    assert read_codes(tmp_path/"codes.txt") == expected


@pytest.mark.parametrize("raw, code, found, named", [
    (b"", "codes", None, []), (b"\n \n", "codes", None, []),
    (b"sky\nroad\nsky\n", "codes-duplicate", ["sky"], ["'sky'", 0, 2]), (b"a\xff\xfe\n", "encoding", None, [1, "UTF-8"])])
def test_bad_codes(raw, code, found, named, tmp_path):
    (tmp_path/"codes.txt").write_bytes(raw)
    with refuses(DataError, *named, code=code, file="codes.txt", found=found):
        read_codes(tmp_path/"codes.txt")


def test_no_codes(tmp_path):
    with refuses(DataError, tmp_path, code="codes", file="codes.txt"):
        read_codes(tmp_path/"codes.txt")


def test_camvids_own_codes(tmp_path):
    listed = sorted(set(CAMVID_COLORS) - {"Pole", "Pavement"}, key=str.lower)
    (tmp_path/"codes.txt").write_text("\n".join(listed))
    t = codes_table(tmp_path/"codes.txt")
    assert len(t) == 32 and t.names[t.void] == "Void" and t.colors[t.void] == (0, 0, 0)
    assert t.colors[t.names.index("Road")] == (128, 64, 128)
    assert len(set(t.colors)) == 32


@pytest.mark.parametrize("name", ["Void", "VOID", "void", "Unlabelled", "unlabeled", "Ignore"])
def test_void_by_name(name):
    assert find_void(["a", name, "b"]) == 1
    assert find_void(["a", name + "s", "b"]) is None
    with refuses(DataError, name, "ignored", code="codes-void", found=[name, "ignored"]):
        find_void(["a", name, "ignored"])


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
    assert pack_colors(color) == sum(v*256**i for i, v in enumerate(color)) and unpack_colors(pack_colors(color)) == color


def test_a_picture_is_packed_as_its_colors_are():
    a = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    raw = raw_mask(Image.fromarray(a), Encoding("colors"))
    assert np.array_equal(raw, pack_colors(np.moveaxis(a.astype(int), -1, 0)))
    assert np.array_equal(np.stack(unpack_colors(raw), -1), a)
