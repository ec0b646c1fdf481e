"""Opening an image file: upright, any depth, and an error for each thing that can be wrong."""
import io
import subprocess
import sys

import numpy as np
import pytest
from helpers.defects import png
from helpers.problems import missing
from helpers.refusals import refuses
from helpers.tiffs import tiff_bytes, write_tiff
from PIL import Image

from segfast.core.errors import DataError
from segfast.data.check import check_path, image_oddities
from segfast.data.filestats import image_facts, mask_facts
from segfast.data.images import inspect_file, open_image, read_image, stored_values, to_rgb
from segfast.data.masks import Encoding, decode_mask

RGB = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)


def test_floating_point_is_refused(tmp_path):
    path = tmp_path/"a.tif"
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(path)
    assert image_facts(path)["bad"]["code"] == "image-mode"


def test_only_images_are_opened(tmp_path):
    (tmp_path/"a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n")
    assert image_facts(tmp_path/"a.png")["bad"]["code"] == "not-an-image"


def png_of(pixels):
    f = io.BytesIO()
    Image.fromarray(pixels).save(f, "PNG")
    return bytearray(f.getvalue())


def test_a_file_and_its_open_bytes_are_alike(tmp_path):
    raw = bytes(png_of(RGB))
    (tmp_path/"a.png").write_bytes(raw)
    assert np.array_equal(open_image(tmp_path/"a.png"), RGB) and np.array_equal(open_image(io.BytesIO(raw)), RGB)
    assert np.array_equal(np.asarray(read_image(str(tmp_path/"a.png"))), RGB)
    assert open_image(io.BytesIO(raw), (9, 7)).shape == (9, 7, 3)


@pytest.mark.parametrize("part", [b"IDAT", b"IEND"])
def test_a_wrong_checksum_is_found(tmp_path, part):
    "Pillow decodes pixels whose checksum is wrong without a word."
    raw = png_of(np.zeros((8, 8), np.uint8))
    at = raw.find(part)
    raw[at + 4 + int.from_bytes(raw[at-4:at], "big")] ^= 1
    (tmp_path/"a.png").write_bytes(raw)
    Image.open(io.BytesIO(raw)).load()
    found = inspect_file(tmp_path/"a.png", lambda im: {})
    if part == b"IDAT":
        assert found["bad"]["code"] == "undecodable"
        for read in open_image, decode_mask:
            with refuses(DataError, tmp_path/"a.png", code="undecodable"):
                read(tmp_path/"a.png")


@pytest.mark.parametrize("content, code", [(b"", "empty"), (b"no image at all", "not-an-image"),
                                           (bytes(png_of(RGB))[:900], "undecodable")])
@pytest.mark.parametrize("read", [open_image, decode_mask])
def test_errors_name_the_file_and_what_to_do(tmp_path, read, content, code):
    (tmp_path/"a.png").write_bytes(content)
    with refuses(DataError, tmp_path/"a.png", code=code) as e:
        read(tmp_path/"a.png")
    assert e.value.problems[0].fix


# Kinds of TIFF: read as they were drawn, or refused by an error that says what they are

H, W = RGB.shape[:2]
GRAY = RGB[..., 0]
DEEP = RGB.astype(np.uint16)*257  # the upper byte of each value is that of `RGB`
FOUR = np.dstack([RGB, 255 - GRAY])
ORDERS = [dict(order=order, deflate=deflate, tile=tile) for order in "<>" for deflate in (False, True)
          for tile in (0, 16)]
ORDER_IDS = ["-".join([dict(zip("<>", ("little", "big")))[k["order"]], "deflate"*k["deflate"] or "raw",
                       "tiles" if k["tile"] else "strips"]) for k in ORDERS]


def gray(a): return np.dstack([a]*3)


READ = {  # name: pixels, how they are written, what must be read
    "rgb 8": (RGB, {}, RGB), "rgb 16": (DEEP, {}, RGB), "gray 8": (GRAY, {}, gray(GRAY)),
    "gray 16": (DEEP[..., 0], {}, gray(GRAY)), "white is 0": (GRAY, dict(photometric=0), gray(255 - GRAY)),
    "rgb and near infrared": (FOUR, dict(photometric=2), RGB),
    "rgb and alpha": (FOUR, dict(photometric=2, extra=2), RGB),
    "rgb and near infrared 16": (FOUR.astype(np.uint16)*257, dict(photometric=2), RGB),
    "rgb and two more": (np.dstack([FOUR, GRAY]), dict(photometric=2), RGB),
    "gray and alpha": (np.dstack([GRAY, 255 - GRAY]), dict(extra=2), gray(GRAY)),
    "two bands": (np.dstack([GRAY, 255 - GRAY]), {}, gray(GRAY)),
    "cmyk": (FOUR, dict(photometric=5), np.asarray(Image.merge("CMYK", [Image.fromarray(band) for band in
                                                                        FOUR.transpose(2, 0, 1)]).convert("RGB"))),
    "two bits": (GRAY >> 6, dict(bits=2), gray((GRAY >> 6)*85)),
    "one bit": (GRAY >> 7, dict(bits=1), gray((GRAY >> 7)*255)),
}


def layouts(kinds):
    "Each kind in each byte order and compression, in strips and tiles; the helper packs bits in strips only."
    made = [pytest.param(name, how, id=f"{name}-{i}") for name, (_, kind, _) in kinds.items()
            for how, i in zip(ORDERS, ORDER_IDS) if not how["tile"] or kind.get("bits", 8) % 8 == 0]
    return pytest.mark.parametrize("name, how", made)


@layouts(READ)
def test_kinds_of_tiff_that_are_read(tmp_path, name, how):
    pixels, kind, truth = READ[name]
    path = write_tiff(tmp_path/"a.tif", pixels, **kind, **how)
    assert np.array_equal(open_image(path), truth)
    assert image_facts(path)["size"] == [H, W]


@pytest.mark.parametrize("big", [False, True])
def test_twelve_bits_and_white_that_is_0(tmp_path, big):
    twelve = write_tiff(tmp_path/"a.tif", DEEP[..., 0] >> 4, bits=12, big=big)
    assert np.array_equal(open_image(twelve), gray(GRAY)) and image_facts(twelve)["bits"] == 12
    inverted = write_tiff(tmp_path/"b.tif", DEEP[..., 0], photometric=0, big=big)
    assert np.array_equal(open_image(inverted), gray(255 - GRAY))


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg", "group4"])
def test_compressions_of_a_tiff(tmp_path, compression):
    im = Image.fromarray(RGB if compression != "group4" else GRAY > 99)
    if compression == "jpeg": im = im.resize((W, H)).convert("L").convert("RGB")
    im.save(tmp_path/"a.tif", compression=compression)
    limit = 40 if compression == "jpeg" else 0
    assert np.abs(open_image(tmp_path/"a.tif").astype(int) - np.asarray(im.convert("RGB"))).mean() <= limit


@pytest.mark.parametrize("deflate", [False, True])
def test_ycbcr(tmp_path, deflate):
    ycbcr = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
    full = write_tiff(tmp_path/"a.tif", ycbcr, photometric=6, tags={530: ("H", [1, 1])}, deflate=deflate)
    assert np.abs(open_image(full).astype(int) - RGB).max() <= 4
    if not deflate:  # no tag: one color for 2x2 pixels, which Pillow does not know
        with refuses(DataError, "YCbCr", "3 bands", code="image-mode"):
            open_image(write_tiff(tmp_path/"b.tif", ycbcr, photometric=6))


SIGNED = GRAY.astype(np.int16) - 9
REFUSED = {  # name: pixels, how they are written, what the error must say
    "four bands": (FOUR, dict(photometric=1), ["4 bands", "8 bits", "-b 1 -b 2 -b 3", "PHOTOMETRIC=RGB"]),
    "three bands": (RGB, dict(photometric=1), ["3 bands", "8 bits", "PHOTOMETRIC=RGB"]),
    "three bands 16": (DEEP, dict(photometric=1), ["3 bands", "16 bits", "-scale"]),
    "five bands 16": (np.dstack([DEEP, DEEP[..., :2]]), dict(photometric=1), ["5 bands", "16 bits"]),
    "thirteen bands": (np.dstack([DEEP]*4 + [DEEP[..., :1]]), dict(photometric=1), ["13 bands", "16 bits"]),
    "64 bands": (RGB[:4, :5, :1].repeat(64, 2), dict(photometric=1), ["64 bands", "8 bits"]),
    "rgb float": (RGB.astype(np.float32)/255, {}, ["3 bands", "float32", "-ot Byte -scale"]),
    "rgb double": (RGB.astype(np.float64), {}, ["3 bands", "float64"]),
    "float": (GRAY.astype(np.float32), {}, ["float32", "-scale"]),
    "half": (GRAY.astype(np.float16), {}, ["1 band", "float16"]),
    "double": (GRAY.astype(np.float64), {}, ["1 band", "float64", "a mask", "Int32"]),
    "complex": (GRAY.astype(np.complex64), {}, ["1 band", "complex64"]),
    "32 bits": (GRAY.astype(np.uint32), {}, ["1 band", "32 bits"]),
    "signed 32 bits": (GRAY.astype(np.int32), {}, ["1 band", "32"]),
    "64 bits": (GRAY.astype(np.uint64), {}, ["1 band", "64 bits"]),
    "below zero": (SIGNED, {}, ["-9", "-scale"]),
    "signed bytes": (GRAY.astype(np.int8), {}, ["signed", "8 bits"]),
    "signed rgb": (DEEP.astype(np.int16), {}, ["3 bands", "16-bit signed"]),
    "lab": (RGB, dict(photometric=8), ["Lab"]),
    "fourteen bits": (DEEP[..., 0] >> 2, dict(bits=14), ["1 band", "14 bits"]),
}


@layouts(REFUSED)
def test_kinds_of_tiff_that_are_refused(tmp_path, name, how):
    pixels, kind, words = REFUSED[name]
    if how["order"] == ">" and how["deflate"] and name in ("float", "signed 32 bits", "below zero"):
        words = ["float32" if name == "float" else "signed"]  # refused before a value is read
    path = write_tiff(tmp_path/"a.tif", pixels, **kind, **how)
    with refuses(DataError, path, *words, code="image-mode", file=str(path)) as e: open_image(path)
    bad = image_facts(path)["bad"]
    assert (bad["code"], bad["message"]) == ("image-mode", e.value.problems[0].message) and bad["fix"]
    with path.open("rb") as f, refuses(DataError, *words, code="image-mode"): read_image(f)


@layouts({name: kind for name, kind in {**READ, **REFUSED}.items() if kind[0].ndim == 3})
def test_separate_planes_are_read_rightly_or_refused(tmp_path, name, how):
    pixels, kind, truth = {**READ, **REFUSED}[name]
    path = write_tiff(tmp_path/"a.tif", pixels, separate=True, **kind, **how)
    try: found = open_image(path)
    except DataError as e: assert str(pixels.shape[2]) in str(e) and "band" in str(e) or "Lab" in str(e)
    else: assert np.array_equal(found, truth), name


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_bigtiff_is_read_where_pillow_can(tmp_path):
    assert np.array_equal(open_image(write_tiff(tmp_path/"a.tif", RGB, big=True)), RGB)
    assert np.array_equal(open_image(write_tiff(tmp_path/"b.tif", DEEP, big=True, deflate=True)), RGB)
    with refuses(DataError, "4 bands", "8 bits", "BigTIFF", code="image-mode"):
        open_image(write_tiff(tmp_path/"c.tif", FOUR, photometric=1, big=True))
    with refuses(DataError, "big-endian BigTIFF", "3 bands", code="image-mode"):
        open_image(write_tiff(tmp_path/"d.tif", RGB, big=True, order=">"))


def test_pillow_says_nothing_beside_the_error(tmp_path):
    path = write_tiff(tmp_path/"a.tif", RGB[:4, :5, :1].repeat(13, 2), photometric=1)
    code = f"from segfast.data.images import inspect_file; print(inspect_file({str(path)!r}, dict)['bad']['message'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "13 bands of 8 bits" in done.stdout and not done.stderr


def test_an_unknown_compression_is_named(tmp_path):
    with refuses(DataError, "34887", "3 bands", code="image-mode"):  # LERC
        open_image(write_tiff(tmp_path/"a.tif", RGB, tags={259: ("H", [34887])}))


@pytest.mark.parametrize("share", [.1, .6, .99])
@pytest.mark.parametrize("name", ["rgb 8", "rgb 16", "four bands", "double"])
def test_a_tiff_that_is_cut_off_is_no_kind_of_tiff(tmp_path, name, share):
    pixels, kind, _ = {**READ, **REFUSED}[name]
    at = len(tiff_bytes(pixels, **kind))  # the pixels follow the header, as in most files
    raw = tiff_bytes(pixels, tags={273: ("I", [at])}, **kind) + pixels.tobytes()
    (tmp_path/"a.tif").write_bytes(raw[:at + int(pixels.nbytes*share)])
    with refuses(DataError, tmp_path/"a.tif", "cut off", code="undecodable"): open_image(tmp_path/"a.tif")


# Other files, and JPEG with 12 bits

@pytest.mark.parametrize("start, words, code", [
    (b"\0\0\0\x20ftypheic", "HEIC", "not-an-image"), (b"\0\0\0\x20ftypavif", "AVIF", "not-an-image"),
    (b"<!DOCTYPE html><html>", "web page", "not-an-image"),
    (b"version https://git-lfs.github.com/spec/v1", "git lfs pull", "not-an-image"),
    (b"%PDF-1.7", "PDF", "not-an-image"), (b"\x93NUMPY\1\0", "NumPy", "not-an-image"),
    (b"\x89HDF\r\n", "HDF5", "not-an-image"), (bytes(128) + b"DICM", "DICOM", "not-an-image"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(9) + b"\xff\xc1\0\x0b\x0c\0\x10\0\x10\1\1\x11\0", "12 bits",
     "image-mode")])
def test_what_is_no_image_is_named(tmp_path, start, words, code):
    (tmp_path/"a.jpg").write_bytes(start + bytes(200))
    with refuses(DataError, tmp_path/"a.jpg", words, code=code): open_image(tmp_path/"a.jpg")


# Transparency, palettes and other modes

MODES = {"P": Image.fromarray(RGB).convert("P"), "PA": Image.fromarray(RGB).convert("P").convert("PA"),
         "LA": Image.fromarray(GRAY).convert("LA"), "RGBA": Image.fromarray(RGB).convert("RGBA"),
         "La": Image.fromarray(GRAY).convert("LA").convert("La"), "1": Image.fromarray(GRAY > 99),
         "CMYK": Image.fromarray(RGB).convert("CMYK"), "YCbCr": Image.fromarray(RGB).convert("YCbCr"),
         "HSV": Image.fromarray(RGB).convert("HSV")}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(mode):
    found = to_rgb(MODES[mode])
    plain = MODES[mode].convert("LA") if mode == "La" else MODES[mode]
    assert found.mode == "RGB" and np.array_equal(found, plain.convert("RGB"))


@pytest.mark.parametrize("clear", [3, bytes([0, 128] + [255]*254)])
def test_a_palette_with_transparency(tmp_path, clear):
    MODES["P"].save(tmp_path/"a.png", transparency=clear)
    assert np.array_equal(open_image(tmp_path/"a.png"), MODES["P"].convert("RGB"))
    assert image_facts(tmp_path/"a.png")["clear"]


@pytest.mark.parametrize("times", [1, 257])
def test_the_palette_of_a_tiff_has_16_bits_or_8(tmp_path, times):
    "Pillow divides by 256 in either case, and shows the second kind in black."
    colors = np.random.default_rng(0).integers(0, 256, (256, 3))
    path = write_tiff(tmp_path/"a.tif", GRAY, photometric=3, tags={320: ("H", (colors.T.ravel()*times).tolist())})
    assert np.array_equal(open_image(path), colors[GRAY]) and np.array_equal(decode_mask(path), GRAY)
    assert image_facts(path)["mean"] == [round(float(colors[GRAY][..., i].mean()/255), 6) for i in range(3)]
    assert mask_facts(path)["palette"] == {str(i): colors[i].tolist() for i in np.unique(GRAY)}


@pytest.mark.parametrize("lowest, highest", [(-1, 9), (0, 65536)])
def test_numbers_beyond_16_bits_are_refused(lowest, highest):
    with refuses(DataError, lowest, highest, code="image-mode"):
        to_rgb(Image.fromarray(np.int32([[lowest, highest]])))


@pytest.mark.parametrize("suffix", ["png", "jp2"])
def test_16_bits_in_other_formats(tmp_path, suffix):
    Image.fromarray(DEEP[..., 0]).save(tmp_path/f"a.{suffix}")
    assert np.array_equal(open_image(tmp_path/f"a.{suffix}"), gray(GRAY))
    assert image_facts(tmp_path/f"a.{suffix}")["bits"] == 16


def netpbm(kind, a, top, plain=False):
    "A PGM or PPM whose largest value is `top`."
    body = " ".join(map(str, a.ravel())).encode() if plain else a.astype(">u2" if top > 255 else np.uint8).tobytes()
    return b"P%d %d %d %d\n" % (kind - 3*plain, a.shape[1], a.shape[0], top) + body


@pytest.mark.parametrize("plain", [False, True])
def test_a_pgm_has_its_own_white_as_an_image_and_its_own_numbers_as_a_mask(tmp_path, plain):
    for top in 1, 5, 255, 1000, 65535:
        numbers = np.random.default_rng(top).integers(0, min(top, 255) + 1, (7, 9))
        (tmp_path/"a.pgm").write_bytes(netpbm(5, numbers, top, plain))
        assert np.array_equal(decode_mask(tmp_path/"a.pgm"), numbers), top
        assert np.abs(open_image(tmp_path/"a.pgm")[..., 0] - numbers*255/top).max() <= 1, top
        assert image_facts(tmp_path/"a.pgm")["bits"] == max(8, top.bit_length())


# Masks

@pytest.mark.parametrize("how", ORDERS, ids=ORDER_IDS)
def test_masks_of_every_whole_number(tmp_path, how):
    ids = RGB[..., 0] % 7
    for number in np.uint8, np.uint16, np.int16, np.int32, np.uint32:
        path = write_tiff(tmp_path/"m.tif", ids.astype(number), **how)
        try: found = decode_mask(path)
        except DataError as e:  # Pillow does not read these
            assert how["order"] == ">" and (number is np.uint32 or how["deflate"])
            assert e.problems[0].code == "image-mode" and "1 band" in str(e) and "a mask" in str(e)
        else: assert np.array_equal(found, ids), number


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("deflate", [False, True])
def test_masks_of_few_bits(tmp_path, bits, deflate):
    ids = RGB[..., 0] >> 8 - bits
    assert np.array_equal(decode_mask(write_tiff(tmp_path/"m.tif", ids, bits=bits, deflate=deflate)), ids)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_mask_in_which_0_is_white_is_refused(tmp_path, bits):
    path = write_tiff(tmp_path/"m.tif", RGB[..., 0] >> 8 - bits, bits=bits, photometric=0)
    with refuses(DataError, path, "white", code="mask-mode"): decode_mask(path)
    shown = write_tiff(tmp_path/"b.tif", RGB[..., 0] > 99, photometric=0)  # one bit: as everyone shows it
    assert np.array_equal(decode_mask(shown), RGB[..., 0] <= 99)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".ppm"])
def test_a_mask_of_colors_with_16_bits_is_refused(tmp_path, suffix):
    "Pillow drops the lower byte: 300 and 301 would be one class."
    path, pixels = tmp_path/f"m{suffix}", np.uint16([[[300]*3, [301]*3]])
    if suffix == ".tif": write_tiff(path, pixels)
    else: path.write_bytes(png(pixels, 16) if suffix == ".png" else netpbm(6, pixels, 65535))
    for encoding in Encoding(), Encoding("colors", (((1, 1, 1), 0),)):
        with refuses(DataError, path, "16 bits", "gray PNG", code="mask-mode"): decode_mask(path, encoding)


@pytest.mark.parametrize("pages, kind, code", [((3, 3), "note", "mask-frames"), ((1, 3), "error", "mask-pages"),
                                               ((5, 3), "error", "mask-pages")])
def test_masks_with_several_pages(tmp_path, pages, kind, code):
    data = tiles(tmp_path, lambda p, a: write_tiff(p, [a]*pages[0]))
    for i in range(6): write_tiff(data/f"masks/tile_{i}.tif", [drawn(i)[0]]*pages[1])
    problem, = [problem for problem in check_path(data).problems if problem.code.startswith("mask-")]
    assert (problem.kind, problem.code) == (kind, code) and "3" in problem.message


@pytest.mark.parametrize("number", [np.float16, np.float64, np.complex64])
def test_a_mask_that_pillow_does_not_read_is_named(tmp_path, number):
    path = write_tiff(tmp_path/"m.tif", RGB[..., 0].astype(number))
    with refuses(DataError, path, "1 band", np.dtype(number).name, "a mask", code="image-mode"): decode_mask(path)


# Whole folders

def drawn(i):
    "The ids of three classes, and an image of them."
    rng = np.random.default_rng(i)
    ids = rng.integers(0, 3, (5, 7)).repeat(10, 0).repeat(10, 1)
    return ids.astype(np.uint8), np.uint8(np.int32([[60, 120, 40], [190, 180, 170], [40, 70, 200]])[ids]
                                          + rng.integers(0, 50, (50, 70, 1)))


def tiles(folder, make, n=6):
    "Images written by `make`, with their masks."
    for part in "images", "masks": (folder/part).mkdir()
    for i in range(n):
        ids, image = drawn(i)
        make(folder/f"images/tile_{i}.tif", image)
        write_tiff(folder/f"masks/tile_{i}.tif", ids)
    return folder


def with_infrared(a): return np.dstack([a, 255 - a[..., :1]])


FOLDERS = {  # name: how an image is written, kind and code of what is said, words; then no error means read as drawn
    "geotiff_rgb8": (lambda p, a: write_tiff(p, a), "", "", []),
    "geotiff_rgb16": (lambda p, a: write_tiff(p, a.astype(np.uint16)*257), "note", "image-16bit", ["16", "8 bits"]),
    "geotiff_rgb16_dark": (lambda p, a: write_tiff(p, a.astype(np.uint16)*8), "error", "image-dark",
                           ["16 bits", "black", "-scale 0 2047"]),
    "geotiff_rgb_nir8": (lambda p, a: write_tiff(p, with_infrared(a), photometric=2), "note", "image-bands",
                         ["4 bands", "red, green and blue", "not used"]),
    "geotiff_4bands8": (lambda p, a: write_tiff(p, with_infrared(a), photometric=1), "error", "image-mode",
                        ["4 bands", "8 bits", "gdal_translate"]),
    "geotiff_float32": (lambda p, a: write_tiff(p, a.astype(np.float32)/255), "error", "image-mode",
                        ["3 bands", "float32", "gdal_translate"]),
    "gray_12_in_16": (lambda p, a: write_tiff(p, a[..., 0].astype(np.uint16)*16), "error", "image-dark",
                      ["16 bits", "black", "-scale 0 4095"]),
    "rgb_8_in_16": (lambda p, a: write_tiff(p, a.astype(np.uint16)), "error", "image-dark", ["16 bits", "black"]),
    "rgb_8_in_16_deflated": (lambda p, a: write_tiff(p, a.astype(np.uint16), deflate=True), "error", "image-dark",
                             ["16 bits", "-scale 0 255"]),
    "rgb_11_with_no_data": (lambda p, a: write_tiff(p, np.where(np.arange(50)[:, None, None] < 9, 65535,
                                                                a.astype(np.uint16)*8).astype(np.uint16)),
                            "error", "image-dark", ["16 bits", "black"]),
    "thermal": (lambda p, a: write_tiff(p, a[..., 0].astype(np.uint16)*4 + 29500), "error", "image-flat",
                ["16 bits", "one shade", "-scale"]),
    "thermal_with_no_data": (lambda p, a: write_tiff(p, np.where(np.arange(50)[:, None] < 9, 0, a[..., 0].astype(
        np.uint16)*4 + 29500).astype(np.uint16)), "error", "image-flat", ["16 bits"]),
    "rgb_14": (lambda p, a: write_tiff(p, a.astype(np.uint16)*64), "warning", "image-dim", ["dark", "16 bits"]),
    "png_11": (lambda p, a: p.with_suffix(".png").write_bytes(png(a.astype(np.uint16)*8, 16)), "error", "image-dark",
               ["16 bits", "black"]),
    "png_gray_alpha": (lambda p, a: p.with_suffix(".png").write_bytes(
        png(np.dstack([a[..., 0].astype(np.uint16)*8, np.full((50, 70), 65535)]), 16)), "error", "image-dark",
        ["black"]),
    "ppm_11": (lambda p, a: p.with_suffix(".ppm").write_bytes(netpbm(6, a.astype(np.uint16)*8, 65535)), "error",
               "image-dark", ["16 bits", "black"]),
    "jpeg2000_11": (lambda p, a: Image.fromarray(a[..., 0].astype(np.uint16)*8).save(p.with_suffix(".jp2")), "error",
                    "image-dark", ["16 bits", "black"]),
    "gray_12": (lambda p, a: write_tiff(p, a[..., 0].astype(np.uint16)*16, bits=12), "note", "image-grey", []),
    "stack": (lambda p, a: write_tiff(p, [a[..., 0]]*30), "note", "image-frames", ["30"]),
    "palette_with_transparency": (lambda p, a: Image.fromarray(a).quantize(256).save(
        p.with_suffix(".png"), transparency=bytes(range(256))), "note", "image-alpha", ["transparency"]),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_case(tmp_path, name):
    write, kind, code, words = FOLDERS[name]
    report = check_path(tiles(tmp_path, write))
    said = [problem for problem in report.problems if problem.code == code]
    assert {problem.kind for problem in said} == ({kind} if kind else set()), report.text()
    assert not missing("\n".join(map(str, said)), *words)
    assert report.ok == (kind != "error") and (report.ok or {p.code for p in report.errors} == {code})
    for i in range(6 if report.ok else 0):
        ids, truth = drawn(i)
        if name.startswith(("gray", "stack")): truth = gray(truth[..., 0])
        if name == "rgb_14": truth = truth >> 2
        found = open_image(next((tmp_path/"images").glob(f"tile_{i}.*")))
        assert np.abs(found.astype(int) - truth).mean() < (9 if "palette" in name else .01)
        assert np.array_equal(decode_mask(tmp_path/f"masks/tile_{i}.tif"), ids)


def test_one_dark_image_among_bright_ones_is_a_warning(tmp_path):
    count = iter(range(99))
    data = tiles(tmp_path, lambda p, a: write_tiff(p, a.astype(np.uint16)*(8 if next(count) == 2 else 257)))
    problem, = [problem for problem in check_path(data).problems if problem.code == "image-dark"]
    assert (problem.kind, problem.file) == ("warning", "images/tile_2.tif")


@pytest.mark.parametrize("bands", [1, 3])
def test_an_image_without_light_is_not_dark(tmp_path, bands):
    black, half = np.zeros((50, 50, bands), np.uint16), np.zeros((50, 50, bands), np.uint16)
    half[:20] = 65535
    for name, pixels in dict(black=black, white=black + 65535, half=half).items():
        facts = image_facts(write_tiff(tmp_path/f"{name}.tif", pixels))
        assert facts["top"] == 0 and next(image_oddities(facts))[0] == "image-16bit"
    half[30:] = 7
    assert image_facts(write_tiff(tmp_path/"dark.tif", half))["top"] == 7


def test_smaller_copies_are_no_pages(tmp_path):
    raw = tiff_bytes([RGB, RGB, RGB[::2, ::2]])
    (tmp_path/"a.tif").write_bytes(raw)
    assert image_facts(tmp_path/"a.tif")["frames"] == 3
    Image.fromarray(RGB).save(tmp_path/"b.tif", save_all=True, append_images=[overview(Image.fromarray(RGB[::2, ::2]))])
    with Image.open(tmp_path/"b.tif") as im: assert im.n_frames == 2
    assert image_facts(tmp_path/"b.tif")["frames"] == 1


def overview(im):
    "An image that is saved as the smaller copy of another."
    im.encoderinfo = dict(tiffinfo={254: 1})
    return im


@pytest.mark.parametrize("options", [dict(quality=50), dict(quality=95), dict(lossless=True)])
def test_gray_masks_of_webp(tmp_path, options):
    "WebP has no gray images; ids that are painted in one channel stay colors."
    disk = np.uint8(np.hypot(*(np.mgrid[:48, :64] - 24)) < 15)
    Image.fromarray(disk*255).save(tmp_path/"m.webp", **options)
    with Image.open(tmp_path/"m.webp") as im: found = stored_values(im)
    assert found.mode == "L" and ((np.asarray(found) > 127) == disk).mean() > 0.99
    Image.fromarray(np.dstack([disk, 0*disk, 0*disk])).save(tmp_path/"ids.webp", lossless=True)
    with Image.open(tmp_path/"ids.webp") as im: assert stored_values(im).mode == "RGB"
