"""Every defect that `write_fixed_copy` fixes, by its code in the log; a failure leaves nothing behind."""
import csv
import io
import os
import shutil
import warnings
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.defects import street, write_packed
from helpers.problems import missing
from helpers.refusals import refuses
from PIL import Image, ImageFilter

import segfast.data.fix as fix
from segfast.data.check import check
from segfast.data.formats.table import from_csv
from segfast.core.errors import DataError
from segfast.data.open import open_data
from segfast.data.classes import CAMVID_COLORS
from segfast.data.masks import colorize, decode_mask
from segfast.core.files import read_lines
from segfast.data.fix import write_fixed_copy

CAMVID = [k for k in CAMVID_COLORS if k not in ("Column_Pole", "Sidewalk")]


@pytest.fixture
def folder(demo_dir, tmp_path): return shutil.copytree(demo_dir, tmp_path/"scenes")


def image(folder, i): return folder/f"images/scene_{i:03d}.png"
def mask(folder, i): return folder/f"labels/scene_{i:03d}_P.png"
def put(path, array, **kwargs): Image.fromarray(np.asarray(array)).save(path, **kwargs)
def masks(folder): return [mask(folder, i) for i in range(10)]
def names(folder): return read_lines(folder/"codes.txt")
def tree(folder):
    return {str(p.relative_to(folder)): os.readlink(p) if p.is_symlink() else sha256(p.read_bytes()).hexdigest()
            if p.is_file() else "" for p in folder.rglob("*")}


def fixed_copy(folder, tmp_path, layout=None):
    "The report before, the log, and the sound copy; the original is as it was."
    root = folder if folder.is_dir() else folder.parent
    before, was = check(open_data(folder, layout), cache=False), tree(root)
    log = write_fixed_copy(before, tmp_path/"copy")
    assert tree(root) == was
    after = check(open_data(tmp_path/"copy"), cache=False)
    assert after.ok, after.text()
    assert after.data.layout == "camvid"
    written = pd.read_csv(tmp_path/"copy/changes.csv", keep_default_na=False)
    assert list(written.columns) == ["file", "code", "what", "pixels"] and len(written) == len(log)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    return before, log, after


def logged(log, code): return log[log.code == code]


# One defect each: a function that damages the folder, the code of the log, the file that the log names

def undeclared(v):
    def do(folder):
        ids = decode_mask(mask(folder, 3))
        ids[:4, :5] = v
        put(mask(folder, 3), ids)
    return do


def without_void(folder):
    void = names(folder).index("Void")
    for p in masks(folder):
        ids = decode_mask(p)
        put(p, np.where(ids == void, 0, ids - (ids > void)).astype(np.uint8))
    (folder/"codes.txt").write_text("\n".join(name for name in names(folder) if name != "Void"))
    undeclared(255)(folder)


def from_one(folder):
    for p in masks(folder):
        ids = decode_mask(p)
        put(p, ids + 1)
    ids[0, 0] = 0
    put(p, ids + 1)
    first = decode_mask(mask(folder, 0))
    first[0, 0] = len(names(folder))
    put(mask(folder, 0), first)


def levels(folder):
    n = len(names(folder))
    for k, p in enumerate(masks(folder)):
        ids = decode_mask(p)
        if k == 0:
            ids[0, :n] = np.arange(n)
        put(p, ids*20)


def rgb(folder): put(mask(folder, 3), np.stack([decode_mask(mask(folder, 3))]*3, -1))
def rgba(folder):
    put(mask(folder, 3), np.stack([decode_mask(mask(folder, 3))]*3 + [np.full((48, 64), 255, np.uint8)], -1))
def painted(folder): put(mask(folder, 3), colorize(decode_mask(mask(folder, 3)), open_data(folder).classes))


def noise(folder): put(mask(folder, 3), np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
def truncated(path): return lambda folder: (folder/path).write_bytes((folder/path).read_bytes()[:300])
def write(path, raw): return lambda folder: (folder/path).write_bytes(raw)
def lines(name, text): return lambda folder: (folder/name).write_text(text, newline="")


def turned(folder):
    with Image.open(image(folder, 3)) as im:
        exif = im.getexif()
        exif[0x0112] = 6
        im.convert("RGB").save(image(folder, 3), exif=exif)


def cropped(folder): put(mask(folder, 3), decode_mask(mask(folder, 3))[:, :50])


def broken_link(folder):
    mask(folder, 3).unlink()
    mask(folder, 3).symlink_to("nowhere.png")


def fifo(folder):
    mask(folder, 3).unlink()
    os.mkfifo(mask(folder, 3))


def a_folder(folder):
    mask(folder, 3).unlink()
    mask(folder, 3).mkdir()


def bomb(folder):
    raw = bytearray(image(folder, 3).read_bytes())
    raw[16:24] = (60000).to_bytes(4, "big")*2
    import zlib
    raw[29:33] = zlib.crc32(bytes(raw[12:29])).to_bytes(4, "big")
    image(folder, 3).write_bytes(raw)


def both_splits(folder): shutil.copy(image(folder, 9), image(folder, 3))
def jpeg_copy(folder):
    with Image.open(image(folder, 3)) as im:
        im.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder/"images/scene_003.jpg")


def valid_void(folder):
    for i in 8, 9:
        put(mask(folder, i), np.full((48, 64), names(folder).index("Void"), np.uint8))


def codes(change): return lambda folder: (folder/"codes.txt").write_text("\n".join(change(names(folder))) + "\n")


ALL = "".join(f"scene_{i:03d}.png\n" for i in range(10))
DEFECTS = dict(void_value=(undeclared(255), "mask-values", "labels/scene_003_P.png", 10),
               odd_value=(undeclared(77), "mask-values", "labels/scene_003_P.png", 10),
               no_void=(without_void, "void-added", "codes.txt", 10),
               from_one=(from_one, "ids-from-one", "labels/scene_000_P.png", 10),
               levels=(levels, "mask-levels", "labels/scene_000_P.png", 10),
               rgb=(rgb, "mask-mode", "labels/scene_003_P.png", 10),
               rgba=(rgba, "mask-mode", "labels/scene_003_P.png", 10),
               painted=(painted, "mask-mode", "labels/scene_003_P.png", 10),
               noise=(noise, "mask-mode", "labels/scene_003_P.png", 9),
               half_image=(truncated("images/scene_003.png"), "undecodable", "images/scene_003.png", 9),
               half_mask=(truncated("labels/scene_003_P.png"), "undecodable", "labels/scene_003_P.png", 9),
               empty=(write("images/scene_003.png", b""), "empty", "images/scene_003.png", 9),
               text=(write("labels/scene_003_P.png", b"hello, not an image"), "not-an-image", "labels/scene_003_P.png",
                     9), missing=(lambda f: mask(f, 3).unlink(), "missing", "labels/scene_003_P.png", 9),
               turned=(turned, "mask-rotated", "labels/scene_003_P.png", 10),
               cropped=(cropped, "mask-size", "labels/scene_003_P.png", 9),
               broken_link=(broken_link, "broken-link", "labels/scene_003_P.png", 9),
               fifo=(fifo, "not-a-file", "labels/scene_003_P.png", 9),
               a_folder=(a_folder, "not-a-file", "labels/scene_003_P.png", 9),
               bomb=(bomb, "too-large", "images/scene_003.png", 9), rivals=(jpeg_copy, "same-stem", "", 9),
               all_void=(valid_void, "all-void", "labels/scene_008_P.png", 8),
               valid_stems=(lines("valid.txt", "scene_003\nscene_004\n"), "valid-missing", "valid.txt", 10),
               valid_paths=(lines("valid.txt", "images/scene_003.png\nlabels\\scene_004_P.png\n"), "valid-missing",
                            "valid.txt", 10), valid_gone=(lines("valid.txt", "scene_003.png\nscene_999.png\n"),
    "valid-missing", "valid.txt", 10), valid_none=(lines("valid.txt", "x\ny\n"), "valid-missing", "valid.txt", 10),
               valid_empty=(lines("valid.txt", "\n"), "valid-empty", "valid.txt", 10),
               valid_all=(lines("valid.txt", ALL), "valid-all", "valid.txt", 10),
               codes_twice=(codes(lambda lines: [*lines[:-1], lines[0]]), "codes-duplicate", "codes.txt", 10),
               codes_voids=(codes(lambda lines: [*lines, "unlabelled"]), "codes-void", "codes.txt", 10),
               codes_latin=(lambda f: (f/"codes.txt").write_bytes(
        "\n".join(["Häuser", *names(f)[1:]]).encode("latin-1")), "encoding", "codes.txt", 10),
               codes_utf16=(lambda f: (f/"codes.txt").write_bytes("\n".join(names(f)).encode("utf-16-le")), "encoding",
                            "codes.txt", 10), codes_few=(codes(lambda lines: lines[:-4]), "mask-values",
    "labels/scene_000_P.png", 10))


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_fixed(folder, tmp_path, name):
    damage, code, file, n = DEFECTS[name]
    damage(folder)
    before, log, after = fixed_copy(folder, tmp_path)
    assert not before.ok
    rows = logged(log, code)
    assert len(rows) and (not file or file in rows.file.tolist())
    assert sum(after.data.splits.values()) == len(after.files) == (n if name != "rivals"
        else len(after.files)) and set(after.data.splits) == {"train", "valid"}


def test_a_sound_dataset_changes_nothing(folder, tmp_path):
    _, log, _ = fixed_copy(folder, tmp_path)
    assert len(log) == 0
    copy = tmp_path/"copy"
    for i in range(10):
        assert image(copy, i).read_bytes() == image(folder, i).read_bytes()
        assert (decode_mask(mask(copy, i)) == decode_mask(mask(folder, i))).all()
    assert names(copy) == names(folder) and read_lines(copy/"valid.txt") == read_lines(folder/"valid.txt")
    with Image.open(mask(copy, 0)) as im:
        assert im.mode == "P"


def test_what_is_recoded(folder, tmp_path):
    "Every way in which one mask may be odd ends in the same ids."
    want = [decode_mask(p) for p in masks(folder)]
    rgb(folder)
    put(mask(folder, 4), colorize(want[4], open_data(folder).classes))
    put(mask(folder, 5), want[5].astype(np.uint16))
    put(mask(folder, 6), np.where(want[6] == want[6][0, 0], 200, want[6]).astype(np.uint8))
    _, log, after = fixed_copy(folder, tmp_path)
    void = names(folder).index("Void")
    for i in range(10):
        expected = np.where(want[i] == want[i][0, 0], void, want[i]) if i == 6 else want[i]
        assert (decode_mask(mask(tmp_path/"copy", i)) == expected).all()
    assert logged(log, "mask-values").pixels.tolist() == [(want[6] == want[6][0, 0]).sum()]


@pytest.mark.parametrize("damage", [from_one, levels])
def test_other_numbering(folder, tmp_path, damage):
    want = [decode_mask(p) for p in masks(folder)]
    damage(folder)
    fixed_copy(folder, tmp_path)
    assert all((decode_mask(mask(tmp_path/"copy", i)) == want[i]).mean() > .98 for i in range(10))


def test_ids_from_one_with_undeclared_void(folder, tmp_path):
    from_one(folder)
    want = decode_mask(mask(folder, 2))
    ids = want.copy()
    ids[0] = 255
    put(mask(folder, 2), ids)
    fixed_copy(folder, tmp_path)
    got = decode_mask(mask(tmp_path/"copy", 2))
    assert (got[1:] == want[1:] - 1).all() and (got[0] == names(folder).index("Void")).all()


@pytest.mark.parametrize("orientation", range(5, 9))
def test_a_mask_is_turned_as_its_image(folder, tmp_path, orientation):
    "What is drawn at one place of the image stays there."
    with Image.open(image(folder, 3)) as im:
        exif = im.getexif()
        exif[0x0112] = orientation
        ids = decode_mask(mask(folder, 3))
        im = im.convert("RGB")
        im.putpixel((5, 2), (255, 0, 255))
        ids[2, 5] = 77 % len(names(folder))
        ids[ids == 5] = 4
        ids[2, 5] = 5
        im.save(image(folder, 3), exif=exif)
        put(mask(folder, 3), ids)
    fixed_copy(folder, tmp_path)
    with Image.open(image(tmp_path/"copy", 3)) as im:
        from PIL import ImageOps
        seen = np.asarray(ImageOps.exif_transpose(im))
    assert np.argwhere((seen == (255, 0, 255)).all(-1)).tolist() == np.argwhere(
        decode_mask(mask(tmp_path/"copy", 3)) == 5).tolist()


def test_the_held_out_twin_stays(folder, tmp_path):
    both_splits(folder)
    _, log, after = fixed_copy(folder, tmp_path)
    assert logged(log, "same-image").file.tolist() == ["images/scene_003.png"]
    assert after.data.splits == dict(train=7, valid=2) and "same-image" not in {p.code for p in after.problems}


@pytest.mark.parametrize("fifth, kept", [("same", 10), ("larger", 10), ("other", 9)])
def test_two_images_of_one_stem(folder, tmp_path, fifth, kept):
    with Image.open(image(folder, 3)) as im:
        im = im.convert("RGB")
        if fifth == "larger":
            im = im.resize((80, 60))
        if fifth == "other":
            im = im.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        im.save(folder/"images/scene_003.bmp")
    before, log, after = fixed_copy(folder, tmp_path)
    assert len(after.files) == kept and len(logged(log, "same-stem"))
    gone = [file for file in logged(log, "same-stem").file if file.startswith("images/")
            and not (tmp_path/"copy"/file).exists()]
    assert len(gone) == 11 - kept, "every image that is not in the copy is in the log"


@pytest.mark.parametrize("text, held", [("scene_001.png scene_002.png\n", [1, 2]),
                                        ("scene_001.png,scene_002.png,\n", [1, 2]), ("'scene_001.png'\n", [1]),
                                        ("scene_001.png nothing\nscene_004\n", [4])])
def test_lines_of_other_kinds(folder, tmp_path, text, held):
    (folder/"valid.txt").write_text(text)
    fixed_copy(folder, tmp_path)
    assert read_lines(tmp_path/"copy/valid.txt") == [f"scene_{i:03d}.png" for i in held]


def test_lists(folder, tmp_path):
    lines = ("\ufeffscene_001", "images/scene_002.png ", "", "scene_003_P.png", "SCENE_004", "scene_005.png",
             "scene_005.png", "none.png")
    (folder/"valid.txt").write_bytes("\r\n".join(lines).encode())
    _, log, after = fixed_copy(folder, tmp_path)
    assert read_lines(tmp_path/"copy/valid.txt") == [f"scene_{i:03d}.png" for i in range(1, 6)]
    said = logged(log, "valid-missing").what.tolist()
    assert len(said) == 5 and missing(said[0], "'scene_001'", "images/scene_001.png") == []
    assert missing(said[-1], "'none.png'", "images/none.png") == ["images/none.png"]


def test_void_names_become_one(folder, tmp_path):
    codes(lambda lines: [*lines, "Unlabelled", "Bird"])(folder)
    n = len(names(folder))
    ids = decode_mask(mask(folder, 3))
    ids[:2], ids[2:4] = n - 2, n - 1
    put(mask(folder, 3), ids)
    _, log, after = fixed_copy(folder, tmp_path)
    assert names(tmp_path/"copy") == [name for name in names(folder) if name != "Unlabelled"]
    copied = decode_mask(mask(tmp_path/"copy", 3))
    assert (copied[:2] == names(folder).index("Void")).all() and (copied[2:4] == n - 2).all()


# Other layouts

def paint(folder, dest, classes):
    "The scenes as a CamSeq folder."
    dest.mkdir()
    for i in range(10):
        shutil.copy(image(folder, i), dest/f"f{i}.png")
        put(dest/f"f{i}_L.png", colorize(decode_mask(mask(folder, i)), classes))
    (dest/"label_colors.txt").write_text("".join("{} {} {} {}\n".format(*c, n)
                                                 for n, c in zip(classes.names, classes.colors)))
    return dest


def test_colors(folder, tmp_path):
    data = open_data(folder)
    root = paint(folder, tmp_path/"seq", data.classes)
    with Image.open(root/"f3_L.png") as im:
        colors = np.asarray(im).copy()
        near = colors[0, 0].astype(int)
        colors[0, 0] = np.where(near > 250, near - 5, near + 5)
        colors[1, :3] = (1, 255, 3)
        put(root/"f3_L.png", colors)
    with Image.open(root/"f4_L.png") as im:
        im.save(root/"f4_L.jpg", quality=95)
    (root/"f4_L.png").unlink()
    put(root/"f5_L.png", decode_mask(mask(folder, 5)))
    before, log, after = fixed_copy(root, tmp_path)
    assert {"mask-colors", "mask-jpeg"} <= {p.code for p in before.errors} and before.data.layout == "camseq"
    want = decode_mask(mask(folder, 3))
    want[1, :3] = data.classes.void
    copy = tmp_path/"copy/labels"
    assert (decode_mask(copy/"f3_P.png") == want).all() and (
        decode_mask(copy/"f5_P.png") == decode_mask(mask(folder, 5))).all()
    assert (decode_mask(copy/"f4_P.png") == decode_mask(mask(folder, 4))).mean() > .9
    assert after.data.splits == before.data.splits and len(logged(log, "recoded")) == len(logged(log, "layout")) == 1
    with Image.open(root/"f4_L.jpg") as im:
        shades = np.asarray(im).reshape(-1, 1, 3).astype(int)
    far = np.sqrt(((shades - np.array(data.classes.colors)[None])**2).sum(-1)).min(1)
    rows = logged(log, "mask-jpeg")
    assert missing(" ".join(rows.what), f"{far.max():.0f}") == [], "how far the shades are from those of the table"
    assert rows.pixels.sum() == (far > 0).sum()


def test_folders_of_splits_meet_in_one(folder, tmp_path):
    root = tmp_path/"segnet"
    for sub in "train", "trainannot", "val", "valannot", "test", "testannot":
        (root/sub).mkdir(parents=True)
    for i in range(9):
        sub = ("train", "val", "test")[i % 3]
        ids = decode_mask(mask(folder, i))
        shutil.copy(image(folder, i), root/sub/f"{i//3}.png")
        put(root/f"{sub}annot"/f"{i//3}.png", np.where(ids > 10, 11, ids).astype(np.uint8))
    (root/"trainannot/0.png").write_bytes(b"")
    _, log, after = fixed_copy(root, tmp_path)
    assert sorted(path.name for path in (tmp_path/"copy/images").iterdir()) == ["test_0.png", "test_1.png",
        "test_2.png", "train_1.png", "train_2.png", "val_0.png", "val_1.png", "val_2.png"]
    assert names(tmp_path/"copy")[-1] == "Void" and len(logged(log, "renamed")) == 8 and read_lines(
        tmp_path/"copy/test.txt") == ["test_0.png", "test_1.png", "test_2.png"]
    assert after.data.splits == dict(train=2, valid=3, test=3)


def test_gray_jpeg_levels(folder, tmp_path):
    "Masks of grey levels of which one went through JPEG."
    root = tmp_path/"pairs"
    root.mkdir()
    rows = ["image,mask,split"]
    for i in range(4):
        shutil.copy(image(folder, i), root/f"a{i}.png")
        put(root/f"m{i}.png", (decode_mask(mask(folder, i)) > 3).astype(np.uint8)*200)
        rows.append(f"a{i}.png,m{i}.{'jpg' if i == 3 else 'png'},{'valid' if i == 3 else 'train'}")
    with Image.open(root/"m3.png") as im:
        im.save(root/"m3.jpg", quality=90)
    (root/"pairs.csv").write_text("\n".join(rows).replace("m3.jpg", "m3.png"))
    report = check(from_csv(root/"pairs.csv"), cache=False)
    report.data.pairs.loc[3, "mask"] = "m3.jpg"
    report = check(report.data, cache=False)
    assert not report.ok
    log = write_fixed_copy(report, tmp_path/"copy")
    assert check(open_data(tmp_path/"copy"), cache=False).ok
    assert (decode_mask(tmp_path/"copy/labels/a3_P.png") == (decode_mask(mask(folder, 3)) > 3)).mean() > .95
    assert "mask-jpeg" in log.code.tolist()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_masks_that_mean_nothing_are_not_passed_on(folder, tmp_path, suffix):
    "A check that takes every shade for a class has a complaint that no recoding answers."
    root = tmp_path/"pairs"
    for sub in "photos", "masks":
        (root/sub).mkdir(parents=True)
    for i in range(6):
        shutil.copy(image(folder, i), root/f"photos/p{i}.png")
        put(root/f"masks/p{i}_mask.{suffix}", np.random.default_rng(i).integers(0, 256, (48, 64), np.uint8))
    report = check(open_data(root), cache=False)
    assert not report.ok
    with refuses(DataError, root, 0, 6):
        write_fixed_copy(report, tmp_path/"copy")
    assert not (tmp_path/"copy").exists()


def test_float_masks(folder, tmp_path):
    put(mask(folder, 3).with_suffix(".tif"), decode_mask(mask(folder, 3)).astype(np.float32))
    put(mask(folder, 4).with_suffix(".tif"), decode_mask(mask(folder, 4)).astype(np.float32) + .5)
    put(mask(folder, 5).with_suffix(".tif"), np.full((48, 64), np.nan, np.float32))
    for i in 3, 4, 5:
        mask(folder, i).unlink()
    _, log, after = fixed_copy(folder, tmp_path)
    assert len(after.files) == 8 and (decode_mask(mask(tmp_path/"copy", 3)) <= 9).all()
    assert len(logged(log, "mask-mode")) == 3


def test_images_that_no_layout_looks_for(folder, tmp_path):
    root = tmp_path/"table"
    root.mkdir()
    for i in range(3):
        with Image.open(image(folder, i)) as im:
            im.convert("RGB").save(root/f"a{i}.pnm")
        shutil.copy(mask(folder, i), root/f"m{i}.png")
    (root/"t.csv").write_text("image,mask\n" + "".join(f"a{i}.pnm,m{i}.png\n" for i in range(3)) + "a0.pnm,m0.png\n")
    _, log, after = fixed_copy(root/"t.csv", tmp_path)
    assert len(after.files) == 3 and len(logged(log, "renamed")) == 3
    assert set(logged(log, "image-twice").file) | set(logged(log, "same-image").file) == {"a0.pnm"}
    with Image.open(tmp_path/"copy/images/a1.pnm.png") as copied, Image.open(image(folder, 1)) as original:
        assert (np.asarray(copied) == np.asarray(original.convert("RGB"))).all()


def test_values_of_which_most_mean_nothing(folder, tmp_path):
    "Cityscapes' labelIds: 19 of 34 values count, the rest is void by design and no change."
    for split, n in (("train", 2), ("val", 1)):
        for sub in "leftImg8bit", "gtFine":
            (tmp_path/"city"/sub/split/"x").mkdir(parents=True)
        for i in range(n):
            shutil.copy(image(folder, i + n), tmp_path/f"city/leftImg8bit/{split}/x/x_{split}{i}_leftImg8bit.png")
            put(tmp_path/f"city/gtFine/{split}/x/x_{split}{i}_gtFine_labelIds.png",
                np.tile(np.arange(34, dtype=np.uint8), (48, 2))[:, :64])
    before, log, after = fixed_copy(tmp_path/"city", tmp_path)
    assert before.ok and set(log.code) == {"void-added", "recoded", "layout"} and len(names(tmp_path/"copy")) == 20
    ids = decode_mask(next((tmp_path/"copy/labels").iterdir()))
    assert (ids == before.data.ids(before.data.pairs["mask"][0])).sum() + (ids == 19).sum() == ids.size


def test_a_case_of_names_and_odd_names(folder, tmp_path):
    for i, name in enumerate(("A b.PNG", "ü [1] 'x'.png", "trailing .png")):
        image(folder, i).rename(folder/"images"/name)
        mask(folder, i).rename(folder/f"labels/{name[:-4]}_P.png")
    undeclared(77)(folder)
    _, log, after = fixed_copy(folder, tmp_path)
    assert {"images/A b.PNG", "images/ü [1] 'x'.png"} <= set(after.data.pairs["image"]) and len(after.files) == 10


# Where it may be written, and that nothing is left

@pytest.fixture
def report(folder):
    undeclared(77)(folder)
    return check(open_data(folder), cache=False)


@pytest.mark.parametrize("where, named", [
    ("scenes/fixed", ["scenes"]), ("scenes", ["scenes"]), (".", ["scenes"]), ("full", []), ("file", []), ("link", []),
    ("file/sub", ["File exists"]), ("into/fixed", ["scenes"])])
def test_refused(report, folder, tmp_path, where, named):
    (tmp_path/"full").mkdir()
    (tmp_path/"full/x").touch()
    (tmp_path/"file").touch()
    (tmp_path/"link").symlink_to("nowhere")
    (tmp_path/"into").symlink_to(folder)
    was = tree(tmp_path)
    with refuses(DataError, tmp_path/where, *(folder if name == "scenes" else name for name in named)):
        write_fixed_copy(report, tmp_path/where)
    assert tree(tmp_path) == was
    if where in ("full", "file", "link"):  # nothing but what is there is in the way
        shutil.rmtree(tmp_path/where) if where == "full" else (tmp_path/where).unlink()
        assert len(write_fixed_copy(report, tmp_path/where)) == 1


def test_an_empty_folder_and_new_parents(report, tmp_path):
    (tmp_path/"there").mkdir()
    assert len(write_fixed_copy(report, tmp_path/"there")) == len(write_fixed_copy(report, str(tmp_path/"a/b/c"))) == 1
    assert tree(tmp_path/"there") == tree(tmp_path/"a/b/c")
    assert (tmp_path/"there").stat().st_mode == (tmp_path).joinpath("a/b").stat().st_mode


@pytest.mark.parametrize("what, error, raised", [("encode_mask", OSError(28, "No space left on device"), DataError),
                                                 ("copy_image", OSError(28, "No space left on device"), DataError),
                                                 ("check", KeyboardInterrupt(), KeyboardInterrupt),
                                                 ("rename_folder", OSError(13, "Permission denied"), DataError)])
def test_nothing_is_left_when_it_fails(report, tmp_path, monkeypatch, what, error, raised):
    def fail(*args, **kwargs): raise error
    monkeypatch.setattr(fix, what, fail)
    was = tree(tmp_path)
    with pytest.raises(raised) as e:
        write_fixed_copy(report, tmp_path/"a/copy")
    assert tree(tmp_path) == was
    assert raised is KeyboardInterrupt or error.strerror in str(e.value)


def test_a_copy_with_errors_is_not_kept(report, tmp_path, monkeypatch):
    monkeypatch.setattr(fix, "check", lambda data, **kwargs: report)
    with refuses(DataError, 1, code="not-repaired", kind="error") as e:
        write_fixed_copy(report, tmp_path/"copy")
    assert [(p.code, p.file) for p in e.value.problems[1:]] == [("mask-values", "labels/scene_003_P.png")]
    assert not (tmp_path/"copy").exists()


def test_too_few(folder, tmp_path):
    for i in range(1, 10):
        image(folder, i).write_bytes(b"")
    with refuses(DataError, folder, 1, 10, 9, "empty"):
        write_fixed_copy(check(open_data(folder), cache=False), tmp_path/"copy")
    assert not (tmp_path/"copy").exists()


def test_pairs_left_out_are_counted_by_their_field(folder, tmp_path):
    "A pair that is left out only after the masks are written is counted too."
    for i in range(2, 10): image(folder, i).write_bytes(b"")
    shutil.copy(image(folder, 0), image(folder, 1))
    (folder/"valid.txt").write_text("scene_001.png\n")
    with refuses(DataError, folder, 1, 10, 8, "empty", "same-image"):
        write_fixed_copy(check(open_data(folder), cache=False), tmp_path/"copy")


def test_two_are_enough(folder, tmp_path):
    for i in range(2, 10):
        image(folder, i).write_bytes(b"")
    _, _, after = fixed_copy(folder, tmp_path)
    assert after.data.splits == dict(train=1, valid=1)


def test_no_dataset_at_all(tmp_path):
    from segfast.data.check import check_path
    (tmp_path/"x").mkdir()
    (tmp_path/"x/readme.txt").touch()
    report = check_path(tmp_path/"x", cache=False)
    with pytest.raises(DataError) as e:
        write_fixed_copy(report, tmp_path/"copy")
    assert e.value.problems == report.problems and not (tmp_path/"copy").exists()


def test_progress_and_repetition(report, tmp_path):
    done = []
    write_fixed_copy(report, tmp_path/"a", lambda *counts: done.append(counts))
    write_fixed_copy(report, tmp_path/"b")
    assert done == [(i, 10) for i in range(1, 11)] and tree(tmp_path/"a") == tree(tmp_path/"b")


def test_damaged_files_never_end_in_a_traceback(folder, tmp_path):
    rng = np.random.default_rng(0)
    good = {p: p.read_bytes() for p in (image(folder, 0), mask(folder, 0), image(folder, 1), mask(folder, 1))}
    for k in range(12):
        for p, raw in good.items():
            noisy = np.frombuffer(raw, np.uint8).copy()
            noisy[rng.integers(0, len(noisy), 4)] = rng.integers(0, 256, 4)
            p.write_bytes(noisy[:rng.integers(1, len(noisy))].tobytes() if rng.random() < .3 else noisy.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            log = write_fixed_copy(check(open_data(folder), cache=False), tmp_path/f"copy{k}")
            report = check(open_data(tmp_path/f"copy{k}"), cache=False)
        assert report.ok, report.text()
        assert len(report.files) == 10 - log.what.str.startswith("pair left out").sum()


def test_camvid_names_make_known_colors(folder, tmp_path):
    "Masks painted in CamVid's colors where ids are expected need no table beside them."
    table = open_data(folder).classes
    if all(n in CAMVID for n in table.names):
        painted(folder)
        _, log, _ = fixed_copy(folder, tmp_path)
        [row] = logged(log, "mask-mode").itertuples()
        n = len(np.unique(decode_mask(mask(tmp_path/"copy", 3))))
        assert row.pixels == 48*64 and missing(row.what, n) == [], "as many colours as the mask has ids"


@pytest.mark.parametrize("bits", [2, 4])
def test_ids_of_few_bits_are_not_stretched(tmp_path, bits):
    "Pillow spreads greys of 2 and 4 bits over 0 to 255; the copy must hold the ids that the file holds."
    street(tmp_path/"few")
    truth = {path.name: np.minimum(decode_mask(path), 3) for path in (tmp_path/"few/labels").iterdir()}
    for name, ids in truth.items():
        write_packed(tmp_path/"few/labels"/name, ids, bits)
    report = check(open_data(tmp_path/"few"))
    assert report.ok, report.text()
    write_fixed_copy(report, tmp_path/"copy")
    copy = open_data(tmp_path/"copy")
    assert all(np.array_equal(copy.ids(f"labels/{name}"), ids) for name, ids in truth.items())


def test_one_and_255_are_written_alike(tmp_path):
    "Some masks say 1 and some 255, and mean the same: the warning promises that the copy agrees."
    truth = {}
    for i in range(6):
        ids = np.zeros((40, 56), np.uint8)
        ids[5:20, i:30] = 1
        truth[f"{i}.png"] = ids
        for folder, pixels in (("images", np.random.default_rng(i).integers(0, 256, (40, 56, 3), np.uint8)),
                               ("masks", ids*(255 if i < 2 else 1))):
            (tmp_path/"two"/folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path/"two"/folder/f"{i}.png")
    report = check(open_data(tmp_path/"two"))
    assert report.ok and "mask-mixed" in {p.code for p in report.problems}
    write_fixed_copy(report, tmp_path/"copy")
    copy = open_data(tmp_path/"copy")
    assert all(np.array_equal(copy.ids(f"labels/{Path(name).stem}_P.png"), ids) for name, ids in truth.items())


# Files that lead elsewhere, killed copies, permissions

def test_what_links_bring_into_the_copy_is_said(folder, tmp_path):
    outside = shutil.move(folder/"images", tmp_path/"elsewhere")
    (folder/"images").symlink_to(outside)
    other = shutil.move(mask(folder, 3), tmp_path/"mask.png")
    mask(folder, 3).symlink_to(other)
    mask(folder, 4).rename(folder/"labels/other.png")
    mask(folder, 4).symlink_to("other.png") # it stays in the dataset
    log = write_fixed_copy(check(open_data(folder), cache=False), tmp_path/"copy")
    rows = logged(log, "linked")
    assert rows.file.tolist() == ["images", "labels/scene_003_P.png"]
    assert "10 files" in rows.what.iloc[0] and not any(path.is_symlink() for path in (tmp_path/"copy").rglob("*"))


@pytest.mark.parametrize("name", ["images/scene_003.png", "labels/scene_003_P.png"])
def test_an_archive_does_not_lead_outside(folder, tmp_path, monkeypatch, name):
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    unpacked = shutil.move(folder, tmp_path/"cache/unpacked/scenes")
    private = shutil.move(unpacked/name, tmp_path/"private.png")
    (unpacked/name).symlink_to(private)
    report = check(open_data(unpacked), cache=False)
    with refuses(DataError, unpacked/name, "is a link out of its archive"):
        write_fixed_copy(report, tmp_path/"copy")
    assert not (tmp_path/"copy").exists() and not list(tmp_path.glob(".part-*"))


def test_a_link_to_an_empty_folder_is_no_empty_folder(report, tmp_path):
    (tmp_path/"empty").mkdir()
    (tmp_path/"link").symlink_to("empty")
    with refuses(DataError, tmp_path/"link", "link"): write_fixed_copy(report, tmp_path/"link")
    assert (tmp_path/"link").is_symlink() and list((tmp_path/"empty").iterdir()) == []


def test_a_folder_that_was_filled_meanwhile_is_kept(report, tmp_path, monkeypatch):
    def fill(data, **kwargs):
        (tmp_path/"copy/mine").write_text("mine")
        return check(data, **kwargs)
    (tmp_path/"copy").mkdir()
    monkeypatch.setattr(fix, "check", fill)
    with refuses(DataError, tmp_path/"copy", "not empty"): write_fixed_copy(report, tmp_path/"copy")
    assert [path.name for path in (tmp_path/"copy").iterdir()] == ["mine"]


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_permissions_follow_the_umask(report, tmp_path, mask):
    before = os.umask(mask)
    try: write_fixed_copy(report, tmp_path/"copy")
    finally: os.umask(before)
    made = [tmp_path/"copy", *(tmp_path/"copy").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o777 & ~mask}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o666 & ~mask}


def test_what_killed_copies_left_is_deleted_a_day_later(report, tmp_path):
    old, young = [".part-0123456789abcdef", ".repair-ab12cd_9"], [".part-fedcba9876543210", ".repair-xb12cd_9"]
    for name in (*old, *young): (tmp_path/name/"images").mkdir(parents=True)
    for name in old: os.utime(tmp_path/name, (0, 0))
    write_fixed_copy(report, tmp_path/"copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*young, "copy", "scenes"])


def test_a_killed_copy_leaves_no_folder_of_that_name(report, tmp_path, monkeypatch):
    "At any file operation: the folder is there whole, or not at all."
    import signal
    moments = {"mkdir": 3, "rename": 5, "replace": 1}
    for name, n in moments.items():
        pid = os.fork()
        if pid == 0:
            left = [n]
            real = getattr(os, name)
            def count(*args, left=left, real=real, **kwargs):
                left[0] -= 1
                if left[0] <= 0: os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)
            setattr(os, name, count)
            fix.ThreadPoolExecutor = InThread
            try: write_fixed_copy(report, tmp_path/"copy")
            finally: os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL, name
        assert not (tmp_path/"copy").exists(), name
    assert len(list(tmp_path.glob(".part-*"))) == 3
    assert len(write_fixed_copy(report, tmp_path/"copy")) == 1


class InThread:
    "A pool that works in the thread that asks: a fork has no other."
    def __init__(self, n): pass
    def __enter__(self): return self
    def __exit__(self, *args): pass
    map = staticmethod(map)


def test_the_log_is_shown_and_not_computed(folder, tmp_path):
    name = "=HYPERLINK(1)\r=cmd"
    image(folder, 3).rename(folder/f"images/{name}.png")
    mask(folder, 3).rename(folder/f"labels/{name}_P.png")
    put(folder/f"labels/{name}_P.png", np.full((48, 64), 77, np.uint8))
    write_fixed_copy(check(open_data(folder), cache=False), tmp_path/"copy")
    with open(tmp_path/"copy/changes.csv", newline="", encoding="utf-8") as file: rows = list(csv.reader(file))
    assert any("HYPERLINK" in cell for row in rows for cell in row)
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    assert all(len(row) == 4 for row in rows)


# Masks that must be read in another way: the copy has the truth of each pixel, and checks clean

def truth(i, n=2, size=(80, 112)):
    "Ids of a few disks and boxes."
    y, x = np.indices(size)
    ids = np.zeros(size, np.uint8)
    for k in range(1, n):
        cy, cx, r = 20 + 17*k % 43 + i % 5, 24 + 23*k % 61 + 3*i % 11, 10 + (i + k) % 6
        ids[np.hypot(y - cy, x - cx) < r] = k
    return ids


def two_folders(root, masks, names="", ending="png", masks_in="masks/{}", n=6, **save):
    "Images that differ, and masks that `masks` makes of the number of a pair."
    for i in range(n):
        im = masks(i) if isinstance(masks(i), Image.Image) else Image.fromarray(masks(i))
        photo = np.random.default_rng(100 + i).integers(0, 256, (im.height, im.width, 3), np.uint8)
        for path, part in (root/f"images/{i}.png", Image.fromarray(photo)), (root/f"{masks_in.format(i)}.{ending}", im):
            path.parent.mkdir(parents=True, exist_ok=True)
            part.save(path, **(save if part is im else {}))
    if names: (root/"codes.txt").write_text("".join(f"{name}\n" for name in names.split()))
    return root


def read_back(root, copy, n=6):
    "Write the copy, which must check clean, and read its masks."
    log = write_fixed_copy(check(open_data(root), cache=False), copy)
    after = check(open_data(copy), cache=False)
    assert after.ok and {p.code for p in after.warnings} <= {"few-valid", "rare-class"}, after.text()
    masks = {Path(row.image).stem: after.data.ids(row.mask) for row in after.data.pairs.itertuples()}
    return log, after, [masks[str(i)] for i in range(n)]


def white(ids): return (ids*255).astype(np.uint8)
def shrunk(i, scale, how=Image.BOX): return Image.fromarray(truth(i, 2)*np.uint8(scale)).resize((56, 40), how)
def is_upper(im): return np.asarray(im) >= 128


PLACES = [("", "masks/{}"), ("ground polyp", "masks/{}"), ("ground polyp", "labels/{}_P")] # names; where the masks are


@pytest.mark.parametrize("quality", [30, 50, 75, 90])
@pytest.mark.parametrize("names, where", PLACES)
def test_case_kvasir_jpg(tmp_path, quality, names, where):
    "Black and white masks as JPEG: an error that says JPEG and how to go on, and a copy by the threshold at 128."
    root = two_folders(tmp_path/"kvasir", lambda i: white(truth(i)), names, "jpg", where, quality=quality)
    before = check(open_data(root), cache=False)
    assert not before.ok and missing(before.text(), "JPEG") == []
    if where.startswith("masks"): assert missing(str(before.errors[0]), "--fix") == []
    log, after, masks = read_back(root, tmp_path/"copy")
    for i, ids in enumerate(masks):
        with Image.open(root/f"{where.format(i)}.jpg") as im: assert (ids == is_upper(im)).all()
        assert (ids == truth(i)).mean() > .999 or quality < 75
    assert set(logged(log, "mask-jpeg").pixels.dropna()) and len(after.data.classes.labels) == 2
    if names: assert after.data.classes.names == ("ground", "polyp")


def test_jpeg_masks_saved_as_png_once_more(tmp_path):
    def twice(i):
        file = io.BytesIO()
        Image.fromarray(white(truth(i))).save(file, "JPEG", quality=75)
        return Image.open(file).copy()
    root = two_folders(tmp_path/"d", twice)
    assert not check(open_data(root), cache=False).ok
    _, _, masks = read_back(root, tmp_path/"copy")
    assert all((ids == truth(i)).all() for i, ids in enumerate(masks))


def test_jpeg_masks_with_three_channels(tmp_path):
    def mask(i): return Image.fromarray(white(truth(i))).convert("RGB")
    root = two_folders(tmp_path/"d", mask, ending="jpg", quality=75)
    assert missing(check(open_data(root), cache=False).text(), "JPEG") == []
    _, _, masks = read_back(root, tmp_path/"copy")
    assert all((ids == truth(i)).mean() > .999 for i, ids in enumerate(masks))


def test_jpeg_masks_of_several_levels_are_not_guessed(tmp_path):
    "Between 0 and 255 a blurred edge passes the level in the middle: no rule is certain."
    root = two_folders(tmp_path/"d", lambda i: truth(i, 3)*np.uint8(127), ending="jpg", quality=60)
    report = check(open_data(root), cache=False)
    assert not report.ok and missing(report.text(), "JPEG", "PNG") == []
    with pytest.raises(DataError): write_fixed_copy(report, tmp_path/"copy")
    assert not (tmp_path/"copy").exists()


@pytest.mark.parametrize("how", [Image.BOX, Image.BILINEAR, Image.BICUBIC])
@pytest.mark.parametrize("names, where", PLACES)
def test_case_soft_masks(tmp_path, how, names, where):
    "Smoothed black and white masks: an error that says so, and a copy in which each gray is the nearer of the two."
    root = two_folders(tmp_path/"soft", lambda i: shrunk(i, 255, how), names, masks_in=where)
    before = check(open_data(root), cache=False)
    assert not before.ok
    if where.startswith("masks"): assert missing(before.text(), "smoothed", "--fix") == []
    log, after, masks = read_back(root, tmp_path/"copy")
    assert all((ids == is_upper(shrunk(i, 255, how))).all() for i, ids in enumerate(masks))
    assert logged(log, "mask-smooth").file.str.contains("0").any() and len(after.data.classes.labels) == 2


def test_smoothed_masks_of_three_levels(tmp_path):
    "The areas keep their class; a shade between two classes is void, because it may be the border of either."
    def soft(i): return Image.fromarray(truth(i, 3)*np.uint8(127)).resize((56, 40), Image.BILINEAR)
    root = two_folders(tmp_path/"soft", soft)
    before = check(open_data(root), cache=False)
    assert missing(before.text(), "smoothed") == [] and not before.ok
    log, after, masks = read_back(root, tmp_path/"copy")
    void = after.data.classes.void
    for i, ids in enumerate(masks):
        values = np.asarray(soft(i))
        assert (ids[values == 0] == 0).all() and (ids[values == 254] == 2).all()
        assert (ids[~np.isin(values, (0, 127, 254))] == void).all() and 0 < (ids == void).mean() < .2
    assert logged(log, "mask-smooth").pixels.sum() > 0


def test_smoothed_ids_with_names_are_not_guessed(tmp_path):
    "All values have names, so nothing says which of them are meant."
    root = two_folders(tmp_path/"soft", lambda i: shrunk(i, 8), "a b c d e f g h i")
    report = check(open_data(root), cache=False)
    assert {p.code for p in report.errors} == {"mask-smooth"}
    with pytest.raises(DataError) as e: write_fixed_copy(report, tmp_path/"copy")
    assert e.value.problems[0].code == "not-repaired" and not (tmp_path/"copy").exists()


COLORS = [(0, 0, 0), (220, 20, 60), (0, 130, 180), (107, 142, 35)]


def own_palette(i):
    "Four colors that mean the classes, with numbers in an order of each image's own."
    order = np.random.default_rng(i).permutation(4)
    im = Image.fromarray(np.argsort(order).astype(np.uint8)[truth(i, 4)])
    im.putpalette([v for k in order for v in COLORS[k]])
    return im


@pytest.mark.parametrize("table", ["", "label_colors.txt", "codes.txt and label_colors.txt"])
def test_case_palette_per_image(tmp_path, table):
    "By the colors: each color is one class in the copy, with the table's names if there is one."
    names = "sky tree road car".split()
    root = two_folders(tmp_path/"d", own_palette, " ".join(names) if "codes" in table else "")
    if "label" in table:
        (root/"label_colors.txt").write_text("".join(f"{r} {g} {b} {name}\n" for (r, g, b), name in zip(COLORS, names)))
    _, after, masks = read_back(root, tmp_path/"copy")
    if table:
        assert after.data.classes.names == tuple(names)
        assert all((ids == truth(i, 4)).all() for i, ids in enumerate(masks))
    met = {(int(a), int(b)) for i, ids in enumerate(masks) for a, b in zip(truth(i, 4).ravel(), ids.ravel())}
    assert len(met) == 4 == len({a for a, _ in met}) == len({b for _, b in met})


def test_contradicting_palettes_with_names_are_not_guessed(tmp_path):
    "Nothing says which name each color has; the error says what to do."
    root = two_folders(tmp_path/"d", own_palette, "sky tree road car", masks_in="labels/{}_P")
    report = check(open_data(root), cache=False)
    assert {p.code for p in report.errors} == {"mask-palettes"} and missing(report.text(), "label_colors.txt") == []
    with pytest.raises(DataError) as e: write_fixed_copy(report, tmp_path/"copy")
    assert {p.code for p in e.value.problems} == {"not-repaired", "mask-palettes"} and not (tmp_path/"copy").exists()


@pytest.mark.parametrize("names", ["", "ground road"])
def test_a_palette_that_begins_with_white_is_not_kept_inverted(tmp_path, names):
    "Gray masks hold 0 and 255; the palette masks hold 0, shown white, and 1, shown black."
    def mask(i):
        if i % 2: return white(truth(i))
        im = Image.fromarray(1 - truth(i))
        im.putpalette([255]*3 + [0]*3)
        return im
    root = two_folders(tmp_path/"d", mask, names)
    report = check(open_data(root), cache=False)
    try: write_fixed_copy(report, tmp_path/"copy")
    except DataError: return # refused is right, too
    copy = open_data(tmp_path/"copy")
    for row in copy.pairs.itertuples(): assert (copy.ids(row.mask) == truth(int(Path(row.image).stem))).all()


@pytest.mark.parametrize("color", [(255, 255, 255), (220, 20, 60)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_masks_in_the_alpha_channel(tmp_path, color, mode):
    "One color everywhere, and the transparency is the mask."
    def mask(i):
        rgba = np.dstack([np.full((80, 112, 3), color, np.uint8), white(truth(i))])
        return Image.fromarray(rgba).convert(mode)
    root = two_folders(tmp_path/"d", mask)
    before = check(open_data(root), cache=False)
    if before.ok: # read at once
        assert all((before.data.ids(f"masks/{i}.png") == truth(i)).all() for i in range(6))
        return
    assert "mask-alpha" in {p.code for p in before.errors} and missing(before.text(), "alpha", "transparent") == []
    log, _, masks = read_back(root, tmp_path/"copy")
    assert all((ids == truth(i)).all() for i, ids in enumerate(masks)) and len(logged(log, "mask-alpha")) >= 6


@pytest.mark.parametrize("masks, code", [(lambda i: truth(0), "same-mask"), (lambda i: truth(i)*0, "one-class")])
def test_what_no_rule_can_repair(tmp_path, masks, code):
    root = two_folders(tmp_path/"d", masks, "sky road")
    with pytest.raises(DataError) as e: write_fixed_copy(check(open_data(root), cache=False), tmp_path/"copy")
    assert code in {p.code for p in e.value.problems} and not (tmp_path/"copy").exists()


@pytest.mark.parametrize("ending, least", [("jpg", .99), ("png", .9)])
def test_painted_masks_with_a_table_and_shades(tmp_path, ending, least):
    "The nearest color of the table; in PNG, a shade that is far from all of them is void."
    def mask(i):
        im = Image.fromarray(np.uint8(COLORS)[truth(i, 4)])
        return im.filter(ImageFilter.GaussianBlur(1.5)) if ending == "png" else im
    root = two_folders(tmp_path/"d", mask, ending=ending, **(dict(quality=80) if ending == "jpg" else {}))
    (root/"label_colors.txt").write_text("".join(f"{r} {g} {b} class {k}\n" for k, (r, g, b) in enumerate(COLORS)))
    assert not check(open_data(root), cache=False).ok
    log, after, masks = read_back(root, tmp_path/"copy")
    for i, ids in enumerate(masks):
        wrong = (ids != truth(i, 4)) & (ids != after.data.classes.ignore_index)
        assert wrong.mean() < .005 and (ids == truth(i, 4)).mean() > least
    assert after.data.classes.names[:4] == ("class 0", "class 1", "class 2", "class 3")


@pytest.mark.parametrize("odd", [(3,), (2, 4), range(10)])
def test_masks_with_other_pages_than_their_images(folder, tmp_path, odd):
    "One problem names all of them, and none of them is in the copy."
    for i in odd:
        with Image.open(mask(folder, i)) as im: pages = [im.copy(), im.transpose(Image.Transpose.ROTATE_180)]
        pages[0].save(mask(folder, i).with_suffix(".tif"), save_all=True, append_images=pages[1:])
        mask(folder, i).unlink()
    report = check(open_data(folder), cache=False)
    assert {p.code for p in report.errors} == {"mask-pages"}
    if len(odd) == 10:
        with pytest.raises(DataError): write_fixed_copy(report, tmp_path/"copy")
        return
    write_fixed_copy(report, tmp_path/"copy")
    left = {Path(path).stem for path in open_data(tmp_path/"copy").pairs["image"]}
    assert left == {f"scene_{i:03}" for i in range(10) if i not in odd}


def test_black_and_white_masks_are_not_taken_for_transparency(tmp_path):
    def mask(i):
        a = white(truth(i))
        if i == 1: a[0, 0] = 128
        return a
    root = two_folders(tmp_path/"d", mask)
    write_fixed_copy(check(open_data(root), cache=False), tmp_path/"copy")
    data = open_data(tmp_path/"copy")
    assert all(set(np.unique(data.ids(row.mask))) <= {0, 1, 2} for row in data.pairs.itertuples())
    assert sum(np.count_nonzero(data.ids(row.mask) != truth(i))
               for i, row in enumerate(data.pairs.sort_values("image").itertuples())) == 1


def test_ids_that_jpeg_changed_are_left_out(folder, tmp_path):
    "The nearest id of a blurred one may be that of another class."
    ids = decode_mask(mask(folder, 3))
    put(mask(folder, 3), ids, format="JPEG", quality=60)
    assert set(np.unique(np.asarray(Image.open(mask(folder, 3))))) - set(range(len(names(folder))))
    before, log, after = fixed_copy(folder, tmp_path)
    assert logged(log, "mask-jpeg").file.tolist() == ["labels/scene_003_P.png"]
    assert logged(log, "mask-jpeg").what.iloc[0].startswith("pair left out") and len(after.data.pairs) == 9


def test_colors_of_objects_are_not_copied_as_classes(tmp_path):
    for name in ("images", "masks"): (tmp_path/"d"/name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(5):
        put(tmp_path/f"d/images/{i}.png", rng.integers(0, 256, (48, 64, 3), np.uint8))
        objects = np.add.outer(np.arange(48)//16*4, np.arange(64)//16)
        put(tmp_path/f"d/masks/{i}.png", rng.integers(0, 256, (12, 3), np.uint8)[objects])
    with pytest.raises(DataError, match="no correction is certain"): fixed_copy(tmp_path/"d", tmp_path)
    assert not (tmp_path/"copy").exists()


@pytest.mark.parametrize("many", [3, 12])
def test_all_files_of_a_problem_are_left_out(tmp_path, many):
    "Masks of two pages: the problem names one file, and lists all."
    for name in ("images", "masks"): (tmp_path/"d"/name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(16):
        put(tmp_path/f"d/images/{i}.png", rng.integers(0, 256, (48, 64, 3), np.uint8))
        ids = Image.fromarray(np.uint8(np.add.outer(np.arange(48), np.arange(64) + 3*i)//20%3))
        more = dict(save_all=True, append_images=[ids.transpose(Image.FLIP_TOP_BOTTOM)]) if i < many else {}
        ids.save(tmp_path/f"d/masks/{i}.tif", **more)
    before, log, after = fixed_copy(tmp_path/"d", tmp_path)
    assert [p.code for p in before.errors] == ["mask-pages"] and len(after.data.pairs) == 16 - many


def test_a_drawn_border_stays_a_class(tmp_path):
    "Black and white cells with a gray border: sound, and so is their copy, in which the border is 1 between 0 and 2."
    for name in ("images", "masks"): (tmp_path/"d"/name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(6):
        put(tmp_path/f"d/images/{i}.png", rng.integers(0, 256, (48, 64, 3), np.uint8))
        distance = np.hypot(*(np.mgrid[:48, :64] - 20)) - 10 - i
        put(tmp_path/f"d/masks/{i}.png", np.select([distance < 0, distance < 1], [255, 128], 0).astype(np.uint8))
    before, log, after = fixed_copy(tmp_path/"d", tmp_path)
    assert before.ok and len(after.data.classes) == 3
    assert [p.kind for p in after.problems if p.code == "mask-smooth"] == ["warning"]


def test_smoothed_shades_of_one_channel_are_not_ids(tmp_path):
    for name in ("images", "masks"): (tmp_path/"d"/name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(6):
        put(tmp_path/f"d/images/{i}.png", rng.integers(0, 256, (48, 64, 3), np.uint8))
        disk = np.uint8((np.hypot(*(np.mgrid[:144, :192] - 60)) < 30 + 3*i)*60)
        red = Image.fromarray(np.dstack([disk, 0*disk, 0*disk]))
        red.resize((64, 48), Image.BOX).save(tmp_path/f"d/masks/{i}.png")
    before, log, after = fixed_copy(tmp_path/"d", tmp_path)
    assert [p.code for p in before.errors] == ["mask-smooth"] and len(after.data.classes) == 2
