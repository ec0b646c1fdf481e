"""Folders in all the states they are found in."""
import os
import shutil
from pathlib import Path

import pytest
from helpers.problems import missing
from helpers.refusals import refuses
from PIL import Image

import segfast.data.open as open_module
from segfast.core.errors import DataError, UsageError
from segfast.data.demo import demo
from segfast.data.formats.camvid import camvid
from segfast.data.formats.registry import find_layout
from segfast.data.open import open_data
from segfast.data.pairing import list_images


@pytest.fixture
def folder(demo_dir, tmp_path): return shutil.copytree(demo_dir, tmp_path/"scenes")


def codes_of(data): return {p.code for p in data.problems}


def test_the_demos_folder(demo_dir):
    data = camvid(demo_dir)
    assert data.name == demo_dir.name and data.layout == "camvid" and data.splits == {"train": 8, "valid": 2}
    assert list(data.pairs) == ["image", "mask", "split"] and not data.problems
    assert all(data.path(rel).is_file() for rel in [*data.pairs["image"], *data.pairs["mask"]])
    assert all("\\" not in path and not path.startswith("/") for path in [*data.pairs["image"], *data.pairs["mask"]])
    assert len(data.split("train", "valid")) == 10 and list(data.split("valid").index) == [0, 1]


@pytest.mark.slow
def test_real_camvid(shared_data):
    data = open_data(shared_data/"camvid")
    assert data.splits == {"train": 367, "valid": 101} and len(data.classes) == 12 and data.classes.void == 11
    assert not [p for p in data.problems if p.kind == "error"]
    assert not set(data.split("train")["image"]) & set(data.split("valid")["image"])
    listed = (shared_data/"camvid"/"valid.txt").read_text().split()
    assert sorted(Path(path).name for path in data.split("valid")["image"]) == sorted(listed)


# valid.txt

@pytest.mark.parametrize("text", ["scene_008.png\nscene_009.png", "\ufeffscene_008.png\r\nscene_009.png\r\n",
                                  "\n scene_009.png \n\nscene_008.png\t\n",
                                  "scene_009.png\nscene_008.png\nscene_008.png\n"])
def test_valid_lists(folder, text):
    (folder/"valid.txt").write_bytes(text.encode())
    data = camvid(folder)
    assert list(data.split("valid")["image"]) == ["images/scene_008.png", "images/scene_009.png"]
    assert codes_of(data) <= {"list-cleaned", "list-duplicate"} and not [p for p in data.problems if p.kind == "error"]


@pytest.mark.parametrize("text, code, found, named", [
    ("", "valid-empty", None, []),
    ("a.png\nscene_008.png", "valid-missing", ["a.png"], ["a.png", 1, 2, "scene_000.png"]),
    ("a\nb", "valid-missing", ["a", "b"], [2, "scene_000.png"]),
    ("images/scene_008.png", "valid-missing", ["images/scene_008.png"], ["images/scene_008.png", "scene_000.png"]),
    ("\n".join(f"scene_{i:03d}.png" for i in range(10)), "valid-all", None, [10])])
def test_bad_valid_lists(folder, text, code, found, named):
    (folder/"valid.txt").write_text(text)
    bad = [p for p in camvid(folder).problems if p.kind == "error"]
    assert [(p.code, p.file, p.found) for p in bad] == [(code, "valid.txt", found)] and missing(bad[0], *named) == []


def test_no_valid_list(folder):
    (folder/"valid.txt").unlink()
    first, again, other = camvid(folder), camvid(folder), camvid(folder, seed=1)
    assert first.splits == {"train": 8, "valid": 2}
    assert codes_of(first) == {"no-valid-list"} and first.problems[0].kind == "note"
    assert first.pairs.equals(again.pairs) and not first.pairs.equals(other.pairs)


def test_a_single_image_without_a_list(folder):
    "Nothing can be held out of one image; whatever is said must not be a traceback."
    for p in sorted((folder/"images").iterdir())[1:]:
        p.unlink()
    (folder/"valid.txt").unlink()
    data = camvid(folder)
    assert data.splits.get("train") == 1


# Names and folders

def test_mask_by_stem_whatever_the_suffix(folder):
    with Image.open(folder/"images/scene_000.png") as im:
        im.convert("RGB").save(folder/"images/scene_000.JPG")
    (folder/"images/scene_000.png").unlink()
    (folder/"labels/scene_001_P.png").rename(folder/"labels/scene_001_P.PNG")
    data = camvid(folder)
    assert data.pairs["image"][0] == "images/scene_000.JPG" and data.pairs["mask"][0] == "labels/scene_000_P.png"
    assert data.pairs["mask"][1] == "labels/scene_001_P.PNG"


def test_odd_names(folder):
    for old, new in ("scene_000", "Straße, 1"), ("scene_001", "a b [x]"), ("scene_002", "x.y.z"), ("scene_003", "日本"):
        (folder/f"images/{old}.png").rename(folder/f"images/{new}.png")
        (folder/f"labels/{old}_P.png").rename(folder/f"labels/{new}_P.png")
    data = camvid(folder)
    assert not data.problems and all(data.path(rel).is_file() for rel in [*data.pairs["image"], *data.pairs["mask"]])


def test_what_is_no_image_is_left_out(folder):
    for name in "Thumbs.db", ".DS_Store", "._scene_000.png", "notes.txt", "scene.png.part":
        (folder/"images"/name).write_bytes(b"x")
    (folder/"images/sub.png").mkdir()
    assert len(list_images(folder/"images")) == 10 and not camvid(folder).problems


def test_two_images_of_one_stem(folder):
    "a.png and a.jpg would share a mask: legal, but both have their pair."
    with Image.open(folder/"images/scene_000.png") as im:
        im.convert("RGB").save(folder/"images/scene_000.jpg")
    data = camvid(folder)
    assert len(data.pairs) == 11 and list(data.pairs["mask"][:2]) == ["labels/scene_000_P.png"]*2


def test_orphans_are_named(folder):
    (folder/"images/scene_004.png").unlink()
    data = camvid(folder)
    assert [p.file for p in data.problems] == ["labels/scene_004_P.png"] and data.problems[0].kind == "warning"


@pytest.mark.parametrize("gone, there", [("images", "labels/"), ("labels", "images/")])
def test_parts_that_are_missing(folder, gone, there):
    shutil.rmtree(folder/gone)
    with refuses(DataError, gone, folder, there, code="folder-missing", expected=gone):
        open_data(folder)


def test_faults_of_lists_do_not_hide_each_other(folder):
    (folder/"codes.txt").unlink()
    (folder/"valid.txt").write_bytes(b"scene_001\r\nimages/scene_002.png\nscene_003_P.png\n")
    (folder/"labels/scene_009_P.png").rename(folder/"labels/lonely_P.png")
    data = camvid(folder)
    assert codes_of(data) == {"codes", "valid-missing", "list-cleaned", "orphan-mask"}
    assert data.splits == {"train": 7, "valid": 3}, "the lines are understood, so that nothing follows from them"
    [p] = [p for p in data.problems if p.code == "valid-missing"]
    assert missing(p, 1, "'scene_001'", "'scene_000.png'") == []
    assert data.classes.names == tuple(f"class-{i}"
                                       for i in range(len(data.classes))), "as many as the masks have values"


@pytest.mark.parametrize("raw, codes", [(b"Sky\nRoad\nSky\n", {"codes-duplicate"}), (b"Sky\n\nRoad\n", {"codes-blank"}),
                                        (b"\xef\xbb\xbfSky\r\nRoad\r\n", {"codes-cleaned"}),
                                        (b"Sky \nRoad", {"codes-cleaned"}), (b"Sky\nRoad\n\n\n", {"codes-cleaned"}),
                                        (b"Void\nvoid\n", {"codes-void"}), (b"Background\nRoad\n", {"background"}),
                                        (b"background\nVoid\n", set()), (b"Stra\xdfe\n", {"encoding"}),
                                        (b"", {"codes"}), (b"\n\n", {"codes"}),
                                        ("Sky\nRoad\n".encode("utf-16"), {"encoding"}), (b"a\x0bb\nc", set()),
                                        (b"\n".join(b"%d" % i for i in range(300)), {"codes"})])
def test_codes_of_codes(folder, raw, codes):
    (folder/"codes.txt").write_bytes(raw)
    assert {p.code for p in camvid(folder).problems if p.file == "codes.txt"} == codes


def test_a_test_list(folder):
    (folder/"test.txt").write_text("scene_000.png\nscene_001.png\n")
    data = camvid(folder)
    assert data.splits == {"train": 6, "valid": 2, "test": 2} and not data.problems
    (folder/"test.txt").write_text("scene_000.png\nscene_009.png\nx.png\n")
    bad = {p.code: p for p in camvid(folder).problems}
    assert set(bad) == {"list-missing", "list-overlap"} and bad["list-overlap"].found == ["scene_009.png"] and bad[
        "list-missing"].found == ["x.png"]
    (folder/"valid.txt").unlink()
    (folder/"test.txt").write_text("scene_000.png\nscene_001.png\n")
    assert camvid(folder).splits == {"train": 6, "valid": 2, "test": 2}


def test_links_to_nowhere(folder):
    (folder/"images/gone.png").symlink_to("nowhere.png")
    os.mkfifo(folder/"images/pipe.png")
    assert {(p.code, p.file) for p in camvid(folder).problems} == {("broken-link", "images/gone.png"),
        ("not-a-file", "images/pipe.png")}


def test_a_folder_too_high_or_too_low(folder):
    with refuses(DataError, folder, code="layout-unknown", file=str(folder.parent)):
        find_layout(folder.parent)
    with refuses(DataError, code="layout-unknown", file=str(folder/"images")):
        open_data(folder/"images")


def test_paths_that_are_none(folder, tmp_path):
    (tmp_path/"empty").mkdir()
    (tmp_path/"hidden").mkdir()
    (tmp_path/"hidden/.x").touch()
    said = {}
    for path, code, named in ((tmp_path/"nope", "folder-missing", []), (tmp_path/"scenez", "folder-missing", [folder]),
                              (folder/"codes.txt", "folder-missing", []), (tmp_path/"empty", "folder-empty", []),
                              (tmp_path/"hidden", "folder-empty", [])):
        for given in path, str(path):
            with refuses(DataError, path, *named, code=code, file=str(path)) as e:
                open_data(given)
        said[path.name] = e.value.problems[0].message.replace(str(path), "")
    assert said["codes.txt"] != said["nope"], "a file is not taken for nothing"


def test_home_and_links(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_data("~/scenes").splits["train"] == 8
    (tmp_path/"link").symlink_to(folder, target_is_directory=True)
    assert open_data(tmp_path/"link").splits["train"] == 8


# Names against folders

def test_a_known_name_wins_over_a_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path/"demo")
    monkeypatch.setitem(open_module.KNOWN, "demo", open_module.Known(lambda name,
        progress=None: demo(n=2, size=(48, 64)), "two scenes"))
    data = open_data("demo")
    assert len(data.pairs) == 2 and str(data.root) in data.origin and "./demo" in data.origin
    assert len(open_data("./demo").pairs) == len(open_data(Path("demo")).pairs) == len(
        open_data(str(tmp_path/"demo")).pairs) == 10


def test_names_that_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refuses(DataError, *open_module.KNOWN, code="folder-missing", file="camvit") as e:
        open_data("camvit")
    assert missing(e.value.problems[0].fix, "camvid") == []
    with refuses(UsageError, "layout", "nope", *open_module.LAYOUTS):
        open_data("demo", "nope")


def test_the_demo_is_drawn_once(monkeypatch):
    done = []
    first = demo(n=3, size=(48, 64), progress=lambda *step: done.append(step))
    assert done and os.listdir(first.root)
    monkeypatch.setattr("segfast.data.demo.write_demo", None)
    again = demo(n=3, size=(48, 64))
    assert first.root == again.root and first.pairs.equals(again.pairs) and first.classes == again.classes
