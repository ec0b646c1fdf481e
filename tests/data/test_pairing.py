"""Walking folders and matching names, also where there are many."""
from helpers.layouts import draw_folders
import os

import pytest
from helpers.work import growth

import segfast.data.autodetect as autodetect
from segfast.data.open import open_data
from segfast.data.pairing import find_affixes, mask_tier, match_folders, match_forms, sample_images, split_word


def test_the_work_of_finding_affixes_grows_with_the_number_of_files():
    def names(n): return [str(i) for i in range(n)], [f"{i}_mask" for i in range(n)]
    assert find_affixes(*names(4000))[0] == 1.0
    assert growth(find_affixes, names) < 3


def test_unreadable_and_looping_folders(tmp_path):
    draw_folders(tmp_path)
    (tmp_path/"truth/again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path/"photos/gone.png").symlink_to(tmp_path/"nowhere.png")
    os.mkfifo(tmp_path/"photos/pipe.png")
    assert len(open_data(tmp_path).pairs) == 5


def test_the_work_of_matching_folders_grows_with_the_number_of_files():
    def files(n):
        return [tuple(sorted(f"a/{name}.png" for i in range(n) for name in (f"images/{i}", f"masks/{i}_mask")))]
    assert autodetect.match_folders(*files(20_000)).roles == ("images", "masks")
    assert growth(autodetect.match_folders, files) < 3


@pytest.mark.parametrize("n", [70, 320])
def test_many_folders_on_both_sides_are_matched(tmp_path, n):
    files = [f"{side}/city{i}/{i}_a.png" for side in ("images", "masks") for i in range(n)]
    match = match_folders(tuple(sorted(files)))
    assert match.roles == ("images", "masks")
    for path in files if n == 320 else ():
        (tmp_path/path).parent.mkdir(parents=True)
        (tmp_path/path).touch()
    assert n == 70 or {path.split("/")[0] for path in sample_images(tmp_path)} == {"images", "masks"}


@pytest.mark.parametrize("name, split, rest", [
    ("ISIC2018_Task1-2_Training_Input", "train", "ISIC2018_Task1-2_Input"), ("VALIDATION", "valid", ""),
    ("img_train", "train", "img"), ("train-org-img", "train", "org-img"), ("imagesTs", "test", "images"),
    ("DUTS-TR-Image", "train", "DUTS-Image"), ("TrainDataset", "train", "Dataset"), ("testcrop", "test", "crop"),
    ("train_val", "train", ""), ("trainval", "train", ""), ("stage1_train", "train", "stage1"),
    ("trainers", None, "trainers"), ("latest", None, "latest"), ("contest_images", None, "contest_images"),
    ("val2017", "valid", ""), ("values", None, "values"), ("train_test", None, "train_test"),
    ("训练集", "train", ""), ("验证", "valid", ""), ("测试集图像", "test", "图像"), ("テスト", "test", ""),
    ("Trainingsdaten", "train", "daten"), ("Validierungsbilder", "valid", "bilder"), ("Testmasken", "test", "masken"),
    ("Validación", "valid", ""), ("Validacio\u0301n", "valid", ""), ("entraînement", "train", ""),
    ("Treino", "train", ""), ("обучение", "train", ""),
    ("eval_data", "valid", "data"), ("validate", "valid", ""), ("tst", "test", ""), ("testament", None, "testament"),
    ("valley", None, "valley"), ("training_camp", "train", "camp"), ("medieval", None, "medieval")])
def test_words_of_splits_in_names(name, split, rest):
    assert split_word(name) == (split, rest)


@pytest.mark.parametrize("name, tier", [
    ("masks", 0), ("labels", 0), ("1st_manual", 1), ("masks_machine", 1), ("2nd_manual", -1), ("color_labels", -2),
    ("colormaps", -2), ("semantic_rgb", -2), ("label_viz", -2), ("overlay", -2), ("vis", -2), ("instances", -3),
    ("depth", -3), ("disparity", -3), ("polygons", -3), ("panoptic", -3), ("thermal", -3), ("superpixels", -3),
    ("SegmentationObject", -3), ("Semantic_masks", 0), ("division", 0), ("mapillary_vistas", 0), ("knowledge", 0)])
def test_what_a_folder_of_masks_is_called(name, tier):
    assert mask_tier(name) == tier


@pytest.mark.parametrize("first, second, form", [
    (["IMG_1", "DSC_2"], ["img_1", "dsc_2"], ("case",)), (["a7", "b8"], ["a007", "b008"], ("numbers",)),
    (["1_training", "2_training"], ["1_manual", "2_manual"], ()), (["a", "b"], ["b", "a"], ())])
def test_forms_in_which_names_are_compared(first, second, form):
    found, used = match_forms([({*first}, {*second})])
    assert (found.share, used) == (1, form)


def test_endings_that_match_as_well_are_rivals():
    images = [f"a{i}" for i in range(9)]
    masks = [f"{name}_{kind}" for name in images for kind in ("wire", "fence", "post")]
    found = find_affixes(images, masks)
    assert {found.second, *(second for _, second in found.rivals)} == {("", "_wire"), ("", "_fence"), ("", "_post")}
    assert find_affixes(images, [f"{name}_mask" for name in images]).rivals == ()
    ids_and_colors = [f"{name}_{kind}" for name in images for kind in ("labelIds", "color")]
    assert find_affixes(images, ids_and_colors).second == ("", "_labelIds")


@pytest.mark.parametrize("images, masks", [("UCMerced/Images/{0}/{0}{1:02}.tif", "DLRSD/Images/{0}/{0}{1:02}.png"),
                                           ("photos/{0}/{0}_{1}.png", "drawn/{0}/{0}_{1}.png"),
                                           ("a/{0}/{0}{1}.jpg", "b/{0}/{0}{1}.png")])
def test_images_are_not_matched_with_masks_of_another_folder_by_number(images, masks):
    scenes = ("airplane", "beach", "chaparral")
    match = match_folders(tuple(sorted(name.format(scene, i) for name in (images, masks) for scene in scenes
                                       for i in range(3))))
    assert {*match.roles} == {images.split("/")[0], masks.split("/")[0]} and match.endings == (("", ""), ("", ""))
