"""Small folders, each with one defect or one oddity, and what `segfast check` has to say of it."""
import io
import os
import pickle
import shutil
import socket
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

SIZE = 40, 56
NAMES = "sky", "road", "Void", "tree", "car"
TABLE = ((128, 128, 128), (128, 64, 128), (0, 0, 0), (128, 128, 0), (64, 0, 128))


class Case(NamedTuple):
    "A folder and what is expected of it."
    name: str
    kind: str     # refuse, warn, note or sound; `a|b` where either will do
    codes: tuple  # codes of which one must be reported; () for any
    file: str     # what the problem's file (or, without a code, its text) must hold
    build: object # (folder) -> what is given as DATA, None for the folder
    patch: object = None # (monkeypatch, folder): how the system misbehaves
    clean: bool = False  # no warning either
    ids: bool = False    # the masks must decode to the ids that were drawn
    layout: str|None = None # expected


CASES = []


def case(kind, code="", file="", name=None, **kwargs):
    "Register a builder of a folder."
    def add(f):
        CASES.append(Case(name or f.__name__, kind, tuple(code.split()), file, f, **kwargs))
        return f
    return add


def add(name, kind, code, file, build, **kwargs): case(kind, code, file, name, **kwargs)(build)


# --- what a sound folder is drawn with ---

def ids(i, n=5, size=SIZE):
    "A mask in which every class has its share."
    blocks = np.random.default_rng(i).permutation(35) % n
    return np.asarray(Image.fromarray(blocks.astype(np.uint8).reshape(5, 7)).resize(size[::-1], Image.NEAREST))


def pixels(i, size=SIZE):
    "An image unlike any other: shades that a JPEG keeps."
    small = np.random.default_rng(100 + i).integers(0, 256, (5, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize(size[::-1], Image.BICUBIC))


def write(path, a, palette=None, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    im = a if isinstance(a, Image.Image) else Image.fromarray(np.asarray(a))
    if palette is not None: im.putpalette([v for c in palette for v in c])
    im.save(path, **kwargs)
    return path


def street(d, n=6, size=SIZE, names=NAMES, stem="f{}", suffix=".png", valid=(1, 4)):
    "A sound folder in CamVid's layout."
    for name in "images", "labels": (d/name).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        s = stem.format(i)
        write(d/f"images/{s}{suffix}", pixels(i, size),
              format={".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}.get(suffix.lower(), "PNG"))
        write(d/f"labels/{s}_P.png", ids(i, min(5, len(names)), size), format="PNG")
    (d/"codes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    (d/"valid.txt").write_text("".join(f"{stem.format(i)}{suffix}\n" for i in valid), encoding="utf-8")
    return d


def image(d, i=2): return d/f"images/f{i}.png"
def mask(d, i=2): return d/f"labels/f{i}_P.png"


def on_street(f):
    "A builder that ruins a sound folder."
    def build(d):
        street(d)
        return f(d)
    build.__name__ = f.__name__
    return build


def ruin(kind, code="", file="", name=None, **kwargs):
    "Register what ruins a sound street."
    def add(f):
        case(kind, code, file, name or f.__name__, **kwargs)(on_street(f))
        return f
    return add


def ruined(name, kind, code, file, f, **kwargs): ruin(kind, code, file, name, **kwargs)(f)


def masks(d, change, which=range(6)):
    for i in which: write(mask(d, i), change(ids(i)))


def put(a, value, n=12):
    a = np.array(a)
    a.reshape(-1)[:n] = value
    return a


def chunk(kind, data, crc=None):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None
        else crc)


def jpeg(a, path, factor=1, **kwargs):
    "A mask as JPEG, moved so that its borders are not those of JPEG's blocks, which would come through unharmed."
    return write(path, np.roll(a, 3, (0, 1))*np.uint8(factor), format="JPEG", **kwargs)


def png(a, depth=8, extra=b"", size=None, interlaced=False):
    "A PNG by hand: 16-bit color, interlacing, a size that it does not have."
    a = np.asarray(a)
    h, w = size or a.shape[:2]
    kind = 0 if a.ndim == 2 else {2: 4, 3: 2, 4: 6}[a.shape[2]]
    def lines(b): return b"".join(b"\0" + item.astype(">u2" if depth == 16 else np.uint8).tobytes() for item in b)
    steps = (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)
    body = b"".join(lines(a[y::v, x::u]) for y, x, v, u in steps if a[y::v, x::u].size) if interlaced else lines(a)
    head = struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND",
        b"")


def write_packed(path, a, depth):
    "A grey PNG with 2 or 4 bits a pixel: its numbers are the ids, though Pillow stretches them to 0..255."
    bits = (np.asarray(a)[..., None] >> np.arange(depth - 1, -1, -1) & 1).reshape(len(a), -1)
    lines = b"".join(b"\0" + np.packbits(bit).tobytes() for bit in bits)
    head = struct.pack(">IIBBBBB", a.shape[1], a.shape[0], depth, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines))
                     + chunk(b"IEND", b""))


def white_is_zero(a):
    "A TIFF whose numbers run from white to black."
    out = io.BytesIO()
    Image.fromarray(a).save(out, "TIFF")
    data = bytearray(out.getvalue())
    at = data.index(struct.pack("<HHIHH", 262, 3, 1, 1, 0))
    data[at+8] = 0
    return bytes(data)


def huge(color): return png(np.zeros((2, 2, 3) if color else (2, 2), np.uint8), size=(60000, 60000))


def exif(orientation):
    e = Image.Exif()
    e[0x0112] = orientation
    return e


def rotated(d, orientation=6, which=(2,)):
    "Store images as a camera that was held upright does: on their side, with a tag."
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270,
            5: Image.Transpose.TRANSPOSE}[orientation]
    for i in which:
        write(d/f"images/f{i}.png", Image.fromarray(pixels(i)).transpose(turn), exif=exif(orientation))


# --- sound folders, odd or not: they must train ---

add("plain", "sound", "", "", street, clean=True, ids=True, layout="camvid")
ruined("no_trailing_slash_matters", "sound", "", "", lambda d: f"{d}/", clean=True)
ruined("data_is_a_link", "sound", "", "", lambda d: (d.with_name("linked").symlink_to(d), d.with_name("linked"))[1],
       clean=True)
for size in (41, 57), (33, 47), (64, 64), (97, 33):
    add(f"odd_size_{size[0]}x{size[1]}", "sound", "", "", lambda d, size=size: street(d, size=size) and None,
        clean=True)
for suffix in ".PNG", ".JPG", ".jpeg", ".JPEG", ".bmp", ".Png":
    add(f"suffix_{suffix[1:]}_", "sound", "", "", lambda d, suffix=suffix: street(d, suffix=suffix) and None,
        clean=True, ids=True)
for k, stem in enumerate(["a b {}", " lead{}", "it's {}", 'say "{}"', "[{}]", "[bold]{}", "(x){}&;", "%s%d{}",
                          "{{0}}{}", "-dash{}", "--json{}", "Straße {}", "日本{}", "🙂{}", "new\nline{}", "tab\t{}",
                          "a.b.c.{}", "f{}_P", "x"*200 + "{}", "back\\slash{}", "co:lon{}", "CON{}", "~{}", "$HOME{}",
                          "#{}", "*{}", "a,b;{}", "{:05}", "_{}", "images{}", "\x1b[31mred{}", "\u202egnp{}"]):
    if "\n" in stem:
        add(f"name_{k}_newline", "sound", "", "", lambda d,
            stem=stem: street(d, stem=stem) and (d/"valid.txt").unlink())
    else:
        add(f"name_{k}", "sound", "", "", lambda d, stem=stem: street(d, stem=stem) and None, clean=True,
            ids=stem != "f{}_P")


@ruin("sound", clean=True, ids=True)
def suffixes_mixed(d):
    for i, item in enumerate([".jpg", ".JPG", ".bmp", ".tif", ".webp"]):
        write(d/f"images/f{i}{item}", pixels(i))
        image(d, i).unlink()
    (d/"valid.txt").write_text("f1.JPG\nf4.webp\n")


@ruin("sound", clean=True, ids=True)
def suffixes_of_masks_mixed(d):
    for i, item in enumerate([".bmp", ".tif", ".PNG"]): write(d/f"labels/f{i}_P{item}", ids(i)); mask(d, i).unlink()


@case("sound")
def name_of_bytes(d):
    street(d)
    (d/"valid.txt").unlink()
    for sub, end in ("images", ".png"), ("labels", "_P.png"):
        (d/sub/f"f0{end}").rename(d/sub/os.fsdecode(b"f\xe9" + end.encode()))


@case("sound", clean=True, ids=True)
def names_in_two_unicode_forms(d):
    street(d, stem="Häuser {}")
    for path in (d/"images").iterdir(): path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    for path in (d/"labels").iterdir(): path.rename(path.with_name(unicodedata.normalize("NFC", path.name)))
    (d/"valid.txt").write_text(unicodedata.normalize("NFC", "Häuser 1.png\nHäuser 4.png\n"), encoding="utf-8")


@ruin("sound", clean=True)
def stems_that_differ_in_case(d): write(d/"images/F2.png", pixels(30)); write(d/"labels/F2_P.png", ids(30))
@case("sound")
def two_pairs(d): street(d, n=2, valid=()); (d/"valid.txt").unlink()
@ruin("sound", clean=True)
def images_are_links(d):
    shutil.copytree(d/"images", d.with_name("store"))
    for path in (d/"images").iterdir(): path.unlink(); path.symlink_to(d.with_name("store")/path.name)


@ruin("sound", clean=True)
def folders_are_links(d):
    for name in "images", "labels":
        (d/name).rename(d.with_name(f"store-{name}"))
        (d/name).symlink_to(d.with_name(f"store-{name}"))


@ruin("sound")
def other_files_beside(d):
    (d/"images/readme.txt").write_text("about")
    (d/"labels/list.csv").write_text("x")
    (d/"licence").write_text("free")
    (d/"notebooks").mkdir()


@case("sound")
def masks_named_like_images(d):
    street(d)
    for path in (d/"labels").iterdir(): path.rename(path.with_name(path.name.replace("_P", "")))


@case("sound")
def masks_nested_as_images_are(d):
    street(d, n=0, valid=())
    (d/"valid.txt").unlink()
    for i in range(6):
        write(d/f"images/{'ab'[i % 2]}/x{i//2}.png", pixels(i))
        write(d/f"labels/{'ab'[i % 2]}/x{i//2}_P.png", ids(i))


# --- no class is void, or it is spelled in another way ---

add("no_void_class", "sound", "", "", lambda d: street(d, names=("sky", "road", "house", "tree", "car")) and None,
    clean=True, ids=True)
for word in "Void", "void", "VOID", "Unlabelled", "unlabelled", "Unlabeled", "unlabeled", "ignore", "Ignore":
    add(f"void_is_{word}", "sound", "", "", lambda d, word=word: street(d, names=("sky", "road", word, "tree", "car"))
        and None, clean=True, ids=True)
for word in "background", "Background":
    add(f"void_is_{word}", "note", "background", "", lambda d,
        word=word: street(d, names=(word, "road", "house", "tree", "car")) and None)
add("void_twice", "refuse", "codes-void", "codes.txt",
    lambda d: street(d, names=("sky", "road", "Void", "tree", "unlabelled")) and None)


# --- missing and orphan files, doubled stems ---

ruined("mask_missing", "refuse", "missing", "labels/f2_P.png", lambda d: mask(d).unlink())
ruined("masks_missing_all", "refuse", "missing no-masks", "labels",
       lambda d: [path.unlink() for path in (d/"labels").iterdir()] and None)
ruined("labels_missing", "refuse", "folder-missing layout-unknown", "labels", lambda d: shutil.rmtree(d/"labels"))
ruined("images_missing", "refuse", "folder-missing layout-unknown", "images", lambda d: shutil.rmtree(d/"images"))
ruined("images_empty", "refuse", "no-images", "images", lambda d: [path.unlink() for path in (d/"images").iterdir()]
       and None)
ruined("images_only_text", "refuse", "no-images", "images",
       lambda d: [path.rename(path.with_suffix(".dat")) for path in (d/"images").iterdir()] and None)
ruined("images_all_gif", "refuse", "valid-missing", "valid.txt",
       lambda d: [(write(path.with_suffix(".gif"), np.asarray(Image.open(path))), path.unlink())
                  for path in list((d/"images").iterdir())] and None)
ruined("images_all_heic", "refuse", "no-images", "images",
       lambda d: [path.rename(path.with_suffix(".heic")) for path in (d/"images").iterdir()] and None)
ruined("image_of_a_kind_that_is_not_read", "warn", "orphan-mask", "labels/f2_P.png",
       lambda d: image(d).rename(d/"images/f2.heic") and None)
ruined("image_with_two_suffixes", "refuse", "missing", "labels/f2.png_P.png",
       lambda d: image(d).rename(d/"images/f2.png.png") and None)
ruined("images_is_a_fifo", "refuse", "folder-missing not-a-file", "images",
       lambda d: (shutil.rmtree(d/"images"), os.mkfifo(d/"images")) and None)
ruined("labels_is_a_fifo", "refuse", "folder-missing not-a-file", "labels",
       lambda d: (shutil.rmtree(d/"labels"), os.mkfifo(d/"labels")) and None)
ruined("labels_is_a_file", "refuse", "folder-missing not-a-file", "labels",
       lambda d: (shutil.rmtree(d/"labels"), (d/"labels").touch()) and None)
ruined("images_is_a_file", "refuse", "folder-missing not-a-file", "images",
       lambda d: (shutil.rmtree(d/"images"), (d/"images").touch()) and None)
ruined("image_missing", "warn", "orphan-mask", "labels/f2_P.png", lambda d: image(d).unlink())
ruined("mask_orphan", "warn", "orphan-mask", "labels/zz_P.png", lambda d: write(d/"labels/zz_P.png", ids(9)) and None)
ruined("mask_without_P", "refuse", "missing", "labels/f2_P.png", lambda d: mask(d).rename(d/"labels/f2.png") and None)
ruined("mask_of_another_case", "refuse", "missing", "labels/f2_P.png", lambda d: mask(d).rename(d/"labels/F2_P.png")
       and None)
ruined("image_twice_by_stem", "refuse", "same-stem", "images/f2", lambda d: write(d/"images/f2.jpg", pixels(40))
       and None)
ruined("mask_twice_by_stem", "refuse", "same-stem", "labels/f2_P", lambda d: write(d/"labels/f2_P.bmp", ids(40))
       and None)
ruined("nested_image", "note|warn", "unused-image unused-folder", "images/sub",
       lambda d: write(d/"images/sub/f2.png", pixels(41)) and None)


@case("refuse", "no-images same-stem layout-unknown missing", "images")
def nested_same_stems(d):
    street(d, n=0, valid=())
    (d/"valid.txt").unlink()
    for item in "abc": write(d/f"images/{item}/x.png", pixels(ord(item)))
    write(d/"labels/x_P.png", ids(1))


ruined("image_only_one", "refuse", "no-train no-valid", "",
       lambda d: [item.unlink() for i in (0, 1, 3, 4, 5) for item in (image(d, i), mask(d, i))]
       and (d/"valid.txt").unlink())
add("image_only_one_and_listed", "refuse", "valid-all no-train", "", lambda d: street(d, n=1, valid=(0,)) and None)
add("masks_and_images_swapped", "refuse", "", "",
    lambda d: (street(d), (d/"images").rename(d/"x"), (d/"labels").rename(d/"images"), (d/"x").rename(d/"labels"))
    and None)


# --- sizes ---

ruined("mask_of_another_size", "refuse", "mask-size", "labels/f2_P.png", lambda d: write(mask(d), ids(2, size=(40, 50)))
       and None)
ruined("mask_of_half_the_size", "refuse", "mask-size", "labels/f2_P.png",
       lambda d: write(mask(d), ids(2, size=(20, 28))) and None)
ruined("mask_a_pixel_short", "refuse", "mask-size", "labels/f2_P.png", lambda d: write(mask(d), ids(2)[1:]) and None)
ruined("mask_turned", "refuse", "mask-size mask-rotated", "labels/f2_P.png", lambda d: write(mask(d), np.rot90(ids(2)))
       and None)
ruined("mask_not_rotated_as_the_image", "refuse", "mask-rotated", "labels/f2_P.png",
       lambda d: write(image(d), pixels(2), exif=exif(6)) and None)
ruined("mask_not_rotated_8", "refuse", "mask-rotated", "labels/f2_P.png",
       lambda d: write(image(d), pixels(2), exif=exif(8)) and None)
ruined("mask_of_another_size_and_rotated", "refuse", "mask-size mask-rotated", "labels/f2_P.png",
       lambda d: write(image(d), pixels(2, (40, 60)), exif=exif(6)) and None)
for n in 3, 5, 6, 8:
    ruined(f"image_rotated_{n}", "note|warn" if n == 3 else "note", "image-rotated image-turned", "images/f2.png",
           lambda d, n=n: rotated(d, n), ids=True)
ruined("image_rotated_jpeg_all", "note", "image-rotated", "",
       lambda d: [(write(image(d, i).with_suffix(".jpg"), np.rot90(pixels(i)), exif=exif(6)), image(d, i).unlink())
                  for i in range(6)] and (d/"valid.txt").unlink())
ruined("image_and_mask_rotated_by_their_marks", "note", "image-rotated", "images/f2.png",
       lambda d: (rotated(d), write(mask(d), Image.fromarray(ids(2)).transpose(Image.Transpose.ROTATE_90),
                                    exif=exif(6))) and None, ids=True)
ruined("mask_rotated_by_its_mark_alone", "refuse", "mask-size mask-rotated", "labels/f2_P.png",
       lambda d: write(mask(d), ids(2), exif=exif(6)) and None)
ruined("image_mirrored", "note|warn", "image-rotated image-turned", "images/f2.png",
       lambda d: write(image(d), pixels(2)[:, ::-1], exif=exif(2)) and None, ids=True)
ruined("exif_upright", "sound", "", "", lambda d: write(image(d), pixels(2), exif=exif(1)) and None, clean=True)
ruined("exif_garbage", "sound", "", "", lambda d: write(image(d), pixels(2), exif=b"Exif\0\0garbage that is no tag")
       and None)
ruined("exif_unknown_orientation", "sound", "", "", lambda d: write(image(d), pixels(2), exif=exif(77)) and None)
ruined("sizes_mixed", "note", "mixed-sizes", "",
       lambda d: (write(image(d), pixels(2, (48, 60))), write(mask(d), ids(2, size=(48, 60)))) and None)
ruined("sizes_all_differ", "note", "mixed-sizes", "",
       lambda d: [(write(image(d, i), pixels(i, (40+i, 56+2*i))), write(mask(d, i), ids(i, size=(40+i, 56+2*i))))
                  for i in range(6)] and None)
ruined("image_1x1", "warn", "tiny-image", "images/f2.png",
       lambda d: (write(image(d), pixels(2, (1, 1))), write(mask(d), np.zeros((1, 1), np.uint8))) and None)
add("images_1x1_all", "warn", "tiny-image", "images/f", lambda d: (street(d, size=(1, 1)), masks_1x1(d)) and None)
ruined("image_10000x10", "warn", "thin-image", "images/f2.png",
       lambda d: (write(image(d), pixels(2, (10000, 10))), write(mask(d), ids(2, size=(10000, 10)))) and None)
ruined("image_10x10000", "warn", "thin-image", "images/f2.png",
       lambda d: (write(image(d), pixels(2, (10, 10000))), write(mask(d), ids(2, size=(10, 10000)))) and None)


def masks_1x1(d):
    for i in range(6): write(mask(d, i), np.uint8([[i % 2]]))
    for i in range(6): write(image(d, i), np.uint8([[[i*40, 3, 9]]]))


# --- broken files ---

def raw(d, data, which=image): which(d).write_bytes(data)


for which, at in (image, "images/f2.png"), (mask, "labels/f2_P.png"):
    w = which.__name__
    ruined(f"{w}_empty", "refuse", "empty", at, lambda d, which=which: raw(d, b"", which))
    ruined(f"{w}_truncated", "refuse", "undecodable", at, lambda d,
           which=which: raw(d, which(d).read_bytes()[:-60], which))
    ruined(f"{w}_cut_in_the_header", "refuse", "undecodable not-an-image", at, lambda d,
           which=which: raw(d, which(d).read_bytes()[:20], which))
    ruined(f"{w}_only_the_signature", "refuse", "undecodable not-an-image", at, lambda d,
           which=which: raw(d, b"\x89PNG\r\n\x1a\n", which))
    ruined(f"{w}_is_text", "refuse", "not-an-image", at, lambda d,
           which=which: raw(d, b"no image at all, only words\n", which))
    ruined(f"{w}_is_html", "refuse", "not-an-image", at, lambda d,
           which=which: raw(d, b"<!DOCTYPE html><html>404</html>", which))
    ruined(f"{w}_is_postscript", "refuse", "not-an-image", at, lambda d,
           which=which: raw(d, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 56 40\n%%EndComments\n(x) show\n%%EOF\n",
                            which))
    ruined(f"{w}_is_svg", "refuse", "not-an-image", at, lambda d,
           which=which: raw(d, b"<svg xmlns='http://www.w3.org/2000/svg' width='56' height='40'/>", which))
    ruined(f"{w}_is_zeros", "refuse", "not-an-image", at, lambda d, which=which: raw(d, b"\0"*4096, which))
    ruined(f"{w}_is_a_pickle", "refuse", "not-an-image", at, lambda d,
           which=which: raw(d, pickle.dumps(Payload(str(d.with_name("it-ran")))), which))
    ruined(f"{w}_is_an_archive", "refuse", "not-an-image", at, lambda d, which=which: zip_of(which(d), {"a.png": b"x"})
           and None)
    ruined(f"{w}_is_a_git_lfs_pointer", "refuse", "not-an-image", at, lambda d,
           which=which: raw(d, b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", which))
    ruined(f"{w}_claims_60000x60000", "refuse", "too-large", at, lambda d,
           which=which: raw(d, huge(which is image), which))
    ruined(f"{w}_of_no_size", "refuse", "undecodable not-an-image", at, lambda d,
           which=which: raw(d, png(np.zeros((2, 2, 3), np.uint8), size=(0, 0)), which))
    ruined(f"{w}_with_a_flipped_bit", "refuse", "undecodable", at, lambda d,
           which=which: raw(d, flipped(np.asarray(Image.open(which(d)))), which))
    ruined(f"{w}_with_a_wrong_sum", "refuse|warn", "undecodable", at, lambda d,
           which=which: raw(d, wrong_sum(which(d).read_bytes(), b"IDAT"), which))
    ruined(f"{w}_with_a_wrong_sum_in_the_header", "refuse", "undecodable not-an-image", at, lambda d,
           which=which: raw(d, wrong_sum(which(d).read_bytes(), b"IHDR"), which))
    ruined(f"{w}_with_broken_pixels", "refuse", "undecodable", at, lambda d,
           which=which: raw(d, broken_data(which(d).read_bytes()), which))
    ruined(f"{w}_with_more_behind", "sound", "", "", lambda d,
           which=which: raw(d, which(d).read_bytes() + b"more"*99, which), clean=True, ids=True)
    ruined(f"{w}_is_a_folder", "refuse", "not-a-file", at, lambda d, which=which: (which(d).unlink(), which(d).mkdir())
           and None)
    ruined(f"{w}_is_a_fifo", "refuse", "not-a-file", at, lambda d, which=which: (which(d).unlink(), os.mkfifo(which(d)))
           and None)
    ruined(f"{w}_is_a_socket", "refuse", "not-a-file", at, lambda d, which=which: (which(d).unlink(), bind(which(d)))
           and None)
    ruined(f"{w}_links_to_nothing", "refuse", "broken-link", at, lambda d,
           which=which: (which(d).unlink(), which(d).symlink_to("gone.png")) and None)
    ruined(f"{w}_links_to_itself", "refuse", "broken-link link-loop", at, lambda d,
           which=which: (which(d).unlink(), which(d).symlink_to(which(d).name)) and None)
    ruined(f"{w}_links_to_a_text_file", "refuse", "not-an-image", at, lambda d,
           which=which: (which(d).unlink(), which(d).symlink_to("/etc/passwd")) and None)
    ruined(f"{w}_links_to_dev_zero", "refuse", "not-a-file", at, lambda d,
           which=which: (which(d).unlink(), which(d).symlink_to("/dev/zero")) and None)
    ruined(f"{w}_links_to_dev_null", "refuse", "not-a-file empty", at, lambda d,
           which=which: (which(d).unlink(), which(d).symlink_to("/dev/null")) and None)


class Payload:
    "What a pickle would run."
    def __init__(self, path): self.path = path
    def __reduce__(self): return Path.touch, (Path(self.path),)


def wrong_sum(data, kind):
    at = data.index(kind)
    end = at + 4 + int.from_bytes(data[at-4:at], "big")
    return data[:end] + bytes([data[end] ^ 1]) + data[end+1:]


def flipped(a):
    "A PNG in which one bit of a pixel has changed since its sums were taken."
    data = bytearray(png(a))
    at = data.index(b"IDAT")
    n = int.from_bytes(data[at-4:at], "big")
    body = zlib.compress(zlib.decompress(bytes(data[at+4:at+4+n])), 0)
    return bytes(data[:at-4]) + chunk(b"IDAT", body[:100] + bytes([body[100] ^ 1]) + body[101:],
                                      zlib.crc32(b"IDAT" + body)) + bytes(data[at+8+n:])


def broken_data(data):
    "Pixel data that is no deflate stream, under a sum that fits it."
    at = data.index(b"IDAT")
    n = int.from_bytes(data[at-4:at], "big")
    return data[:at-4] + chunk(b"IDAT", b"\xff"*n) + data[at+8+n:]


def bind(path):
    "A socket's file; its name must be short."
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as s: s.bind(path.name)
    finally: os.chdir(here)


@ruin("refuse", "undecodable", "images/f2.jpg")
def jpeg_truncated(d):
    image(d).unlink()
    write(d/"images/f2.jpg", np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8))
    (d/"images/f2.jpg").write_bytes((d/"images/f2.jpg").read_bytes()[:-900])


@ruin("refuse", "undecodable not-an-image too-large", "images/f2.png")
def text_chunk_that_unpacks_to_much(d):
    raw(d, png(pixels(2), extra=chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(80_000_000), 1))))


def claims(d, name, data):
    image(d).unlink()
    (d/"images"/name).write_bytes(data)


def saved(format, i=2):
    out = io.BytesIO()
    Image.fromarray(pixels(i)).save(out, format)
    return out.getvalue()


def with_frame(data, n=60000):
    "A JPEG whose frame header has another size."
    at = data.index(b"\xff\xc0")
    return data[:at+5] + struct.pack(">HH", n, n) + data[at+9:]


def tiff(offset, width=4, height=4):
    "A TIFF by hand, with the place of its next image."
    tags = (256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1,
        200), (277, 3, 1, 1), (278, 3, 1, height), (279, 4, 1, 16)
    body = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHI", *tag[:3])
        + (struct.pack("<HH", tag[3], 0) if tag[1] == 3 else struct.pack("<I", tag[3])) for tag in tags)
    return (body + struct.pack("<I", offset)).ljust(200, b"\0") + bytes(range(16))


ruined("image_jpeg_claims_60000x60000", "refuse", "too-large", "images/f2.jpg",
       lambda d: claims(d, "f2.jpg", with_frame(saved("JPEG"))))
ruined("image_bmp_claims_60000x60000", "refuse", "too-large", "images/f2.bmp",
       lambda d: claims(d, "f2.bmp", (b := saved("BMP"))[:18] + struct.pack("<ii", 60000, 60000) + b[26:]))
ruined("image_tiff_claims_60000x60000", "refuse", "too-large", "images/f2.tif",
       lambda d: claims(d, "f2.tif", tiff(0, 60000, 60000)))
ruined("image_tiff_that_leads_to_itself", "refuse|note|warn", "", "images/f2.tif",
       lambda d: (claims(d, "f2.tif", tiff(8)), write(mask(d), np.zeros((4, 4), np.uint8))) and None)
ruined("image_of_a_gigabyte_of_nothing", "refuse", "not-an-image", "images/f2.png",
       lambda d: os.truncate(image(d), 0) or os.truncate(image(d), 1 << 30))
ruined("folders_nested_deep", "sound|note|warn", "", "", lambda d: os.makedirs(d/"images"/"/".join("d"*300)) and None)
ruined("folders_with_capitals", "refuse|sound|note", "", "",
       lambda d: [(d/name).rename(d/name.title()) for name in ("images", "labels")] and None)
ruined("link_loop_in_images", "warn", "link-loop", "images/loop", lambda d: (d/"images/loop").symlink_to(".."))
ruined("link_loop_beside", "warn", "link-loop", "loop", lambda d: (d/"loop").symlink_to("."))
ruined("images_links_to_nothing", "refuse", "folder-missing broken-link", "images",
       lambda d: (shutil.rmtree(d/"images"), (d/"images").symlink_to("gone")) and None)
ruined("images_links_to_itself", "refuse", "folder-missing broken-link link-loop folder-unreadable", "images",
       lambda d: (shutil.rmtree(d/"images"), (d/"images").symlink_to("images")) and None)


# --- system files ---

def littered(d):
    for word in "images/._f2.png", "labels/._f2_P.png", "images/.DS_Store", "labels/Thumbs.db", "desktop.ini":
        (d/word).write_bytes(b"\0\5\x16\7 Mac OS X")
    write(d/"__MACOSX/images/f2.png", pixels(60))
    write(d/"images/.ipynb_checkpoints/f2-checkpoint.png", pixels(61))


ruined("system_files", "note", "system-files", "", littered, ids=True)
for path in "images/._f2.png", "images/.DS_Store", "labels/Thumbs.db", "labels/.hidden.png", "__MACOSX/._street":
    ruined("system_file_" + path.replace("/", "_"), "note", "system-files", path.rsplit("/")[0] if "MACOSX" in path
           else path, lambda d, path=path: ((d/path).parent.mkdir(exist_ok=True), (d/path).write_bytes(b"\0\5\x16\7"))
           and None)


# --- images of other kinds ---

def colors(d, make, which=(2,), suffix=".png", **kwargs):
    for i in which:
        image(d, i).unlink()
        write(image(d, i).with_suffix(suffix), make(pixels(i)), **kwargs)


def pil(mode): return lambda a: Image.fromarray(a).convert(mode)


ruined("image_grey", "note", "image-grey", "images/f2.png", lambda d: colors(d, pil("L")))
ruined("image_grey_all", "note", "image-grey", "images/f0.png", lambda d: colors(d, pil("L"), range(6)))
ruined("image_bilevel", "note", "image-grey", "images/f2.png", lambda d: colors(d, pil("1")))
ruined("image_alpha", "note", "image-alpha", "images/f2.png", lambda d: colors(d, pil("RGBA")))
ruined("image_grey_alpha", "note", "image-alpha image-grey", "images/f2.png", lambda d: colors(d, pil("LA")))
ruined("image_palette", "note", "image-palette", "images/f2.png",
       lambda d: colors(d, lambda a: Image.fromarray(a).quantize(256)))
ruined("image_cmyk", "note", "image-cmyk", "images/f2.jpg", lambda d: colors(d, pil("CMYK"), suffix=".jpg"))
ruined("image_16bit_grey", "note", "image-16bit", "images/f2.png",
       lambda d: colors(d, lambda a: Image.fromarray(a[..., 0].astype(np.uint16)*257)))
ruined("image_16bit_tiff", "note", "image-16bit", "images/f2.tif",
       lambda d: colors(d, lambda a: Image.fromarray(a[..., 0].astype(np.uint16)*257), suffix=".tif"))
ruined("image_16bit_rgb", "note", "image-16bit", "images/f2.png",
       lambda d: raw(d, png(pixels(2).astype(np.uint16)*257, 16)))
ruined("image_16bit_rgba", "note", "image-16bit image-alpha", "images/f2.png",
       lambda d: raw(d, png(np.dstack([pixels(2).astype(np.uint16)*257, np.full(SIZE, 65535, np.uint16)]), 16)))
ruined("image_12bit_in_16", "refuse", "image-dark", "images/f2.png",
       lambda d: colors(d, lambda a: Image.fromarray(a[..., 0].astype(np.uint16)*16)))
ruined("image_float", "refuse|note|warn", "", "images/f2.tif",
       lambda d: colors(d, lambda a: Image.fromarray(a[..., 0].astype(np.float32)/255), suffix=".tif"))
ruined("image_pages", "note", "image-frames", "images/f2.tif",
       lambda d: colors(d, Image.fromarray, suffix=".tif", save_all=True, append_images=[Image.fromarray(pixels(70))]))
ruined("image_animated_webp", "note", "image-frames", "images/f2.webp",
       lambda d: colors(d, Image.fromarray, suffix=".webp", save_all=True, append_images=[Image.fromarray(pixels(70))]))
ruined("image_animated_png", "note", "image-frames", "images/f2.png",
       lambda d: colors(d, Image.fromarray, save_all=True, append_images=[Image.fromarray(pixels(70))]))
ruined("image_animated_gif_named_png", "note", "image-frames image-palette", "images/f2.png",
       lambda d: colors(d, Image.fromarray, format="GIF", save_all=True, append_images=[Image.fromarray(pixels(70))]))
ruined("image_jpeg_named_png", "sound", "", "", lambda d: colors(d, Image.fromarray, format="JPEG"), ids=True)
ruined("image_webp_named_png", "sound", "", "", lambda d: colors(d, Image.fromarray, format="WEBP"), ids=True)
ruined("image_progressive_jpeg", "sound", "", "", lambda d: colors(d, Image.fromarray, suffix=".jpg", progressive=True),
       clean=True)
ruined("image_tiff_packed", "sound", "", "", lambda d: colors(d, Image.fromarray, suffix=".tif",
    compression="tiff_lzw"), clean=True)
ruined("image_interlaced", "sound", "", "", lambda d: raw(d, png(pixels(2), interlaced=True)), clean=True)
ruined("image_with_gamma", "sound", "", "", lambda d: raw(d,
    png(pixels(2), extra=chunk(b"gAMA", struct.pack(">I", 45455)))), clean=True)
ruined("image_with_a_profile", "sound", "", "", lambda d: write(image(d), pixels(2),
    icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()) and None, clean=True)
ruined("image_with_a_broken_profile", "sound", "", "", lambda d: write(image(d), pixels(2), icc_profile=b"no profile")
       and None, clean=True)
ruined("image_with_a_transparent_colour", "sound", "", "",
       lambda d: raw(d, png(pixels(2), extra=chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)))))
ruined("image_with_text", "sound", "", "", lambda d: write(image(d), pixels(2), pnginfo=texts()) and None, clean=True)
ruined("image_black_all", "sound|warn", "", "", lambda d: colors(d, np.zeros_like, range(6)))


def texts():
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Comment", "ünïcode "*50, zip=True)
    return info


# --- masks of other kinds ---

PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3)).tolist()
ruined("mask_palette", "note", "mask-palette", "labels/f0_P.png",
       lambda d: [write(mask(d, i), ids(i), PALETTE) for i in range(6)] and None, ids=True)
ruined("mask_palette_one", "note", "mask-palette", "labels/f2_P.png",
       lambda d: write(mask(d), ids(2), PALETTE) and None, ids=True)
ruined("mask_palette_of_one_colour", "note", "mask-palette", "labels/f2_P.png",
       lambda d: write(mask(d), ids(2), [(7, 7, 7)]*256) and None, ids=True)
ruined("mask_palette_transparent", "note", "mask-palette", "labels/f2_P.png",
       lambda d: write(mask(d), ids(2), PALETTE, transparency=0) and None, ids=True)
ruined("mask_palette_4bit", "note", "mask-palette", "labels/f2_P.png",
       lambda d: write(mask(d), ids(2), PALETTE[:16], bits=4) and None, ids=True)
ruined("mask_palette_with_a_high_index", "refuse", "mask-values", "labels/f2_P.png",
       lambda d: write(mask(d), put(ids(2), 200), PALETTE) and None)
ruined("mask_grey_transparent", "sound", "", "",
       lambda d: raw(d, png(ids(2), extra=chunk(b"tRNS", struct.pack(">H", 1))), mask), ids=True)
ruined("mask_with_gamma", "sound", "", "", lambda d: raw(d,
    png(ids(2), extra=chunk(b"gAMA", struct.pack(">I", 100000))), mask), clean=True, ids=True)
ruined("mask_interlaced", "sound", "", "", lambda d: raw(d, png(ids(2), interlaced=True), mask), clean=True, ids=True)
ruined("mask_rgb_of_equal_channels", "refuse", "mask-mode", "labels/f2_P.png",
       lambda d: write(mask(d), ids(2)[..., None].repeat(3, 2)) and None)
ruined("mask_rgb", "refuse", "mask-mode", "labels/f2_P.png", lambda d: write(mask(d), np.uint8(TABLE)[ids(2)]) and None)
ruined("mask_rgb_all", "refuse", "mask-mode", "labels/f", lambda d: masks(d, lambda a: np.uint8(TABLE)[a]))
ruined("mask_rgba", "refuse", "mask-mode", "labels/f2_P.png",
       lambda d: write(mask(d), np.dstack([np.uint8(TABLE)[ids(2)], np.full(SIZE, 255, np.uint8)])) and None)
ruined("mask_grey_alpha", "refuse", "mask-mode", "labels/f2_P.png",
       lambda d: write(mask(d), Image.fromarray(ids(2)).convert("LA")) and None)
ruined("mask_cmyk", "refuse", "mask-mode mask-jpeg", "labels/f2_P.jpg",
       lambda d: (mask(d).unlink(), write(d/"labels/f2_P.jpg",
                                          Image.fromarray(np.uint8(TABLE)[ids(2)]).convert("CMYK"))) and None)
ruined("mask_with_frames", "refuse", "mask-pages", "labels/f2_P.png",
       lambda d: write(mask(d), ids(2), save_all=True, append_images=[Image.fromarray(ids(9))]) and None)
ruined("mask_palette_of_two", "note", "mask-palette", "labels/f2_P.png",
       lambda d: write(mask(d), ids(2, 2), [(255, 255, 255), (0, 0, 0)]) and None)
ruined("mask_16bit_big_endian", "note", "mask-16bit", "labels/f2_P.png",
       lambda d: raw(d, png(ids(2).astype(np.uint16), 16), mask), ids=True)
for depth in 2, 4:
    ruined(f"mask_grey_{depth}bit", "sound", "", "", lambda d, depth=depth: write_packed(mask(d), ids(2, 4), depth))
ruined("masks_grey_4bit", "sound", "", "", lambda d: [write_packed(mask(d, i), ids(i), 4) for i in range(6)] and None,
       ids=True)
ruined("mask_gif_named_png", "note", "mask-palette", "labels/f2_P.png",
       lambda d: write(mask(d), Image.fromarray(ids(2)), PALETTE, format="GIF") and None, ids=True)
ruined("mask_webp_lossy", "refuse", "mask-mode mask-jpeg mask-values", "labels/f2_P.webp",
       lambda d: (mask(d).unlink(), write(d/"labels/f2_P.webp", ids(2)*40)) and None)
ruined("mask_bmp_palette", "note", "mask-palette", "labels/f2_P.bmp",
       lambda d: (mask(d).unlink(), write(d/"labels/f2_P.bmp", ids(2), PALETTE)) and None, ids=True)
ruined("mask_tiff_white_is_zero", "refuse|sound", "mask-values", "labels/f2_P.tif",
       lambda d: (mask(d).unlink(), (d/"labels/f2_P.tif").write_bytes(white_is_zero(ids(2)))) and None)
ruined("mask_is_a_copy_of_the_image", "refuse", "mask-mode", "labels/f2_P.png",
       lambda d: shutil.copy(image(d), mask(d)) and None)
ruined("mask_16bit", "note", "mask-16bit", "labels/f0_P.png", lambda d: masks(d, lambda a: a.astype(np.uint16)),
       ids=True)
ruined("mask_16bit_high", "refuse", "mask-values", "labels/f2_P.png",
       lambda d: write(mask(d), put(ids(2).astype(np.uint16), 300)) and None)
ruined("mask_16bit_that_wraps", "refuse", "mask-values", "labels/f2_P.png",
       lambda d: write(mask(d), put(ids(2).astype(np.uint16), 257)) and None)
ruined("mask_32bit_negative", "refuse", "mask-values", "labels/f2_P.tif",
       lambda d: (mask(d).unlink(), write(d/"labels/f2_P.tif", put(ids(2).astype(np.int32), -1))) and None)
ruined("mask_float", "refuse", "mask-mode mask-values", "labels/f2_P.tif",
       lambda d: (mask(d).unlink(), write(d/"labels/f2_P.tif", ids(2).astype(np.float32))) and None)
ruined("mask_jpeg", "refuse", "mask-jpeg", "labels/f2_P.jpg",
       lambda d: (mask(d).unlink(), jpeg(ids(2), d/"labels/f2_P.jpg", 20)) and None)
ruined("mask_jpeg_of_small_ids", "refuse", "mask-jpeg", "labels/f2_P.jpg",
       lambda d: (mask(d).unlink(), jpeg(ids(2), d/"labels/f2_P.jpg", quality=60)) and None)
ruined("mask_jpeg_of_two_classes", "refuse", "mask-jpeg", "labels/f2_P.jpg",
       lambda d: (mask(d).unlink(), jpeg(ids(2, 2)*4, d/"labels/f2_P.jpg")) and None)
ruined("mask_jpeg_named_png", "refuse", "mask-jpeg", "labels/f2_P.png", lambda d: jpeg(ids(2), mask(d), 50) and None)
ruined("mask_smoothed", "refuse", "mask-values", "labels/f2_P.png",
       lambda d: write(mask(d), Image.fromarray(ids(2)*60).resize((56, 40), Image.BILINEAR, (1, 1, 50, 37))) and None)
add("mask_bilevel", "sound", "", "", lambda d: (street(d, names=("road", "other")),
                                                [write(mask(d, i), Image.fromarray(ids(i, 2).astype(bool)))
                                                 for i in range(6)]) and None, clean=True, ids=True)


# --- values ---

ruined("value_37", "refuse", "mask-values", "labels/f2_P.png", lambda d: write(mask(d), put(ids(2), 37)) and None)
ruined("value_37_in_a_held_out_mask", "refuse", "mask-values", "labels/f4_P.png",
       lambda d: write(mask(d, 4), put(ids(4), 37)) and None)
ruined("value_37_on_one_pixel", "refuse", "mask-values", "labels/f5_P.png",
       lambda d: write(mask(d, 5), put(ids(5), 37, 1)) and None)
ruined("value_just_beyond", "refuse", "mask-values", "labels/f2_P.png",
       lambda d: write(mask(d), put(ids(2), 5)) and None)
ruined("value_255_undeclared", "refuse", "mask-values", "labels/f2_P.png", lambda d: write(mask(d), put(ids(2), 255))
       and None)
ruined("value_255_in_all", "refuse", "mask-values", "labels/f",
       lambda d: masks(d, lambda a: np.where(a == 2, 255, a).astype(np.uint8)))
ruined("values_0_and_255", "refuse", "mask-values", "labels/f",
       lambda d: masks(d, lambda a: ((a > 2)*255).astype(np.uint8)))
ruined("values_times_ten", "refuse", "mask-values", "labels/f", lambda d: masks(d, lambda a: a*10))
ruined("values_from_one", "refuse", "ids-from-one", "", lambda d: masks(d, lambda a: a + 1))
ruined("codes_with_fewer_names", "refuse", "mask-values", "labels/f",
       lambda d: (d/"codes.txt").write_text("sky\nroad\nVoid\n") and None)
ruined("codes_with_one_name", "refuse", "mask-values", "labels/f", lambda d: (d/"codes.txt").write_text("sky\n")
       and None)
ruined("codes_with_more_names", "note", "class-absent", "",
       lambda d: (d/"codes.txt").write_text("\n".join([*NAMES, "lamp", "bus"])) and None)
ruined("mask_all_void", "warn", "mask-void", "labels/f2_P.png", lambda d: write(mask(d), np.full(SIZE, 2, np.uint8))
       and None)
ruined("all_void", "refuse", "all-void", "", lambda d: masks(d, lambda a: np.full_like(a, 2)))
ruined("all_void_in_train", "refuse", "all-void", "", lambda d: masks(d, lambda a: np.full_like(a, 2), (0, 2, 3, 5)))
ruined("all_void_in_valid", "refuse", "all-void", "", lambda d: masks(d, lambda a: np.full_like(a, 2), (1, 4)))
ruined("class_only_in_valid", "warn", "class-not-in-train", "",
       lambda d: masks(d, lambda a: np.where(a == 4, 3, a).astype(np.uint8), (0, 2, 3, 5)))
ruined("class_never", "note", "class-absent", "", lambda d: masks(d, lambda a: np.where(a == 4, 3, a).astype(np.uint8)))
ruined("class_rare", "warn", "rare-class", "", lambda d: [write(mask(d, i),
    put(np.where(ids(i) == 4, 3, ids(i)).astype(np.uint8), 4, 1 if i == 0 else 0)) for i in range(6)] and None)
ruined("one_class_everywhere", "refuse", "one-class", "", lambda d: masks(d, np.zeros_like))
ruined("masks_all_the_same", "refuse", "same-mask", "labels/f0_P.png", lambda d: masks(d, lambda a: ids(0)))


# --- codes.txt ---

def written(file):
    "A function that adds a case in which `file` holds other text or bytes, and all else is as it was."
    def add(kind, code, name, data, **kwargs):
        def build(d): (d/file).write_bytes(data if isinstance(data, bytes) else data.encode())
        ruined(f"{Path(file).stem}_{name}", kind, code, "" if kind == "sound" else file, build, **kwargs)
    return add


codes, valid = written("codes.txt"), written("valid.txt")
text = "sky\nroad\nVoid\ntree\ncar\n"
ruined("codes_missing", "refuse", "codes", "codes.txt", lambda d: (d/"codes.txt").unlink())
codes("refuse", "codes", "empty", "")
codes("refuse", "codes", "blank", "\n \n\t\n")
codes("refuse", "codes-duplicate", "duplicate", "sky\nroad\nVoid\nroad\ncar\n")
codes("refuse", "codes-duplicate", "duplicate_with_blanks", "sky\nroad\nVoid\nroad \ncar\n")
codes("refuse", "encoding", "utf16", text.encode("utf-16"))
codes("refuse", "encoding", "utf16_without_mark|".strip("|"), text.encode("utf-16-le") + b"\xff\xfe")
codes("refuse", "encoding", "latin1", "sky\nroad\nVoid\nStraße\ncar\n".encode("latin-1"))
codes("refuse", "codes mask-values", "300_names", "\n".join(f"c{i}" for i in range(300)))
codes("warn", "codes-blank", "blank_line_between", "sky\nroad\n\nVoid\ntree\ncar\n")
codes("note", "codes-cleaned", "mark", text.encode("utf-8-sig"), ids=True)
codes("note", "codes-cleaned", "crlf", text.replace("\n", "\r\n"), ids=True)
codes("note", "codes-cleaned", "cr", text.replace("\n", "\r"), ids=True)
codes("note", "codes-cleaned", "trailing_blanks", text.replace("\n", " \t\n"), ids=True)
codes("note", "codes-cleaned", "leading_blanks", text.replace("road", "\troad"), ids=True)
codes("note", "codes-cleaned", "blank_lines_at_the_end", text + "\n\n", ids=True)
codes("sound", "", "without_a_last_newline", text.strip(), clean=True, ids=True)
codes("sound", "", "with_inner_blanks", "the sky\na road\nVoid\nall the trees\nmy car\n", clean=True)
codes("sound", "", "with_umlauts", "Straße\nmüde\nVoid\n木\nпуть\n", clean=True)
codes("sound", "", "with_a_hash_inside", "C# sky\nroad #2\nVoid\ntree\ncar\n", clean=True)
codes("sound", "", "with_markup", "[red]sky\n<b>road</b>\nVoid\n%s tree\n'car'\n", clean=True)
codes("sound", "", "numbers", "0\n1\n2\n3\n4\n", clean=True)
codes("sound|note|warn", "", "that_differ_in_case", "sky\nSky\nVoid\ntree\ncar\n")
codes("refuse", "codes", "with_a_very_long_name", "s"*10_000 + "\nroad\nVoid\ntree\ncar\n")
codes("refuse|warn", "", "comment", "# the classes\nsky\nroad\nVoid\ntree\ncar\n")
codes("refuse|warn", "", "null_bytes", "sky\nro\0ad\nVoid\ntree\ncar\n")
codes("sound|warn|refuse", "", "with_control_characters", "sky\n\x1b[31mroad\nVoid\ntree\x07\ncar\n")
ruined("codes_of_much_nothing", "refuse", "codes encoding not-a-file", "codes.txt",
       lambda d: os.truncate(d/"codes.txt", 16 << 20))
ruined("codes_is_a_folder", "refuse", "codes not-a-file", "codes.txt",
       lambda d: ((d/"codes.txt").unlink(), (d/"codes.txt").mkdir()) and None)
ruined("codes_is_a_fifo", "refuse", "codes not-a-file", "codes.txt",
       lambda d: ((d/"codes.txt").unlink(), os.mkfifo(d/"codes.txt")) and None)
ruined("codes_links_to_nothing", "refuse", "codes broken-link", "codes.txt",
       lambda d: ((d/"codes.txt").unlink(), (d/"codes.txt").symlink_to("gone")) and None)
ruined("codes_is_dev_zero", "refuse", "codes not-a-file", "codes.txt",
       lambda d: ((d/"codes.txt").unlink(), (d/"codes.txt").symlink_to("/dev/zero")) and None)


# --- valid.txt ---

text = "f1.png\nf4.png\n"
ruined("valid_missing", "note", "no-valid-list", "valid.txt", lambda d: (d/"valid.txt").unlink())
valid("refuse", "valid-empty", "empty", "")
valid("refuse", "valid-empty", "blank", "\n  \n\n")
valid("refuse", "valid-missing", "one_name_lost", "f1.png\nf9.png\n")
valid("refuse", "valid-missing", "all_names_lost", "g1.png\ng2.png\n")
valid("refuse", "valid-missing", "stems", "f1\nf4\n")
valid("refuse", "valid-missing", "paths", "images/f1.png\nimages/f4.png\n")
valid("refuse", "valid-missing", "absolute_paths", "/data/images/f1.png\n/data/images/f4.png\n")
valid("refuse", "valid-missing", "windows_paths", "images\\f1.png\r\nimages\\f4.png\r\n")
valid("refuse", "valid-missing", "windows_drive", "C:\\data\\f1.png\nC:\\data\\f4.png\n")
valid("refuse", "valid-missing", "masks", "f1_P.png\nf4_P.png\n")
valid("refuse", "valid-missing", "other_suffix", "f1.jpg\nf4.jpg\n")
valid("refuse", "valid-missing", "other_case", "F1.PNG\nF4.PNG\n")
valid("refuse", "valid-missing", "two_a_line", "f1.png f4.png\n")
valid("refuse", "valid-missing", "commas", "f1.png,f4.png\n")
valid("refuse", "valid-missing", "quoted", '"f1.png"\n"f4.png"\n')
valid("refuse", "valid-missing", "comment", "# held out\nf1.png\nf4.png\n")
valid("refuse", "valid-missing", "dots", "./f1.png\n../images/f4.png\n")
valid("refuse", "valid-all", "all", "".join(f"f{i}.png\n" for i in range(6)))
valid("refuse", "encoding", "utf16", text.encode("utf-16"))
valid("refuse", "encoding", "latin1", "f1.png\nfäh.png\n".encode("latin-1"))
valid("warn", "list-duplicate", "duplicates", text + "f1.png\n")
valid("note", "list-cleaned", "mark", text.encode("utf-8-sig"))
valid("note", "list-cleaned", "trailing_blanks", text.replace("\n", "  \n"))
valid("note", "list-cleaned", "leading_tab", "\tf1.png\nf4.png\n")
valid("note", "list-cleaned", "crlf", text.replace("\n", "\r\n"))
valid("note", "list-cleaned", "blank_lines", "f1.png\n\n\nf4.png\n")
valid("sound", "", "without_a_last_newline", text.strip(), clean=True)
valid("refuse", "", "null_bytes", "f1.png\0\nf4.png\n")
ruined("valid_is_a_folder", "refuse", "", "valid.txt", lambda d: ((d/"valid.txt").unlink(), (d/"valid.txt").mkdir())
       and None)
ruined("valid_is_a_fifo", "refuse", "", "valid.txt", lambda d: ((d/"valid.txt").unlink(), os.mkfifo(d/"valid.txt"))
       and None)
ruined("valid_links_to_nothing", "refuse", "", "valid.txt",
       lambda d: ((d/"valid.txt").unlink(), (d/"valid.txt").symlink_to("gone")) and None)


# --- one image, twice ---

ruined("image_in_train_and_valid", "warn", "same-image", "images/f",
       lambda d: (shutil.copy(image(d, 0), image(d, 4)), shutil.copy(mask(d, 0), mask(d, 4))) and None)
ruined("image_in_train_and_valid_other_masks", "warn", "same-image", "images/f",
       lambda d: shutil.copy(image(d, 0), image(d, 4)) and None)
ruined("image_in_train_and_valid_saved_again", "warn", "same-image", "images/f",
       lambda d: write(image(d, 4), pixels(0), compress_level=1) and None)
ruined("image_in_train_and_valid_as_bmp", "warn", "same-image", "images/f",
       lambda d: (image(d, 4).unlink(), write(d/"images/f4.bmp", pixels(0)),
                  (d/"valid.txt").write_text("f1.png\nf4.bmp\n")) and None)
ruined("image_in_train_and_valid_by_link", "warn", "same-image", "images/f",
       lambda d: (image(d, 4).unlink(), image(d, 4).symlink_to("f0.png")) and None)
ruined("image_twice_in_train", "note", "duplicate-image", "images/f", lambda d: shutil.copy(image(d, 0), image(d, 2))
       and None)


# --- what cannot be read: root may read everything, so the system is made to refuse ---

def denied(rel, whole=False):
    def patch(mp, d):
        target = str(d/rel) if rel else str(d)
        def refuse(f):
            def g(path=".", *args, **kwargs):
                if isinstance(path, (str, os.PathLike)) and os.path.abspath(os.fspath(path)) == os.path.abspath(target):
                    raise PermissionError(13, "Permission denied", str(path))
                return f(path, *args, **kwargs)
            return g
        import builtins
        for module, name in (os, "scandir"), (os, "listdir"), (os, "open"), (io, "open"), (builtins, "open"):
            mp.setattr(module, name, refuse(getattr(module, name)))
    return patch


for rel, codes_ in (("", "folder-unreadable"), ("images", "folder-unreadable"), ("labels", "folder-unreadable"),
                    ("images/f2.png", "unreadable"), ("labels/f2_P.png", "unreadable"),
                    ("codes.txt", "unreadable codes"), ("valid.txt", "unreadable")):
    add(f"unreadable_{rel.replace('/', '_') or 'data'}", "refuse", codes_, rel or "street",
        lambda d: street(d) and None, patch=denied(rel))


# --- DATA that is no dataset ---

@case("refuse", "folder-missing", "gone")
def data_missing(d): return d/"gone"
@case("refuse", "folder-missing", "street")
def data_misspelt(d): street(d); return d.with_name("stret")
@case("refuse", "folder-empty", "street")
def data_empty(d): d.mkdir()
@case("refuse", "folder-empty", "street")
def data_of_hidden_files(d): d.mkdir(); (d/".DS_Store").write_bytes(b"x")
@case("refuse", "", "codes.txt")
def data_is_a_text_file(d): street(d); return d/"codes.txt"
@case("refuse", "", "f2.png")
def data_is_an_image(d): street(d); return image(d)
@case("refuse", "", "images")
def data_is_the_image_folder(d): street(d); return d/"images"
@case("refuse", "layout-unknown", "outer/street")
def data_is_the_parent(d): street(d.with_name("outer")/"street"); return d.with_name("outer")
@case("refuse", "layout-unknown", "readme.md")
def data_of_other_files(d): d.mkdir(); (d/"readme.md").touch()
@case("refuse", "layout-unknown", "street")
def data_of_empty_folders(d): [(d/name).mkdir(parents=True) for name in ("a", "b")]
@case("refuse", "", "", patch=lambda mp, d: mp.setenv("HOME", str(d)))
def data_is_home(d): street(d/"projects/street"); (d/"notes.txt").write_text("x"); return "~"
@case("refuse", "", "no-such-user")
def data_of_no_user(d): d.mkdir(); return "~no-such-user-here/x"
@case("refuse", "", "x"*30)
def data_of_a_long_name(d): d.mkdir(); return "x"*5000
@case("refuse", "", "")
def data_is_nothing(d): d.mkdir(); return ""
@case("refuse", "", "example.com")
def data_is_an_address(d): d.mkdir(); return "https://example.com/camvid.tgz"
@case("refuse", "", "")
def data_with_a_null(d): d.mkdir(); return "a\0b"
for path in "/dev/null", "/dev/zero", "/etc/passwd", "/proc/self/mem":
    add("data_is_" + path.strip("/").replace("/", "_"), "refuse", "", path, lambda d, path=path: (d.mkdir(), path)[1])
@case("refuse", "", "pipe")
def data_is_a_fifo(d): d.mkdir(); os.mkfifo(d/"pipe"); return d/"pipe"
@case("refuse", "", "pipe.csv")
def data_is_a_fifo_named_csv(d): d.mkdir(); os.mkfifo(d/"pipe.csv"); return d/"pipe.csv"
@case("refuse", "", "pipe.zip")
def data_is_a_fifo_named_zip(d): d.mkdir(); os.mkfifo(d/"pipe.zip"); return d/"pipe.zip"
@case("refuse", "", "loop")
def data_is_a_loop(d): d.mkdir(); (d/"loop").symlink_to("loop"); return d/"loop"
@case("refuse", "", "loops")
def data_of_loops_only(d):
    (d/"loops/a").mkdir(parents=True)
    (d/"loops/a/up").symlink_to("..")
    (d/"loops/b").symlink_to("a")
    return d/"loops"


# --- archives ---

def zip_of(path, files):
    with zipfile.ZipFile(path, "w") as z: [z.writestr(k, v) for k, v in files.items()]
    return path


def packed(d, top="street"):
    return {f"{top}/{path.relative_to(d).as_posix()}" if top else path.relative_to(d).as_posix(): path.read_bytes()
            for path in sorted(d.rglob("*")) if path.is_file()}


def archive(kind, code="", file=None, **kwargs):
    "Register a builder that is given a sound folder and a path for its archive."
    def add(f):
        def build(d): street(d); return f(d, d.parent)
        case(kind, code, f.__name__ if file is None else file, f.__name__, **kwargs)(build)
        return f
    return add


def shortened(path, n):
    path.write_bytes(path.read_bytes()[:-n])
    return path


@archive("sound", file="", clean=True, layout="camvid")
def packed_zip(d, to): return zip_of(to/"packed_zip.zip", packed(d))
@archive("sound", file="", clean=True)
def packed_flat(d, to): return zip_of(to/"packed_flat.ZIP", packed(d, ""))
@archive("sound", file="", clean=True)
def packed_tgz(d, to):
    with tarfile.open(to/"packed.tgz", "w:gz") as t: t.add(d, "street")
    return to/"packed.tgz"
@archive("sound|note", file="")
def packed_on_a_mac(d, to):
    return zip_of(to/"mac.zip", {**packed(d), **{f"__MACOSX/street/images/._f{i}.png": b"\0\5\x16\7"
                                                 for i in range(3)}})
@archive("refuse")
def zip_empty(d, to): return zip_of(to/"zip_empty.zip", {})
@archive("refuse")
def zip_is_text(d, to): (to/"zip_is_text.zip").write_text("no archive"); return to/"zip_is_text.zip"
@archive("refuse")
def zip_of_nothing(d, to): (to/"zip_of_nothing.zip").touch(); return to/"zip_of_nothing.zip"
@archive("refuse")
def zip_truncated(d, to): return shortened(zip_of(to/"zip_truncated.zip", packed(d)), 300)
@archive("refuse", file="evil")
def zip_leads_up(d, to): return zip_of(to/"a.zip", {**packed(d), "../../evil.txt": b"x"})
@archive("refuse", file="evil")
def zip_leads_to_root(d, to): return zip_of(to/"a.zip", {**packed(d), "/evil.txt": b"x"})
@archive("refuse", file="evil")
def zip_leads_up_on_windows(d, to): return zip_of(to/"a.zip", {**packed(d), "..\\evil.txt": b"x"})


@archive("refuse", file="evil")
def zip_with_a_link(d, to):
    info = zipfile.ZipInfo("street/images/evil.png")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return zip_of(to/"a.zip", {**packed(d), info: "/etc/passwd"})


@archive("refuse")
def zip_that_claims_much(d, to):
    archive = zip_of(to/"zip_that_claims_much.zip", packed(d))
    data = bytearray(archive.read_bytes())
    at = data.index(b"PK\1\2")
    data[at+24:at+28] = struct.pack("<I", 0xfffffffe)
    archive.write_bytes(data)
    return archive


@archive("refuse")
def zip_with_a_password(d, to):
    archive = zip_of(to/"zip_with_a_password.zip", packed(d))
    data = bytearray(archive.read_bytes())
    for sign, at in (b"PK\3\4", 6), (b"PK\1\2", 8): data[data.index(sign) + at] |= 1
    archive.write_bytes(data)
    return archive


def tar_of(path, d, *members, mode="w"):
    with tarfile.open(path, mode) as t:
        t.add(d, "street")
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            t.addfile(info)
    return path


for name, member in dict(tar_leads_up=("../../evil.txt", tarfile.REGTYPE, ""),
                         tar_leads_to_root=("/evil.txt", tarfile.REGTYPE, ""),
                         tar_with_a_link_out=("street/evil", tarfile.SYMTYPE, "/etc/passwd"),
                         tar_with_a_link_up=("street/evil", tarfile.SYMTYPE, "../../.."),
                         tar_with_a_hard_link_out=("street/evil", tarfile.LNKTYPE, "../../etc/passwd"),
                         tar_with_a_device=("street/evil", tarfile.CHRTYPE, ""),
                         tar_with_a_fifo=("street/evil", tarfile.FIFOTYPE, "")).items():
    add(name, "refuse", "", "evil", lambda d, member=member: tar_of(street(d).with_name("a.tar"), d, member))


@archive("refuse", file="evil")
def tar_through_a_link(d, to):
    archive = tar_of(to/"a.tar", d, ("street/evil", tarfile.SYMTYPE, str(to)))
    with tarfile.open(archive, "a") as t: t.addfile(tarfile.TarInfo("street/evil/evil.txt"))
    return archive


@archive("sound|refuse", file="")
def zip_from_windows(d, to): return zip_of(to/"w.zip", {k.replace("/", "\\"): v for k, v in packed(d).items()})


@archive("refuse")
def tar_truncated(d, to):
    path = tar_of(to/"tar_truncated.tar", d)
    path.write_bytes(path.read_bytes()[:9000])
    return path
@archive("refuse")
def tgz_truncated(d, to):
    archive = tar_of(to/"tgz_truncated.tgz", d, mode="w:gz")
    archive.write_bytes(archive.read_bytes()[:-3000])
    return archive
@archive("refuse")
def archive_of_another_kind(d, to):
    (to/"archive_of_another_kind.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    return to/"archive_of_another_kind.7z"


# --- CamSeq and CamVid as it was published: colors ---

def table(rows=None):
    return "".join(f"{r} {g} {b}\t{n}\n" for (r, g, b), n in zip(TABLE, NAMES)) if rows is None else rows


def camseq(d, n=6, text=None):
    for i in range(n): write(d/f"s_{i:02}.png", pixels(i)); write(d/f"s_{i:02}_L.png", np.uint8(TABLE)[ids(i)])
    (d/"label_colors.txt").write_text(table() if text is None else text, encoding="utf-8")
    return d


def published(d, n=6):
    for i in range(n):
        write(d/f"701_StillsRaw_full/s_{i:02}.png", pixels(i))
        write(d/f"LabeledApproved_full/s_{i:02}_L.png", np.uint8(TABLE)[ids(i)])
    (d/"label_colors.txt").write_text(table())
    return d


def of(make):
    "A way to register what ruins another sound folder."
    def ruin(name, kind, code="", file="", f=lambda d: None, **kwargs):
        def build(d):
            make(d)
            return f(d)
        add(name, kind, code, file, build, **kwargs)
    return ruin


seq, pub = of(camseq), of(published)
seq("camseq", "sound", clean=True, ids=True, layout="camseq")
pub("published", "sound", ids=True, layout="camvid")
for make, where, m in (seq, "camseq", "s_02_L.png"), (pub, "published", "LabeledApproved_full/s_02_L.png"):
    make(f"{where}_table_missing", "refuse", "colors layout-unknown", "", lambda d: (d/"label_colors.txt").unlink())
    for name, code, text in [("empty", "colors", ""),
                             ("duplicate_colour", "colors-duplicate", table().replace("128 128 0", "64 0 128")),
                             ("duplicate_name", "codes-duplicate colors-duplicate colors",
                              table().replace("tree", "car")), ("broken_line", "colors",
        table().replace("128 64 128", "128 64")), ("value_300", "colors", table().replace("128 64 128", "300 64 128")),
                             ("negative", "colors", table().replace("128 64 128", "-1 64 128")),
                             ("words", "colors", table().replace("128 64 128", "red green blue")),
                             ("fraction", "colors", table().replace("128 64 128", "0.5 64 128")),
                             ("nameless", "colors", table().replace("\troad", "")),
                             ("two_voids", "codes-void", table().replace("sky", "unlabelled")),
                             ("html", "colors", "<html>404</html>\n"),
                             ("latin1", "encoding", table().replace("road", "Straße").encode("latin-1")),
                             ("utf16", "encoding", table().encode("utf-16"))]:
        make(f"{where}_table_{name}", "refuse", code, "label_colors.txt", lambda d,
             text=text: (d/"label_colors.txt").write_bytes(text if isinstance(text, bytes) else text.encode()) and None)
    make(f"{where}_colour_unknown", "refuse", "mask-colors", m, lambda d,
         m=m: write(d/m, put_color(ids(2), (127, 64, 128))) and None)
    make(f"{where}_mask_jpeg", "refuse", "mask-jpeg", m, lambda d, m=m: jpeg(np.uint8(TABLE)[ids(2)], d/m) and None)
    make(f"{where}_mask_of_ids", "refuse", "mask-colors mask-mode", m, lambda d, m=m: write(d/m, ids(2)) and None)
    make(f"{where}_mask_rgba", "sound", f=lambda d,
         m=m: write(d/m, Image.fromarray(np.uint8(TABLE)[ids(2)]).convert("RGBA")) and None, ids=True)
    make(f"{where}_mask_palette", "sound|note", f=lambda d, m=m: write(d/m, ids(2), TABLE) and None, ids=True)
    make(f"{where}_mask_size", "refuse", "mask-size", m, lambda d, m=m: write(d/m, np.uint8(TABLE)[ids(2)][:30])
         and None)
    make(f"{where}_mask_truncated", "refuse", "undecodable", m, lambda d,
         m=m: (d/m).write_bytes((d/m).read_bytes()[:-60]) and None)
    make(f"{where}_mask_missing", "refuse|note|warn", "missing no-mask", "s_02", lambda d, m=m: (d/m).unlink())
    for name, text in [("mark", table().encode("utf-8-sig")), ("crlf", table().replace("\n", "\r\n").encode()),
                       ("tabs", table().replace(" ", "\t\t").encode()),
                       ("blanks", table().replace("\t", "   ").encode()),
                       ("blank_lines", table().replace("\n", "\n\n").encode()),
                       ("name_with_blanks", table().replace("road", "a road, wide").encode())]:
        make(f"{where}_table_with_{name}", "sound|note", f=lambda d, text=text: (d/"label_colors.txt").write_bytes(text)
             and None, ids=True)
pub("published_no_masks_folder", "refuse", "folder-missing", "LabeledApproved_full",
    lambda d: shutil.rmtree(d/"LabeledApproved_full"))
pub("published_masks_empty", "refuse", "", "LabeledApproved_full",
    lambda d: [path.unlink() for path in (d/"LabeledApproved_full").iterdir()] and None)
add("camseq_of_one_frame", "refuse", "no-valid no-train", "", lambda d: camseq(d, 1) and None)
add("camseq_of_two_frames", "sound|warn|note", "", "", lambda d: camseq(d, 2) and None)
seq("camseq_all_black", "refuse", "all-void", "",
    lambda d: [write(d/f"s_{i:02}_L.png", np.zeros((*SIZE, 3), np.uint8)) for i in range(6)] and None)


def put_color(a, color):
    a = np.uint8(TABLE)[a]
    a[3, :5] = color
    return a


# --- SegNet ---

def segnet(d):
    for i, s in enumerate(["train"]*3 + ["val"]*2 + ["test"]):
        write(d/f"{s}/{i}.png", pixels(i))
        write(d/f"{s}annot/{i}.png", np.random.default_rng(i).integers(0, 12, (10, 14), np.uint8).repeat(4, 0).repeat(4,
            1))
    return d


net = of(segnet)
net("segnet", "sound", layout="segnet")
net("segnet_value_12", "refuse", "mask-values", "trainannot/1.png",
    lambda d: write(d/"trainannot/1.png", put(ids(1), 12)) and None)
net("segnet_mask_missing", "refuse", "missing", "trainannot/1.png", lambda d: (d/"trainannot/1.png").unlink())
net("segnet_no_val", "note", "no-valid-split", "", lambda d: (shutil.rmtree(d/"val"), shutil.rmtree(d/"valannot"))
    and None)
net("segnet_val_without_masks", "refuse|warn|note", "", "val", lambda d: shutil.rmtree(d/"valannot"))
net("segnet_all_void", "refuse", "all-void", "",
    lambda d: [write(path, np.full(SIZE, 11, np.uint8)) for path in (d/"trainannot").iterdir()] and None)
net("segnet_same_image", "warn", "same-image", "", lambda d: shutil.copy(d/"train/0.png", d/"val/3.png") and None)


# --- KITTI road ---

ROAD = np.uint8([[255, 0, 0], [255, 0, 255], [0, 0, 0]])


def kitti(d):
    for i in range(6):
        write(d/f"training/image_2/um_{i:06}.png", pixels(i))
        write(d/f"training/gt_image_2/um_road_{i:06}.png", ROAD[ids(i, 3)])
    return d


road, gt = of(kitti), "training/gt_image_2/um_road_000002.png"
road("kitti", "sound", clean=True, layout="kitti_road")
road("kitti_images_without_a_mask", "note|warn", "no-mask", "training/image_2/um_000009.png",
     lambda d: write(d/"training/image_2/um_000009.png", pixels(9)) and None)
road("kitti_no_masks", "refuse", "", "", lambda d: shutil.rmtree(d/"training/gt_image_2"))
road("kitti_masks_empty", "refuse", "", "", lambda d: [path.unlink() for path in (d/"training/gt_image_2").iterdir()]
     and None)
road("kitti_other_colour", "refuse", "mask-colors", gt, lambda d: write(d/gt, put_rgb(ROAD[ids(2, 3)], (0, 255, 0)))
     and None)
road("kitti_mask_jpeg", "refuse", "mask-jpeg", gt, lambda d: jpeg(ROAD[ids(2, 3)], d/gt) and None)
road("kitti_mask_size", "refuse", "mask-size", gt, lambda d: write(d/gt, ROAD[ids(2, 3)][:-1]) and None)
road("kitti_mask_of_ids", "refuse", "mask-colors mask-mode", gt, lambda d: write(d/gt, ids(2, 2)) and None)
road("kitti_mask_void", "warn", "mask-void", gt, lambda d: write(d/gt, np.zeros((*SIZE, 3), np.uint8)) and None)
road("kitti_all_void", "refuse", "all-void", "",
     lambda d: [write(path, np.zeros((*SIZE, 3), np.uint8)) for path in (d/"training/gt_image_2").iterdir()] and None)
road("kitti_mask_orphan", "warn", "orphan-mask", "um_road_000008",
     lambda d: write(d/"training/gt_image_2/um_road_000008.png", ROAD[ids(8, 3)]) and None)


def put_rgb(a, color):
    a[3, :5] = color
    return a


# --- Pets ---

def pets(d):
    for i in range(6):
        write(d/f"images/Cat_{i}.jpg", pixels(i))
        write(d/f"annotations/trimaps/Cat_{i}.png", ids(i, 3) + 1)
    for item, rows in ("trainval", range(4)), ("test", (4, 5)):
        (d/f"annotations/{item}.txt").write_text("".join(f"Cat_{i} 1 1 1\n" for i in rows))
    return d


def appended(rel, text): return lambda d: (d/rel).write_text((d/rel).read_text() + text) and None


cat, tri = of(pets), "annotations/trimaps/Cat_2.png"
cat("pets", "sound", layout="pets")
cat("pets_list_names_nothing", "refuse", "list-missing", "trainval",
    appended("annotations/trainval.txt", "Sphynx_1 1 1 1\n"))
cat("pets_list_of_words", "refuse", "list-missing", "trainval",
    appended("annotations/trainval.txt", "??? not a line of it\n"))
cat("pets_lists_overlap", "refuse", "list-overlap", "", appended("annotations/test.txt", "Cat_0 1 1 1\n"))
cat("pets_list_empty", "refuse", "", "", lambda d: (d/"annotations/trainval.txt").write_text("") and None)
cat("pets_list_comment", "sound|note", "", "", lambda d: (d/"annotations/trainval.txt").write_text(
    "#Image CLASS-ID SPECIES BREED ID\n" + (d/"annotations/trainval.txt").read_text()) and None)
cat("pets_list_crlf", "sound|note", "", "", lambda d: (d/"annotations/trainval.txt").write_bytes(
    b"\xef\xbb\xbfCat_0 1 1 1\r\nCat_1 1 1 1\r\n\r\nCat_2 1 1 1\r\nCat_3 1 1 1\r\n") and None)
cat("pets_list_utf16", "refuse", "encoding", "trainval.txt",
    lambda d: (d/"annotations/trainval.txt").write_bytes("Cat_0 1 1 1\n".encode("utf-16")) and None)
cat("pets_list_duplicate", "warn", "list-duplicate", "", appended("annotations/trainval.txt", "Cat_0 1 1 1\n"))
cat("pets_no_lists", "note", "no-valid-split no-valid-list", "",
    lambda d: [path.unlink() for path in (d/"annotations").glob("*.txt")] and None)
cat("pets_not_listed", "note", "not-listed", "Cat_9",
    lambda d: (write(d/"images/Cat_9.jpg", pixels(9)), write(d/"annotations/trimaps/Cat_9.png", ids(9, 3) + 1))
    and None)
cat("pets_value_4", "refuse", "mask-values", tri, lambda d: write(d/tri, put(ids(2, 3) + 1, 4)) and None)
cat("pets_value_0", "refuse", "mask-values", tri, lambda d: write(d/tri, put(ids(2, 3) + 1, 0)) and None)
cat("pets_trimap_missing", "refuse", "missing no-mask list-missing", "Cat_2", lambda d: (d/tri).unlink())
cat("pets_image_missing", "refuse", "missing list-missing", "", lambda d: (d/"images/Cat_2.jpg").unlink())
cat("pets_image_corrupt", "refuse", "undecodable not-an-image", "images/Cat_2.jpg",
    lambda d: (d/"images/Cat_2.jpg").write_bytes((d/"images/Cat_2.jpg").read_bytes()[:100]) and None)
cat("pets_image_is_gif", "sound|note", "", "", lambda d: write(d/"images/Cat_2.jpg", pixels(2), format="GIF") and None)
cat("pets_system_files", "note", "system-files", "",
    lambda d: (d/"annotations/trimaps/._Cat_2.png").write_bytes(b"\0\5") and None)


# --- VOC ---

def voc(d):
    for i in range(6):
        write(d/f"JPEGImages/2007_00000{i}.jpg", pixels(i))
        write(d/f"SegmentationClass/2007_00000{i}.png", np.where(ids(i) == 4, 255, ids(i)).astype(np.uint8), PALETTE)
    (d/"ImageSets/Segmentation").mkdir(parents=True)
    for item, rows in ("train", range(4)), ("val", (4, 5)):
        (d/f"ImageSets/Segmentation/{item}.txt").write_text("".join(f"2007_00000{i}\n" for i in rows))
    return d


pascal, lists, seg = of(voc), "ImageSets/Segmentation", "SegmentationClass/2007_000002.png"
pascal("voc", "sound", layout="voc")
pascal("voc_list_names_nothing", "refuse", "list-missing", "val", lambda d: (d/lists/"val.txt").write_text("w_1\nw_2\n")
       and None)
pascal("voc_list_names_one_too_many", "refuse", "list-missing", "train", appended(f"{lists}/train.txt", "w_1\n"))
pascal("voc_list_of_file_names", "sound|note", "", "",
       lambda d: (d/lists/"train.txt").write_text("".join(f"2007_00000{i}.jpg\n" for i in range(4))) and None)
pascal("voc_list_empty", "refuse", "", "", lambda d: (d/lists/"train.txt").write_text("\n") and None)
pascal("voc_val_empty", "refuse|note|warn", "", "", lambda d: (d/lists/"val.txt").write_text("\n") and None)
pascal("voc_lists_overlap", "refuse", "list-overlap", "", appended(f"{lists}/val.txt", "2007_000000\n"))
pascal("voc_no_val", "note", "no-valid-split no-valid-list", "", lambda d: (d/lists/"val.txt").unlink())
pascal("voc_no_lists", "note", "no-valid-split no-valid-list", "", lambda d: shutil.rmtree(d/"ImageSets"))
pascal("voc_list_with_blanks", "sound|note", "", "",
       lambda d: (d/lists/"val.txt").write_bytes(b"\xef\xbb\xbf2007_000004 \r\n\r\n2007_000005\r\n") and None)
pascal("voc_upper_case", "sound", f=lambda d: [path.rename(path.with_suffix(".JPG"))
                                               for path in (d/"JPEGImages").iterdir()] and None)
pascal("voc_image_missing", "refuse", "missing list-missing", "2007_000002",
       lambda d: (d/"JPEGImages/2007_000002.jpg").unlink())
pascal("voc_mask_all_void", "warn", "mask-void", seg, lambda d: write(d/seg, np.full(SIZE, 255, np.uint8), PALETTE)
       and None)
pascal("voc_mask_rgb", "refuse", "mask-mode", seg, lambda d: write(d/seg, Image.open(d/seg).convert("RGB")) and None)
pascal("voc_value_21", "refuse", "mask-values", seg, lambda d: write(d/seg, put(ids(2), 21), PALETTE) and None)
pascal("voc_mask_missing", "refuse", "missing list-missing", "2007_000002", lambda d: (d/seg).unlink())
pascal("voc_images_without_a_mask", "sound|note", "", "",
       lambda d: write(d/"JPEGImages/2007_000009.jpg", pixels(9)) and None)


# --- Cityscapes and India Driving ---

def cities(d, kind="labelIds", values=(7, 8, 26, 0, 29)):
    for i, s in enumerate(["train"]*4 + ["val"]*2):
        write(d/f"leftImg8bit/{s}/ulm/ulm_{i}_leftImg8bit.png", pixels(i))
        write(d/f"gtFine/{s}/ulm/ulm_{i}_gtFine_{kind}.png", np.uint8(values)[ids(i)])
    return d


def trained_ids(d): return cities(d, "labelTrainIds", (0, 1, 13, 18, 255))


city, ulm = of(cities), "gtFine/train/ulm/ulm_2_gtFine_labelIds.png"
city("cityscapes", "sound", layout="cityscapes")
city("cityscapes_unknown_ids_are_void", "sound", f=lambda d: write(d/ulm, put(np.uint8((7, 8, 26, 0, 29))[ids(2)], 99))
     and None)
city("cityscapes_mask_missing", "refuse|warn|note", "missing no-mask", "ulm_2", lambda d: (d/ulm).unlink())
city("cityscapes_mask_rgb", "refuse", "mask-mode", ulm, lambda d: write(d/ulm, np.uint8(TABLE)[ids(2)]) and None)
city("cityscapes_mask_size", "refuse", "mask-size", ulm, lambda d: write(d/ulm, np.full((20, 28), 7, np.uint8))
     and None)
city("cityscapes_no_val", "note", "no-valid-split", "",
     lambda d: (shutil.rmtree(d/"leftImg8bit/val"), shutil.rmtree(d/"gtFine/val")) and None)
city("cityscapes_no_gt", "refuse", "", "", lambda d: shutil.rmtree(d/"gtFine"))
city("cityscapes_loop", "warn|sound", "link-loop", "", lambda d: (d/"leftImg8bit/train/ulm/loop").symlink_to(".."))
of(trained_ids)("cityscapes_train_ids", "sound", layout="cityscapes")
of(trained_ids)("cityscapes_train_id_19", "refuse", "mask-values", "ulm_2",
                lambda d: write(d/ulm.replace("labelIds", "labelTrainIds"), put(ids(2), 19)) and None)


def india(d):
    for i, s in enumerate(["train"]*4 + ["val"]*2):
        write(d/f"leftImg8bit/{s}/{i}/{i}_image.jpg", pixels(i))
        write(d/f"gtFine/{s}/{i}/{i}_label.png", np.where(ids(i, 8) == 7, 255, ids(i, 8)).astype(np.uint8))
    return d


idd = of(india)
idd("idd", "sound", layout="idd")
idd("idd_value_9", "refuse", "mask-values", "gtFine/train/2/2_label.png",
    lambda d: write(d/"gtFine/train/2/2_label.png", put(ids(2), 9)) and None)
idd("idd_mask_missing", "refuse|warn|note", "missing no-mask", "2_image",
    lambda d: (d/"gtFine/train/2/2_label.png").unlink())


# --- any two folders ---

def folders(d, values=(0, 1, 2)):
    for i in range(6):
        write(d/f"photos/p{i}.jpg", pixels(i))
        write(d/f"masks/p{i}_mask.png", np.uint8(values)[ids(i, len(values))])
    return d


two = of(folders)
two("folders", "sound", layout="folders")
of(lambda d: folders(d, (0, 255)))("folders_0_255", "sound", layout="folders")
of(lambda d: folders(d, (0, 90, 180, 255)))("folders_grey_levels", "sound", layout="folders")
of(lambda d: folders(d, (1, 2, 3)))("folders_from_one", "sound", layout="folders")
two("folders_guessed", "note", "guessed-classes", "")
two("folders_found", "note", "found-folders", "")
two("folders_image_without_a_mask", "warn", "no-mask", "photos/p2.jpg", lambda d: (d/"masks/p2_mask.png").unlink())
two("folders_mask_without_an_image", "warn", "orphan-mask", "masks/p2_mask.png", lambda d: (d/"photos/p2.jpg").unlink())
two("folders_names_that_do_not_match", "refuse", "layout-unknown", "",
    lambda d: [item.rename(item.with_name(f"{k}.png")) for k, item in zip("qwertz", sorted((d/"masks").iterdir()))]
    and None)
two("folders_mask_size", "refuse", "mask-size", "masks/p2_mask.png",
    lambda d: write(d/"masks/p2_mask.png", ids(2, 3)[1:]) and None)
two("folders_mask_truncated", "refuse", "undecodable", "masks/p2_mask.png",
    lambda d: (d/"masks/p2_mask.png").write_bytes((d/"masks/p2_mask.png").read_bytes()[:-40]) and None)
two("folders_mask_huge", "refuse", "too-large", "masks/p2_mask.png",
    lambda d: (d/"masks/p2_mask.png").write_bytes(huge(False)) and None)
two("folders_masks_smoothed", "refuse", "mask-values", "masks/p",
    lambda d: [write(d/f"masks/p{i}_mask.png", pixels(i)[..., 0]) for i in range(6)] and None)
two("folders_masks_are_photos", "refuse", "mask-values mask-colors mask-mode", "masks/p",
    lambda d: [write(d/f"masks/p{i}_mask.png", pixels(i + 50)) for i in range(6)] and None)
two("folders_mask_jpeg_one", "refuse|warn", "mask-jpeg mask-values rare-value", "masks/p2_mask.jpg",
    lambda d: (jpeg(ids(2, 3), d/"masks/p2_mask.jpg", 1), (d/"masks/p2_mask.png").unlink()) and None)
two("folders_masks_jpeg", "refuse", "mask-jpeg", "masks/p",
    lambda d: [(jpeg(ids(i, 3), d/f"masks/p{i}_mask.jpg", 120), (d/f"masks/p{i}_mask.png").unlink()) for i in range(6)]
    and None)
two("folders_rare_value", "warn", "rare-value", "masks/p2_mask.png",
    lambda d: write(d/"masks/p2_mask.png", put(ids(2, 3), 3, 1)) and None)
two("folders_loop", "warn", "link-loop", "photos/loop", lambda d: (d/"photos/loop").symlink_to(".."))
two("folders_fifo", "refuse", "not-a-file", "photos/p2.jpg",
    lambda d: ((d/"photos/p2.jpg").unlink(), os.mkfifo(d/"photos/p2.jpg")) and None)
two("folders_linked_twice", "sound|warn|note", "", "", lambda d: (d/"again").symlink_to("photos"))
two("folders_masks_rgb", "sound|note", "", "", lambda d: [write(d/f"masks/p{i}_mask.png", np.uint8(TABLE)[ids(i, 3)])
    for i in range(6)] and None)
two("folders_masks_rgb_and_grey", "refuse|warn|note", "", "",
    lambda d: [write(d/f"masks/p{i}_mask.png", np.uint8(TABLE)[ids(i, 3)]) for i in range(5)] and None)
two("folders_codes_fewer", "refuse|warn", "", "", lambda d: (d/"codes.txt").write_text("a\nb\n") and None)
two("folders_codes_duplicate", "refuse", "codes-duplicate", "codes.txt",
    lambda d: (d/"codes.txt").write_text("a\nb\na\n") and None)
two("folders_mask_all_one_value", "refuse", "one-class", "",
    lambda d: [write(d/f"masks/p{i}_mask.png", np.zeros(SIZE, np.uint8)) for i in range(6)] and None)
two("folders_codes_void", "sound", "", "", lambda d: (d/"codes.txt").write_text("a\nb\nvoid\n") and None)
two("folders_unreadable_below", "refuse", "folder-unreadable", "photos/more",
    lambda d: write(d/"photos/more/p9.jpg", pixels(9)) and None, patch=denied("photos/more"))
two("folders_unreadable", "refuse", "folder-unreadable", "photos", patch=denied("photos"))
two("folders_same_image", "warn", "same-image duplicate-image", "",
    lambda d: [shutil.copy(d/"photos/p0.jpg", d/f"photos/p{i}.jpg") for i in range(1, 6)] and None)


def split_folders(d):
    for i, s in enumerate(["train"]*4 + ["val"]*2):
        write(d/f"images/{s}/p{i}.png", pixels(i))
        write(d/f"masks/{s}/p{i}.png", ids(i, 3))
    return d


of(split_folders)("folders_with_splits", "sound", layout="folders")
of(split_folders)("folders_same_image_in_both", "warn", "same-image", "",
                  lambda d: shutil.copy(d/"images/train/p0.png", d/"images/val/p4.png") and None)
of(split_folders)("folders_same_name_in_both", "sound", "", "",
                  lambda d: [(d/name/"val/p4.png").rename(d/name/"val/p0.png") for name in ("images", "masks")]
                  and None)
of(split_folders)("folders_val_without_masks", "refuse|warn|note", "", "val", lambda d: shutil.rmtree(d/"masks/val"))


@case("refuse|sound|note", "layout-unknown")
def one_folder_of_both(d):
    for i in range(6): write(d/f"p{i}.png", pixels(i)); write(d/f"p{i}_mask.png", ids(i, 3))


@case("refuse", "layout-unknown no-images folder-missing missing no-masks", "")
def images_without_any_masks(d):
    for i in range(6): write(d/f"images/p{i}.png", pixels(i))


# --- folders that are more than two, or less ---

two("folders_255_not_named", "warn", "void-guessed", "masks/p",
    lambda d: ((d/"codes.txt").write_text("a\nb\nc\n"), write(d/"masks/p2_mask.png", put(ids(2, 3), 255, 200)))
    and None)
two("folders_1_and_255", "warn", "mask-mixed", "masks/p2_mask.png",
    lambda d: [write(d/f"masks/p{i}_mask.png", ids(i, 2)*np.uint8(1 if i == 2 else 255)) for i in range(6)] and None)
two("folders_0_255_two_names", "sound", "", "", lambda d: ((d/"codes.txt").write_text("ground\nroad\n"),
    [write(d/f"masks/p{i}_mask.png", ids(i, 2)*np.uint8(255)) for i in range(6)]) and None)
two("folders_depth", "sound", "", "",
    lambda d: [write(d/f"depth/p{i}.png", ids(i, 4)*np.uint8(60)) for i in range(6)] and None)
two("folders_three", "note", "several-folders", "colormaps/",
    lambda d: [write(d/f"colormaps/p{i}.png", np.uint8(TABLE)[ids(i, 3)]) for i in range(6)] and None)
two("folders_gif", "sound|note", "", "", lambda d: [(write(d/f"masks/p{i}_mask.gif", ids(i, 3)),
                                                     (d/f"masks/p{i}_mask.png").unlink()) for i in range(6)] and None)


@case("refuse", "layout-unknown", "")
def two_folders_of_photographs(d):
    for i in range(6): write(d/f"anna/{i}.png", pixels(i)); write(d/f"berta/{i}.png", pixels(i + 50))


@case("sound", layout="folders")
def folders_in_folders(d):
    for i in range(6):
        write(d/f"patient-{i//2}/images/{i}.png", pixels(i))
        write(d/f"patient-{i//2}/masks/{i}.png", ids(i, 3))


@case("sound", layout="folders")
def folders_with_zeros(d):
    for i in range(1, 13): write(d/f"images/{i}.png", pixels(i)); write(d/f"masks/{i:03}.png", ids(i, 3))


@case("sound", layout="folders")
def folders_with_splits_and_years(d):
    for i in range(6):
        split = "val2017" if i > 3 else "train2017"
        write(d/f"images/{split}/{i}.png", pixels(i)); write(d/f"masks/{split}/{i}.png", ids(i, 3))


@case("refuse", "layout-unknown", ".npy")
def masks_of_another_kind(d):
    for i in range(6):
        write(d/f"images/{i}.png", pixels(i))
        (d/"masks").mkdir(exist_ok=True)
        np.save(d/f"masks/{i}.npy", ids(i, 3))


@case("sound", layout="camvid")
def camvid_painted(d):
    for i in range(6): write(d/f"images/{i}.png", pixels(i)); write(d/f"labels/{i}_P.png", np.uint8(TABLE)[ids(i)])
    (d/"label_colors.txt").write_text("".join(f"{r} {g} {b} {item}\n" for item, (r, g, b) in zip(NAMES, TABLE)))


pascal("voc_own_names", "sound", "", "", lambda d: (d/"codes.txt").write_text("sky\nroad\ntree\ncar\nbus\n") and None)
pascal("voc_other_values", "warn", "guessed-classes", "",
       lambda d: [write(path, np.asarray(Image.open(path))*np.uint8(40))
                  for path in sorted((d/"SegmentationClass").iterdir())] and None)


# --- tables ---

def csv(kind, name, text, code="", file="pairs.csv", f=None, **kwargs):
    def build(d):
        for i in range(5): write(d/f"a/x{i}.png", pixels(i)); write(d/f"b/y{i}.png", ids(i, 3))
        if f: f(d)
        (d/"pairs.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        return d/"pairs.csv"
    add(f"csv_{name}", kind, code, "" if kind == "sound" else file, build, **kwargs)


rows = [f"a/x{i}.png,b/y{i}.png,{'val' if i > 3 else 'train'}" for i in range(5)]
text = "\n".join(["image,mask,split", *rows, ""])
csv("sound", "plain", text, layout="csv")
csv("sound", "without_split", "\n".join(["image,mask", *(row.rsplit(",", 1)[0] for row in rows)]))
csv("sound", "semicolons_mark_crlf", text.replace(",", ";").replace("\n", "\r\n").encode("utf-8-sig"))
csv("sound", "backslashes", text.replace("/", "\\"))
csv("sound", "blank_lines_and_headings", text.replace("image,mask,split", "Image , MASK, Split").replace("\n", "\n\n"))
csv("refuse", "empty", "")
csv("refuse", "only_a_heading", "image,mask\n")
csv("refuse", "other_columns", text.replace("image,mask,split", "x,y,z"))
csv("refuse", "without_masks", "image\na/x0.png\na/x1.png\n")
csv("refuse", "bad_split", text.replace("val", "maybe"))
csv("refuse", "blank_mask", text.replace("b/y2.png", ""))
csv("refuse", "utf16", text.encode("utf-16"))
csv("refuse", "binary", bytes(range(256))*4)
csv("refuse", "ragged", text + "a/x0.png,b/y0.png,train,more,and more\n")
csv("refuse", "open_quote", text.replace("a/x2.png", '"a/x2.png'))
csv("refuse", "image_missing", text.replace("a/x2.png", "a/gone.png"), "missing", "a/gone.png")
csv("refuse", "mask_missing", text.replace("b/y2.png", "b/gone.png"), "missing", "b/gone.png")
csv("refuse", "image_is_a_folder", text.replace("a/x2.png", "a"), "not-a-file", "a")
csv("refuse", "image_is_dev_zero", text.replace("a/x2.png", "/dev/zero"), "not-a-file", "/dev/zero")
csv("refuse", "null_byte", text.replace("a/x2.png", "a/x\0.png"), "", "")
csv("refuse", "leads_out", text.replace("a/x2.png", "../../../../../../etc/passwd"), "not-an-image missing", "passwd")
csv("refuse", "only_valid", text.replace("train", "val"), "no-train", "")
csv("note|refuse|warn", "only_train", text.replace("val", "train"), "no-valid no-valid-split", "")
csv("warn", "image_twice", text + "a/x0.png,b/y0.png,train\n", "image-twice", "a/x0.png")
csv("refuse|warn", "image_in_both", text + "a/x0.png,b/y0.png,val\n", "image-twice same-image list-overlap", "a/x0.png")
csv("refuse|warn", "image_with_two_masks", text + "a/x0.png,b/y1.png,train\n", "image-twice", "a/x0.png")
csv("refuse", "mask_size", text, "mask-size", "b/y2.png", f=lambda d: write(d/"b/y2.png", ids(2, 3)[:9]))
csv("refuse|warn", "mask_is_the_image", "\n".join(["image,mask", *(f"a/x{i}.png,a/x{i}.png" for i in range(5))]), "",
    "a/x")


# --- several at once ---

@ruin("refuse", "undecodable", "images/f5.png")
def many_at_once(d):
    "Every file but one pair has its own defect: none may hide another."
    mask(d, 0).unlink()
    write(mask(d, 1), put(ids(1), 37))
    image(d, 2).write_bytes(b"")
    write(mask(d, 3), ids(3)[1:])
    write(mask(d, 4), np.uint8(TABLE)[ids(4)])
    image(d, 5).write_bytes(image(d, 5).read_bytes()[:-60])
    (d/"valid.txt").write_text("f1.png\nf1.png\nnowhere.png\n")
    (d/"codes.txt").write_bytes(("\ufeff" + "\n".join(NAMES)).encode())
    write(d/"labels/zz_P.png", ids(9))
    (d/"images/.DS_Store").touch()


MANY = {"missing": "labels/f0_P.png", "mask-values": "labels/f1_P.png", "empty": "images/f2.png",
        "mask-size": "labels/f3_P.png", "mask-mode": "labels/f4_P.png", "undecodable": "images/f5.png",
        "valid-missing": "valid.txt", "list-duplicate": "valid.txt", "codes-cleaned": "codes.txt",
        "orphan-mask": "labels/zz_P.png", "system-files": "images/.DS_Store"}


def unblock(folder):
    "Let go whoever waits for a pipe below a folder."
    for top, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                if Path(top, name).is_fifo(): os.close(os.open(Path(top, name), os.O_RDWR | os.O_NONBLOCK))
