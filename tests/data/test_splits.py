"""Splits: random, stratified, in sequence, in folds; and another one for a dataset that has one."""
import json
from pathlib import PurePosixPath

import numpy as np
import pytest
from helpers.layouts import draw_camvid, draw_kitti_road, draw_segnet, ids, paint, photo
from helpers.problems import missing
from helpers.refusals import refuses

from segfast.core.errors import UsageError
from segfast.data.formats.voc import VOC_NAMES
from segfast.data.open import open_data
from segfast.data.splits import kfold_split, random_split, sequence_split, stratified_split


# Splits

@pytest.mark.parametrize("n", [2, 3, 7, 101])
@pytest.mark.parametrize("gap", [0, 1, 3])
def test_sequences_are_contiguous(n, gap):
    out = sequence_split(n, gap=gap)
    words = [word for word in out if word]
    assert len(out) == n and words == sorted(words, key=["train", "valid", "test"].index) and {"train",
        "valid"} <= set(words)


@pytest.mark.parametrize("seed", range(5))
def test_stratified_beats_chance(seed):
    present = np.random.default_rng(seed).random((60, 4)) < [.9, .5, .2, .1]
    held = np.array(stratified_split(present, .25, seed)) == "valid"
    assert abs(held.sum() - 15) <= 2 and stratified_split(present, .25, seed) == stratified_split(present, .25, seed)
    assert (np.abs(present[held].sum(0) - .25*present.sum(0)) <= 2).all()


@pytest.mark.parametrize("n, k", [(2, 2), (7, 3), (100, 5)])
def test_every_pair_is_held_out_once(n, k):
    held = np.array([kfold_split(n, k, i) for i in range(k)]) == "valid"
    assert (held.sum(0) == 1).all() and held.sum(1).max() - held.sum(1).min() <= 1
    with refuses(UsageError, n, n + 1):
        kfold_split(n, n + 1)
    assert len(kfold_split(n, n)) == n


# Options

@pytest.mark.parametrize("split, counts", [("random:0.4", {"train": 3, "valid": 2}),
                                           ("stratified:0.2", {"train": 4, "valid": 1}),
                                           ("sequence:0.2,0.2", {"train": 3, "valid": 1, "test": 1}),
                                           ("sequence:0.2,0,gap=1", {"train": 3, "valid": 1}),
                                           ("fold:2/5", {"train": 4, "valid": 1})])
def test_another_split(tmp_path, split, counts):
    draw_camvid(tmp_path)
    data = open_data(tmp_path, split=split)
    assert data.splits == counts and split in data.origin and open_data(tmp_path, split=split).pairs.equals(data.pairs)


def test_a_test_split_stays(tmp_path):
    draw_segnet(tmp_path)
    tested = open_data(tmp_path).split("test")["image"].tolist()
    for split in "random", "stratified", "sequence", "fold:1/3":
        data = open_data(tmp_path, split=split)
        assert data.split("test")["image"].tolist() == tested and data.splits == {"train": 2, "valid": 1, "test": 1}


@pytest.mark.parametrize("split", ["", "half", "random:0", "random:1", "random:nan", "random:inf", "random:x", "fold",
                                   "fold:0/5", "fold:6/5", "fold:1/1", "sequence:1,1", "sequence:.1,.1,.1",
                                   "sequence:.1,step=2", "sequence:.1,gap=x", "stratified:-1"])
def test_splits_that_are_none(tmp_path, split):
    draw_camvid(tmp_path)
    with refuses(UsageError, "split", repr(split), "random:0.2", "stratified:0.2", "sequence:0.15,0.15", "fold:2/5"):
        open_data(tmp_path, split=split)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 99])
def test_random_split_leaves_something_on_both_sides(n):
    split = random_split(n)
    assert len(split) == n and {"train", "valid"} == set(split)
    assert split.count("valid") == max(1, round(n*.2))


# Lists as people and publishers write them

STEMS = [f"M-33_{i}" for i in range(8)]
WORDS = {"train": STEMS[:5], "valid": STEMS[5:7], "test": STEMS[7:]}


def draw_list_folders(root, images="images/{}.jpg", masks="masks/{}.png", stems=STEMS):
    for i, stem in enumerate(stems):
        photo(root/images.format(stem), i)
        paint(root/masks.format(stem), ids(i, 3))


def write_list(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def split_by_stem(data):
    found = {}
    for row in data.pairs.itertuples(): found.setdefault(row.split, []).append(PurePosixPath(row.image).stem)
    return found


def problems_of(data, code): return [p for p in data.problems if p.code == code]


def test_case_voc_aug(tmp_path):
    names = [f"2008_00000{i}" for i in range(8)]
    for i, name in enumerate(names):
        photo(tmp_path/f"JPEGImages/{name}.jpg", i)
        paint(tmp_path/f"SegmentationClassAug/{name}.png", np.uint8([0, 5, 20, 255])[ids(i, 4)])
    write_list(tmp_path/"ImageSets/Segmentation/train_aug.txt", names[:6])
    write_list(tmp_path/"ImageSets/Segmentation/val.txt", names[6:])
    data = open_data(tmp_path)
    assert (data.layout, data.classes.names, data.classes.void) == ("voc", VOC_NAMES, 255)
    assert split_by_stem(data) == {"train": names[:6], "valid": names[6:]}
    assert (data.ids(f"SegmentationClassAug/{names[1]}.png") == np.uint8([0, 5, 20, 255])[ids(1, 4)]).all()


def test_case_landcover_tiles(tmp_path):
    draw_list_folders(tmp_path, "output/{}.jpg", "output/{}_m.png")
    for file, split in ("train", "train"), ("val", "valid"), ("test", "test"):
        write_list(tmp_path/f"{file}.txt", WORDS[split])
    data = open_data(tmp_path)
    assert split_by_stem(data) == WORDS and not problems_of(data, "no-valid-split")
    assert all(row.mask == row.image.replace(".jpg", "_m.png") for row in data.pairs.itertuples())


@pytest.mark.parametrize("files", [
    ("trn.txt", "val.txt", "tst.txt"), ("train_ids.txt", "eval_ids.txt", "test_ids.txt"),
    ("splits/train.txt", "splits/val.txt", "splits/test.txt"), ("list/train.lst", "list/val.lst", "list/test.lst"),
    ("train_list.txt", "valid_list.txt", "test_list.txt"), ("meta/TrainSet.txt", "meta/DevSet.txt", "meta/TestSet.txt"),
    ("ImageSets/Segmentation/trainaug.txt", "ImageSets/Segmentation/val.txt", "ImageSets/Segmentation/test.txt"),
    ("training.list", "validation.list", "testing.list"), ("train_files.txt", "val_files.txt", "test_files.txt"),
    ("train3.txt", "val3.txt", "test3.txt"), ("a/b/TRAIN.TXT", "a/b/VAL.TXT", "a/b/TEST.TXT"),
    ("Training.txt", "Validierung.txt", "Testdaten.txt"), ("训练集.txt", "验证集.txt", "测试集.txt")])
@pytest.mark.parametrize("line", ["{}", "{}.jpg", "images/{}.jpg masks/{}.png", "/home/me/old/images/{}.tif\t1",
                                  r"C:\data\images\{}.jpg", "{},masks/{}.png", "./masks/{}.png"])
def test_lists_of_other_names_and_forms(tmp_path, files, line):
    draw_list_folders(tmp_path)
    for file, stems in zip(files, WORDS.values()):
        write_list(tmp_path/file, [line.format(stem, stem) for stem in stems])
    data = open_data(tmp_path)
    assert split_by_stem(data) == WORDS and not [p for p in data.problems if p.kind == "error"]


@pytest.mark.parametrize("file, text", [
    ("split.csv", "image,split\n" + "".join(f"{s},{w}\n" for w in WORDS for s in WORDS[w])),
    ("data.csv", "\ufeffid;width;subset\r\n" + "".join(f"{s}.jpg;56;{w.upper()}\r\n" for w in WORDS for s in WORDS[w])),
    ("splits.json", json.dumps({"train": WORDS["train"], "val": WORDS["valid"], "test": WORDS["test"]})),
    ("dataset.json", json.dumps({"training": [{"image": f"./images/{s}.jpg", "label": ""} for s in WORDS["train"]],
                                 "validation": [{"image": f"{s}.jpg"} for s in WORDS["valid"]],
                                 "test": WORDS["test"]})),
    ("splits_final.json", json.dumps([{"train": WORDS["train"], "val": WORDS["valid"], "test": WORDS["test"]}])),
    ("meta/split.tsv", "name\tset\n" + "".join(f"images/{s}.jpg\t{w}\n" for w in WORDS for s in WORDS[w])),
    ("data.csv", "name,stage\n" + "".join(f"{s}.jpg,{w}\n" for w in WORDS for s in WORDS[w])),
    ("Liste.csv", "Bild;Datensatz\n" + "".join(f"{s}.jpg;{w.title()}\n" for w in WORDS for s in WORDS[w])),
    ("folds.csv", "id,is_valid,is_test\n" + "".join(f"{s},{w == 'valid'},{w == 'test'}\n" for w in WORDS
                                                    for s in WORDS[w])),
    ("split.yaml", "train:\n" + "".join(f"  - {s}\n" for s in WORDS["train"])
     + f"val: [{', '.join(WORDS['valid'])}]\ntest: [{', '.join(WORDS['test'])}]\n"),
    ("lists/splits.yml", "".join(f"{s}.jpg: {w}\n" for w in WORDS for s in WORDS[w])),
    ("split.json", json.dumps({f"{s}.jpg": w for w in WORDS for s in WORDS[w]})),
    ("dataset.json", json.dumps([{"image": f"images/{s}.jpg", "mask": f"masks/{s}.png", "split": w} for w in WORDS
                                 for s in WORDS[w]])),
    ("dataset.json", json.dumps({"images": [{"file_name": f"{s}.jpg", "split": w} for w in WORDS for s in WORDS[w]]}))])
def test_tables_and_json_of_splits(tmp_path, file, text):
    draw_list_folders(tmp_path)
    write_list(tmp_path/file, [text.rstrip("\n")])
    data = open_data(tmp_path)
    assert split_by_stem(data) == WORDS
    [note] = problems_of(data, "found-lists")
    assert missing(note.message, file) == []


@pytest.mark.parametrize("header", ["", "ImageId\n", "id,label\n"])
def test_lists_in_csv_files(tmp_path, header):
    draw_list_folders(tmp_path)
    end = ",1" if "," in header else ""
    for file, stems in zip(("train_ids.csv", "val_ids.csv", "test_ids.csv"), WORDS.values()):
        write_list(tmp_path/file, [*header.splitlines(), *(stem + end for stem in stems)])
    assert split_by_stem(open_data(tmp_path)) == WORDS


@pytest.mark.parametrize("columns, words", [("is_train", {"train": "1", "valid": "0", "test": "0"}),
                                            ("is_valid", {"train": "False", "valid": "True", "test": "True"}),
                                            ("in_val", {"train": "", "valid": "x", "test": "x"})])
def test_columns_of_yes_and_no(tmp_path, columns, words):
    draw_list_folders(tmp_path)
    write_list(tmp_path/"images.csv", [f"name,{columns}", *(f"{s},{words[w]}" for w in WORDS for s in WORDS[w])])
    assert split_by_stem(open_data(tmp_path)) == {"train": WORDS["train"], "valid": STEMS[len(WORDS["train"]):]}


@pytest.mark.parametrize("file", ["{}.jsonl", "{}.odgt", "lists/{}_set.jsonl"])
def test_one_json_record_per_line(tmp_path, file):
    draw_list_folders(tmp_path)
    for word, stems in zip(("training", "validation", "test"), WORDS.values()):
        records = [json.dumps({"fpath_img": f"images/{s}.jpg", "width": 56}) for s in stems]
        write_list(tmp_path/file.format(word), records)
    assert split_by_stem(open_data(tmp_path)) == WORDS


@pytest.mark.parametrize("file", ["{}/list.txt", "lists/{}/files.txt", "{}.json", "{}_set.json"])
def test_lists_named_by_their_folder_and_json_of_one_split(tmp_path, file):
    draw_list_folders(tmp_path)
    for word, stems in zip(("train", "val", "test"), WORDS.values()):
        json_text = json.dumps({"images": [f"{stem}.jpg" for stem in stems]})
        write_list(tmp_path/file.format(word), [json_text] if file.endswith("json") else stems)
    assert split_by_stem(open_data(tmp_path)) == WORDS


@pytest.mark.parametrize("line", ["{} {}", "{}.jpg, {}.jpg", "['{}.jpg', '{}.jpg']", "images/{}.jpg;images/{}.jpg"])
def test_several_names_in_one_line(tmp_path, line):
    draw_list_folders(tmp_path)
    write_list(tmp_path/"val.txt", [line.format(*STEMS[6:])])
    assert split_by_stem(open_data(tmp_path)) == {"train": STEMS[:6], "valid": STEMS[6:]}


def test_a_column_split_of_numbers_asks(tmp_path):
    draw_list_folders(tmp_path)
    write_list(tmp_path/"meta.csv", ["name,split", *(f"{stem}.jpg,{i % 3}" for i, stem in enumerate(STEMS))])
    [said] = [p for p in open_data(tmp_path).problems if p.kind == "error"]
    assert said.file == "meta.csv" and missing(said, "3 ways", "--split") == []


@pytest.mark.parametrize("file, text", [("train_test_split.txt", "1 1\n2 0\n3 1\n"), ("split.csv", "id,part\n77,0\n"),
                                        ("train_test_split.yaml", "train: [1, 2]\ntest: [3]\n")])
def test_a_file_of_splits_without_names_of_images_is_named(tmp_path, file, text):
    draw_list_folders(tmp_path)
    write_list(tmp_path/file, text.splitlines())
    [said] = problems_of(open_data(tmp_path), "list-unused")
    assert (said.kind, said.file) == ("warning", file)


@pytest.mark.parametrize("records", [lambda parts: {"training": parts}, lambda parts: parts])
def test_records_with_folds_ask(tmp_path, records):
    draw_list_folders(tmp_path)
    parts = [{"image": f"images/{stem}.jpg", "fold": i % 4} for i, stem in enumerate(STEMS)]
    write_list(tmp_path/"dataset.json", [json.dumps(records(parts))])
    [said] = [p for p in open_data(tmp_path).problems if p.kind == "error"]
    assert said.file == "dataset.json" and missing(said, "4 ways", "--split") == []


@pytest.mark.parametrize("folders, splits", [
    (("tr", "va", "te"), {"train": 3, "valid": 2, "test": 2}), (("TR", "TS"), {"train": 2, "valid": 1, "test": 2}),
    (("tr", "de", "fr"), {"train": 6, "valid": 1})])
def test_folders_of_two_letters(tmp_path, folders, splits):
    for at, n in zip(folders, (3, 2, 2)):
        draw_list_folders(tmp_path, at + "/images/{}.jpg", at + "/masks/{}.png", [f"{at}_{i}" for i in range(n)])
    assert open_data(tmp_path).splits == splits


@pytest.mark.parametrize("column", ["fold", "kfold", "Fold_ID"])
def test_a_column_of_folds_asks(tmp_path, column):
    draw_list_folders(tmp_path)
    write_list(tmp_path/"images.csv", [f"image,{column}", *(f"{s}.jpg,{i % 4}" for i, s in enumerate(STEMS))])
    [said] = [p for p in open_data(tmp_path).problems if p.kind == "error"]
    assert said.file == "images.csv" and missing(said, "4 ways", "--split") == []
    assert not [p for p in open_data(tmp_path, split="random:0.25").problems if p.kind == "error"]


@pytest.mark.parametrize("images, masks, lists", [
    ("D/JPEGImages/480p/{}/{}.jpg", "D/Annotations/480p/{}/{}.png", "D/ImageSets/2017/{}.txt"),
    ("{}/color/{}.jpg", "{}/label/{}.png", "scans_{}.txt"), ("frames/{}/{}.jpg", "masks/{}/{}.png", "splits/{}.txt")])
def test_lists_of_scenes(tmp_path, images, masks, lists):
    scenes = {"train": ["bear", "bus_00"], "val": ["camel"], "test": ["dog"]}
    for scene in sum(scenes.values(), []):
        for i in range(2):
            photo(tmp_path/images.format(scene, i), i)
            paint(tmp_path/masks.format(scene, i), ids(i, 3))
    for word, names in scenes.items(): write_list(tmp_path/lists.format(word), names)
    data = open_data(tmp_path)
    assert data.splits == {"train": 4, "valid": 2, "test": 2} and not [p for p in data.problems if p.kind == "error"]
    assert all("/camel/" in f"/{image}" for image in data.split("valid")["image"])


@pytest.mark.parametrize("folder", ["extra", "hold", "tier3"])
def test_folders_beside_train_and_val_that_say_no_split(tmp_path, folder):
    for at, n in ("train", 3), ("val", 2), (folder, 2):
        draw_list_folders(tmp_path, at + "/images/{}.jpg", at + "/masks/{}.png", [f"{at}_{i}" for i in range(n)])
    data = open_data(tmp_path)
    [said] = problems_of(data, "not-listed")
    assert data.splits == {"train": 3, "valid": 2} and said.kind == "warning"
    assert missing(said, "2 of 7", f"{folder}/images/") == []


@pytest.mark.parametrize("images, masks", [("rgb/val/{}.jpg", "gt/val/{}.png"), ("jpgs/rs19_val/{}.jpg",
                                                                              "uint8/rs19_val/{}.png")])
def test_a_folder_val_alone_is_no_split(tmp_path, images, masks):
    draw_list_folders(tmp_path, images, masks)
    data = open_data(tmp_path)
    assert data.splits == {"train": 6, "valid": 2} and problems_of(data, "found-split")
    assert not [p for p in data.problems if p.kind == "error"]


def test_trainval_and_val(tmp_path):
    draw_list_folders(tmp_path)
    write_list(tmp_path/"trainval.txt", STEMS[:7])
    write_list(tmp_path/"val.txt", STEMS[5:7])
    write_list(tmp_path/"test.txt", STEMS[7:])
    assert split_by_stem(open_data(tmp_path)) == WORDS
    (tmp_path/"val.txt").unlink()
    assert open_data(tmp_path).splits == {"train": 6, "valid": 1, "test": 1}


def test_the_plain_name_is_used_and_the_other_is_named(tmp_path):
    draw_list_folders(tmp_path)
    write_list(tmp_path/"train.txt", STEMS[:4])
    write_list(tmp_path/"train_aug.txt", STEMS[:6])
    write_list(tmp_path/"val.txt", STEMS[6:])
    data = open_data(tmp_path)
    [said] = problems_of(data, "list-unused")
    assert (said.kind, said.file) == ("warning", "train_aug.txt") and missing(said, "train.txt") == []
    assert split_by_stem(data)["train"] == STEMS[:4]


@pytest.mark.parametrize("files, named", [
    ({"train_a.txt": STEMS[:4], "train_b.txt": STEMS[2:6], "val.txt": STEMS[6:]}, ["train_a.txt", "train_b.txt"]),
    ({"fold1.txt": STEMS[:4]}, ["fold1.txt", "4 of 8"]), ({"splits/a/holdout.txt": STEMS[:2]}, []),
    ({"splits/holdout.txt": STEMS[:2]}, ["splits/holdout.txt"]),
    ({"train_test_split.txt": STEMS[:4]}, ["train_test_split.txt"]),
    ({"splits_final.json": [json.dumps([{"train": STEMS[:4], "val": STEMS[4:]}, {"train": STEMS[4:]}])]},
     ["splits_final.json", "2 ways"])])
def test_unclear_lists_ask(tmp_path, files, named):
    draw_list_folders(tmp_path)
    for file, lines in files.items(): write_list(tmp_path/file, lines)
    data = open_data(tmp_path)
    errors = problems_of(data, "list-unused")
    assert bool(errors) == bool(named) and missing(" ".join(map(str, errors)), *named, *["--split"]*bool(named)) == []
    assert not [p for p in open_data(tmp_path, split="random:0.25").problems if p.kind == "error"]


@pytest.mark.parametrize("file, lines", [
    ("README.txt", ["a dataset"]), ("all.txt", STEMS), ("default.txt", STEMS), ("train.txt", STEMS),
    ("log.csv", ["epoch,loss", "0,1"]),
    ("patients.csv", ["image,test", *(f"{s},{i % 2}" for i, s in enumerate(STEMS))]),
    ("train_log.csv", ["epoch,loss", "1,0.5", "2,0.4"]), ("images.json", ["{}"]), ("train.json", ["not JSON"]),
    ("val_results.csv", ["class,iou", "road,0.5"]), ("requirements.txt", ["numpy"]), ("train_data.json", ["[1, 2]"])])
def test_files_that_say_nothing_about_the_split(tmp_path, file, lines):
    draw_list_folders(tmp_path, stems=STEMS if file not in ("log.csv", "train_log.csv") else [str(i) for i in range(8)])
    write_list(tmp_path/file, lines)
    data = open_data(tmp_path)
    assert data.splits == {"train": 6, "valid": 2} and {p.code for p in data.problems} <= {"no-valid-split",
        "found-folders", "guessed-classes"}


def test_lists_divide_the_folder_of_training_images(tmp_path):
    draw_list_folders(tmp_path, "train/images/{}.jpg", "train/masks/{}.png", STEMS[:6])
    draw_list_folders(tmp_path, "test/images/{}.jpg", "test/masks/{}.png", STEMS[6:])
    write_list(tmp_path/"val.txt", STEMS[4:6])
    assert split_by_stem(open_data(tmp_path)) == {"train": STEMS[:4], "valid": STEMS[4:6], "test": STEMS[6:]}
    write_list(tmp_path/"val.txt", STEMS[4:7])
    data = open_data(tmp_path)
    [said] = problems_of(data, "list-unused")
    assert (said.kind, said.file) == ("warning", f"test/images/{STEMS[6]}.jpg") and data.splits["test"] == 2


def test_a_test_list_of_images_without_masks(tmp_path):
    draw_list_folders(tmp_path, stems=STEMS[:6])
    for stem in STEMS[6:]: photo(tmp_path/f"images/{stem}.jpg")
    for file, stems in ("train", STEMS[:4]), ("val", STEMS[4:6]), ("test", STEMS[6:]):
        write_list(tmp_path/f"{file}.txt", stems)
    data = open_data(tmp_path)
    assert data.splits == {"train": 4, "valid": 2} and not [p for p in data.problems if p.kind == "error"]
    assert [p.file for p in problems_of(data, "list-unused")] == ["test.txt"]


def test_kitti_and_published_camvid_follow_lists(tmp_path):
    draw_kitti_road(tmp_path/"kitti")
    write_list(tmp_path/"kitti/val3.txt", [f"training/image_2/uu_00000{i}.png training/gt_image_2/uu_road_00000{i}.png"
                                           for i in range(2)])
    assert open_data(tmp_path/"kitti").splits == {"train": 4, "valid": 2}
    draw_camvid(tmp_path/"camvid")
    (tmp_path/"camvid/valid.txt").unlink()
    write_list(tmp_path/"camvid/val.txt", ["0", "1", "2"])
    assert open_data(tmp_path/"camvid").splits == {"train": 2, "valid": 3}


def test_lists_in_the_folder_above_are_named(tmp_path):
    draw_list_folders(tmp_path/"output")
    write_list(tmp_path/"train.txt", STEMS[:6])
    write_list(tmp_path/"val.txt", STEMS[6:])
    said = problems_of(open_data(tmp_path/"output"), "list-unused")
    assert [(p.kind, p.file) for p in said] == [("warning", "../train.txt"), ("warning", "../val.txt")]
    assert missing(said[0], tmp_path, 6) == [] and split_by_stem(open_data(tmp_path))["valid"] == STEMS[6:]


def test_a_table_of_pairs_with_lists(tmp_path):
    draw_list_folders(tmp_path, "a/{}.jpg", "b/x{}.png")
    write_list(tmp_path/"pairs.csv", ["image,mask", *(f"a/{stem}.jpg,b/x{stem}.png" for stem in STEMS)])
    write_list(tmp_path/"val.txt", STEMS[6:])
    data = open_data(tmp_path)
    assert data.layout == "csv" and split_by_stem(data) == {"train": STEMS[:6], "valid": STEMS[6:]}


def test_tables_of_pairs_per_split(tmp_path):
    draw_list_folders(tmp_path)
    for file, stems in zip(("train.csv", "val.csv", "test.csv"), WORDS.values()):
        write_list(tmp_path/file, ["image,mask", *(f"images/{stem}.jpg,masks/{stem}.png" for stem in stems)])
    assert split_by_stem(open_data(tmp_path)) == WORDS


@pytest.mark.parametrize("names", ["0", "012345"])
def test_a_table_of_facts_is_no_list_of_training_images(tmp_path, names):
    "ISIC's metadata, whose name has the word of its folder."
    for i in range(6):
        photo(tmp_path/f"X_Training_Data/X_{i}.png", i)
        paint(tmp_path/f"X_Training_GroundTruth/X_{i}_segmentation.png", ids(i, 2))
    rows = "".join(f"X_{i},55,female\n" for i in names)
    (tmp_path/"X_Training_Data/X_Training_Data_metadata.csv").write_text(f"image_id,age,sex\n{rows}")
    data = open_data(tmp_path)
    assert data.splits == {"train": 5, "valid": 1}
