"""Everything that may be wrong with a pair, and the digest of a dataset."""
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.layouts import ids as layout_ids, paint, photo
from helpers.problems import missing
from helpers.refusals import refuses
from PIL import Image, ImageFilter

from segfast.data.check import check, check_path, fingerprint, skip_check
from segfast.data.classes import ClassTable
from segfast.core.errors import DataError
from segfast.data.formats.camvid import camvid
from segfast.data.formats.common import make_data
from segfast.data.masks import decode_mask
from segfast.data.open import open_data


@pytest.fixture
def folder(demo_dir, tmp_path): return shutil.copytree(demo_dir, tmp_path/"scenes")


def image(folder, i): return folder/f"images/scene_{i:03d}.png"
def mask(folder, i): return folder/f"labels/scene_{i:03d}_P.png"
def found(folder): return {(p.code, p.file) for p in check(camvid(folder)).errors}


def png(array, mode=None):
    f = io.BytesIO()
    Image.fromarray(array, mode).save(f, "PNG") if mode else Image.fromarray(array).save(f, "PNG")
    return f.getvalue()


@pytest.mark.slow
def test_real_camvid(shared_data):
    report = check(camvid(shared_data/"camvid"))
    assert report.ok and report.errors == [] and len(report.files) == 468
    f = fingerprint(report)
    assert f["images"] == 468 and f["splits"] == {"train": 367, "valid": 101} and sum(f["sizes"].values()) == 468
    assert sum(f["class_share"].values()) == pytest.approx(1,
                                                           abs=1e-4) and 0 < f["void_share"] < .2 and len(
        f["class_share"]) == 11
    said = report.text()
    assert missing(said, 367, 101, 12, "Void", "camvid") == [] and not re.search("^error: ", said, re.M)


def test_pixels_are_counted(folder):
    report = check(camvid(folder))
    for split in "train", "valid":
        slow = sum(np.bincount(decode_mask(folder/rel).ravel(), minlength=256)
                   for rel in report.data.split(split)["mask"])
        assert report.pixels[split].tolist() == slow.tolist()
    assert report.pixels.test.sum() == 0 and report.size == (48, 64)


def test_everything_at_once(folder):
    "Nine things are wrong with nine pairs, and one run names them all."
    good = decode_mask(mask(folder, 0))
    image(folder, 0).write_bytes(b"")
    image(folder, 1).write_bytes(b"GIF89a, not really")
    image(folder, 2).write_bytes(image(folder, 2).read_bytes()[:400])
    mask(folder, 3).unlink()
    mask(folder, 4).write_bytes(png(good[:, :50].copy()))
    bad = good.copy()
    bad[:3, 0] = 77, 77, 200
    mask(folder, 5).write_bytes(png(bad))
    mask(folder, 6).write_bytes(png(np.stack([good]*3, -1)))
    mask(folder, 7).write_bytes(png(good.astype(np.uint16) + 300))
    mask(folder, 8).unlink()
    mask(folder, 8).mkdir()
    assert found(folder) == {("empty", "images/scene_000.png"), ("not-an-image", "images/scene_001.png"),
                             ("undecodable", "images/scene_002.png"), ("missing", "labels/scene_003_P.png"),
                             ("mask-size", "labels/scene_004_P.png"), ("mask-values", "labels/scene_005_P.png"),
                             ("mask-mode", "labels/scene_006_P.png"), ("mask-values", "labels/scene_007_P.png"),
                             ("not-a-file", "labels/scene_008_P.png")}
    report = check(camvid(folder))
    values = next(p for p in report.errors if p.file == "labels/scene_005_P.png")
    assert values.pixels == 3 and "77" in str(values) and "200" in str(values)
    json.dumps(report.to_dict(), allow_nan=False)
    with refuses(DataError, 7) as e:
        report.raise_errors()
    assert e.value.problems == report.errors and len(e.value.problems) == 9 and len(str(e.value).splitlines()) == 3


def test_both_of_a_pair(folder):
    image(folder, 0).write_bytes(b"")
    mask(folder, 0).write_bytes(b"")
    assert found(folder) == {("empty", "images/scene_000.png"), ("empty", "labels/scene_000_P.png")}


def test_palette_masks_are_fine(folder):
    for i in range(10):
        im = Image.fromarray(decode_mask(mask(folder, i)))
        im.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        im.save(mask(folder, i))
    assert check(camvid(folder)).ok


def test_a_turned_photograph_is_compared_as_it_is_seen(folder):
    with Image.open(image(folder, 0)) as im:
        exif = im.getexif()
        exif[0x0112] = 6
        im.convert("RGB").rotate(90, expand=True).save(image(folder, 0).with_suffix(".jpg"), exif=exif)
    image(folder, 0).unlink()
    report = check(camvid(folder))
    assert report.ok and report.files.height[0] == 48


def test_all_void(folder):
    void = camvid(folder).classes.void
    for i in 8, 9:
        mask(folder, i).write_bytes(png(np.full((48, 64), void, np.uint8)))
    assert found(folder) == {("all-void", "")}


def test_a_class_only_outside_the_training_images(folder):
    names = (folder/"codes.txt").read_text().split()
    (folder/"codes.txt").write_text("\n".join([*names, "Rare", "Never"]))
    ids = decode_mask(mask(folder, 9))
    ids[0, 0] = len(names)
    mask(folder, 9).write_bytes(png(ids))
    report = check(camvid(folder))
    assert report.ok
    by = {p.code: p for p in report.problems}
    assert by["class-not-in-train"].kind == "warning" and len(by["class-not-in-train"].found) == 1
    assert missing(by["class-not-in-train"].found[0], "Rare", 10) == missing(by["class-not-in-train"], "Rare") == []
    assert by["class-absent"].kind == "note" and missing(by["class-absent"], "Never") == []


def test_mixed_sizes_are_a_note(folder):
    for p in image(folder, 0), mask(folder, 0):
        with Image.open(p) as im:
            im.resize((30, 20), Image.NEAREST).save(p)
    report = check(camvid(folder))
    assert report.ok and report.size == (48, 64) and "mixed-sizes" in {p.code for p in report.problems}


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_threads_change_nothing(folder, workers):
    image(folder, 3).write_bytes(b"x")
    done = []
    report = check(camvid(folder), workers, lambda *counts: done.append(counts))
    assert done == [(i, 10) for i in range(1, 11)] and [p.file for p in report.errors] == ["images/scene_003.png"]


@pytest.mark.parametrize("only", ["train", "valid", "test"])
def test_nothing_to_train_on_or_nothing_held_out(folder, only):
    "Without training or validation images, a table is an error with a message and not a traceback."
    data = camvid(folder)
    data.pairs = data.pairs.assign(split=only)
    assert not check(data).ok


def test_damaged_files_never_end_in_a_traceback(folder):
    rng, refused = np.random.default_rng(0), 0
    good = image(folder, 0).read_bytes()
    with Image.open(image(folder, 0)) as im:
        f = io.BytesIO()
        im.convert("RGB").save(f, "JPEG")
    for raw in (good, f.getvalue())*40:
        noisy = np.frombuffer(raw, np.uint8).copy()
        noisy[rng.integers(0, len(noisy), 6)] = rng.integers(0, 256, 6)
        image(folder, 0).write_bytes(noisy[:rng.integers(1, len(noisy))].tobytes() if rng.random() < .3
                                     else noisy.tobytes())
        report = check(camvid(folder))
        assert {Path(problem.file).name for problem in report.errors} <= {image(folder, 0).name}
        refused += not report.ok
    assert 20 < refused < 80, "some of the damage cannot be seen"


# The digest

def digest(folder): return fingerprint(check(camvid(folder)))["digest"]


def test_the_digest_is_of_the_content(folder, tmp_path):
    first = digest(folder)
    assert digest(shutil.copytree(folder, tmp_path/"elsewhere"/"named otherwise")) == first
    ids = decode_mask(mask(folder, 0))
    changes = [lambda: mask(folder, 0).write_bytes(
            png(np.where(ids == ids[0, 0], 3 - ids[0, 0]//3, ids).astype(np.uint8))),
               lambda: image(folder, 1).write_bytes(png(np.zeros((48, 64, 3), np.uint8))),
               lambda: (folder/"valid.txt").write_text("scene_000.png\n"),
               lambda: (folder/"codes.txt").write_text((folder/"codes.txt").read_text().replace("Sky", "Heaven")),
               lambda: (image(folder, 2).rename(image(folder, 99)), mask(folder, 2).rename(mask(folder, 99)))]
    seen = [first]
    for change in changes:
        change()
        seen.append(digest(folder))
    assert len(set(seen)) == len(seen)


def test_the_fingerprint_of_what_was_not_checked(folder):
    "Without counted pixels there are no weights, and no warning of NumPy's."
    suggested = fingerprint(skip_check(camvid(folder)))["suggested"]
    assert suggested["size"] == [48, 64] and set(suggested["class_weights"].values()) == {None}


def test_the_fingerprint_is_json(folder):
    f = fingerprint(check(camvid(folder)))
    assert json.loads(json.dumps(f, allow_nan=False)) == f
    assert f["sizes"] == {"48x64": 10} and len(f["digest"]) == 64


@pytest.mark.parametrize("n", [1, 3, 4, 30])
def test_names_of_unusual_files_add_up(n, folder):
    "Only the first names are kept, and the text counts them all."
    from segfast.data.check import PairTally
    tally = PairTally(camvid(folder))
    for i in range(n): tally.note("image-cmyk", f"{i}.jpg")
    [problem] = tally.odd_problems()
    named = len(re.findall(r"\d+\.jpg", problem.message))
    more = re.search(r"and (\d+) more", problem.message)
    assert not missing(problem.message, n) and (n == 1 or named + int(more[1] if more else 0) == n)


# What must stop a training, and what is no reason to be alarmed. Drawn here: disks, poles, palettes

def disk(i, size=(40, 56), values=(0, 1)):
    "A disk of the second value in the first, at another place for each i."
    y, x = np.indices(size)
    return np.where(np.hypot(y - 18 - i % 4, x - 22 - 3*(i % 5)) < 11 + i % 3, values[1], values[0]).astype(np.uint8)


def draw(root, masks, names="", valid=(), images=None, ending="png", folder="masks", **save):
    "Two folders: images that differ, and masks from arrays or Pillow images; classes and a list, if given."
    for i, item in enumerate(masks):
        photo(root/f"images/{i}.png", i if images is None else images[i])
        (root/folder).mkdir(exist_ok=True)
        im = item if isinstance(item, Image.Image) else Image.fromarray(item)
        im.save(root/f"{folder}/{i}.{ending}", **save)
    if names: (root/"codes.txt").write_text("".join(f"{name}\n" for name in names.split()))
    if valid: (root/"valid.txt").write_text("".join(f"{i}.png\n" for i in valid))
    return root


def codes(root, *kinds):
    "The codes of a check's problems, of some kinds or all."
    return [p.code for p in check(open_data(root), cache=False).problems if not kinds or p.kind in kinds]


def problem(root, code):
    "The one problem of a code."
    [one] = [p for p in check(open_data(root), cache=False).problems if p.code == code]
    return one


def with_palette(ids, colors):
    "A palette image; the colors are given in the order of their numbers."
    im = Image.fromarray(ids)
    im.putpalette([v for color in colors for v in color])
    return im


COLORS = [(0, 0, 0), (220, 20, 60), (0, 130, 180), (107, 142, 35)]


def of_own_palette(ids, seed):
    "An image of four colors whose numbers are in an order of its own."
    order = np.random.default_rng(seed).permutation(4)
    return with_palette(np.argsort(order).astype(np.uint8)[ids], [COLORS[k] for k in order])


def test_palettes_that_contradict_each_other_stop_a_training(tmp_path):
    "The classes have names, so the colors cannot be taken for them in silence."
    draw(tmp_path, [of_own_palette(layout_ids(i, 4), i) for i in range(6)], "sky road tree car")
    found = problem(tmp_path, "mask-palettes")
    assert found.kind == "error" and missing(str(found), "palette", "color") == []


@pytest.mark.parametrize("palettes", ["same", "gray ramp", "all black", "repeated colors", "one more color"])
def test_palettes_that_agree_are_no_problem(tmp_path, palettes):
    "Numbers that share a color in every mask say nothing, and a palette of grays is that of a gray image."
    shown = {"same": [COLORS]*6, "gray ramp": [COLORS, [(v, v, v) for v in range(4)]]*3, "all black": [[(0,)*3]*4]*6,
             "repeated colors": [[COLORS[0], COLORS[1], COLORS[1], COLORS[2]]]*6,
             "one more color": [COLORS[:3] + [(i, 99, 7)] for i in range(6)]}[palettes]
    draw(tmp_path, [with_palette(layout_ids(i, 3), shown[i]) for i in range(6)], "sky road tree car", folder="labels")
    for i in range(6): (tmp_path/f"labels/{i}.png").rename(tmp_path/f"labels/{i}_P.png")
    assert "mask-palettes" not in codes(tmp_path)


def test_numbers_in_other_colors_are_said(tmp_path):
    "No color has two numbers: each mask has random colors, and the numbers count, which is said."
    rng = np.random.default_rng(0)
    colors = [[tuple(map(int, color)) for color in rng.integers(0, 256, (3, 3))] for _ in range(6)]
    draw(tmp_path, [with_palette(layout_ids(i, 3), colors[i]) for i in range(6)], "sky road tree", valid=(1, 4))
    assert problem(tmp_path, "mask-palettes").kind == "warning"


@pytest.mark.parametrize("names, kind", [("", "error"), ("ground thing", "warning")])
def test_one_number_in_two_colors(tmp_path, names, kind):
    "Half of the masks show 1 in red, the others in blue: two classes, unless names say that it is one."
    draw(tmp_path, [with_palette(disk(i), [COLORS[0], COLORS[1 + i % 2]]) for i in range(6)], names)
    found = problem(tmp_path, "mask-palettes")
    assert found.kind == kind and missing(str(found), "color", "label_colors.txt") == []


@pytest.mark.parametrize("plain", [True, False])
def test_a_palette_that_begins_with_white(tmp_path, plain):
    "Beside gray masks, in which 0 is black, it is inverted; alone, it is the program's choice of colors."
    white_first = [(255,)*3, (0,)*3]
    masks = [with_palette(disk(i), white_first) for i in range(3)]
    masks += [Image.fromarray(disk(i)) if plain else with_palette(disk(i), white_first) for i in range(3, 6)]
    draw(tmp_path, masks, "ground road", folder="labels")
    for i in range(6): (tmp_path/f"labels/{i}.png").rename(tmp_path/f"labels/{i}_P.png")
    assert ("mask-palettes" in codes(tmp_path, "error")) == plain


@pytest.mark.parametrize("how", ["box", "bilinear", "rotated", "blurred"])
@pytest.mark.parametrize("names", ["", "many"])
def test_smoothed_edges_stop_a_training(tmp_path, how, names):
    "Of guessed classes, and of named ones that happen to have all the values."
    def smooth(i):
        im = Image.fromarray(disk(i, (80, 112), (0, 8)))
        if how == "rotated": im = im.rotate(9, Image.BILINEAR)
        if how == "blurred": im = im.filter(ImageFilter.GaussianBlur(1.5))
        return im.resize((56, 40), {"box": Image.BOX, "bilinear": Image.BILINEAR}.get(how, Image.NEAREST))
    draw(tmp_path, [smooth(i) for i in range(6)], " ".join(f"c{i}" for i in range(9)) if names else "")
    found = problem(tmp_path, "mask-smooth")
    assert found.kind == "error" and len(found.found) > 2 and missing(found, len(found.found)) == []


@pytest.mark.parametrize("size", [(96, 128), (48, 64)])
@pytest.mark.parametrize("names", ["sky road pole wire lane tree", ""])
def test_thin_classes_are_not_smoothed_edges(tmp_path, size, names):
    "Poles, wires and lane markings of one or two pixels, their ids between those beside them or not."
    def street(i):
        ids, (h, w), rng = np.zeros(size, np.uint8), size, np.random.default_rng(i)
        ids[h//2:] = 1
        ids[h//3:h//2, :w//4 + 3*i] = 5
        for x in rng.integers(2, w - 2, 4): ids[h//4:h//2 + 4, x:x + 1 + i % 2] = 2
        for y in rng.integers(2, h//4, 3): ids[y, :] = 3
        for x in rng.integers(2, w - 12, 3):
            for y in range(h//2, h): ids[y, x + (y - h//2)//6] = 4
        return ids
    draw(tmp_path, [street(i) for i in range(12)], names)
    assert "mask-smooth" not in codes(tmp_path)


def table(root, colors):
    "A table of colors for classes that are called k0, k1 and so on."
    (root/"label_colors.txt").write_text("".join(f"{r} {g} {b} k{i}\n" for i, (r, g, b) in enumerate(colors)))


def test_painted_thin_classes_are_not_smoothed_edges(tmp_path):
    "The pole's color is between those of sky and ground in two channels, and not in the third."
    colors = np.uint8([(200, 220, 255), (40, 60, 20), (120, 140, 10), (255, 255, 255)])
    def street(i):
        ids = np.zeros((48, 64), np.uint8)
        ids[24:] = 1
        for x in range(4 + i, 60, 11): ids[10:30, x] = 2
        ids[36 + i % 3, :] = 3
        return colors[ids]
    draw(tmp_path, [street(i) for i in range(6)])
    table(tmp_path, colors.tolist())
    assert "mask-smooth" not in codes(tmp_path)


def test_shades_that_a_table_of_colors_names(tmp_path):
    "Somebody has listed all colors that occur, the shades at the borders among them."
    def smooth(i): return Image.fromarray(np.uint8([(0, 0, 0), (200, 100, 40)])[disk(i, (80, 112))]).resize(
        (56, 40), Image.BOX)
    draw(tmp_path, [smooth(i) for i in range(6)])
    seen = sorted({color for i in range(6) for _, color in smooth(i).getcolors()})
    table(tmp_path, seen)
    found = problem(tmp_path, "mask-smooth")
    assert found.kind == "error" and len(found.found) == len(seen) - 2
    assert missing(found, len(seen) - 2, len(seen)) == []


def test_thin_classes_of_real_streets_are_not_smoothed_edges(shared_data, tmp_path):
    for i, file in enumerate(sorted((shared_data/"camvid/labels").iterdir())[::47]):
        with Image.open(file) as im, Image.open(shared_data/f"camvid/images/{file.stem[:-2]}.png") as picture:
            for folder, part in ("masks", im.resize((64, 48), Image.NEAREST)), ("images", picture.resize((64, 48))):
                (tmp_path/folder).mkdir(exist_ok=True)
                part.save(tmp_path/f"{folder}/{i}.png")
    assert "mask-smooth" not in codes(tmp_path)


@pytest.mark.parametrize("masks, names", [("zeros", "sky road"), ("void", "Void road"), ("zeros", "sky"),
                                          ("ones", "a b c"), ("zeros", "")])
def test_one_labeled_class_stops_a_training(tmp_path, masks, names):
    "A mean IoU of 1.000 would be the result."
    values = dict(zeros=(0, 0), ones=(1, 1), void=(0, 1))[masks]
    draw(tmp_path, [disk(i, values=values) for i in range(6)], names)
    found = problem(tmp_path, "one-class")
    assert found.kind == "error" and found.fix
    if masks == "void": assert missing(found, "road", "void") == [] and "%" in found.message


def test_ids_in_jpeg_stop_a_training(tmp_path):
    "JPEG makes 0, 1 and 2 of 0 and 1; levels that are far apart survive."
    draw(tmp_path/"ids", [disk(i) for i in range(6)], ending="jpg", quality=75)
    found = problem(tmp_path/"ids", "mask-jpeg")
    assert found.kind == "error" and missing(found, "JPEG") == []
    flat = np.kron(np.uint8([[0, 255], [0, 0]]), np.ones((16, 16), np.uint8))
    draw(tmp_path/"levels", [np.roll(flat, 16*(i % 2), 1) for i in range(6)], ending="jpg", quality=95)
    assert problem(tmp_path/"levels", "mask-jpeg").kind == "warning"


def test_all_masks_the_same_stop_a_training(tmp_path):
    draw(tmp_path, [disk(0)]*6, "sky road")
    found = problem(tmp_path, "same-mask")
    assert found.kind == "error" and missing(str(found), 6, "--no-check") == []


def test_most_masks_the_same_are_a_warning(tmp_path):
    draw(tmp_path, [disk(0)]*5 + [disk(i) for i in (1, 2, 3)], "sky road")
    assert problem(tmp_path, "same-mask").kind == "warning"


@pytest.mark.parametrize("masks", [[None]*9 + [1, 2, 3], [None]*20 + [1, 2], [1, 2, 3, 4, None, None]])
def test_empty_masks_are_no_copies(tmp_path, masks):
    "Most images of a factory have no defect."
    draw(tmp_path, [disk(i or 0, values=(0, 255 if i else 0)) for i in masks], valid=(1, len(masks) - 1))
    assert "same-mask" not in codes(tmp_path) and "one-class" not in codes(tmp_path)


def test_case_mvtec_has_no_false_alarm(tmp_path):
    "Sound objects with masks of zeros beside those with a defect, and a folder for each kind of defect."
    for kind, n in ("good", 6), ("broken", 4), ("scratch", 4):
        for i in range(n):
            photo(tmp_path/f"test/{kind}/{i:03}.png", 10*len(kind) + i)
            values = 0, 0 if kind == "good" else 255
            paint(tmp_path/f"ground_truth/{kind}/{i:03}_mask.png", disk(i + n, values=values))
    report = check_path(tmp_path, cache=False)
    assert "same-mask" not in {p.code for p in report.problems}


# Splits that measure little

def test_case_valid_lacks_a_class(tmp_path):
    masks = [layout_ids(i, 4) for i in range(8)]
    draw(tmp_path, masks[:6] + [np.minimum(ids, 2) for ids in masks[6:]], "sky road tree car", valid=(6, 7))
    found = problem(tmp_path, "class-not-in-valid")
    assert found.kind == "warning" and found.found == ["car"] and missing(found, "car", "IoU") == []
    assert "class-not-in-train" not in codes(tmp_path)


def test_several_classes_that_cannot_be_measured(tmp_path):
    draw(tmp_path, [layout_ids(i, 6) for i in range(6)] + [layout_ids(i, 2) for i in range(3)],
         "sky road tree car pole sign", valid=(6, 7, 8))
    assert problem(tmp_path, "class-not-in-valid").found == ["tree", "car", "pole", "sign"]


@pytest.mark.parametrize("valid, kind", [((3,), "warning"), ((3, 5), "note"), ((1, 3, 5), None)])
def test_few_validation_images(tmp_path, valid, kind):
    draw(tmp_path, [layout_ids(i, 2) for i in range(8)], "sky road", valid=valid)
    found = [p for p in check(open_data(tmp_path), cache=False).problems if p.code == "few-valid"]
    assert [(p.kind, p.found) for p in found] == ([(kind, len(valid))] if kind else [])


@pytest.mark.parametrize("n, expected", [(4, ["few-train"]), (9, [])])
def test_fewer_training_images_than_classes(tmp_path, n, expected):
    draw(tmp_path, [layout_ids(i, 5) for i in range(n + 3)], "a b c d e", valid=range(n, n + 3))
    assert [code for code in codes(tmp_path) if code == "few-train"] == expected


def test_a_sound_set_is_quiet(tmp_path):
    draw(tmp_path, [layout_ids(i, 4) for i in range(12)], "sky road tree car", valid=(1, 5, 9), folder="labels")
    for i in range(12): (tmp_path/f"labels/{i}.png").rename(tmp_path/f"labels/{i}_P.png")
    assert codes(tmp_path) == []


# Folders and lists that are not used

@pytest.mark.parametrize("folder", ["depth", "instances", "panoptic", "overlay", "color", "masks_2nd_annotator",
                                    "normals", "disparity", "visualization", "color_labels"])
def test_folders_of_other_things_are_not_called_unused(tmp_path, folder):
    for i in range(6):
        photo(tmp_path/f"training/images/{i}.png", i)
        paint(tmp_path/f"training/labels/{i}.png", layout_ids(i, 3))
        paint(tmp_path/f"training/{folder}/{i}.png", 9*layout_ids(i, 3))
        paint(tmp_path/f"training/images/{folder}/{i}.png", 9*layout_ids(i, 3))
    data = make_data(tmp_path, None, "folders", [(str(i), f"training/images/{i}.png", f"training/labels/{i}.png")
                     for i in range(6)], ["train"]*4 + ["valid"]*2, ClassTable(["a", "b", "c"]))
    assert {p.code for p in check(data, cache=False).problems} <= {"few-valid"}


def test_test_images_without_masks_are_not_a_pair(tmp_path):
    draw(tmp_path/"train", [layout_ids(i, 3) for i in range(6)])
    for i in range(6, 9): photo(tmp_path/f"test/images/{i}.png", i)
    assert not {"unused-folder", "unused-pair"} & {*codes(tmp_path)}


def test_a_second_pair_of_folders_is_named(tmp_path):
    draw(tmp_path, [layout_ids(i, 3) for i in range(6)], "a b c", folder="labels")
    for i in range(6): (tmp_path/f"labels/{i}.png").rename(tmp_path/f"labels/{i}_P.png")
    for i in range(6, 10):
        photo(tmp_path/f"night/photos/{i}.png", i)
        paint(tmp_path/f"night/truth/{i}.png", layout_ids(i, 3))
    found = problem(tmp_path, "unused-pair")
    assert found.kind == "warning" and missing(found, "night/photos", "night/truth", 4) == []


def test_images_below_images_are_named(tmp_path):
    draw(tmp_path, [layout_ids(i, 3) for i in range(6)], "a b c", folder="labels")
    for i in range(6): (tmp_path/f"labels/{i}.png").rename(tmp_path/f"labels/{i}_P.png")
    for i in range(3): photo(tmp_path/f"images/night/{i}.png", 20 + i)
    assert missing(problem(tmp_path, "unused-folder"), "images/night", 3) == []


@pytest.mark.parametrize("name", ["val_list.txt", "ImageSets/val.txt", "splits/valid.csv"])
def test_a_list_that_a_layout_does_not_use(tmp_path, name):
    draw(tmp_path, [layout_ids(i, 3) for i in range(8)], "a b c", valid=(1, 2, 3), folder="labels")
    for i in range(8): (tmp_path/f"labels/{i}.png").rename(tmp_path/f"labels/{i}_P.png")
    (tmp_path/name).parent.mkdir(exist_ok=True)
    (tmp_path/name).write_text("4.png\n5.png\n")
    found = problem(tmp_path, "list-unused")
    assert found.file == name and missing(found, 2) == []
    (tmp_path/name).write_text("1.png\n3.png\n")
    assert "list-unused" not in codes(tmp_path)


# Sizes

@pytest.mark.parametrize("folder", ["", "train_val/"])
def test_case_suim_sizes(tmp_path, folder):
    "A mask of another size than its image is an error that names it, whatever its format and its folder."
    colors = np.uint8([[0, 0, 0], [0, 0, 255], [0, 255, 0], [255, 0, 0]])
    for i in range(6):
        photo(tmp_path/f"{folder}images/d_r_{i}_.jpg", i)
        paint(tmp_path/f"{folder}masks/d_r_{i}_.bmp", colors[layout_ids(i, 4)][:, :-4 if i == 3 else None])
    report = check_path(tmp_path, cache=False)
    assert [(p.code, p.file) for p in report.errors] == [("mask-size", f"{folder}masks/d_r_3_.bmp")]
    assert missing(str(report.errors[0]), "40x52", "40x56", "d_r_3_.jpg") == []


@pytest.mark.parametrize("values, names", [((0, 128, 255), ""), ((0, 100, 200), ""), ((0, 128, 255), "out border in")])
def test_a_drawn_border_of_one_value_is_a_class(tmp_path, values, names):
    "As around cells: smoothing would leave several shades between black and white."
    def cell(i):
        a = disk(i, (40, 56), (0, 2))
        edge = np.zeros(a.shape, bool)
        edge[1:] |= a[1:] != a[:-1]
        edge[:, 1:] |= a[:, 1:] != a[:, :-1]
        return np.uint8(values)[np.where(edge, 1, a)]
    draw(tmp_path, [cell(i) for i in range(6)], names)
    assert "mask-smooth" not in codes(tmp_path)
