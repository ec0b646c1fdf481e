"""Print what the library says of drawn folders, ambiguous ones among them: `python -m helpers.answers FOLDER SEED`.

Folders are listed in an order that the seed gives, as file systems list them in orders of their own."""
import json
import os
import random
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from helpers.annotations import FORMATS, photos, put_text
from helpers.layouts import (COLORS, draw_camvid, draw_cityscapes, draw_folders, draw_pets, draw_voc, ids, paint, photo)


def affixes_that_tie(root):
    "Two endings of masks that match equally well."
    photos(root, "images/{}.png", 6)
    for i in range(6):
        for name in ("outline", "filled"):
            paint(root/f"masks/{i}_{name}.png", ids(i, 2))


def begins_alike(root):
    for i in range(12):
        photo(root/f"imgs/frame{i}.png", i)
        paint(root/f"masks/frame{i}_gt.png", ids(i, 2))


def three_folders(root):
    for i in range(6):
        photo(root/f"pictures/{i}.png", i)
        for name in ("first", "second"):
            paint(root/f"{name}/{i}.png", ids(i, 3))


def colors_and_ids(root):
    for i in range(6):
        photo(root/f"images/{i}.png", i)
        paint(root/f"labels/{i}.png", ids(i, 4))
        paint(root/f"labels_color/{i}.png", COLORS[ids(i, 4)])


def parts_of_a_class(root):
    for i in range(6):
        photo(root/f"images/{i}.png", i)
        for part in "ab":
            paint(root/f"masks/{i}_{part}.png", ids(i, 2)*255)


def lists_that_overlap(root):
    draw_folders(root)
    for name in ("train", "val", "test"):
        put_text(root/f"{name}.txt", "001\n002\n")


def names_apart(root):
    photos(root)
    for i, name in enumerate("qwert"):
        paint(root/f"masks/{name}.png", ids(i, 2))


def many_suffixes(root):
    photos(root)
    for i in range(3):
        for ending in ("json", "txt", "xml", "csv", "npy", "mat"):
            put_text(root/f"other/{i}.{ending}", '{"images": [], "annotations": []}')


def problems_of_all_kinds(root):
    draw_camvid(root)
    for i in range(9):
        photo(root/f"images/more{i}.png", i)
        photo(root/f"labels/less{i}_P.png", i)
        (root/f"images/lost{i}.png").symlink_to(f"nowhere{i}")


DRAWN = dict(camvid=draw_camvid, cityscapes=draw_cityscapes, folders=draw_folders, pets=draw_pets, voc=draw_voc,
             affixes_that_tie=affixes_that_tie, begins_alike=begins_alike, three_folders=three_folders,
             colors_and_ids=colors_and_ids, parts_of_a_class=parts_of_a_class, lists_that_overlap=lists_that_overlap,
             names_apart=names_apart, many_suffixes=many_suffixes, problems_of_all_kinds=problems_of_all_kinds,
             coco=FORMATS["coco_json"][0], labelme=FORMATS["labelme_json_beside"][0],
             brush=FORMATS["labelstudio_brush"][0])


def draw_all(folder):
    for name, draw in DRAWN.items():
        (folder/name).mkdir(parents=True)
        draw(folder/name)


class Entries(list):
    "A listing that can be closed, as the one of `os.scandir`."
    def __enter__(self): return self
    def __exit__(self, *args): pass
    def close(self): pass
    def __next__(self): return self.pop(0)


@contextmanager
def shuffled(seed):
    "List folders in an order that the seed gives."
    listdir, scandir = os.listdir, os.scandir

    def mixed(entries, name):
        entries = sorted(entries, key=name)
        random.Random(f"{seed} {[name(entry) for entry in entries]}").shuffle(entries)
        return entries

    def scan(path="."):
        with scandir(path) as entries:
            return Entries(mixed(entries, lambda entry: str(entry.name)))
    os.listdir, os.scandir = lambda path=".": mixed(listdir(path), str), scan
    try:
        yield
    finally:
        os.listdir, os.scandir = listdir, scandir


def answer(folder):
    "All that the library says of a folder."
    from segfast.data.check import check_path
    report = check_path(folder, cache=False)
    found = {"problems": [problem.to_dict() for problem in report.problems], "text": report.text()}
    if report.data is not None:
        pairs = report.data.pairs
        found |= {"layout": report.data.layout, "pairs": pairs.to_dict("records"), "files": report.files.to_csv(),
                  "encoding": str(report.data.encoding), "classes": asdict(report.data.classes)}
    return json.dumps(found, default=str)


if __name__ == "__main__":
    with shuffled(sys.argv[2]):
        for name in DRAWN:
            print(f"{name}: {answer(Path(sys.argv[1])/name)}")
