"""Folders without mask images, as labeling tools leave them: the error names the format, a file, the way to masks."""
import json
import os

import pytest
from helpers.annotations import FORMATS, coco_json, photos, put_json, put_text, rle_csv, yolo_polygons
from helpers.layouts import ids, paint
from helpers.problems import codes_of, missing
from helpers.refusals import refuses

from segfast.core.errors import DataError
from segfast.data.check import check_path
from segfast.data.formats.unsupported import (explain_files, format_of, has_keys, head_and_tail, list_below,
                                              recognize_formats, suffix_of, UNSUPPORTED, yolo_numbers)
from segfast.data.open import open_data


@pytest.fixture
def root(tmp_path):
    (tmp_path/"data").mkdir()
    return tmp_path/"data"


@pytest.mark.parametrize("name", FORMATS)
def test_case(name, root):
    "The parameters are the names of the cases and their siblings."
    draw, file, words = FORMATS[name]
    draw(root)
    with refuses(DataError, code="layout-unknown", file=str(root)) as caught:
        open_data(root)
    text = str(caught.value)
    assert [word for word in (file, *words) if word not in text] == []
    assert text.count("\n") == 2, "three lines"
    assert "\n " not in text and " \n" not in text and "  " not in text


@pytest.mark.parametrize("name", ["coco_json", "yolo_polygons", "labelme_json_beside", "voc_boxes", "npy"])
def test_a_layout_that_is_given_does_not_hide_the_format(name, root):
    draw, file, words = FORMATS[name]
    draw(root)
    with pytest.raises(DataError) as caught:
        open_data(root, "folders")
    assert codes_of(caught)[-1] == "format-unread" and missing(caught, file) == []
    assert words[0] in str(caught.value)


def test_check_says_it_too(root):
    coco_json(root)
    assert "COCO" in check_path(root).text()


def test_a_file_in_place_of_a_folder(root):
    coco_json(root)
    file = root/"train/_annotations.coco.json"
    with refuses(DataError, "COCO", "pycocotools", code="folder-missing", file=str(file)):
        open_data(file)
    rle_csv(root)
    with refuses(DataError, "encodedpixels", "RLE"):
        open_data(root/"train.csv")
    put_text(root/"data.7z", "x")
    with refuses(DataError, "archive", "Unpack"):
        open_data(root/"data.7z")
    with refuses(DataError, "folder", code="folder-missing"):
        open_data(root/"train/leaf_0.jpg")


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_is_named_and_not_the_cache(root, kind, tmp_path):
    import shutil
    coco_json(root)
    archive = shutil.make_archive(str(tmp_path/"packed"), kind, root)
    with refuses(DataError, "COCO", "train/_annotations.coco.json", code="layout-unknown", file=archive) as caught:
        open_data(archive)
    assert "unpacked" not in str(caught.value)


def test_masks_are_read_beside_annotations(root):
    "A polygon file does not matter where there are masks."
    coco_json(root)
    for split, n in ("train", 4), ("valid", 2):
        for i in range(n):
            paint(root/f"{split}/leaf_{i}_mask.png", ids(i, 3))
    data = open_data(root)
    assert data.splits == {"train": 4, "valid": 2} and "format-unread" not in codes_of(data)


def test_brush_masks_of_few_images_in_a_folder_of_others_are_left_alone(root):
    "The name alone is not enough where a certain layout has the folder."
    for i in range(4):
        photos(root, "JPEGImages/task-{}-annotation-1-by-1-tag-a-0.jpg")
        paint(root/f"SegmentationClass/task-{i}-annotation-1-by-1-tag-a-0.png", ids(i, 3))
    assert open_data(root).layout == "voc"


def test_nothing_is_parsed_that_could_do_harm(root):
    photos(root)
    put_text(root/"deep.json", '{"images": ' + "["*100_000 + "]"*100_000 + "}")
    put_text(root/"many.xml", '<!DOCTYPE a [<!ENTITY b "b">]>' + "<annotations><image "*10)
    os.mkfifo(root/"pipe.json")
    (root/"loop.json").symlink_to("loop.json")
    (root/"null.json").symlink_to("/dev/zero")
    put_text(root/"raw.json", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")*1000)
    found = recognize_formats(root, list_below(root))
    assert [found.files for found in found] == [["many.xml"]]
    assert all(format_of(root/name) is None for name in ("pipe.json", "loop.json", "null.json"))


def test_only_a_few_bytes_are_read(root):
    with open(root/"large.json", "wb") as f:
        f.write(b'{"images": [],')
        f.truncate(1 << 33)
        f.seek(0, 2)
        f.write(b'"annotations": []}')
    assert len(head_and_tail(root/"large.json")) < 200_000
    assert format_of(root/"large.json") == "coco"


def test_other_json_and_text_files_are_no_annotations(root):
    put_json(root/"dataset.json", {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}})
    put_json(root/"package.json", {"name": "x", "version": "1"})
    put_text(root/"train.txt", "a0.png\na1.png\n")
    put_text(root/"codes.txt", "1\n2\n3\n")
    put_text(root/"label_colors.txt", "0 0 0 Void\n1 0 0 Road\n")
    put_text(root/"list.csv", "name,r,g,b\nRoad,1,2,3\n")
    put_text(root/"about.xml", "<project><name>x</name></project>")
    assert recognize_formats(root, list_below(root)) == [] and explain_files(root) is None


@pytest.mark.parametrize("text, numbers", [
    ("", 0), ("0 0.5 0.5 0.1 0.1", 4), ("12 .1 .2 .3 .4 .5 .6", 6), ("0 1 0 1 1 0 1 0 0", 8), ("0 0.1 0.2 0.3", 3),
    ("0 1e-05 0.2 0.3 0.4 0.5 0.60001", 6), ("0.0 0.5 0.5 0.1 0.1", 4), ("0 5 7 9 11", 0), ("a 0.1 0.2 0.3 0.4", 0),
    ("128 64 128 Road", 0)])
def test_numbers_of_yolo(text, numbers): assert yolo_numbers(text) == numbers


def test_keys_and_suffixes():
    assert has_keys("a b", "c")('{"c" : 1}') and not has_keys("a b")('{"a": "b"}')
    assert [suffix_of(name) for name in ("a.NII.GZ", "x/y.d/b", ".hidden", "c.tar.gz", "v1.2.png")] == \
        [".nii.gz", "", "", ".tar.gz", ".png"]


def test_each_format_can_be_told_from_the_others(tmp_path):
    "A file of one format is not taken for another."
    assert len({row.holds for row in UNSUPPORTED.values()}) == len(UNSUPPORTED)
    told = {}
    for name, (draw, file, _) in FORMATS.items():
        (tmp_path/name).mkdir()
        draw(tmp_path/name)
        told[name] = format_of(tmp_path/name/file)
    assert {told[name] for name in told if name.startswith("coco_") and told[name]} == {"coco"}
    assert {told[name] for name in told if name.startswith("labelme")} == {"labelme"}
    others = {"yolo_polygons": "yolo", "yolo_boxes": "yolo_boxes", "via_json": "via", "via_csv": "via",
              "supervisely": "supervisely", "geojson": "geojson"}
    assert {name: told[name] for name in others} == others


def test_names_are_shown_safely(root):
    photos(root)
    put_json(root/"\x1b[31mred.json", json.loads('{"images": [], "annotations": []}'))
    with pytest.raises(DataError) as caught:
        open_data(root)
    assert "\x1b" not in str(caught.value) and "COCO" in str(caught.value)


def test_large_folders_are_looked_at_within_limits(root):
    yolo_polygons(root)
    for i in range(40):
        (root/f"more/{i:02}").mkdir(parents=True)
    assert len(list_below(root, folders=3)) < 15
    assert len(list_below(root, entries=5)) <= 8
