"""What is said of a folder that is no dataset: names that do not match, what is missing, the closest layout."""
import numpy as np
import pytest
from helpers.annotations import photos, put_text, zip_inside
from helpers.layouts import COLORS, draw_camvid, draw_cityscapes, draw_voc, ids, paint, photo
from helpers.problems import codes_of, missing
from helpers.refusals import refuses
from PIL import Image

from segfast.core.errors import DataError
from segfast.data.check import check
from segfast.data.formats.registry import describe_images, find_layout, is_camvid, LAYOUTS, nearest_layout
from segfast.data.formats.unsupported import list_below
from segfast.data.open import open_data


@pytest.fixture
def root(tmp_path):
    (tmp_path/"data").mkdir()
    return tmp_path/"data"


def masks(root, pattern="masks/{}.png", names="0123"):
    for i, name in enumerate(names):
        paint(root/pattern.format(name), ids(i, 3))


def refusal(root, *args):
    "The text of the error, which has at most three lines and names the folder only."
    with pytest.raises(DataError) as caught:
        open_data(root, *args)
    text = str(caught.value)
    assert text.count("\n") <= 2 and "codes.txt: not found" not in text
    return text


# Cases

def cityscapes_in_color(root, ending="color"):
    for i, split in enumerate(("train", "train", "train", "val")):
        photo(root/f"leftImg8bit/{split}/ulm/ulm_00000{i}_000019_leftImg8bit.png", i)
        paint(root/f"gtFine/{split}/ulm/ulm_00000{i}_000019_gtFine_{ending}.png", COLORS[ids(i, 4)])


def test_case_cityscapes_color_only(root):
    cityscapes_in_color(root)
    data = open_data(root)
    assert data.splits == {"train": 3, "valid": 1} and len(data.classes) == 4
    for i, row in enumerate(data.pairs.itertuples()):
        assert row.mask == row.image.replace("leftImg8bit/", "gtFine/").replace("leftImg8bit", "gtFine_color")
        colors = np.uint8(data.classes.colors)[data.ids(row.mask)]
        assert np.array_equal(colors, COLORS[ids(i, 4)])


def test_cityscapes_with_polygons_and_colors(root):
    "As it is unpacked before createTrainIdLabelImgs was run, with the images of instances beside the colors."
    cityscapes_in_color(root)
    for i in range(4):
        at = root/f"gtFine/{'val' if i == 3 else 'train'}/ulm"
        Image.fromarray(np.uint16(ids(i, 4))*1000).save(at/f"ulm_00000{i}_000019_gtFine_instanceIds.png")
        put_text(at/f"ulm_00000{i}_000019_gtFine_polygons.json", '{"imgHeight": 40, "imgWidth": 56, "objects": []}')
    assert all(mask.endswith("_color.png") for mask in open_data(root).pairs["mask"])


def test_cityscapes_with_instances_only(root):
    for i in range(4):
        photo(root/f"leftImg8bit/train/ulm/ulm_{i}_leftImg8bit.png", i)
        path = root/f"gtFine/train/ulm/ulm_{i}_gtFine_instanceIds.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint16(ids(i, 4))*1000 + 26).save(path)
    text = refusal(root)
    assert "cityscapes" in text and "labelIds" in text and "instanceIds" in text


def suim(root, wrong=(3,), images="train_val/images/d_r_{}_.jpg", labels="train_val/masks/d_r_{}_.bmp"):
    for i in range(6):
        photo(root/images.format(i), i)
        mask = COLORS[ids(i, 4)]
        paint(root/labels.format(i), mask[:, :-4] if i in wrong else mask)
    photo(root/"TEST/images/d_r_7_.jpg")
    paint(root/"TEST/masks/d_r_7_.bmp", COLORS[ids(7, 4)])


@pytest.mark.parametrize("wrong", [(3,), (0, 5)])
def test_case_suim_sizes(root, wrong):
    suim(root, wrong)
    errors = check(open_data(root)).errors
    assert [(p.code, p.file) for p in errors] == [("mask-size", f"train_val/masks/d_r_{i}_.bmp") for i in wrong]
    assert missing(errors[0], f"train_val/images/d_r_{wrong[0]}_.jpg", "40x52", "40x56") == []


# Which layout

@pytest.mark.parametrize("names", ["qwert", ("x_mask", "y_mask"), ("P", "Q", "R")])
def test_images_and_labels_alone_are_not_camvid(root, names):
    photos(root, "images/frame{}.jpg", 5)
    masks(root, "labels/{}.png", names)
    assert not is_camvid(root)
    text = refusal(root)
    assert missing(text, "frame0.jpg") == [] and f"{names[0]}.png" in text
    assert "_P" not in text.replace("a_P.png", "")


def test_camvid_is_still_camvid(root):
    draw_camvid(root)
    assert is_camvid(root)
    (root/"codes.txt").unlink()
    assert is_camvid(root), "by the names of the masks"
    (root/"codes.txt").write_text("a\nb\n")
    for path in sorted((root/"labels").iterdir()):
        path.unlink()
    assert is_camvid(root), "by codes.txt"


# What the folder holds

SITUATIONS = {
    "images_only": (photos, ["images/0.jpg", "4 images", "no masks"]),
    "images_at_the_top": (lambda root: photos(root, "{}.jpg"), ["0.jpg", "4 images", "no masks"]),
    "images_with_splits": (lambda root: (photos(root, "train/{}.jpg"), photos(root, "test/x{}.jpg")),
                           ["8 images", "no masks"]),
    "masks_only": (masks, ["masks/0.png", "like masks", "no other images"]),
    "masks_called_labels": (lambda root: masks(root, "labels/{}.png"), ["labels/0.png", "like masks"]),
    "empty_images": (lambda root: (masks(root), (root/"images").mkdir()), ["images/ is empty", "masks/0.png"]),
    "empty_masks": (lambda root: (photos(root), (root/"masks").mkdir()), ["masks/ is empty", "images/0.jpg"]),
    "empty_labels": (lambda root: (photos(root), (root/"labels").mkdir()), ["labels/ is empty", "images/0.jpg"]),
    "both_empty": (lambda root: ((root/"a").mkdir(), (root/"b").mkdir()), ["no image", "a/, b/ are empty"]),
    "zip_inside": (zip_inside, ["masks.zip", "unpack it"]),
    "archives_only": (lambda root: (put_text(root/"images.zip", "x"), put_text(root/"labels.7z", "x")),
                      ["images.zip", "labels.7z", "unpack them"]),
    "heic": (lambda root: (masks(root), [put_text(root/f"images/{i}.HEIC", "x") for i in range(4)]),
             ["images/0.HEIC", "not read", "PNG"]),
    "raw_photos": (lambda root: (masks(root, "labels/{}.png"), [put_text(root/f"images/{i}.dng", "x") for i in "01"]),
                   ["images/0.dng", "not read"]),
    "exr_masks": (lambda root: (photos(root), [put_text(root/f"masks/{i}.exr", "x") for i in range(4)]),
                  ["masks/0.exr", "not read"]),
    "avif": (lambda root: [put_text(root/f"{i}.avif", "x") for i in range(4)], ["0.avif", "not read"]),
    "other_files": (lambda root: [put_text(root/f"{i}.docx", "x") for i in range(4)], ["no image", "4 .docx"]),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_missing_is_said(name, root):
    draw, words = SITUATIONS[name]
    draw(root)
    text = refusal(root)
    assert [word for word in words if word not in text] == []


def test_images_without_a_suffix(root):
    photos(root)
    masks(root)
    for path in sorted((root/"images").iterdir()):
        path.rename(path.with_suffix(""))
    assert "images without a suffix" in refusal(root)


@pytest.mark.parametrize("folders, named", [(("images", "masks"), "masks"), (("train/img", "train/lab"), "lab")])
def test_names_that_do_not_match_are_shown(root, folders, named):
    "Two names of each side, and what was tried."
    images, labels = folders
    photos(root, images + "/x{}.jpg", 5)
    masks(root, labels + "/{}.png", ("aa", "bb", "cc"))
    text = refusal(root)
    assert [name for name in ("x0.jpg", "x1.jpg", "aa.png", "bb.png", "Tried") if name not in text] == []


def test_pictures_and_masks_in_one_folder_that_do_not_match(root):
    photos(root, "x{}.jpg")
    masks(root, "{}.png", "qwer")
    text = refusal(root)
    assert "x0.jpg" in text and "q" in text


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_one_extra_folder(root, depth):
    "Everything is inside other folders: the right one is named."
    inner = root.joinpath(*"abc"[:depth])
    draw_camvid(inner)
    with refuses(DataError, inner, code="layout-unknown"):
        find_layout(root)


@pytest.mark.parametrize("name", ["images", "labels"])
def test_a_folder_of_a_dataset(root, name):
    draw_camvid(root)
    with refuses(DataError, root, code="layout-unknown"):
        find_layout(root/name)


def test_folders_that_cannot_be_read_leave_three_lines(root, monkeypatch):
    from segfast.data.formats import registry
    from segfast.core.errors import Problem
    photos(root)
    closed = Problem("error", "folder-unreadable", "a", "closed.")
    monkeypatch.setattr(registry, "unreadable_folders", lambda _: [closed])
    with pytest.raises(DataError) as caught:
        find_layout(root)
    assert codes_of(caught) == ["folder-unreadable", "layout-unknown"] and str(caught.value).count("\n") <= 2


# The closest layout

NEAR = {
    "voc": (lambda root: (draw_voc(root), [path.unlink() for path in sorted((root/"SegmentationClass").iterdir())],
                          (root/"SegmentationClass").rmdir()), "SegmentationClass/"),
    "kitti_road": (lambda root: photos(root, "training/gt_image_2/um_{}.jpg"), "training/image_2/"),
    "pets": (lambda root: (photos(root, "annotations/trimaps/a_{}.jpg")), "images/"),
    "segnet": (lambda root: (photos(root, "train/{}.jpg"), (root/"valannot").mkdir()), "trainannot/"),
}


@pytest.mark.parametrize("name", NEAR)
def test_the_closest_layout_is_named_with_what_it_lacks(name, root):
    draw, lost = NEAR[name]
    draw(root)
    text = refusal(root)
    assert f"closest layout is {name}" in text and f"no {lost}" in text


def test_cityscapes_without_masks_shows_what_is_there():
    text = nearest_layout(["leftImg8bit/", "gtFine/", "gtFine/train/a_gtFine_color.png"])
    assert "gtFine/*_labelIds.png" in text and "gtFine/train/a_gtFine_color.png" in text


@pytest.mark.parametrize("listing", [[], ["images/", "labels/"], ["train/", "val/"], ["images/", "masks/", "a.txt"]])
def test_common_names_are_close_to_nothing(listing): assert nearest_layout(listing) == ""


def test_a_complete_layout_lacks_nothing(root):
    draw_cityscapes(root)
    assert "cityscapes" not in nearest_layout(list_below(root))


def test_every_form_is_a_tuple_of_patterns():
    forms = [form for layout in LAYOUTS.values() for form in layout.forms]
    assert len(forms) >= 8 and all(isinstance(part, str) and part for form in forms for part in form)


def test_many_folders_are_counted(root):
    for name in "abcdef":
        masks(root, name + "/x" + name + "{}.png", "01")
    assert "3 more folders" in describe_images(root, list_below(root))


@pytest.mark.parametrize("at", ["VOCdevkit/VOC2012", "VOCtrainval/VOCdevkit/VOC2012", "a/b/c/d"])
def test_a_dataset_deep_inside_is_named_and_its_lists_are_not_lost(root, at):
    draw_voc(root/at)
    put_text(root/"readme.txt", "unpacked")
    with refuses(DataError, root/at, code="layout-unknown"):
        open_data(root)


def test_parts_of_a_layout_in_different_folders(root, tmp_path):
    "Two archives that were unpacked into two folders."
    draw_cityscapes(tmp_path/"whole")
    for name in "leftImg8bit", "gtFine":
        (root/f"{name}_trainvaltest").mkdir()
        (tmp_path/"whole"/name).rename(root/f"{name}_trainvaltest/{name}")
    text = refusal(root)
    assert "leftImg8bit/ and gtFine/ must be in the same folder" in text


@pytest.mark.parametrize("pattern, part", [("6114{:04x}-frame_{}.jpg", "61140000-"),
                                           ("frame_{1}_jpg.rf.6a9c4d{0:04x}.jpg", "_jpg.rf.6a9c4d0000")])
def test_names_that_a_tool_changed(root, pattern, part):
    "What Label Studio and Roboflow add differs for each image."
    for i in range(5):
        photo(root/"images"/pattern.format(977*i, i), i)
        paint(root/f"masks/frame_{i}.png", ids(i, 2))
    assert f"{part} " in refusal(root)


def test_photographs_in_folders_of_their_own(root):
    "As for the classification of whole images."
    for name in "abcdef":
        photos(root, name + "/x" + name + "{}.jpg", 2)
    text = describe_images(root, list_below(root))
    assert "6 folders" in text and "no masks" in text


def test_folders_beyond_the_look_are_not_called_empty(root):
    for i in range(400):
        put_text(root/f"{i:03}/notes.md", "x")
    assert "empty" not in refusal(root)


@pytest.mark.parametrize("folder", ["SegmentationClass", "SegmentationClassPNG"])
def test_masks_exported_without_their_images(tmp_path, folder):
    "CVAT's export without the box 'Save images'."
    for i in range(3):
        paint(tmp_path/f"{folder}/{i}.png", ids(i, 3))
        paint(tmp_path/f"SegmentationObject/{i}.png", ids(i, 3))
    with pytest.raises(DataError) as e:
        open_data(tmp_path)
    assert "closest layout is voc" in str(e.value) and "no JPEGImages/" in str(e.value)
