"""Every layout, as small as it can be drawn: recognized, split, and decoded to the ids that were drawn."""
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.layouts import (COLORS, SIZE, TABLE, draw_camseq, draw_camvid, draw_cityscapes, draw_folders, draw_idd,
                             draw_kitti_road, draw_pets, draw_segnet, draw_voc, ids, paint, photo, two_folders)
from helpers.problems import missing
from helpers.refusals import refuses
from PIL import Image

from segfast.core.errors import DataError, UsageError
from segfast.data.check import check
from segfast.data.classes import ClassTable, read_label_colors
from segfast.data.formats.camvid import camvid
from segfast.data.formats.common import CITYSCAPES_NAMES
from segfast.data.formats.folders import from_folders
from segfast.data.formats.idd import idd
from segfast.data.formats.kitti_road import kitti_road
from segfast.data.formats.pets import pets
from segfast.data.formats.registry import find_layout, LAYOUTS
from segfast.data.formats.table import from_csv, from_df
from segfast.data.formats.voc import voc_colors
from segfast.data.masks import decode_mask, Encoding, try_decode
from segfast.data.open import open_data


# The smallest tree of each layout: `draw` writes it and returns {mask path: ids that it must decode to}, with the
# splits


def draw_camvid_published(root):
    truth = {}
    for i in range(5):
        photo(root/f"701_StillsRaw_full/0001TP_{i}.png", i)
        truth[f"LabeledApproved_full/0001TP_{i}_L.png"] = ids(i, 4)
        paint(root/f"LabeledApproved_full/0001TP_{i}_L.png", COLORS[ids(i, 4)])
    (root/"label_colors.txt").write_text(TABLE)
    return truth, {"train": 4, "valid": 1}


def draw_camvid_folders(root):
    truth = {}
    for i, split in enumerate(("train", "train", "train", "val", "test")):
        photo(root/f"{split}/{i}.png", i)
        truth[f"{split}_labels/{i}_L.png"] = ids(i, 4)
        paint(root/f"{split}_labels/{i}_L.png", COLORS[ids(i, 4)])
    (root/"class_dict.csv").write_text("name,r,g,b\nAnimal,64,128,64\nRoad,128,64,128\nVoid,0,0,0\nChild,192,128,64\n")
    return truth, {"train": 3, "valid": 1, "test": 1}


def draw_csv(root):
    truth = {}
    for i in range(4):
        photo(root/f"a/x{i}.png", i)
        truth[f"b/y{i}.png"] = ids(i, 3)
        paint(root/f"b/y{i}.png", ids(i, 3))
    table = pd.DataFrame({"image": [f"a/x{i}.png" for i in range(4)], "mask": [f"b/y{i}.png" for i in range(4)],
                          "split": ["train", "train", "val", "test"]})
    table.to_csv(root/"pairs.csv", index=False)
    return truth, {"train": 2, "valid": 1, "test": 1}


def draw_train_ids(root): return draw_cityscapes(root, "labelTrainIds")


TREES = {"camvid": draw_camvid, "camvid-published": draw_camvid_published, "camvid-folders": draw_camvid_folders,
         "segnet": draw_segnet, "camseq": draw_camseq, "kitti_road": draw_kitti_road, "pets": draw_pets,
         "idd": draw_idd, "cityscapes": draw_cityscapes, "cityscapes-train": draw_train_ids, "voc": draw_voc,
         "folders": draw_folders, "csv": draw_csv}


@pytest.fixture(params=TREES)
def tree(request, tmp_path):
    root = tmp_path/"some data"
    root.mkdir()
    truth, split = TREES[request.param](root)
    return request.param.split("-")[0], root/"pairs.csv" if request.param == "csv" else root, truth, split


def codes_of(data): return {p.code for p in data.problems}


def test_found_split_and_decoded(tree):
    layout, source, truth, split = tree
    data = open_data(source)
    assert data.layout == layout and data.splits == split
    assert set(data.pairs["mask"]) == set(truth)
    for rel, drawn in truth.items():
        assert np.array_equal(data.ids(rel), drawn), rel
    assert all(data.path(image).is_file() for image in data.pairs["image"])
    assert not [p for p in data.problems if p.kind == "error"]
    report = check(data)
    assert not report.errors, report.text()
    assert report.pixels.to_numpy().sum() == len(truth)*SIZE[0]*SIZE[1]


def test_layouts_exclude_each_other(tree):
    "At most one layout recognizes a folder, apart from `folders`, which is asked last."
    layout, source, _, _ = tree
    yes = [name for name, row in LAYOUTS.items() if name != "folders" and row.recognize(source)]
    assert yes == ([] if layout == "folders" else [layout])


def test_one_batch(tree):
    from segfast.data.loaders import seg_dls
    _, source, _, _ = tree
    data = open_data(source)
    x, y = seg_dls(data, (20, 28), bs=2, device="cpu").one_batch()
    assert tuple(x.shape) == (2, 3, 20, 28) and set(y.unique().tolist()) <= data.classes.valid_values


@pytest.mark.slow
def test_train_folder(tree, tiny, tmp_path, monkeypatch):
    "`segfast train FOLDER` with no options about the data, for every layout; a tiny network replaces the default."
    from typer.testing import CliRunner

    from segfast.cli import app
    from segfast.models.zoo import MODELS
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MODELS, "unet_resnet34", MODELS[tiny])
    layout, source, truth, split = tree
    res = CliRunner().invoke(app, ["train", str(source), "--epochs", "1,1,1"])
    assert res.exit_code == 0, res.output
    run = next((tmp_path/"runs").iterdir())
    facts, table = json.loads((run/"data.json").read_text()), pd.read_csv(run/"data.csv")
    assert facts["layout"] == layout and facts["fingerprint"]["splits"] == split and set(table["mask"]) == set(truth)
    assert json.loads((run/"status.json").read_text())["status"] == "done" and run.name in res.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kitti_road", "folders"])
def test_train_with_no_option_but_the_folder(name, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from segfast.cli import app
    monkeypatch.chdir(tmp_path)
    TREES[name](tmp_path/"mine")
    res = CliRunner().invoke(app, ["train", "mine", "--size", "32x48", "--epochs", "1,1,1", "--weights", "none",
                                   "--device", "cpu", "--json"])
    assert res.exit_code == 0, res.output
    assert '"mean_iou"' in res.stdout


# What belongs to one layout

def test_real_kitti(shared_data):
    data = open_data(shared_data/"kitti_road")
    assert data.layout == "kitti_road" and data.splits == {"train": 1, "valid": 1}
    assert data.pairs["mask"].tolist() == ["training/gt_image_2/um_road_000000.png",
                                           "training/gt_image_2/um_road_000001.png"]
    report = check(data)
    assert not report.errors and set(np.flatnonzero(report.pixels.sum(axis=1))) <= {0, 1, 255}
    assert report.pixels.sum(axis=1)[1] > 10_000


def test_real_camvid_as_camseq(shared_data, tmp_path):
    "The validation frames of CamVid are the film that CamSeq was cut from."
    source = camvid(shared_data/"camvid")
    shown = source.split("valid").iloc[:12]
    for row in shown.itertuples():
        shutil.copy(source.path(row.image), tmp_path)
        paint(tmp_path/f"{Path(row.image).stem}_L.png", np.uint8(source.classes.colors)[source.ids(row.mask)])
    (tmp_path/"label_colors.txt").write_text("".join(f"{red} {green} {blue}\t{n}\n"
                                                     for (red, green, blue), n in zip(source.classes.colors,
        source.classes.names)))
    data = open_data(tmp_path)
    assert data.layout == "camseq" and data.splits == {"train": 8, "valid": 2, "test": 2}
    assert data.pairs.split.tolist() == sorted(data.pairs.split, key=["train", "valid", "test"].index), "in sequence"
    for row, rel in zip(shown.itertuples(), data.pairs["mask"]):
        assert np.array_equal(data.ids(rel), source.ids(row.mask))


def test_kitti_images_without_a_mask_are_counted(tmp_path):
    draw_kitti_road(tmp_path)
    photo(tmp_path/"training/image_2/um_000007.png")
    data = kitti_road(tmp_path)
    [p] = data.problems
    assert len(data.pairs) == 6 and (p.kind, p.code, p.found) == ("note", "no-mask", ["training/image_2/um_000007.png"])
    assert missing(p.message, 1, 7) == []
    (tmp_path/"training/gt_image_2/um_road_000000.png").unlink()
    assert "training/gt_image_2/um_lane_000000.png" in set(kitti_road(tmp_path).pairs["mask"])


def test_pets_border_as_a_class(tmp_path):
    draw_pets(tmp_path)
    data = pets(tmp_path, border="class")
    assert data.classes.names == ("pet", "background", "border") and data.classes.void is None
    assert np.array_equal(data.ids("annotations/trimaps/Abyssinian_1.png"), ids(1, 3))
    with refuses(UsageError, "border", "both", "void", "class"):
        pets(tmp_path, border="both")


def test_pets_list_with_a_name_that_is_not_there(tmp_path):
    draw_pets(tmp_path)
    with (tmp_path/"annotations/test.txt").open("a") as f:
        f.write("Sphynx_1 1 1 1\n")
    bad = [p for p in pets(tmp_path).problems if p.kind == "error"]
    assert [(p.code, p.found) for p in bad] == [("list-missing", ["Sphynx_1"])] and missing(bad[0], "Sphynx_1") == []


def test_cityscapes_classes(tmp_path):
    draw_cityscapes(tmp_path)
    data = open_data(tmp_path)
    assert len(CITYSCAPES_NAMES) == len(data.classes) == 19 and data.classes.void == 255
    [p] = [p for p in data.problems if p.code == "no-mask"]
    assert (p.kind, p.found) == ("note", ["leftImg8bit/test/aachen/aachen_000003_000019_leftImg8bit.png"])
    assert missing(p.message, 1, 4) == []


def test_gray_levels_of_all_masks(tmp_path):
    "A mask that lacks a level must not shift the others."
    levels, shown = np.uint8([0, 36, 73, 109, 146, 182, 219]), {}
    for i in range(4):
        photo(tmp_path/f"images/{i}.png", i)
        shown[f"masks/{i}.png"] = ids(i, 7) if i else np.where(ids(i, 7) == 3, 4, ids(i, 7))
        paint(tmp_path/f"masks/{i}.png", levels[shown[f"masks/{i}.png"]])
    data = idd(tmp_path)
    assert data.layout == "idd" and len(data.classes) == 7 and data.classes.names[0] == "drivable"
    assert all(np.array_equal(data.ids(rel), mask) for rel, mask in shown.items())
    assert find_layout(tmp_path) == "folders" and "guessed-classes" in codes_of(from_folders(tmp_path))


def test_color_that_the_table_lacks(tmp_path):
    draw_camseq(tmp_path)
    mask = COLORS[ids(2, 4)]
    mask[3, :5] = 127, 64, 128
    paint(tmp_path/"0016E5_02_L.png", mask)
    bad = check(open_data(tmp_path)).errors
    assert [(p.code, p.file, p.pixels) for p in bad] == [("mask-colors", "0016E5_02_L.png", 5)]
    assert "(127, 64, 128)" in str(bad[0]) and "(128, 64, 128)" in str(bad[0])


def test_value_that_the_trimap_lacks(tmp_path):
    draw_pets(tmp_path)
    mask = ids(0, 3) + 1
    mask[0, :7] = 9
    paint(tmp_path/"annotations/trimaps/Abyssinian_0.png", mask)
    bad = check(open_data(tmp_path)).errors
    assert [(p.code, p.file, p.found, p.pixels) for p in bad] == [("mask-values",
        "annotations/trimaps/Abyssinian_0.png", [9], 7)]


def test_masks_saved_as_jpeg(tmp_path):
    draw_camseq(tmp_path)
    (tmp_path/"0016E5_02_L.png").unlink()
    Image.fromarray(COLORS[ids(2, 4)]).save(tmp_path/"0016E5_02_L.jpg", quality=60)
    bad = check(open_data(tmp_path)).errors
    assert [(p.code, p.file) for p in bad] == [("mask-jpeg", "0016E5_02_L.jpg")] and bad[0].pixels > 0 and bad[0].found


def test_painted_masks_without_a_table(tmp_path):
    draw_camvid_published(tmp_path)
    (tmp_path/"label_colors.txt").unlink()
    data = open_data(tmp_path)
    assert [(p.code, p.file) for p in data.problems
            if p.kind == "error"] == [("colors", "label_colors.txt")] and len(data.pairs) == 5
    assert not [p for p in check(data).errors if p.code != "colors"], "nothing follows from it"


@pytest.mark.parametrize("text, code", [("64 128 64 Animal\n128 64 Road\n0 0 0 Void\n192 128 64 Child\n", "colors"),
                                        ("1 2 3 a\n1 2 3 b\n", "colors-duplicate"), ("", "colors"),
                                        ("64 128 64 Void\n128 64 128 void\n", "codes-void"),
                                        ("64 128 64 a\n128 64 128 a\n", "codes-duplicate")])
def test_broken_tables_are_said_once(tmp_path, text, code):
    draw_camseq(tmp_path)
    (tmp_path/"label_colors.txt").write_text(text)
    data = open_data(tmp_path)
    assert [(p.code, p.file) for p in data.problems if p.kind == "error"] == [(code, "label_colors.txt")]
    assert not [p for p in check(data).errors if p.file != "label_colors.txt" and p.code.startswith("mask")]


# Colors

def naive(rgb, table):
    out = np.full(rgb.shape[:2], 255, np.uint8)
    for i, c in enumerate(table.colors):
        out[np.all(rgb == c, axis=-1)] = i
    return out


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colors_are_decoded_as_a_loop_would(mode):
    rng = np.random.default_rng(0)
    table = ClassTable([f"c{i}" for i in range(32)], 5, np.unique(rng.integers(0, 256, (40, 3)), axis=0)[:32].tolist())
    rgb = np.uint8(table.colors)[rng.integers(0, 32, (37, 53))]
    im = Image.fromarray(rgb)
    im = im.quantize(64, dither=Image.Dither.NONE) if mode == "P" else im.convert(mode)
    if mode == "P" and not np.array_equal(np.asarray(im.convert("RGB")), rgb):
        pytest.skip("this Pillow's quantizer changes colors")
    assert np.array_equal(decode_mask(im, Encoding.of_colors(table)), naive(rgb, table))


def test_unknown_colors_are_counted():
    table = ClassTable(["a", "b"], None, [(0, 0, 0), (10, 20, 30)])
    rgb = np.zeros((4, 5, 3), np.uint8)
    rgb[0, :3] = 30, 20, 10  # the same numbers the other way round
    found, strange = try_decode(Image.fromarray(rgb), Encoding.of_colors(table))
    assert sum(strange.values()) == 3 and (found[0, :3] == 255).all() and not found[1:].any()
    with refuses(DataError, (30, 20, 10), 3, code="mask-colors", found=[(30, 20, 10)], pixels=3):
        decode_mask(Image.fromarray(rgb), Encoding.of_colors(table))


@pytest.mark.parametrize("text, code, found, named", [
    ("1 2 3 Sky\n1 2 3 Road\n", "colors-duplicate", [(1, 2, 3)], ["Sky", "Road"]),
    ("1 2 a\n", "colors", ["1 2 a"], [1]),
    ("9 8 7 a\n1 2 3\n", "colors", ["1 2 3"], [2]),
    ("300 2 3 a\n", "colors", ["300 2 3 a"], [1]),
    ("", "colors", None, []),
    ("1 2 3 Sky\n4 5 6 Sky\n", "codes-duplicate", ["Sky"], [])])
def test_broken_color_tables(tmp_path, text, code, found, named):
    (tmp_path/"label_colors.txt").write_text(text)
    with refuses(DataError, *(found or []), *named, code=code, file="label_colors.txt", found=found):
        read_label_colors(tmp_path/"label_colors.txt")


def test_values_beyond_sixteen_bits_and_below_zero(tmp_path):
    Image.fromarray(np.int32([[0, -1, 70000]])).save(tmp_path/"m.tif")
    with Image.open(tmp_path/"m.tif") as im:
        found, strange = try_decode(im, Encoding("values", ((0, 1),)))
    assert found.tolist() == [[1, 255, 255]] and sum(strange.values()) == 2


# Folders of any name

@pytest.mark.parametrize("images, masks", [("pics/{}.jpg", "masks/{}.png"), ("pics/{}.jpg", "masks/{}_mask.png"),
                                           ("pics/img_{}.jpg", "gt/lbl_{}.png"), ("pics/{}_sat.jpg", "gt/{}_map.png"),
                                           ("train/{}.jpg", "train_masks/{}_mask.png"),
                                           ("train/images/{}.jpg", "train/masks/{}.png"),
                                           ("images/train/{}.jpg", "masks/train/{}.png"),
                                           ("x/a/{}.jpg", "y mask/a/{}.png"), ("in/{}.JPG", "out/{}.png")])
def test_two_folders(tmp_path, images, masks):
    names = "Straße 7", "a b (1)", "x.y", "7", "17"
    for i, name in enumerate(names):
        photo(tmp_path/images.format(name), i)
        paint(tmp_path/masks.format(name), ids(i, 2))
    data = open_data(tmp_path)
    assert data.layout == "folders" and data.splits == {"train": 4, "valid": 1}
    found = {row.image: row.mask for row in data.pairs.itertuples()}
    assert found == {images.format(n): masks.format(n) for n in names}
    assert "found-folders" in codes_of(data)


def test_folders_take_the_split_of_their_folders(tmp_path):
    for split, n in ("train", 3), ("val", 2), ("test", 1):
        for i in range(n):
            photo(tmp_path/f"{split}/images/{i}.png", i)
            paint(tmp_path/f"{split}/masks/{i}.png", ids(i, 2))
    assert open_data(tmp_path).splits == {"train": 3, "valid": 2, "test": 1}


def test_folders_with_names_and_void(tmp_path):
    for i in range(4):
        photo(tmp_path/f"pics/{i}.png", i)
        paint(tmp_path/f"masks/{i}.png", np.where(ids(i, 3) == 2, 255, ids(i, 3)))
    assert open_data(tmp_path).classes.void == 255
    (tmp_path/"codes.txt").write_text("field\nroad\n")
    data = open_data(tmp_path)
    assert data.classes.names == ("field", "road") and data.classes.void == 255 and not check(data).errors


def test_folders_with_masks_in_color(tmp_path):
    for i in range(4):
        photo(tmp_path/f"pics/{i}.png", i)
        paint(tmp_path/f"masks/{i}.png", COLORS[ids(i, 4)])
    data = open_data(tmp_path)
    assert len(data.classes) == 4 and {tuple(c) for c in COLORS.tolist()} == set(data.classes.colors)
    (tmp_path/"label_colors.txt").write_text(TABLE)
    data = open_data(tmp_path)
    assert data.classes.void == 2 and np.array_equal(data.ids("masks/1.png"), ids(1, 4))


def test_a_photograph_is_no_mask(tmp_path):
    for i in range(4):
        photo(tmp_path/f"pics/{i}.png", i)
        photo(tmp_path/f"masks/{i}.png", i)
    bad = [p for p in open_data(tmp_path).problems if p.kind == "error"]
    assert [(p.code, p.file) for p in bad] == [("mask-values", f"masks/{i}.png") for i in range(4)]
    assert missing(bad[0].message, SIZE[0]*SIZE[1]) == [], "as many colors as pixels"


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_masks_are_said_once(tmp_path, mode):
    for i in range(25):
        photo(tmp_path/f"pics/{i:02}.png", i)
        (tmp_path/"masks").mkdir(exist_ok=True)
        Image.fromarray(ids(i, 2)*255).convert(mode).resize((57,
                                                             41)).save(
            tmp_path/f"masks/{i:02}.{'png' if i > 21 else 'jpg'}", quality=50)
    Image.fromarray(ids(24, 2)*255).save(tmp_path/"masks/24.png")
    [bad] = [p for p in open_data(tmp_path).problems if p.code == "mask-jpeg"]
    assert bad.kind == "error" and missing(bad, "masks/00.jpg", 25, "--fix") == [], "the first and the number of all"


def test_masks_that_cannot_be_read_do_not_hide_the_others(tmp_path):
    draw_folders(tmp_path)
    (tmp_path/"truth/gt_001_v2.png").write_bytes(b"no image")
    assert [(p.code, p.file) for p in check(open_data(tmp_path)).errors] == [("not-an-image", "truth/gt_001_v2.png")]


# Tables

@pytest.mark.parametrize("text, code, found, named", [
    ("", "layout-unknown", None, ["image,mask"]), ("image,mask\n", "no-images", None, []),
    ("photo,mask\na,b\n", "layout-unknown", None, ["image", "photo", "mask"]),
    ("image,mask\n,b.png\n", "missing", [1], [1])])
def test_tables_that_are_none(tmp_path, text, code, found, named):
    draw_csv(tmp_path)
    (tmp_path/"pairs.csv").write_text(text)
    with refuses(DataError, "pairs.csv", *named, code=code, found=found) as e:
        open_data(tmp_path/"pairs.csv")
    assert len(e.value.problems) == 1


def test_faults_of_rows_are_gathered(tmp_path):
    draw_csv(tmp_path)
    (tmp_path/"pairs.csv").write_text(
        "image,mask,split\na/x0.png,b/y0.png,later\na/x1.png,,train\na/x2.png,b/y2.png,val\n")
    data = open_data(tmp_path/"pairs.csv")
    assert [(p.code, p.file) for p in data.problems if p.kind == "error"] == [("missing", "pairs.csv"),
        ("list-missing", "pairs.csv")]
    assert data.splits == {"train": 1, "valid": 1}


def test_a_folder_with_one_table(tmp_path):
    draw_csv(tmp_path)
    for path in sorted(tmp_path.glob("?/*.png")):
        path.rename(tmp_path/path.name)
    table = (tmp_path/"pairs.csv").read_text().replace("a/", "").replace("b/", "")
    (tmp_path/"pairs.csv").write_text(table)
    assert find_layout(tmp_path) == "csv" and open_data(tmp_path).splits == {"train": 2, "valid": 1, "test": 1}
    (tmp_path/"again.csv").write_text(table)
    with refuses(DataError, "again.csv", "pairs.csv", code="layout-unknown", file=str(tmp_path)):
        find_layout(tmp_path)


@pytest.mark.parametrize("head, split", [("image_path,mask_path", False), ("img,label,subset", True),
                                         ("Images,Masks,Set", True), ("file_name,mask_file_name", False),
                                         ("Input,Target,phase", True),
                                         ("filename,segmentation,note", False)])
def test_columns_of_other_names_where_no_names_match(tmp_path, head, split):
    drawn = {}
    for i in range(6):
        photo(tmp_path/f"raw/DSC{i}.jpg", i)
        drawn[f"done/{'xqzwvk'[i]}{i*5 % 6}.png"] = ids(i, 3)
        paint(tmp_path/f"done/{'xqzwvk'[i]}{i*5 % 6}.png", ids(i, 3))
    end = {2: [""]*6, 3: [f",{word}" if split else ",good" for word in ["train"]*4 + ["val"]*2]}[head.count(",") + 1]
    rows = [f"raw/DSC{i}.jpg,{mask}{end[i]}" for i, mask in enumerate(drawn)]
    (tmp_path/"data.csv").write_text("\n".join([head, *rows]) + "\n")
    data = open_data(tmp_path)
    assert data.layout == "csv" and dict(zip(data.pairs["image"], data.pairs["mask"])) == {
        f"raw/DSC{i}.jpg": mask for i, mask in enumerate(drawn)}
    assert all((data.ids(mask) == values).all() for mask, values in drawn.items())
    if split: assert data.splits == {"train": 4, "valid": 2}


def test_such_a_table_does_not_go_before_folders_that_match(tmp_path):
    "DeepGlobe: a table of all images, also those without a mask."
    for i in range(6):
        photo(tmp_path/f"train/{i}_sat.jpg", i)
        paint(tmp_path/f"train/{i}_mask.png", ids(i, 2))
    (tmp_path/"metadata.csv").write_text("image_id,sat_image_path,mask_path\n" + "".join(
        f"{i},train/{i}_sat.jpg,train/{i}_mask.png\n" for i in range(6)) + "9,test/9_sat.jpg,\n")
    data = open_data(tmp_path)
    assert data.layout == "folders" and len(data.pairs) == 6


@pytest.mark.parametrize("word", ["A", "blue"])
def test_a_column_set_that_says_no_split_is_left_alone(tmp_path, word):
    for i in range(5):
        photo(tmp_path/f"a/{i}.jpg", i)
        paint(tmp_path/f"b/{i}.png", ids(i, 2))
    (tmp_path/"t.csv").write_text("image,mask,set\n" + "".join(f"a/{i}.jpg,b/{i}.png,{word}\n" for i in range(5)))
    data = open_data(tmp_path)
    assert data.splits == {"train": 4, "valid": 1} and not [p for p in data.problems if p.kind == "error"]


@pytest.mark.parametrize("values", [2, 3, 5])
def test_own_classes_in_the_folders_of_segnet(tmp_path, values):
    for i, split in enumerate(["train"]*4 + ["val"]*2):
        photo(tmp_path/f"{split}/{i}.png", i)
        paint(tmp_path/f"{split}annot/{i}.png", ids(i, 2)*255 if values == 2 else ids(i, values))
    data = open_data(tmp_path)
    assert data.splits == {"train": 4, "valid": 2} and data.classes.void is None and "Sky" not in data.classes.names
    assert not [p for p in data.problems if p.kind == "error"] and len(data.classes) == values


@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_tables_as_spreadsheets_write_them(tmp_path, sep):
    draw_csv(tmp_path)
    rows = [["Image", "mask "], *([f"a/x{i}.png", f"b/y{i}.png"] for i in range(4))]
    (tmp_path/"p.CSV").write_bytes(("\ufeff" + "\r\n".join(sep.join(row) for row in rows)).encode())
    data = open_data(tmp_path/"p.CSV")
    assert data.splits == {"train": 3, "valid": 1} and data.name == "p"
    with refuses(UsageError, tmp_path/"p.CSV", "csv", "camvid"):
        open_data(tmp_path/"p.CSV", "camvid")


def test_a_data_frame(tmp_path):
    truth, _ = draw_csv(tmp_path)
    df = pd.DataFrame({"image": [f"a/x{i}.png" for i in range(4)], "mask": list(truth)})
    data = from_df(df, tmp_path, ClassTable(["a", "b", "c"], 2))
    assert data.layout == "df" and data.classes.void == 2 and data.splits == {"train": 3, "valid": 1}
    assert len(from_csv(tmp_path/"pairs.csv").classes) == 3


def test_hidden_files_are_counted(tmp_path):
    draw_folders(tmp_path)
    for name in ".DS_Store", "photos/._000.jpg", "truth/Thumbs.db":
        (tmp_path/name).write_bytes(b"x")
    note = [p for p in check(open_data(tmp_path)).problems if p.code == "system-files"]
    assert [(p.kind, p.found) for p in note] == [("note", [".DS_Store", "photos/._000.jpg", "truth/Thumbs.db"])]
    assert missing(note[0].message, 3) == []


# Lists, levels, stray values

@pytest.mark.parametrize("line", ["003", "003.jpg", "photos/003.jpg", "./photos/003.jpg"])
@pytest.mark.parametrize("name", ["valid.txt", "val.txt"])
def test_folders_with_lists(tmp_path, name, line):
    draw_folders(tmp_path)
    (tmp_path/name).write_text(f"{line}\n")
    data = open_data(tmp_path)
    assert data.layout == "folders" and data.split("valid")["image"].tolist() == ["photos/003.jpg"] and data.splits[
        "train"] == 4
    (tmp_path/"test.txt").write_text("001\n003\nnope\n")
    assert {p.code for p in open_data(tmp_path).problems if p.kind == "error"} == {"list-missing", "list-overlap"}
    (tmp_path/"test.txt").write_text("001\n")
    (tmp_path/"train.txt").write_text("000\n002\n")
    data = open_data(tmp_path)
    assert data.splits == {"train": 2, "valid": 1, "test": 1} and "not-listed" in codes_of(data)


@pytest.mark.parametrize("ending, names", [("_gtFine_labellevel3Ids", 26), ("_gtFine_labelcsTrainIds", 19),
                                           ("_gtFine_labellevel1Ids", 7), ("_label", 7)])
def test_names_of_idd(tmp_path, ending, names):
    for i, split in enumerate(("train", "train", "val")):
        photo(tmp_path/f"leftImg8bit/{split}/{i}/f{i}_leftImg8bit.png", i)
        paint(tmp_path/f"gtFine/{split}/{i}/f{i}{ending}.png", ids(i, names))
    data = open_data(tmp_path)
    assert data.layout == "idd" and len(
        data.classes) == names and data.classes.void == 255 and data.encoding.kind == "index" and len(data.pairs) == 3


def test_idd_in_gray_levels(tmp_path):
    levels = np.uint8([0, 36, 73, 109, 146, 182, 219, 255])
    draw_idd(tmp_path)
    for i, path in enumerate(sorted(tmp_path.rglob("*[0-9]_label.png"))):
        paint(path, levels[ids(i, 8)])
    data = open_data(tmp_path)
    assert data.classes.names[0] == "drivable" and "guessed-classes" in codes_of(data)
    assert set(np.unique(data.ids(data.pairs["mask"][0]))) <= {*range(7), 255} and not check(data).errors
    paint(tmp_path/data.pairs["mask"][0], ids(0, 7))
    assert "mask-values" in {p.code for p in check(open_data(tmp_path)).errors}, "a mask of another kind than the rest"


def test_a_stray_id_in_idd_is_no_level(tmp_path):
    draw_idd(tmp_path)
    mask = ids(0, 7)
    mask[0, :3] = 77
    paint(tmp_path/"gtFine/train/0/000_label.png", mask)
    data = open_data(tmp_path)
    assert data.encoding.kind == "index" and [(p.code, p.found, p.pixels)
                                              for p in check(data).errors] == [("mask-values", [77], 3)]


def test_plain_folders_named_idd(tmp_path):
    for i, split in enumerate(("train", "train", "val")):
        photo(tmp_path/f"{split}/images/{i}.png", i)
        paint(tmp_path/f"{split}/masks/{i}.png", np.uint8([0, 3, 6])[ids(i, 3)])
    data = open_data(tmp_path, "idd")
    assert data.layout == "idd" and len(data.classes) == 7 and data.splits == {"train": 2, "valid": 1}
    assert set(np.unique(data.ids(data.pairs["mask"][0]))) == {0, 3, 6}


def test_a_stray_value_is_said(tmp_path):
    for i in range(4):
        photo(tmp_path/f"pics/{i}.png", i)
        mask = ids(i, 3)
        mask[:2, 0] = 200 if i == 2 else mask[0, 0]
        paint(tmp_path/f"masks/{i}.png", mask)
    rare = [p for p in open_data(tmp_path).problems if p.code == "rare-value"]
    assert [(p.kind, p.file, p.found, p.pixels) for p in rare] == [("warning", "masks/2.png", [200], 2)]


def test_other_classes(tmp_path):
    draw_folders(tmp_path/"d")
    (tmp_path/"names.txt").write_text("x\ny\nVoid\n")
    data = open_data(tmp_path/"d", classes=tmp_path/"names.txt")
    assert data.classes.names == ("x", "y", "Void") and data.classes.void == 2 and "guessed-classes" in codes_of(data)
    draw_camseq(tmp_path/"c")
    (tmp_path/"colors.csv").write_text("name,r,g,b\na,64,128,64\nb,128,64,128\nc,0,0,0\nd,192,128,64\n")
    data = open_data(tmp_path/"c", classes=tmp_path/"colors.csv")
    assert data.classes.names == ("a", "b", "c", "d") and data.classes.void is None and not check(data).errors
    with refuses(UsageError, tmp_path/"none.txt", "codes.txt", "label_colors.txt", "class_dict.csv"):
        open_data(tmp_path/"c", classes=tmp_path/"none.txt")


def test_border_where_there_is_none(tmp_path):
    draw_camvid(tmp_path)
    with refuses(UsageError, "border", "camvid", "pets"):
        open_data(tmp_path, border="class")
    with refuses(UsageError, "border", "both", "void", "class"):
        open_data(tmp_path, border="both")


# Finding out

@pytest.mark.parametrize("name", [name for name in TREES if name not in ("csv", "folders")])
def test_one_folder_too_high(tmp_path, name):
    (tmp_path/"up/mine").mkdir(parents=True)
    (tmp_path/"up/notes").mkdir()
    TREES[name](tmp_path/"up/mine")
    with refuses(DataError, tmp_path/"up/mine", code="layout-unknown", file=str(tmp_path/"up")):
        open_data(tmp_path/"up")


def test_two_folders_are_found_one_level_down(tmp_path):
    (tmp_path/"up/mine").mkdir(parents=True)
    draw_folders(tmp_path/"up/mine")
    assert open_data(tmp_path/"up").pairs["image"][0].startswith("mine/photos/")


def test_two_datasets_side_by_side_are_no_pair_of_folders(tmp_path):
    for name in "a", "b":
        (tmp_path/f"up/{name}").mkdir(parents=True)
        draw_camvid(tmp_path/f"up/{name}")
    with refuses(DataError, tmp_path/"up/a", code="layout-unknown", file=str(tmp_path/"up")):
        open_data(tmp_path/"up")


def test_a_look_is_bounded(tmp_path, monkeypatch):
    looked, scandir = [], os.scandir
    for i in range(30):
        for k in range(30):
            (tmp_path/f"home/{i}/{k}").mkdir(parents=True)
    (tmp_path/"home/self").symlink_to("self")
    (tmp_path/"home/up").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path/"home/pipe.csv")

    def closed(path):
        looked.append(path)
        if os.fspath(path).endswith("/7"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)
    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError) as e:
        find_layout(tmp_path/"home")
    found = [(p.code, p.file) for p in e.value.problems]
    assert found == [("folder-unreadable", "7"), ("layout-unknown", str(tmp_path/"home"))]
    assert len(looked) < 20_000


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    draw_camvid_folders(tmp_path)
    scandir = os.scandir

    def closed(path):
        if os.fspath(path).endswith("/val"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)
    monkeypatch.setattr(os, "scandir", closed)
    data = open_data(tmp_path)
    assert ("folder-unreadable", "val/") in {(p.code, p.file) for p in data.problems
                                             if p.kind == "error"} and data.splits["test"] == 1


def test_datasets_show_themselves(tree):
    data = open_data(tree[1])
    html = data._repr_html_()
    assert html.count("<img") == min(6, len(data.pairs)) and "background:rgb" in html
    for image in data.pairs["image"]:
        data.path(image).write_bytes(b"x")
    assert data._repr_html_().count("<img") == 0


def test_layouts_say_what_they_are():
    for layout in LAYOUTS.values():
        assert layout.about and len(layout.tree.splitlines()) >= 2 and "mask" in layout.tree.splitlines()[-1].lower()


def test_a_table_goes_before_folders(tmp_path):
    two_folders(tmp_path, [(0, 1, 2)])
    pd.DataFrame({"image": [f"images\\{i}.png" for i in range(6)], "mask": [f"masks\\{i}.png" for i in range(6)],
                  "split": ["train"]*4 + ["val"]*2}).to_csv(tmp_path/"list.csv", index=False)
    data = open_data(tmp_path)
    assert data.layout == "csv" and data.splits == {"train": 4, "valid": 2} and data.pairs["image"][0] == "images/0.png"


@pytest.mark.parametrize("image, mask", [("{}.png", "{}_mask.png"), ("{}_sat.jpg", "{}_mask.png"),
                                         ("a/{}.tif", "a/{}_mask.tif"), ("{}.jpg", "{}-labels.png")])
def test_images_and_masks_in_one_folder(tmp_path, image, mask):
    for i in range(6):
        photo(tmp_path/image.format(f"x{i}"), i)
        paint(tmp_path/mask.format(f"x{i}"), ids(i, 3))
    data = open_data(tmp_path)
    assert data.layout == "folders" and len(data.pairs) == 6
    assert sorted(data.pairs["mask"]) == [mask.format(f"x{i}") for i in range(6)]


def test_other_folders_that_match(tmp_path):
    two_folders(tmp_path, [(0, 1, 2)])
    for i in range(6):
        paint(tmp_path/f"depth/{i}.png", ids(i, 4)*60)
        paint(tmp_path/f"masks_color/{i}.png", COLORS[ids(i, 3)])
    data = open_data(tmp_path)
    [said] = [p for p in data.problems if p.code == "several-folders"]
    assert data.pairs["mask"][0] == "masks/0.png" and said.found == ["masks_color"]


@pytest.mark.parametrize("file, text", [
    ("codes.txt", "back\nroad\ncar\n"), ("class_names.txt", "back\nroad\ncar\n"),
    ("labels.txt", "__ignore__\nback\nroad\ncar\n"),
    ("labelmap.txt", "# label:color_rgb:parts:actions\nback:64,128,64::\nroad:128,64,128::\ncar:0,0,0::\n")])
@pytest.mark.parametrize("painted", [False, True])
def test_own_classes_in_the_folders_of_voc(tmp_path, file, text, painted):
    for i in range(6):
        photo(tmp_path/f"JPEGImages/{i}.jpg", i)
        paint(tmp_path/f"SegmentationClass/{i}.png", COLORS[ids(i, 3)] if painted and file == "labelmap.txt"
              else ids(i, 3))
    (tmp_path/file).write_text(text)
    data = open_data(tmp_path)
    assert data.layout == "voc" and data.classes.names == ("back", "road", "car")
    assert all((data.ids(f"SegmentationClass/{i}.png") == ids(i, 3)).all() for i in range(6))


def test_labelme(tmp_path):
    for i in range(6):
        photo(tmp_path/f"JPEGImages/{i}.jpg", i)
        paint(tmp_path/f"SegmentationClassPNG/{i}.png", ids(i, 3))
    (tmp_path/"class_names.txt").write_text("_background_\ncat\ndog\n")
    data = open_data(tmp_path)
    assert (data.layout, data.classes.names, data.classes.void) == ("voc", ("_background_", "cat", "dog"), 255)


@pytest.mark.parametrize("stem", ["IMG_{}", "{}99_1", "2007_{}", "2021_00000{}", "20070000{}"])
@pytest.mark.parametrize("masks", ["SegmentationClass", "SegmentationClassPNG", "SegmentationClassAug"])
def test_own_images_in_the_folders_of_voc_have_no_names_of_voc(tmp_path, stem, masks):
    for i in range(6):
        photo(tmp_path/f"JPEGImages/{stem.format(i)}.jpg", i)
        paint(tmp_path/f"{masks}/{stem.format(i)}.png", ids(i, 18), np.uint8(voc_colors(256)).ravel().tolist())
    (tmp_path/"ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path/"ImageSets/Segmentation/val.txt").write_text("".join(f"{stem.format(i)}\n" for i in (1, 4)))
    data = open_data(tmp_path)
    assert data.layout == "voc" and data.classes.names[:2] == ("class-0", "class-1") and len(data.classes) == 18
    assert data.splits == {"train": 4, "valid": 2} and any("not named like" in p.message for p in data.problems)
    assert (data.ids(f"{masks}/{stem.format(2)}.png") == ids(2, 18)).all()


def test_voc_with_two_folders_of_masks(tmp_path):
    draw_voc(tmp_path)
    shutil.copytree(tmp_path/"SegmentationClass", tmp_path/"SegmentationClassAug")
    data = open_data(tmp_path)
    [said] = [p for p in data.problems if p.code == "several-folders"]
    assert said.file == "SegmentationClassAug/" and missing(said.message, "SegmentationClass/") == []
    assert data.classes.names[20] == "tvmonitor" and data.pairs["mask"][0].startswith("SegmentationClass/")


@pytest.mark.parametrize("painted", [True, False])
def test_own_classes_in_the_folders_of_segnet(tmp_path, painted):
    for i, split in enumerate(("train", "train", "val", "test")):
        photo(tmp_path/f"{split}/{i}.png", i)
        paint(tmp_path/f"{split}annot/{i}.png", COLORS[ids(i, 4)] if painted else ids(i, 4))
    (tmp_path/"label_colors.txt").write_text("# color (RGB) label\n" + TABLE)
    data = open_data(tmp_path)
    assert data.layout == "segnet" and data.classes.names == ("Animal", "Road", "Void", "Child, small")
    assert data.classes.void == 2 and (data.ids("valannot/2.png") == ids(2, 4)).all() and not check(data).errors


@pytest.mark.parametrize("file, text", [("classes.txt", "Animal\nRoad\nVoid\nChild\n"),
    ("data.yaml", "names: [Animal, Road, Void, Child]"), ("id2label.json", '["Animal", "Road", "Void", "Child"]')])
def test_camvid_without_codes(tmp_path, file, text):
    draw_camvid(tmp_path)
    (tmp_path/"codes.txt").unlink()
    (tmp_path/file).write_text(text)
    data = open_data(tmp_path)
    assert data.layout == "camvid" and data.classes.names == ("Animal", "Road", "Void", "Child")
    assert data.classes.void == 2 and data.splits == {"train": 3, "valid": 2} and not check(data).errors


def test_published_camvid_with_the_table_of_another_tool(tmp_path):
    truth, _ = draw_camvid_published(tmp_path)
    (tmp_path/"label_colors.txt").unlink()
    (tmp_path/"labelmap.txt").write_text("Animal:64,128,64::\nRoad:128,64,128::\nVoid:0,0,0::\nChild:192,128,64::\n")
    (tmp_path/"val.txt").write_text("0001TP_1\n0001TP_3\n")
    data = open_data(tmp_path)
    assert data.classes.names == ("Animal", "Road", "Void", "Child") and data.splits == {"train": 3, "valid": 2}
    assert all((data.ids(mask) == drawn).all() for mask, drawn in truth.items()) and not check(data).errors


@pytest.mark.parametrize("codes", [False, True])
def test_painted_camvid(tmp_path, codes):
    for i in range(6):
        photo(tmp_path/f"images/{i}.png", i)
        paint(tmp_path/f"labels/{i}_P.png", COLORS[ids(i, 4)])
    (tmp_path/"label_colors.txt").write_text(TABLE)
    if codes:
        (tmp_path/"codes.txt").write_text("Animal\nRoad\nVoid\nChild, small\n")
    data = open_data(tmp_path)
    assert data.layout == "camvid" and data.classes.void == 2 and not check(data).errors
    assert (data.ids("labels/0_P.png") == ids(0, 4)).all()


def test_odd_files_of_names(tmp_path):
    draw_camvid(tmp_path)
    (tmp_path/"codes.txt").write_text("x\n"*300_000)
    assert all(len(str(p)) < 400 for p in open_data(tmp_path).problems)
    (tmp_path/"codes.txt").write_text("x"*500 + "\ny\n")
    [p] = [p for p in open_data(tmp_path).problems if p.code == "codes"]
    assert missing(p.message, 1, 500) == [] and p.found == ["x"*40] and len(str(p)) < 400
    (tmp_path/"codes.txt").unlink()
    [absent] = [p for p in open_data(tmp_path).problems if p.code == "codes"]
    os.mkfifo(tmp_path/"codes.txt")
    [p] = [p for p in open_data(tmp_path).problems if p.code == "codes"]
    assert p.file == "codes.txt" and p.message != absent.message
    (tmp_path/"valid.txt").write_text("1.png\n" + "nowhere.png\n"*50)
    [p] = [p for p in open_data(tmp_path).problems if p.code == "valid-missing"]
    assert p.found == ["nowhere.png"] and missing(p.message, 1, 2) == [] and missing(p.message, 50, 51) == ["50", "51"]
    (tmp_path/"images/self.png").symlink_to("self.png")
    assert ("broken-link", "images/self.png") in [(p.code, p.file) for p in open_data(tmp_path).problems]
