"""Class names from the files that labeling tools and published datasets write."""
import json

import numpy as np
import pytest
from helpers.layouts import ids, paint, photo
from helpers.problems import missing
from helpers.refusals import refuses

from segfast.core.errors import DataError
from segfast.data.check import check
from segfast.data.detect.class_files import find_class_files, parse_color, parse_yaml, try_class_file
from segfast.data.classes import ClassTable
from segfast.data.open import open_data

PALETTE = np.uint8([[48, 112, 32], [0, 0, 0], [176, 112, 32], [250, 250, 10]])


def draw(root, values, images="images/{}.jpg", masks="masks/{}.png", n=6, start=0):
    "Pairs whose masks hold some values, or colors; returns {mask: what was drawn}."
    drawn = {}
    for i in range(start, start + n):
        photo(root/images.format(i), i)
        drawn[masks.format(i)] = np.asarray(values)[ids(i, len(values))]
        paint(root/masks.format(i), drawn[masks.format(i)])
    return drawn


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else json.dumps(text).encode())


def said_of(data, code="class-file"): return [p for p in data.problems if p.code == code]


# Cases from people's folders

def test_case_roboflow_png_mask(tmp_path):
    drawn = {}
    for split, first, n in ("train", 0, 4), ("valid", 4, 2), ("test", 6, 1):
        drawn |= draw(tmp_path, [0, 1, 3], split + "/frame{}_jpg.rf.0a9c.jpg", split + "/frame{}_jpg.rf.0a9c_mask.png",
                      n, first)
        write(tmp_path/split/"_classes.csv", "Pixel Value, Class\n0, background\n1, fence\n2, post\n3, wire\n")
    data = open_data(tmp_path)
    assert data.splits == {"train": 4, "valid": 2, "test": 1} and data.classes.void is None
    assert data.classes.names == ("background", "fence", "post", "wire")
    assert all((data.ids(mask) == values).all() for mask, values in drawn.items()) and not check(data).errors


def test_roboflow_splits_that_disagree(tmp_path):
    for split, word in ("train", "fence"), ("valid", "wall"):
        draw(tmp_path, [0, 1], split + "/{}.jpg", split + "/{}_mask.png", 3)
        write(tmp_path/split/"_classes.csv", f"Pixel Value, Class\n0, background\n1, {word}\n")
    [said] = [p for p in open_data(tmp_path).problems if p.kind == "error"]
    assert said.file == "valid/_classes.csv" and missing(said.message, "train/_classes.csv", "'wall'", "'fence'") == []


@pytest.mark.parametrize("labels", [{"background": 0, "liver": 1, "tumour": 2},
                                    {"0": "background", "1": "liver", "2": "tumour"}])
def test_case_nnunet_2d(tmp_path, labels):
    draw(tmp_path, [0, 1, 2], "imagesTr/case_00{}_0000.png", "labelsTr/case_00{}.png")
    for i in 7, 8: photo(tmp_path/f"imagesTs/case_00{i}_0000.png", i)
    write(tmp_path/"dataset.json", {"channel_names": {"0": "R"}, "labels": labels, "file_ending": ".png"})
    data = open_data(tmp_path)
    assert data.classes.names == ("background", "liver", "tumour") and len(data.pairs) == 6
    assert all(image.startswith("imagesTr/") for image in data.pairs["image"])


def test_case_ultralytics_semantic(tmp_path):
    for split, first, n in ("train", 0, 4), ("val", 4, 2):
        draw(tmp_path, [0, 1, 2, 255], f"images/{split}/a{{}}.jpg", f"masks/{split}/a{{}}.png", n, first)
    write(tmp_path/"data.yaml", "path: .\ntrain: images/train\nval: images/val\nmasks_dir: masks\n"
                                "names:\n  0: ground\n  1: leaf\n  2: stem\n")
    data = open_data(tmp_path)
    assert data.classes.names == ("ground", "leaf", "stem") and data.classes.void == 255
    assert data.splits == {"train": 4, "valid": 2} and not check(data).errors


@pytest.mark.parametrize("file", ["config.json", "config_v1.2.json", "config_v2.0.json"])
def test_case_mapillary_v12(tmp_path, file):
    labels = [{"name": f"group--kind-{i}", "readable": f"Kind {i}", "color": [i, 9*i, 255 - i], "evaluate": i < 4}
              for i in range(5)]
    for split, first, n in ("training", 0, 4), ("validation", 4, 2):
        draw(tmp_path, range(5), split + "/images/k{}Qw-x.jpg", split + "/labels/k{}Qw-x.png", n, first)
        for i in range(first, first + n): paint(tmp_path/f"{split}/instances/k{i}Qw-x.png", ids(i, 5)*40)
    write(tmp_path/file, {"labels": labels, "version": "1.1"})
    data = open_data(tmp_path)
    assert data.classes.names == tuple(f"Kind {i}" for i in range(5)) and data.classes.colors[3] == (3, 27, 252)
    assert data.splits == {"train": 4, "valid": 2} and all("/labels/" in mask for mask in data.pairs["mask"])


@pytest.mark.parametrize("table", ["name,r,g,b\nbackground,0,0,0\nroad,255,255,255\n",
                                   "name,r,g,b\nroad,255,255,255\nbackground,0,0,0\n"])
@pytest.mark.parametrize("painted", [False, True])
def test_case_massachusetts(tmp_path, table, painted):
    values = np.uint8([0, 255])
    for split, n in ("train", 4), ("val", 2), ("test", 2):
        draw(tmp_path, values[:, None].repeat(3, 1) if painted else values, f"tiff/{split}/1{{}}_15.tiff",
             f"tiff/{split}_labels/1{{}}_15.tif", n)
    write(tmp_path/"label_class_dict.csv", table)
    write(tmp_path/"metadata.csv", "image_id,split,tiff_image_path,tif_label_path\n"
                                   "10_15,train,tiff/train/10_15.tiff,tiff/train_labels/10_15.tif\n")
    data = open_data(tmp_path)
    assert data.splits == {"train": 4, "valid": 2, "test": 2} and sorted(data.classes.names) == ["background", "road"]
    mask = data.pairs["mask"][0]
    i = int(mask.rpartition("/1")[2][0])
    assert (data.ids(mask) == np.uint8([data.classes.names.index(n) for n in ("background", "road")])[ids(i, 2)]).all()


def test_case_deepglobe(tmp_path):
    names = "urban_land agriculture_land rangeland forest_land water barren_land unknown".split()
    colors = np.uint8([[0, 255, 255], [255, 255, 0], [255, 0, 255], [0, 255, 0], [0, 0, 255], [255]*3, [0]*3])
    draw(tmp_path, colors, "train/10{}_sat.jpg", "train/10{}_mask.png")
    for i in 7, 8: photo(tmp_path/f"valid/10{i}_sat.jpg", i)
    write(tmp_path/"class_dict.csv", "name,r,g,b\n" + "".join(f"{name},{','.join(map(str, c))}\n"
                                                             for name, c in zip(names, colors)))
    write(tmp_path/"metadata.csv", "image_id,split,sat_image_path,mask_path\n" + "".join(
        f"10{i},train,train/10{i}_sat.jpg,train/10{i}_mask.png\n" for i in range(6)) + "107,valid,valid/107_sat.jpg,\n")
    data = open_data(tmp_path)
    assert data.classes.names == tuple(names) and data.classes.void is None and len(data.pairs) == 6
    assert all((data.ids(f"train/10{i}_mask.png") == ids(i, 7)).all() for i in range(6)) and not check(data).errors


def test_case_camvid_kaggle(tmp_path):
    for split, first, n in ("train", 0, 4), ("val", 4, 2), ("test", 6, 2):
        draw(tmp_path, PALETTE, split + "/0016E5_0{}.png", split + "_labels/0016E5_0{}_L.png", n, first)
    rows = zip(("Sky", "Void", "Road", "Car"), PALETTE.tolist())
    write(tmp_path/"class_dict.csv", "name, r, g, b\r\n" + "".join(f'"{name}", {r}, {g}, {b}\r\n'
                                                                 for name, (r, g, b) in rows))
    data = open_data(tmp_path)
    assert data.layout == "camvid" and data.classes.names == ("Sky", "Void", "Road", "Car") and data.classes.void == 1
    assert data.splits == {"train": 4, "valid": 2, "test": 2}
    assert (data.ids("test_labels/0016E5_07_L.png") == ids(7, 4)).all()


def draw_cvat_camvid(root, text):
    draw(root, PALETTE[[1, 0, 2]], "default/img_{}.png", "defaultannot/img_{}.png")
    write(root/"default.txt", "".join(f"/default/img_{i}.png /defaultannot/img_{i}.png\n" for i in range(6)))
    write(root/"label_colors.txt", text)


@pytest.mark.parametrize("text", [
    pytest.param("0 0 0 Void\n48 112 32 leaf\n176 112 32 stem\n", id="cvat_camvid"),
    pytest.param("# label_colors.txt (with color value type)\n# color (RGB) label\n0 0 0 Void\n48 112 32 leaf\n"
                 "176 112 32 stem\n", id="label_colors_commented")])
def test_case(tmp_path, text):
    draw_cvat_camvid(tmp_path, text)
    data = open_data(tmp_path)
    assert data.classes.names == ("Void", "leaf", "stem") and data.classes.void == 0 and data.splits["train"] == 5
    assert (data.ids("defaultannot/img_2.png") == ids(2, 3)).all() and not check(data).errors


def test_case_cvat_mask_images(tmp_path):
    draw(tmp_path, PALETTE[:3], "JPEGImages/frame_00{}.jpg", "SegmentationClass/frame_00{}.png")
    draw(tmp_path, PALETTE, "JPEGImages/frame_00{}.jpg", "SegmentationObject/frame_00{}.png")
    write(tmp_path/"labelmap.txt", "# label:color_rgb:parts:actions\nleaf:48,112,32::\nbackground:0,0,0::\n"
                                   "stem:176,112,32::\n")
    write(tmp_path/"ImageSets/Segmentation/default.txt", "".join(f"frame_00{i}\n" for i in range(6)))
    data = open_data(tmp_path)
    assert data.layout == "voc" and data.classes.names == ("leaf", "background", "stem")
    assert data.splits == {"train": 5, "valid": 1}
    assert (data.ids("SegmentationClass/frame_001.png") == ids(1, 3)).all() and not check(data).errors


def test_case_ade20k_sceneparsing(tmp_path):
    for split, word, first, n in ("training", "train", 0, 8), ("validation", "val", 8, 4):
        draw(tmp_path, range(151), f"images/{split}/ADE_{word}_{{}}.jpg", f"annotations/{split}/ADE_{word}_{{}}.png",
             n, first)
    names = [f"thing {i}, object" for i in range(1, 151)]
    write(tmp_path/"objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tStuff\tName\n" + "".join(
        f"{i}\t0.1\t11664\t1172\t1\t{name}\n" for i, name in enumerate(names, 1)))
    write(tmp_path/"sceneCategories.txt", "ADE_train_0 hall\n")
    data = open_data(tmp_path)
    assert data.classes.names == ("other", *names) and data.classes.void is None and data.encoding.kind == "index"
    assert data.splits == {"train": 8, "valid": 4} and not check(data).errors


# Other tools and datasets

ABC = ("ground", "leaf", "stem")
FORMS = {
    "_classes.csv": "Pixel Value,Class\n0,ground\n1,leaf\n2,stem\n",
    "Classes.TXT": "\ufeffground\r\nleaf\r\nstem\r\n",
    "masks/classes.txt": "ground\nleaf\nstem\n",
    "class_names.txt": "ground\nleaf\nstem",
    "labels.txt": "0: ground\n1: leaf\n2: stem\n",
    "Labels.txt": "__ignore__\nground\nleaf\nstem\n",
    "label_names.txt": "# of the classes\nground\nleaf\nstem\n",
    "obj.names": "ground\nleaf\nstem\n",
    "data.yml": "nc: 3\nnames: [ground, leaf, 'stem']\n",
    "dataset.yaml": "names:\n- ground\n- leaf\n- stem\n",
    "classes.json": {"ground": 0, "leaf": 1, "stem": 2},
    "id2label.json": {"0": "ground", "1": "leaf", "2": "stem"},
    "label_map.json": [{"id": 2, "name": "stem"}, {"id": 0, "name": "ground"}, {"id": 1, "name": "leaf"}],
    "categories.json": {"categories": [{"id": i, "name": name, "color": "#0a0b0c"} for i, name in enumerate(ABC)]},
    "label_classes.json": [{"png_index": i, "class_name": name, "color": f"#4df3c{i}ff"} for i, name in enumerate(ABC)],
    "config.json": {"id2label": {"0": "ground", "1": "leaf", "2": "stem"}, "num_labels": 3},
    "classes.csv": "id;name;color\n2;stem;#010203\n0;ground;#040506\n1;leaf;#070809\n",
    "labels.csv": "label_id\tlabel_name\tr\tg\tb\n0\tground\t1\t2\t3\n1\tleaf\t4\t5\t6\n2\tstem\t7\t8\t9\n",
    "RUGD_annotation-colormap.txt": "0 ground 1 2 3\n1 leaf 108 64 20\n2 stem 255 229 204\n",
    "class_dict_seg.csv": "name, r, g, b\r\nground, 1, 2, 3\r\nleaf, 4, 5, 6\r\nstem, 7, 8, 9\r\n",
    "obj_class_to_machine_color.json": {"ground": [0, 0, 0], "leaf": [1, 1, 1], "stem": [2, 2, 2]},
    "class_dict.csv": "id,name,r,g,b\n1,leaf,4,5,6\n0,ground,1,2,3\n2,stem,7,8,9\n",
    "cityscapes_labels.csv": "name,id,trainId,category,color\nground,0,255,x,\"0, 0, 0\"\nleaf,1,0,flat,\"1, 2, 3\"\n"
                             "stem,2,1,flat,\"4, 5, 6\"\nplate,-1,255,vehicle,\"0, 0, 142\"\n"}


@pytest.mark.parametrize("file", FORMS)
@pytest.mark.parametrize("how", ["found", "--classes"])
def test_ids_are_named(tmp_path, file, how):
    drawn = draw(tmp_path/"d", [0, 1, 2])
    write((tmp_path/"d" if how == "found" else tmp_path)/file, FORMS[file])
    data = open_data(tmp_path/"d", classes=None if how == "found" else tmp_path/file)
    assert {name: i for i, name in enumerate(data.classes.names)} == {name: i for i, name in enumerate(ABC)}
    assert all((data.ids(mask) == values).all() for mask, values in drawn.items()) and not check(data).errors


COLORED = {
    "dataset_meta.json": {"label_map": {"0": "leaf", "1": "ground", "2": "stem"}, "background_label": "1",
                          "segmentation_colors": [[48, 112, 32], [0, 0, 0], [176, 112, 32]]},
    "labelmap.txt": "leaf:48,112,32::\nground:0,0,0::\nstem:176,112,32::\n",
    "CLASS_DICT.CSV": "name,r,g,b\nleaf,48,112,32\nground,0,0,0\nstem,176,112,32\n",
    "meta.json": {"classes": [{"title": "leaf", "shape": "bitmap", "color": "#307020", "id": 2770340},
                              {"title": "ground", "shape": "bitmap", "color": "#000000", "id": 2770341},
                              {"title": "stem", "shape": "polygon", "color": "#B07020", "id": 2770342}]},
    "classes.json": [{"name": "leaf", "color": "#307020"}, {"name": "ground", "color": "rgb(0, 0, 0)"},
                     {"name": "stem", "color": [176, 112, 32, 255]}],
    "colors.json": {"leaf": "#307020", "ground": [0, 0, 0], "stem": [176, 112, 32]},
    "class_dict.csv": "id,name,hex\n4,leaf,#307020\n0,ground,#000000\n9,stem,#b07020\n",
    "palette.yaml": "leaf: [48, 112, 32]\nground: [0, 0, 0]\nstem: [176, 112, 32]\n",
    "legend.csv": "Class;Hex\nleaf;#307020\nground;#000000\nstem;#b07020\n",
    "masks/color_map.txt": "0 leaf 48 112 32\n1 ground 0 0 0\n2 stem 176 112 32\n"}


@pytest.mark.parametrize("file", COLORED)
@pytest.mark.parametrize("how", ["found", "--classes"])
def test_colors_are_named(tmp_path, file, how):
    draw(tmp_path/"d", PALETTE[:3])
    write((tmp_path/"d" if how == "found" else tmp_path)/file, COLORED[file])
    data = open_data(tmp_path/"d", classes=None if how == "found" else tmp_path/file)
    meant = [data.classes.names.index(name) for name in ("leaf", "ground", "stem")]
    assert all((data.ids(f"masks/{i}.png") == np.uint8(meant)[ids(i, 3)]).all() for i in range(6))
    assert not check(data).errors


def test_ids_with_gaps_keep_their_names(tmp_path):
    draw(tmp_path, [0, 7, 11, 26])
    write(tmp_path/"classes.csv", "id,name\n0,unlabeled\n7,road\n11,building\n26,car\n")
    data = open_data(tmp_path)
    assert data.classes.names == ("unlabeled", "road", "building", "car") and data.classes.void == 0
    assert (data.ids("masks/1.png") == ids(1, 4)).all() and not check(data).errors


def test_an_ignored_label_of_nnunet(tmp_path):
    draw(tmp_path, [0, 1, 2], "imagesTr/c_{}_0000.png", "labelsTr/c_{}.png")
    write(tmp_path/"dataset.json", {"labels": {"background": 0, "liver": 1, "ignore": 2}})
    assert open_data(tmp_path).classes.void == 2


def test_values_without_a_name_are_said(tmp_path):
    draw(tmp_path, [0, 1, 2, 7])
    write(tmp_path/"_classes.csv", "Pixel Value, Class\n1, leaf\n2, stem\n")
    data = open_data(tmp_path)
    assert data.classes.names == ("background", "leaf", "stem", "class-7")
    [said] = said_of(data)
    assert said.kind == "warning" and missing(said.message, 0, 7) == []


@pytest.mark.parametrize("text", ["leaf\nstem\n", "leaf\n"])
@pytest.mark.parametrize("file", ["classes.txt", "class_names.txt", "labels.txt"])
def test_a_list_that_is_too_short_is_not_used(tmp_path, file, text):
    draw(tmp_path/"d", [0, 1, 2])
    write(tmp_path/"d"/file, text)
    data = open_data(tmp_path/"d")
    [said] = said_of(data)
    assert said.kind == "warning" and said.file == file and "leaf" not in data.classes.names and len(data.classes) == 3
    assert check(open_data(tmp_path/"d", classes=tmp_path/"d"/file)).errors, "whoever gives a file means it"
    write(tmp_path/"e.json", {"leaf": 11, "stem": 12})
    with refuses(DataError, "e.json", code="class-file"): open_data(tmp_path/"d", classes=tmp_path/"e.json")


def test_regions_of_nnunet_are_said(tmp_path):
    draw(tmp_path, [0, 1, 2])
    write(tmp_path/"dataset.json", {"labels": {"background": 0, "whole": [1, 2], "core": [2]}})
    assert [(p.kind, p.file) for p in said_of(open_data(tmp_path))] == [("warning", "dataset.json")]


@pytest.mark.parametrize("other, kind", [
    ("ground\nhedge\nwire\n", "warning"), ("leaf\n", "note"), ("leaf\nstem\nground\n", "")])
def test_two_files(tmp_path, other, kind):
    draw(tmp_path, [0, 1, 2])
    write(tmp_path/"data.yaml", FORMS["data.yml"])
    write(tmp_path/"classes.txt", other)
    data = open_data(tmp_path)
    assert data.classes.names == ABC
    assert [p.kind for p in said_of(data) if p.file == "classes.txt"] == [kind]*bool(kind)


def test_own_files_come_first(tmp_path):
    draw(tmp_path, [0, 1, 2])
    write(tmp_path/"codes.txt", "a\nb\nc\n")
    write(tmp_path/"_classes.csv", FORMS["_classes.csv"])
    data = open_data(tmp_path)
    [said] = said_of(data)
    assert data.classes.names == ("a", "b", "c") and said.kind == "warning" and missing(said.message, "codes.txt") == []


@pytest.mark.parametrize("file, text, where", [
    ("classes.json", '{"a": 0,\n "b" 1}', "line 2"), ("data.yaml", "names:\n - a\n b", "line 3"),
    ("_classes.csv", "Pixel Value, Class\n0, a\nx, b\n", "line 3"), ("classes.csv", "id,name\n0,a,b\n1,c\n", "line 2"),
    ("labelmap.txt", "a:1,2,3::\nb:1,2::\n", "line 2"), ("dataset.json", '{"labels": {"a": 0, "b": 0}}', "'b'"),
    ("classes.txt", "a\nb\na\n", "line 3"), ("data.yaml", "a: &x [1]\nnames: [*x, *x]", "line 2"),
    ("classes.json", "["*100_000, "nested"), ("data.yaml", "["*100_000, "nested"),
    ("labels.txt", "void\nunlabeled\n", "line 2")])
def test_faults_name_file_and_line(tmp_path, file, text, where):
    draw(tmp_path, [0, 1, 2])
    write(tmp_path/file, text)
    [said] = [p for p in open_data(tmp_path).problems if p.kind == "error"]
    assert said.file == file and where in said.message and len(str(said)) < 400


def test_a_large_file_is_not_read(tmp_path):
    for file, most in ("classes.txt", 1), ("dataset.json", 16):
        (tmp_path/file).write_bytes(b" "*((most << 20) + 1))
        [said] = try_class_file(tmp_path/file)[1]
        assert f"than {most} MB" in said.message and said.kind == "warning"
    with pytest.raises(ValueError, match="128 KB"): parse_yaml("a: b\n"*50_000)


@pytest.mark.parametrize("file, text", [
    ("config.json", {"lr": 0.1, "model": "unet"}), ("config.yaml", "num_classes: 3\nbatch_size: 4\n"),
    ("meta.json", {"version": 3}),
    ("labels.csv", "image,label\n0.jpg,1\n"),
    ("labels.txt", "0.jpg 1\n1.jpg 0\n"), ("dataset.json", {"labels": [["0.png", 3]]}),
    ("data.yaml", "train: images\n"), ("_classes.csv", "filename,cat,dog\n0.jpg,1,0\n"),
    ("train_labels.csv", "id,label\nx,1\n"),
    ("dataset.json", [1, 2]), ("labels.txt", "cat\ndog\ncat\ndog\ndog\n"),
    ("labels.csv", "id,label\n1,a\n2,b\n3,a\n4,b\n")])
def test_other_files_of_these_names_are_left_alone(tmp_path, file, text):
    draw(tmp_path, [0, 1, 2])
    write(tmp_path/file, text)
    data = open_data(tmp_path)
    assert not said_of(data) and data.classes.names == ("class-0", "class-1", "class-2")


def test_files_are_found_between_the_masks_and_the_root(tmp_path):
    for file in "classes.txt", "a/labels.txt", "a/masks/_classes.csv", "b/classes.txt": write(tmp_path/file, "x\n")
    assert find_class_files(tmp_path, ["a/masks/1.png"]) == ["a/masks/_classes.csv", "a/labels.txt", "classes.txt"]


@pytest.mark.parametrize("value, color", [
    ("#0f8", (0, 255, 136)), ("0x0080ff", (0, 128, 255)), ("(1, 2, 3)", (1, 2, 3)), ([1, 2, 3, 255], (1, 2, 3)),
    ({"r": 1, "g": 2, "b": 3}, (1, 2, 3)), ([1, 2], None), ([1, 2, 256], None), ("#zzz", None), ("red", None),
    (7, None), ([True, 1, 2], None)])
def test_colors(value, color): assert parse_color(value) == color


def test_void_outside_the_names(tmp_path):
    draw(tmp_path, [0, 1, 255])
    write(tmp_path/"classes.csv", "id,name\n0,a\n1,b\n255,ignore\n")
    assert open_data(tmp_path).classes == ClassTable(("a", "b"), 255)


@pytest.mark.parametrize("file", ["labelmap.txt", "CLASS_DICT.CSV", "classes.json"])
@pytest.mark.parametrize("images, masks", [("images", "masks"), ("JPEGImages", "SegmentationClass")])
def test_palettes_say_which_class_an_id_is(tmp_path, file, images, masks):
    for i in range(6):
        photo(tmp_path/f"{images}/{i}.jpg", i)
        paint(tmp_path/f"{masks}/{i}.png", ids(i, 3), [0, 0, 0, 176, 112, 32, 48, 112, 32] + [0]*759)
    write(tmp_path/file, COLORED[file])
    data = open_data(tmp_path)
    meant = [data.classes.names.index(name) for name in ("ground", "stem", "leaf")]
    assert all((data.ids(f"{masks}/{i}.png") == np.uint8(meant)[ids(i, 3)]).all() for i in range(6))
    assert not check(data).errors


def test_black_that_a_tool_leaves_out_is_background(tmp_path):
    draw(tmp_path, PALETTE[[1, 0, 2]])
    write(tmp_path/"classes.json", [{"name": "leaf", "color": "#307020"}, {"name": "stem", "color": "#b07020"}])
    data = open_data(tmp_path)
    assert data.classes.names == ("background", "leaf", "stem") and not check(data).errors
    assert (data.ids("masks/3.png") == ids(3, 3)).all() and [p.kind for p in said_of(data)] == ["note"]


@pytest.mark.parametrize("names, kept", [("[polyp]", False), ("[bg, polyp]", True), ("[a, b, c]", False)])
def test_black_and_white_masks(tmp_path, names, kept):
    draw(tmp_path, [0, 255])
    write(tmp_path/"data.yaml", f"names: {names}\n")
    data = open_data(tmp_path)
    assert data.classes.void is None and len(data.classes) == 2 and ("polyp" in data.classes.names) == kept
    assert (data.ids("masks/1.png") == ids(1, 2)).all() and said_of(data)


@pytest.mark.parametrize("text", [
    "2. road\n0. ground\n1. river\n", "2) road\n0) ground\n1) river\n", "2 - road\n0 - ground\n1 - river\n",
    "road - 2\nground - 0\nriver - 1\n", "road (2)\nground (0)\nriver (1)\n", "2 -> road\n0 -> ground\n1 -> river\n",
    "ground, river, road\n", "['ground', 'river', 'road']\n", "ground;river;road\r\n",
    "0 0 0 0 ground\n1 0 0 255 river\n2 200 100 50 road\n", "ground;\nriver;\nroad;\n", "ground,\nriver,\nroad\n",
    "id   name\n2    road\n0    ground\n1    river\n", "name id\nroad 2\nground 0\nriver 1\n",
    "ground # nothing\nriver # water\nroad # way\n"])
def test_more_ways_to_write_ids_and_names_in_a_text_file(tmp_path, text):
    drawn = draw(tmp_path, [0, 1, 2])
    write(tmp_path/"classes.txt", text)
    data = open_data(tmp_path)
    assert data.classes.names == ("ground", "river", "road")
    assert all((data.ids(mask) == values).all() for mask, values in drawn.items())


@pytest.mark.parametrize("file, text", [
    ("classes.csv", "pixel,class\n200,road\n0,ground\n100,river\n"),
    ("classes.csv", "class_name,gray_value\nroad,200\nground,0\nriver,100\n"),
    ("classes.json", [{"name": "road", "greyscale": 200}, {"name": "ground", "greyscale": 0},
                      {"name": "river", "greyscale": 100}]),
    ("classes.json", [["road", 200], ["ground", 0], ["river", 100]]),
    ("classes.json", [[200, "road"], [0, "ground"], [100, "river"]]),
    ("Klassen.csv", "Wert;Klasse;Rot;Grün;Blau\n200;road;9;9;9\n0;ground;1;2;3\n100;river;4;5;6\n")])
def test_a_column_of_values_of_another_name(tmp_path, file, text):
    drawn = draw(tmp_path, [0, 100, 200])
    write(tmp_path/file, text)
    data = open_data(tmp_path)
    assert data.classes.names == ("ground", "river", "road")
    assert all((data.ids(mask) == values//100).all() for mask, values in drawn.items())


@pytest.mark.parametrize("file, text", [("class_list.txt", "ground\nriver\nroad\n"),
                                        ("config.yaml", "batch_size: 4\nclass_names: [ground, river, road]\n"),
                                        ("Klassen.txt", "ground\nriver\nroad"),
                                        ("classes.csv", "name\nground\nriver\nroad\n"),
                                        ("labels.csv", "ground\nriver\nroad\n"),
                                        ("clases.txt", "0 ground\n1 river\n2 road\n")])
def test_names_alone_in_files_of_other_names(tmp_path, file, text):
    draw(tmp_path, [0, 1, 2])
    write(tmp_path/file, text)
    assert open_data(tmp_path).classes.names == ("ground", "river", "road")


@pytest.mark.parametrize("text", ["name,pixels\nground,12\nriver,77\nroad,3\n",
                                  "name,level\nground,1\nriver,1\nroad,2\n",
                                  "name,number_of_images\nground,4\nriver,2\nroad,1\n"])
def test_counts_are_no_values(tmp_path, text):
    draw(tmp_path, [0, 1, 2])
    write(tmp_path/"classes.csv", text)
    assert open_data(tmp_path).classes.names == ("ground", "river", "road")
