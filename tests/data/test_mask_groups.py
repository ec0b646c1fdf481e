"""Several masks of one image: what is refused and how, what is no group, and the copy with one mask per image."""
import numpy as np
import pandas as pd
import pytest
from helpers.layouts import SIZE, ids, paint, photo
from helpers.problems import missing
from PIL import Image
from typer.testing import CliRunner

from segfast.cli import app
from segfast.core.errors import DataError
from segfast.data.check import check, check_path
from segfast.data.fix import can_join, write_joined_copy
from segfast.data.detect.mask_groups import find_mask_groups, groups_problem, join_masks, name_groups
from segfast.data.open import open_data
from segfast.data.pairing import walk_images

def blob(n):
    "A small square, in another place for each number below 16."
    mask = np.zeros(SIZE, np.uint8)
    y, x = divmod(n % 16, 4)
    mask[10*y+1:10*y+7, 14*x+1:14*x+11] = 255
    return mask


def draw(root, images, masks, n=4):
    """Files from templates with {i} for the image, {j} for a number that images share with none; ~ is a space.

    A mask is a square, or with # in front four classes; with * only every second image has it.
    """
    for i in range(n):
        for template in images.split():
            photo(root/template.replace("~", " ").format(i=i, j=f"{i}7"), i)
        for k, template in enumerate(masks.split()):
            if template[0] == "*" and i % 2: continue
            values = ids(i, 4) if template[0] == "#" else blob(k + 2*i)
            paint(root/template.lstrip("*#").replace("~", " ").format(i=i, j=f"{i}7"), values)
    return root


def groups_of(root): return find_mask_groups(root, walk_images(root))


def draw_dsb2018(root): # one nucleus in a file
    for i in range(4):
        name = f"{i}f{i}c2b"
        photo(root/f"stage1_train/{name}/images/{name}.png", i)
        for k in range(3): paint(root/f"stage1_train/{name}/masks/{k}d{i}7a.png", blob(4*k + i))
    return root


def draw_montgomery(root):
    return draw(root, "CXR_png/MCUCXR_000{i}_0.png", "ManualMask/leftMask/MCUCXR_000{i}_0.png "
                                                     "ManualMask/rightMask/MCUCXR_000{i}_0.png")


def draw_one_png_per_class(root):
    return draw(root, "images/a{i}.jpg", "masks/a{i}_class_fence.png masks/a{i}_class_wire.png")


TABLES = {"IMG_1": "apple cup", "IMG_2": "cup", "IMG_3": "pear apple", "IMG_4": "apple cup"}


def draw_labelme(root, tables=TABLES, end="\n"): # what labelme_json_to_dataset writes
    for i, (name, classes) in enumerate(tables.items()):
        names = ["_background_", *classes.split()]
        photo(root/f"{name}_json/img.png", i)
        photo(root/f"{name}_json/label_viz.png", i + 50)
        paint(root/f"{name}_json/label.png", ids(i, len(names)), np.arange(768) % 256)
        (root/f"{name}_json/label_names.txt").write_bytes(end.join([*names, ""]).encode())
    return root


# ---- what is refused, and with which words

CASES = dict(
    dsb2018=(draw_dsb2018, "has several masks, 3: stage1_train/0f0c2b/masks/0d07a.png", "3 more images", "one class"),
    montgomery=(draw_montgomery, "several masks", "ManualMask/leftMask", "ManualMask/rightMask", "one class"),
    one_png_per_class=(draw_one_png_per_class, "several masks", "masks/a0_class_fence.png", "one class: fence, wire"),
    labelme_json_to_dataset=(draw_labelme, "IMG_1_json/label_names.txt", "IMG_2_json/label_names.txt differ",
                             "id 1 is apple in one and cup in the other"))


@pytest.mark.parametrize("case", CASES)
def test_a_folder_with_several_masks_per_image_is_refused_and_joined(case, tmp_path):
    make, *words = CASES[case]
    root = make(tmp_path/"data")
    with pytest.raises(DataError) as refused: open_data(root)
    assert missing(refused.value, *words, "segfast check DATA --fix COPY") == []
    assert [problem.code for problem in refused.value.problems] == ["several-masks"]
    assert can_join(check_path(root, cache=False))
    write_joined_copy(root, tmp_path/"copy")
    after = check(open_data(tmp_path/"copy"), cache=False)
    assert after.ok and len(after.data.pairs) == 4, after.text()


KINDS = dict(
    class_in_a_folder=("classes", "background car road", "images/{i}.jpg", "masks/car/{i}.png masks/road/{i}.png"),
    folder_and_affix=("classes", "background Exudates Microaneurysms", "images/IDRiD_{i}.jpg",
                      "gt/1.~Microaneurysms/IDRiD_{i}_MA.tif *gt/2.~Exudates/IDRiD_{i}_EX.tif"),
    idrid=("classes", "background Exudates Microaneurysms", "A.~Segmentation/1.~Images/a.~Training~Set/IDRiD_{i}.jpg",
           "A.~Segmentation/2.~Groundtruths/a.~Training~Set/1.~Microaneurysms/IDRiD_{i}_MA.tif "
           "*A.~Segmentation/2.~Groundtruths/a.~Training~Set/2.~Exudates/IDRiD_{i}_EX.tif"),
    attributes=("classes", "background globules milia_like_cyst", "Input/ISIC_00{i}.jpg",
                "GroundTruth/ISIC_00{i}_attribute_globules.png GroundTruth/ISIC_00{i}_attribute_milia_like_cyst.png"),
    padded_numbers=("classes", "background hair l_brow", "CelebA-HQ-img/{i}.jpg",
                    "CelebAMask-HQ-mask-anno/0/0000{i}_hair.png CelebAMask-HQ-mask-anno/0/0000{i}_l_brow.png"),
    class_in_front=("classes", "background fence wire", "img/{i}.png", "msk/fence_{i}.png msk/wire_{i}.png"),
    beside_the_image=("classes", "background fence wire", "a{i}.jpg", "a{i}_class_fence.png a{i}_class_wire.png"),
    objects_of_classes=("classes", "background car person", "images/00{i}.jpg",
                        "masks/00{i}_person_0.png masks/00{i}_person_1.png *masks/00{i}_car_0.png"),
    classes_in_a_folder_per_image=("classes", "background car road", "images/x{i}.jpg",
                                   "masks/x{i}/car.png masks/x{i}/road.png"),
    folders_of_patients=("classes", "background car road", "A/images/{i}.png B/images/{i}.png",
                         "A/masks/{i}_car.png A/masks/{i}_road.png B/masks/{i}_car.png B/masks/{i}_road.png"),
    capital_letters=("classes", "background FENCE WIRE", "IMAGES/A{i}.PNG", "MASKS/A{i}_FENCE.PNG MASKS/A{i}_WIRE.PNG"),
    no_word_for_masks=("classes", "background fence wire", "photos/p{i}.jpg",
                       "drawn/p{i}_fence.png drawn/p{i}_wire.png"),
    folders_of_segnet=("classes", "background fence wire", "train/{i}.png val/{j}.png",
                       "trainannot/{i}_fence.png trainannot/{i}_wire.png valannot/{j}_fence.png valannot/{j}_wire.png"),
    folders_of_voc=("classes", "background car road", "JPEGImages/{i}.jpg",
                    "SegmentationClass/{i}_car.png SegmentationClass/{i}_road.png"),
    mask_in_the_folders_name=("classes", "background car road", "images/{i}.png", "mask_car/{i}.png mask_road/{i}.png"),
    lungs_and_heart=("classes", "background heart left~lung right~lung", "images/{i}.png",
                     "masks/left~lung/{i}.png masks/right~lung/{i}.png masks/heart/{i}.png"),
    numbered_classes=("classes", "background class_1 class_2", "images/{i}.png",
                      "masks/{i}_class_1.png masks/{i}_class_2.png"),
    two_sides=("union", "background lung", "CXR/{i}.png", "mask/{i}_lung_left.png mask/{i}_lung_right.png"),
    sides_without_a_word_for_masks=("union", "background foreground", "CXR_png/{i}.png",
                                    "lungs/left/{i}.png lungs/right/{i}.png"),
    folders_without_a_word_for_masks=("classes", "background membrane nucleus", "cells/{i}.png",
                                      "nucleus/{i}.png membrane/{i}.png"),
    numbers_in_folders_with_numbers=("union", "background foreground", "images/{i}.png",
                                     "masks/{i}/mask_1.png *masks/{i}/mask_2.png"),
    folder_beside_the_image=("union", "background foreground", "p{i}.jpg",
                             "p{i}/mask_0.png p{i}/mask_1.png *p{i}/mask_2.png"),
    numbered=("union", "background foreground", "x{i}.png", "x{i}_mask_0.png *x{i}_mask_1.png"),
    busi=("union", "background foreground", "benign/benign~({i}).png malignant/malignant~({i}).png",
          "benign/benign~({i})_mask.png *benign/benign~({i})_mask_1.png malignant/malignant~({i})_mask.png"),
    plain_and_numbered=("union", "background foreground", "images/{i}.png", "masks/{i}.png *masks/{i}_1.png"),
    nuclei=("union", "background nucleus", "images/s{i}.png", "masks/s{i}_nucleus_1.png masks/s{i}_nucleus_2.png"),
    folder_per_image=("union", "background foreground", "images/{i}.jpg",
                      "masks/{i}/0.png masks/{i}/1.png *masks/{i}/2.png"),
    segment_anything=("union", "background foreground", "p{i}.jpg", "p{i}_0.png p{i}_1.png *p{i}_2.png"),
    image_in_its_folder=("union", "background foreground", "case{i}/image.png",
                         "case{i}/mask_0.png case{i}/mask_1.png *case{i}/mask_2.png"),
    chase=("annotators", "1stHO 2ndHO", "Image_0{i}L.jpg", "#Image_0{i}L_1stHO.png #Image_0{i}L_2ndHO.png"),
    stare=("annotators", "labels-ah labels-vk", "images/im000{i}.ppm",
           "labels-ah/im000{i}.ah.ppm labels-vk/im000{i}.vk.ppm"),
    drive=("annotators", "1st_manual 2nd_manual", "images/0{i}_test.tif",
           "1st_manual/0{i}_manual1.gif 2nd_manual/0{i}_manual2.gif"),
    experts=("annotators", "expert1 expert2", "images/{i}.png", "labels/expert1/{i}.png labels/expert2/{i}.png"),
    fine_and_coarse=("unclear", "", "images/{i}.png", "#labels_fine/{i}.png #labels_coarse/{i}.png"),
    tasks_of_bdd100k=("unclear", "", "images/10k/train/{i}.jpg",
                      "#labels/sem_seg/masks/train/{i}.png #labels/drivable/masks/train/{i}.png"),
    endovis=("unclear", "", "left_frames/f{i}.png", "#ground_truth/Left_Forceps_labels/f{i}.png "
                                                    "#ground_truth/Right_Forceps_labels/f{i}.png"),
    two_numbers_each=("unclear", "", "images/{i}.png", "masks/{i}_mask_0.png masks/{i}_mask_1.png"),
    several_values=("unclear", "", "images/{i}.png", "#masks/{i}_a.png #masks/{i}_b.png"),
    whole_and_parts=("unclear", "", "images/{i}.png", "masks/{i}.png masks/{i}_fence.png masks/{i}_wire.png"),
)


@pytest.mark.parametrize("name", KINDS)
def test_what_the_masks_of_one_image_are(name, tmp_path):
    kind, names, images, masks = KINDS[name]
    groups = groups_of(draw(tmp_path, images, masks))
    assert groups and groups.kind == kind
    if names: assert {*groups.names} == {word.replace("~", " ") for word in names.split()}
    text = str(groups_problem(groups))
    several = next(image for image, found in groups.masks.items() if len(found) > 1)
    assert missing(text, several, "several masks", groups.masks[several][0][1]) == []
    assert ("--fix" in text) == (kind in ("classes", "union"))
    with pytest.raises(DataError, match="has several masks"): open_data(tmp_path)


ORDINARY = dict(
    one_mask_each=("images/{i}.png", "#masks/{i}.png"),
    affix=("images/{i}.png", "masks/{i}_mask.png"),
    beside=("{i}.png", "{i}_mask.png"),
    forms_of_cityscapes=("left/aachen_{i}_leftImg8bit.png", "#gt/aachen_{i}_gtFine_labelIds.png "
                         "#gt/aachen_{i}_gtFine_color.png #gt/aachen_{i}_gtFine_instanceIds.png"),
    superpixels=("in/ISIC_{i}.jpg in/ISIC_{i}_superpixels.png", "gt/ISIC_{i}_segmentation.png"),
    same_names_in_splits=("images/train/{i}.png images/val/{i}.png", "#masks/train/{i}.png #masks/val/{i}.png"),
    splits_in_front=("train/{i}.png val/{i}.png", "#train_masks/{i}.png #val_masks/{i}.png"),
    splits_behind=("images_train/{i}.png images_val/{i}.png", "#masks_train/{i}.png #masks_val/{i}.png"),
    tiles=("images/scene_{i}_0.png images/scene_{i}_1.png", "#masks/scene_{i}_0.png #masks/scene_{i}_1.png"),
    tiles_with_affix=("images/scene_{i}_0.png images/scene_{i}_1.png",
                      "#masks/scene_{i}_0_mask.png #masks/scene_{i}_1_mask.png"),
    tiles_and_the_scene=("images/scene.png images/scene_{i}.png", "#masks/scene.png #masks/scene_{i}.png"),
    frames_of_videos=("images/vid1/00{i}.png images/vid2/00{i}.png", "#masks/vid1/00{i}.png #masks/vid2/00{i}.png"),
    folders_of_videos=("vid1/images/00{i}.png vid2/images/00{i}.png", "#vid1/masks/00{i}.png #vid2/masks/00{i}.png"),
    names_begin_alike=("images/train1.png images/train1{i}.png images/train{j}.png",
                       "masks/train1_mask.png masks/train1{i}_mask.png masks/train{j}_mask.png"),
    names_that_extend_others=("images/a.png images/a_b.png images/a_{i}.png",
                              "#masks/a.png #masks/a_b.png #masks/a_{i}.png"),
    photos_of_a_series=("scene.jpg scene_{i}.jpg scene_{i}_b.jpg", ""),
    ids_and_instances=("images/{i}.png", "#labels/{i}.png #instances/{i}.png"),
    ids_and_colors=("images/{i}.png", "#labels/ids/{i}.png #labels/color/{i}.png"),
    classes_and_objects=("JPEGImages/{i}.jpg", "SegmentationClass/{i}.png SegmentationObject/{i}.png "
                         "SegmentationClassAug/{i}.png SegmentationClassVisualization/{i}.png"),
    two_folders_of_masks=("images/{i}.png", "#labels/{i}.png #masks/{i}.png"),
    all_classes_and_each=("images/{i}.png", "#masks/{i}.png masks/RO/{i}.png masks/FV/{i}.png"),
    depth=("rgb/{i}.png depth/{i}.png", "#label/{i}.png"),
    field_of_view=("images/{i}.tif", "1st_manual/{i}_manual1.gif mask/{i}_mask.gif"),
    channels=("imagesTr/case_{i}_0000.png imagesTr/case_{i}_0001.png", "#labelsTr/case_{i}.png"),
    defects=("test/broken/00{i}.png test/dirty/00{i}.png test/good/00{i}.png",
             "ground_truth/broken/00{i}_mask.png ground_truth/dirty/00{i}_mask.png"),
    stereo=("image_left/{i}.png image_right/{i}.png", "#seg_left/{i}.png #seg_right/{i}.png"),
    machine_and_human=("ds/img/{i}.jpg", "#ds/masks_machine/{i}.png #ds/masks_human/{i}.png"),
    region_of_interest=("IMD{i}/IMD{i}_Image/IMD{i}.bmp",
                        "IMD{i}/IMD{i}_lesion/IMD{i}_lesion.bmp *IMD{i}/IMD{i}_roi/IMD{i}_R1.bmp"),
    vessels_and_field_of_view=("images/{i}.png", "masks/{i}.png vessel-segmentations/{i}.png"),
    one_task_of_bdd100k=("images/10k/train/{i}.jpg", "#labels/sem_seg/masks/train/{i}.png "
                         "labels/sem_seg/colormaps/train/{i}.png"),
    four_folders_of_photos=("left/{i}.png right/{i}.png x/{i}.png", "y/{i}.png"),
    before_and_after=("images/h_{i}_pre_disaster.png images/h_{i}_post_disaster.png",
                      "#targets/h_{i}_pre_disaster_target.png #targets/h_{i}_post_disaster_target.png"),
    two_times=("A/{i}.png B/{i}.png", "label/{i}.png"),
    isaid=("images/P{i}.png", "#masks/P{i}_instance_color_RGB.png #masks/P{i}_instance_id_RGB.png"),
    woodscape=("rgb_images/{i}_FV.png", "#semantic_annotations/gtLabels/{i}_FV.png "
                                        "#semantic_annotations/rgbLabels/{i}_FV.png"),
    healthy_eyes=("EX/E{i}/DS00{i}.jpg healthy/E{i}/C000{i}.jpg", "Annotation_EX/E{i}/DS00{i}_EX.png"),
    parts_of_ade20k=("ADE_{i}.jpg", "#ADE_{i}_seg.png #ADE_{i}_parts_1.png *ADE_{i}_parts_2.png"),
    brush_of_label_studio=("images/{i}.jpg", "masks/task-{i}-annotation-{j}-by-1-tag-net-0.png "
                                             "masks/task-{i}-annotation-{j}-by-1-tag-tree-0.png"),
)


@pytest.mark.parametrize("name", ORDINARY)
def test_other_datasets_are_not_mistaken_for_groups(name, tmp_path):
    assert groups_of(draw(tmp_path, *ORDINARY[name])) is None


def test_one_file_more_is_no_group_unless_its_number_says_it(tmp_path):
    draw(tmp_path, "images/{i}.png", "masks/{i}_mask.png")
    paint(tmp_path/"masks/0_wire.png", blob(9))
    assert groups_of(tmp_path) is None
    (tmp_path/"masks/0_wire.png").rename(tmp_path/"masks/0_mask_1.png")
    assert groups_of(tmp_path).kind == "union"


def test_smooth_masks_and_segments_of_the_whole_image_are_unclear(tmp_path):
    smooth = draw(tmp_path/"smooth", "images/{i}.png", "masks/car/{i}.png masks/road/{i}.png")
    paint(smooth/"masks/car/0.png", np.linspace(0, 255, SIZE[0]*SIZE[1]).reshape(SIZE))
    assert groups_of(smooth).kind == "unclear"
    for i in range(3): # segments that leave no pixel out
        photo(tmp_path/f"all/images/{i}.jpg", i)
        for k in range(3 + i):
            rows = np.arange(SIZE[0])[:, None]*(3 + i)//SIZE[0] == k
            paint(tmp_path/f"all/masks/{i}/{k}.png", np.broadcast_to(rows*255, SIZE))
    assert groups_of(tmp_path/"all").kind == "unclear"


def test_the_work_grows_with_the_number_of_files():
    from helpers.work import growth
    def files(n): return [tuple(sorted(f"{at}.png" for i in range(n) for at in (f"images/{i}", f"masks/{i}_mask")))]
    assert name_groups(*files(4000)) is None
    assert growth(name_groups.__wrapped__, files) < 3


# ---- the copy

def test_the_union_of_objects(tmp_path):
    root = draw_dsb2018(tmp_path/"data")
    write_joined_copy(root, tmp_path/"copy")
    data = open_data(tmp_path/"copy")
    assert data.classes.names == ("background", "foreground")
    for i in range(4):
        expected = (blob(i) | blob(4 + i) | blob(8 + i)) > 0
        assert (data.ids(f"labels/{i}f{i}c2b_P.png") == expected).all()


def test_a_class_for_each_mask_and_the_split_of_the_folders(tmp_path):
    root = draw(tmp_path/"data", "train/images/{i}.png", "train/masks/car/{i}.png train/masks/road/{i}.png")
    draw(root, "val/images/{i}.png", "val/masks/car/{i}.png *val/masks/road/{i}.png", 2)
    log = write_joined_copy(root, tmp_path/"copy")
    data = open_data(tmp_path/"copy")
    assert data.classes.names == ("background", "car", "road") and data.splits == {"train": 4, "valid": 2}
    assert (data.ids("labels/train_images_1_P.png") == (blob(2) > 0) + 2*(blob(3) > 0)).all()
    assert (data.ids("labels/val_images_1_P.png") == (blob(2) > 0)).all()
    assert set(log.code) == {"several-masks", "renamed"} or set(log.code) == {"several-masks"}


def test_ids_by_their_names(tmp_path):
    root = draw_labelme(tmp_path/"data", end="\r\n")
    write_joined_copy(root, tmp_path/"copy")
    data = open_data(tmp_path/"copy")
    assert data.classes.names == ("_background_", "apple", "cup", "pear")
    for name, classes in TABLES.items():
        names = ["_background_", *classes.split()]
        raw = np.asarray(Image.open(root/f"{name}_json/label.png"))
        meant = np.array([data.classes.names.index(word) for word in names])[raw]
        assert (data.ids(f"labels/{name}_P.png") == meant).all()


def test_the_same_label_names_everywhere(tmp_path):
    root = draw_labelme(tmp_path/"data", dict.fromkeys(("a", "b", "c"), "apple cup"))
    with pytest.raises(DataError, match="one file for each image"): open_data(root)
    write_joined_copy(root, tmp_path/"copy")
    assert open_data(tmp_path/"copy").classes.names == ("_background_", "apple", "cup")


def test_ignored_labels_are_void(tmp_path):
    root = draw_labelme(tmp_path/"data", {"a": "__ignore__ cup", "b": "cup", "c": "apple"})
    write_joined_copy(root, tmp_path/"copy")
    data = open_data(tmp_path/"copy")
    assert data.classes.names[data.classes.void] == "Void"
    raw = np.asarray(Image.open(root/"a_json/label.png"))
    assert ((data.ids("labels/a_P.png") == data.classes.void) == (raw == 1)).all()


def test_overlapping_classes(tmp_path):
    "The later class wins on a few pixels, and the log counts them; with many the copy is refused."
    root = draw(tmp_path/"data", "images/{i}.png", "masks/car/{i}.png masks/road/{i}.png")
    road = np.zeros(SIZE, np.uint8)
    road[20:] = 255
    for i in range(4): paint(root/f"masks/road/{i}.png", road)
    car = road - road
    car[5:21, :12] = 255
    paint(root/"masks/car/3.png", car)
    log = write_joined_copy(root, tmp_path/"copy")
    assert log[log.code == "mask-overlap"].file.tolist() == ["images/3.png"]
    assert log[log.code == "mask-overlap"].pixels.tolist() == [12]
    joined = open_data(tmp_path/"copy").ids("labels/3_P.png")
    assert (joined[20:] == 2).all() and (joined[5:20, :12] == 1).all()
    for i in range(4): paint(root/f"masks/car/{i}.png", road)
    with pytest.raises(DataError, match="It is not certain what they are"): write_joined_copy(root, tmp_path/"again")
    assert not (tmp_path/"again").exists()


def test_masks_that_cannot_be_joined_are_left_out_and_logged(tmp_path):
    root = draw(tmp_path/"data", "images/{i}.png", "masks/{i}_fence.png masks/{i}_wire.png", 6)
    paint(root/"masks/1_wire.png", np.zeros((8, 8)))
    photo(root/"images/unlabeled.png", 99)
    log = write_joined_copy(root, tmp_path/"copy")
    assert log[log.code == "mask-size"].file.tolist() == ["images/1.png"]
    assert log[log.code == "unused-image"].file.tolist() == ["images/unlabeled.png"]
    assert len(open_data(tmp_path/"copy").pairs) == 5
    assert pd.read_csv(tmp_path/"copy/changes.csv").code.tolist() == log.code.tolist()


def test_a_black_and_white_mask_in_any_form(tmp_path):
    root = draw(tmp_path, "images/{i}.png", "masks/{i}_fence.png masks/{i}_wire.png", 2)
    for form, values in (("L", blob(0)), ("RGB", np.stack([blob(0)]*3, -1)), ("1", blob(0) > 0), ("P", blob(0)//255)):
        Image.fromarray(values).convert(form).save(root/"masks/0_fence.png")
        joined = join_masks(root, groups_of(root), "images/0.png")
        assert ((joined.ids == 1) == (blob(0) > 0)).all(), form


def test_black_and_white_masks_in_jpeg_and_on_a_transparent_ground(tmp_path):
    root = draw(tmp_path/"data", "images/{i}.png", "masks/car/{i}.jpg masks/road/{i}.png", 3)
    clear = np.full((*SIZE, 4), 255, np.uint8)
    clear[..., 3] = blob(15)
    Image.fromarray(clear).save(root/"masks/road/0.png")
    groups = groups_of(root)
    assert groups.kind == "classes"
    assert (join_masks(root, groups, "images/0.png").ids == (blob(0) > 0) + 2*(blob(15) > 0)).all()
    assert write_joined_copy(root, tmp_path/"copy").what.str.contains("divided at 128").all()


@pytest.mark.parametrize("name", ["experts", "two_numbers_each"])
def test_an_uncertain_answer_is_not_written(name, tmp_path):
    root = draw(tmp_path/"data", *KINDS[name][2:])
    with pytest.raises(DataError, match="several masks"): write_joined_copy(root, tmp_path/"copy")
    assert not (tmp_path/"copy").exists()


def test_the_command_line(tmp_path):
    root = draw_one_png_per_class(tmp_path/"data")
    done = CliRunner().invoke(app, ["check", str(root), "--fix", str(tmp_path/"copy")])
    assert done.exit_code == 1 and missing(done.output, "has several masks", "a corrected copy") == []
    again = CliRunner().invoke(app, ["check", str(tmp_path/"copy")])
    assert again.exit_code == 0, again.output
