"""Small datasets drawn in the layouts of published ones."""
import numpy as np
from PIL import Image

from segfast.data.formats.voc import voc_colors

SIZE = 40, 56


TABLE = "64 128 64\tAnimal\n128 64 128 \tRoad\n0 0 0\t\tVoid\n192 128 64  Child, small\n"


COLORS = np.uint8([[64, 128, 64], [128, 64, 128], [0, 0, 0], [192, 128, 64]])


def ids(i, n):
    return np.random.default_rng(i).integers(0, n, (SIZE[0]//8, SIZE[1]//8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)


def photo(path, i=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(100 + i).integers(0, 256, (*SIZE, 3), np.uint8)).save(path)


def paint(path, a, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    im = Image.fromarray(np.asarray(a, np.uint8))
    if palette is not None:
        im.putpalette(palette)
    im.save(path)


def draw_camvid(root):
    truth = {}
    for i in range(5):
        photo(root/f"images/{i}.png", i)
        truth[f"labels/{i}_P.png"] = ids(i, 4)
        paint(root/f"labels/{i}_P.png", ids(i, 4))
    (root/"codes.txt").write_text("Animal\nRoad\nVoid\nChild\n")
    (root/"valid.txt").write_text("1.png\n3.png\n")
    return truth, {"train": 3, "valid": 2}


def draw_camseq(root):
    truth = {}
    for i in range(6):
        photo(root/f"0016E5_0{i}.png", i)
        truth[f"0016E5_0{i}_L.png"] = ids(i, 4)
        paint(root/f"0016E5_0{i}_L.png", COLORS[ids(i, 4)])
    (root/"label_colors.txt").write_text(TABLE)
    return truth, {"train": 4, "valid": 1, "test": 1}


def draw_kitti_road(root):
    truth = {}
    for kind in "um", "umm", "uu":
        for i in range(2):
            photo(root/f"training/image_2/{kind}_00000{i}.png", i)
            a = ids(i, 3)
            truth[f"training/gt_image_2/{kind}_road_00000{i}.png"] = np.where(a == 2, 255, a)
            paint(root/f"training/gt_image_2/{kind}_road_00000{i}.png",
                  np.uint8([[255, 0, 0], [255, 0, 255], [0, 0, 0]])[a])
    paint(root/"training/gt_image_2/um_lane_000000.png", np.zeros((*SIZE, 3)))
    photo(root/"testing/image_2/um_000000.png")
    return truth, {"train": 5, "valid": 1}


def draw_pets(root):
    truth = {}
    for i in range(6):
        photo(root/f"images/Abyssinian_{i}.jpg", i)
        a = ids(i, 3)
        truth[f"annotations/trimaps/Abyssinian_{i}.png"] = np.where(a == 2, 255, a)
        paint(root/f"annotations/trimaps/Abyssinian_{i}.png", a + 1)
    (root/"annotations/trimaps/._Abyssinian_0.png").write_bytes(b"not a picture")
    for name, rows in (("trainval", range(4)), ("test", (4, 5))):
        (root/f"annotations/{name}.txt").write_text("".join(f"Abyssinian_{i} 1 1 1\n" for i in rows))
    return truth, {"train": 3, "valid": 1, "test": 2}


def draw_idd(root):
    truth = {}
    for i, s in enumerate(("train", "train", "val")):
        photo(root/f"leftImg8bit/{s}/{i}/00{i}_image.jpg", i)
        a = ids(i, 8)
        truth[f"gtFine/{s}/{i}/00{i}_label.png"] = np.where(a == 7, 255, a)
        paint(root/f"gtFine/{s}/{i}/00{i}_label.png", np.where(a == 7, 255, a))
        paint(root/f"gtFine/{s}/{i}/00{i}_inst_label.png", a)
    photo(root/"leftImg8bit/test/0/009_image.jpg")
    return truth, {"train": 2, "valid": 1}


def draw_cityscapes(root, kind="labelIds"):
    truth, raw = {}, np.uint8([7, 8, 26, 33, 0, 3, 29])
    meant = np.uint8([0, 1, 13, 18, 255, 255, 255])
    for i, s in enumerate(("train", "train", "val", "test")):
        stem = f"{s}/aachen/aachen_00000{i}_000019"
        photo(root/f"leftImg8bit/{stem}_leftImg8bit.png", i)
        a = ids(i, 7)
        if s != "test":
            truth[f"gtFine/{stem}_gtFine_{kind}.png"] = meant[a]
        paint(root/f"gtFine/{stem}_gtFine_labelIds.png", raw[a])
        paint(root/f"gtFine/{stem}_gtFine_color.png", np.zeros((*SIZE, 3)))
        if kind == "labelTrainIds":
            paint(root/f"gtFine/{stem}_gtFine_labelTrainIds.png", meant[a])
    return truth, {"train": 2, "valid": 1}


def draw_voc(root):
    truth = {}
    for i in range(5):
        photo(root/f"JPEGImages/2007_00000{i}.jpg", i)
        a = ids(i, 22)
        truth[f"SegmentationClass/2007_00000{i}.png"] = np.where(a == 21, 255, a)
        paint(root/f"SegmentationClass/2007_00000{i}.png", np.where(a == 21, 255, a),
              np.uint8(voc_colors(256)).ravel().tolist())
    photo(root/"JPEGImages/2007_000009.jpg")
    lists = root/"ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists/"train.txt").write_text("2007_000000\n2007_000001\n2007_000004\n")
    (lists/"val.txt").write_text("2007_000002\n2007_000003\n")
    (lists/"trainval.txt").write_text("\n".join(f"2007_00000{i}" for i in range(5)))
    return truth, {"train": 3, "valid": 2}


def draw_segnet(root):
    truth = {}
    for i, s in enumerate(("train", "train", "val", "test")):
        photo(root/f"{s}/{i}.png", i)
        truth[f"{s}annot/{i}.png"] = ids(i, 12)
        paint(root/f"{s}annot/{i}.png", ids(i, 12))
    return truth, {"train": 2, "valid": 1, "test": 1}


def draw_folders(root):
    truth = {}
    for i in range(5):
        photo(root/f"photos/{i:03}.jpg", i)
        truth[f"truth/gt_{i:03}_v2.png"] = ids(i, 3)
        paint(root/f"truth/gt_{i:03}_v2.png", ids(i, 3)*100)
    return truth, {"train": 4, "valid": 1}


def two_folders(root, values, names="", n=6):
    for i in range(n):
        photo(root/f"images/{i}.png", i)
        paint(root/f"masks/{i}.png", np.uint8(values[i % len(values)])[ids(i, len(values[i % len(values)]))])
    if names:
        (root/"codes.txt").write_text("".join(f"{item}\n" for item in names.split()))
