"""What one file says about itself: compared with NumPy, for all kinds of images, and kept until the file changes."""
import os
import random
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from helpers.refusals import refuses
from helpers.tiffs import write_tiff
from PIL import Image

import segfast.data.filestats as filestats
from segfast.core.errors import DataError
from segfast.data.detect.mask_values import guess_classes
from segfast.data.check import check, class_weights, fingerprint
from segfast.data.filestats import FactStore, darkness_note, file_digests, file_stamp, image_facts, mask_facts
from segfast.data.formats.camvid import camvid
from segfast.data.images import image_size, open_image, stored_bits
from segfast.data.masks import Encoding

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (37, 53, 3), np.uint8)


def saved(path, im, **kwargs):
    im.save(path, **kwargs)
    return path


IMAGES = {
    "rgb.png": lambda p: saved(p, Image.fromarray(RGB)),
    "grey.png": lambda p: saved(p, Image.fromarray(RGB[..., 0])),
    "alpha.png": lambda p: saved(p, Image.fromarray(np.dstack([RGB, RGB[..., :1]]))),
    "grey-alpha.png": lambda p: saved(p, Image.fromarray(RGB[..., 0]).convert("LA")),
    "palette.png": lambda p: saved(p, Image.fromarray(RGB).convert("P")),
    "palette.gif": lambda p: saved(p, Image.fromarray(RGB).convert("P")),
    "bits.png": lambda p: saved(p, Image.fromarray(RGB[..., 0] > 99)),
    "deep.png": lambda p: saved(p, Image.fromarray(RNG.integers(0, 65536, (37, 53), np.uint16))),
    "cmyk.jpg": lambda p: saved(p, Image.fromarray(RGB).convert("CMYK")),
    "photo.jpg": lambda p: saved(p, Image.fromarray(RGB)),
    "photo.webp": lambda p: saved(p, Image.fromarray(RGB)),
    "photo.tif": lambda p: saved(p, Image.fromarray(RGB)),
    "photo.bmp": lambda p: saved(p, Image.fromarray(RGB)),
}


@pytest.fixture(params=IMAGES)
def image(request, tmp_path): return IMAGES[request.param](tmp_path/request.param)


def test_facts_are_those_of_what_the_model_sees(image):
    facts, seen = image_facts(image), open_image(image)
    assert facts["size"] == [37, 53] == list(image_size(image)) and seen.shape == (37, 53, 3)
    assert np.allclose(facts["mean"], seen.reshape(-1, 3).mean(0)/255, atol=1e-5)
    assert np.allclose(facts["std"], seen.reshape(-1, 3).std(0)/255, atol=1e-5)


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation(tmp_path, turn):
    im = Image.fromarray(RGB)
    exif = im.getexif()
    exif[0x0112] = turn
    path = saved(tmp_path/"a.jpg", im, exif=exif)
    size = [53, 37] if turn > 4 else [37, 53]
    assert image_facts(path)["size"] == size == list(image_size(path)) == list(open_image(path).shape[:2])
    assert image_facts(path)["turn"] == turn and image_facts(path)["stored"] == [37, 53]


def test_a_mask_with_a_mark_is_turned_too(tmp_path):
    ids = RNG.integers(0, 3, (4, 6), np.uint8)
    im = Image.fromarray(ids)
    exif = im.getexif()
    exif[0x0112] = 3
    facts = mask_facts(saved(tmp_path/"m.png", im, exif=exif))
    same = mask_facts(saved(tmp_path/"n.png", Image.fromarray(ids[::-1, ::-1].copy())))
    assert facts["digest"] == same["digest"] and facts["turn"] == 3


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_borders(tmp_path, seed):
    ids = np.random.default_rng(seed).integers(0, 5, (9, 11), np.uint8).repeat(3, 0)
    facts = mask_facts(saved(tmp_path/"m.png", Image.fromarray(ids)))
    assert facts["counts"] == {str(v): int(n) for v, n in zip(*np.unique(ids, return_counts=True))}
    edges = {}
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            if (x + 1 < ids.shape[1] and ids[y, x] != ids[y, x+1]) or (y + 1 < ids.shape[0]
                and ids[y, x] != ids[y+1, x]):
                edges[str(ids[y, x])] = edges.get(str(ids[y, x]), 0) + 1
    assert facts["edges"] == edges


# Kept

@pytest.fixture
def folder(demo_dir, tmp_path): return shutil.copytree(demo_dir, tmp_path/"mine")


@pytest.fixture
def opened(monkeypatch):
    "The names of the files that are opened."
    names, inspect_file = [], filestats.inspect_file

    def spy(path, look):
        names.append(os.path.basename(path))
        return inspect_file(path, look)
    monkeypatch.setattr(filestats, "inspect_file", spy)
    return names


def test_an_unchanged_folder_is_not_opened_again(folder, opened):
    first = check(camvid(folder))
    assert len(opened) == 20
    again = check(camvid(folder))
    assert len(opened) == 20 and again.problems == first.problems and again.pixels.equals(first.pixels) and fingerprint(
        again) == fingerprint(first)
    check(camvid(folder), cache=False)
    assert len(opened) == 40


def test_only_what_changed_is_opened(folder, opened):
    check(camvid(folder))
    opened.clear()
    path = folder/"labels/scene_003_P.png"
    old = os.stat(path)
    with Image.open(path) as im:
        pixels = np.array(im)
    pixels[:2, :2] = 99
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))  # as a copy that keeps times would have it
    report = check(camvid(folder))
    assert opened == ["scene_003_P.png"] and [(p.code, p.found) for p in report.errors] == [("mask-values", [99])]


def test_another_encoding_is_another_fact(folder, opened):
    data = camvid(folder)
    check(data)
    opened.clear()
    data.encoding = Encoding("values", tuple((i, i) for i in range(10)))
    check(data)
    assert sorted(opened) == sorted(f"scene_{i:03}_P.png" for i in range(10))


def test_missing_is_not_remembered(folder):
    path = folder/"images/scene_001.png"
    kept = path.read_bytes()
    path.unlink()
    (folder/"images/scene_001.png").symlink_to(folder/"nowhere.png")
    data = camvid(shutil.copytree(folder, folder.parent/"other", symlinks=True))
    assert any(p.code == "broken-link" for p in check(data).errors)
    (data.root/"images/scene_001.png").unlink()
    (data.root/"images/scene_001.png").write_bytes(kept)
    assert check(camvid(data.root)).ok


def test_a_cache_that_cannot_be_written_is_said(folder, monkeypatch, tmp_path):
    (tmp_path/"file").touch()
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"file"/"cache"))
    report = check(camvid(folder))
    assert report.ok and [p.code for p in report.problems if p.code == "not-kept"]


def test_a_damaged_cache_is_started_again(folder, opened):
    data = camvid(folder)
    check(data)
    filestats.facts_file(data.root).write_bytes(b"x"*5000)
    assert check(data).ok and len(opened) == 40
    check(data)
    assert len(opened) == 40


def test_two_checks_at_once(folder, tmp_path):
    with closing(FactStore(tmp_path/"a.sqlite")) as one, closing(FactStore(tmp_path/"a.sqlite")) as other:
        for i in range(20):
            (one if i % 2 else other).put([(f"{i}.png", "image", "1 2 3", dict(size=[i, i]))])
        assert len(other.get([(f"{i}.png", "image") for i in range(20)])) == 20
    with closing(sqlite3.connect(tmp_path/"a.sqlite")) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    assert file_stamp(tmp_path/"nowhere") == ""


# A database that is damaged, or none at all

ROWS = [(f"{i}.png", kind, f"{i} 2 3 4", dict(size=[i, i], counts={str(k): i*k for k in range(20)}))
        for i in range(30) for kind in ("image", "mask index")]
KEYS = [row[:2] for row in ROWS]
TRUTH = {row[:2]: row[2:] for row in ROWS}


@pytest.fixture
def database(tmp_path):
    "A database with facts, in a folder of its own."
    path = tmp_path/"checks/a.sqlite"
    with closing(FactStore(path)) as store: store.put(ROWS)
    return path


def flip(raw, at, bit): return raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1:]


def test_no_flipped_bit_gives_a_wrong_fact_and_none_stays(database):
    raw, rng, lost = database.read_bytes(), random.Random(0), 0
    places = [*range(16, 56), *(rng.randrange(len(raw)) for _ in range(40))]
    for at in places:
        database.write_bytes(flip(raw, at, rng.randrange(8)))
        with closing(FactStore(database)) as store:
            found = store.get(KEYS)
            assert all(TRUTH[key] == facts for key, facts in found.items()), at
            lost += len(found) < len(TRUTH)
            store.put(ROWS)
            assert not store.trouble, at
        with closing(FactStore(database)) as store: assert store.get(KEYS) == TRUTH, at
    assert lost > 15, "the flips do harm"


def older(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table facts (file blob, kind text, stamp text, facts text, primary key (file, kind)) "
                   "without rowid")
        db.execute("insert into facts values (?,?,?,?)", (b"1.png", "image", "1 2 3 4", "{}"))
        db.commit()


def as_link(path): path.rename(path.parent.parent/"theirs.sqlite"), path.symlink_to(path.parent.parent/"theirs.sqlite")
def as_hard_link(path): os.link(path, path.parent.parent/"theirs.sqlite")
def as_folder(path): path.unlink(), path.mkdir(), (path/"a").write_text("a")
def as_view(path):
    with closing(sqlite3.connect(path)) as db:
        db.executescript("alter table facts rename to others; create view facts as select * from others")


@pytest.mark.parametrize("change", [lambda p: p.write_bytes(b""), lambda p: p.write_text("just a text\n"*300),
                                    lambda p: p.write_bytes(p.read_bytes()[:-1]), lambda p: p.write_bytes(
                                    p.read_bytes()[:1000]), lambda p: p.unlink(), as_folder, as_link, as_hard_link,
                                    lambda p: (p.unlink(), os.mkfifo(p)), older, as_view,
                                    lambda p: (p.unlink(), p.symlink_to(p)),
                                    lambda p: os.mkfifo(f"{p}-journal"), lambda p: os.mkdir(f"{p}-journal"),
                                    lambda p: p.with_name(f"{p.name}-journal").write_bytes(os.urandom(5000))],
                         ids=["empty", "text", "cut", "short", "gone", "folder", "link", "hard link", "pipe", "version",
                              "view", "loop", "journal pipe", "journal folder", "journal"])
def test_what_lies_in_place_of_the_database_is_no_error(database, tmp_path, change):
    change(database)
    theirs = tmp_path/"theirs.sqlite"
    before = theirs.read_bytes() if theirs.exists() else None
    with closing(FactStore(database)) as store:
        assert all(TRUTH[key] == facts for key, facts in store.get(KEYS).items())
        store.put(ROWS)
        assert not store.trouble
    with closing(FactStore(database)) as store: assert store.get(KEYS) == TRUTH
    assert not database.is_symlink() and database.is_file() and database.stat().st_nlink == 1
    assert before is None or theirs.read_bytes() == before
    assert not [p for p in database.parent.iterdir() if p.name.startswith(".part-")]


def test_a_damaged_database_does_not_stop_a_check(folder, opened):
    data = camvid(folder)
    first = check(data)
    path = filestats.facts_file(data.root)
    path.write_bytes(path.read_bytes()[:4096] + os.urandom(path.stat().st_size - 4096))
    again = check(data)
    assert again.files.equals(first.files) and again.problems == first.problems and len(opened) == 40
    check(data)
    assert len(opened) == 40, "kept again"


def test_a_database_that_another_process_has_locked(folder, opened, monkeypatch):
    monkeypatch.setattr(filestats, "_LOCK_SECONDS", .1)
    data = camvid(folder)
    check(data)
    with closing(sqlite3.connect(filestats.facts_file(data.root), isolation_level=None)) as other:
        other.execute("begin exclusive")
        report = check(data)
        assert report.ok and [p.message for p in report.problems if p.code == "not-kept" and "locked" in p.message]
        other.execute("rollback")
    opened.clear()
    assert check(data).ok and opened == [], "it was not deleted"


@pytest.mark.parametrize("replace", [lambda a, b: shutil.copy2(b, a), lambda a, b: os.replace(b, a),
                                     lambda a, b: (a.unlink(), os.link(b, a)),
                                     lambda a, b: (a.unlink(), a.symlink_to(b))],
                         ids=["cp -p", "mv", "link", "symlink"])
def test_a_file_of_equal_size_and_time_is_another_file(tmp_path, monkeypatch, replace):
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    for name in "a.png", "b.png":
        (tmp_path/name).write_text(name)
        os.utime(tmp_path/name, (1, 1))
    first, other = file_digests(tmp_path, ["a.png"]), file_digests(tmp_path, ["b.png"])
    replace(tmp_path/"a.png", tmp_path/"b.png")
    assert (tmp_path/"a.png").stat().st_mtime == 1
    assert file_digests(tmp_path, ["a.png"]) == other != first


def test_a_file_that_changes_right_after_it_was_read(tmp_path, monkeypatch):
    "Within one step of the clock, both would have the same times."
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    path = tmp_path/"a.png"
    for i in range(20):
        path.write_text(f"{i:3}")
        os.utime(path, (1, 1))
        assert file_digests(tmp_path, ["a.png"]) == file_digests(tmp_path, ["a.png"], keep=False), i


def test_checksums_name_what_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    os.mkfifo(tmp_path/"pipe.png")
    (tmp_path/"empty").touch()
    for name in "pipe.png", "nowhere.png":
        with refuses(DataError, tmp_path/name, file=str(tmp_path/name)): file_digests(tmp_path, ["empty", name])


# The fingerprint

def test_the_fingerprint_is_what_numpy_says(small):
    report = check(small)
    fp = fingerprint(report)
    ids = np.stack([small.ids(path) for path in small.pairs["mask"]])
    images = np.stack([open_image(small.path(path)) for path in small.pairs["image"]])
    labels, void = small.classes.labels, small.classes.void
    counted = ids[ids != void]
    assert fp["class_share"] == {small.classes.names[i]: round(float((counted == i).mean()), 6) for i in labels}
    assert fp["class_images"] == {small.classes.names[i]: int((ids == i).any((1, 2)).sum()) for i in labels}
    assert abs(fp["void_share"] - (ids == void).mean()) < 1e-6
    assert np.allclose(fp["mean"], images.reshape(-1, 3).mean(0)/255, atol=1e-5)
    assert np.allclose(fp["std"], images.reshape(-1, 3).std(0)/255, atol=1e-5)
    frequency = {i: (ids == i).sum()/(ids == i).any((1, 2)).sum() for i in labels if (ids == i).any()}
    median = np.median(list(frequency.values()))
    assert class_weights(report) == {small.classes.names[i]: round(float(median/frequency[i]), 4) if i in frequency
                                     else None for i in labels}


def test_a_renamed_class_or_a_moved_image_is_another_dataset(folder):
    digest = fingerprint(check(camvid(folder)))["digest"]
    moved = shutil.copytree(folder, folder.parent/"elsewhere")
    assert fingerprint(check(camvid(moved)))["digest"] == digest
    valid = (moved/"valid.txt").read_text().split()
    (moved/"valid.txt").write_text("\n".join(valid[1:]))
    assert fingerprint(check(camvid(moved)))["digest"] != digest
    (folder/"codes.txt").write_text((folder/"codes.txt").read_text().replace("Road", "Street"))
    assert fingerprint(check(camvid(folder)))["digest"] != digest


def test_values_are_counted_as_pixel_by_pixel(tmp_path):
    from segfast.data.filestats import values_facts
    rng = np.random.default_rng(0)
    few = rng.integers(0, 256, (9, 3), np.uint8)
    for name, values in {"few": few[rng.integers(0, 9, (33, 20))],
                         "runs": few[rng.integers(0, 9, (3, 4))].repeat(11, 0).repeat(5, 1),
                         "grey": rng.integers(0, 7, (8, 9, 1), np.uint8).repeat(3, 2),
                         "one": rng.integers(0, 7, (8, 9), np.uint8),
                         "deep": rng.integers(0, 700, (5, 5)).astype(np.uint16)}.items():
        Image.fromarray(values).save(tmp_path/"m.png")
        facts = values_facts(tmp_path/"m.png")
        flat = values.reshape(-1, values.shape[2]) if values.ndim == 3 else values.reshape(-1, 1)
        code = flat[:, 0].astype(int) if name in ("grey", "one", "deep") else flat.astype(int) @ [1, 256, 65536]
        want = dict(zip(*(part.tolist() for part in np.unique(code, return_counts=True))))
        assert {int(v): n for v, n in facts["counts"].items()} == want and facts["many"] == len(want), name
        assert (facts["one"], facts["grey"]) == (values.ndim == 2, name in ("grey", "one", "deep"))
    Image.fromarray(rng.integers(0, 256, (90, 90, 3), np.uint8)).save(tmp_path/"m.png")
    assert values_facts(tmp_path/"m.png") == {"one": False, "jpeg": False, "grey": False, "counts": {}, "many": 4096}
    assert values_facts(tmp_path/"nowhere.png")["bad"]["code"] == "missing"


def test_what_an_older_version_kept_of_colors_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    Image.new("RGB", (4, 4), (255, 0, 1)).save(tmp_path/"m.png")
    with closing(FactStore(filestats.facts_file(tmp_path))) as store:
        store.put([("m.png", "values", file_stamp(tmp_path/"m.png"),
                    dict(one=False, jpeg=False, grey=False, counts={str(0xff0001): 16}, many=1))])
    assert guess_classes(tmp_path, ["m.png"])[0].colors == ((255, 0, 1),)


def test_palettes_are_kept(tmp_path):
    from segfast.data.filestats import mask_facts
    im = Image.fromarray(np.uint8([[0, 1], [1, 2]])).convert("P")
    im.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    im.save(tmp_path/"m.png")
    assert mask_facts(tmp_path/"m.png")["palette"] == {"0": [0, 0, 0], "1": [255, 0, 0], "2": [0, 255, 0]}
    im.save(tmp_path/"m.gif")
    assert set(mask_facts(tmp_path/"m.gif")["palette"]) == set(mask_facts(tmp_path/"m.gif")["counts"])
    (tmp_path/"self.png").symlink_to("self.png")
    (tmp_path/"gone.png").symlink_to("nowhere.png")
    itself, gone = (mask_facts(tmp_path/name)["bad"] for name in ("self.png", "gone.png"))
    assert itself["code"] == gone["code"] == "broken-link" and itself["message"] != gone["message"]


def test_a_note_about_dark_images_looks_at_a_few(tmp_path):
    paths = [write_tiff(tmp_path/f"{i}.tif", RGB.astype(np.uint16)*(8 if i < 20 else 257)) for i in range(40)]
    assert "7 of 14 images" in darkness_note(paths) and "2047" in darkness_note(paths)
    assert not darkness_note(paths[20:]) and not darkness_note([])
    Image.fromarray(RGB//64).save(tmp_path/"night.png")  # 8 bits: as dark as it was taken
    (tmp_path/"broken.tif").write_bytes(paths[0].read_bytes()[:99])
    assert not darkness_note([tmp_path/"night.png", tmp_path/"broken.tif", tmp_path/"gone.tif"])


@pytest.mark.parametrize("suffix, bits", [("png", 16), ("tif", 16), ("jp2", 16), ("pgm", 16), ("jpg", 8), ("bmp", 8)])
def test_bits_of_a_file(tmp_path, suffix, bits):
    gray = RGB[..., 0]
    saved(tmp_path/f"a.{suffix}", Image.fromarray(gray.astype(np.uint16)*257 if bits == 16 else gray))
    with Image.open(tmp_path/f"a.{suffix}") as im: assert stored_bits(im) == bits
    assert image_facts(tmp_path/f"a.{suffix}")["bits"] == bits


def test_blocks_are_found_like_by_a_loop():
    for shape in (1, 5), (5, 1), (2, 2), (9, 12):
        raw = np.random.default_rng(1).integers(0, 2, shape)
        slow = np.zeros(shape, bool)
        for y, x in np.ndindex(max(0, shape[0] - 1), max(0, shape[1] - 1)):
            part = raw[y:y+2, x:x+2]
            slow[y:y+2, x:x+2] |= (part == part[0, 0]).all()
        assert np.array_equal(filestats.in_blocks(raw), slow)


def test_what_values_look_like_in_a_mask(tmp_path):
    a = np.zeros((12, 12), np.uint8)
    a[:, 6:], a[:, 5] = 200, 90 # a shade between two areas
    a[2:9, 2] = 150 # a line within an area
    Image.fromarray(a).save(tmp_path/"m.png")
    [(_, mask)] = filestats.mask_contents(tmp_path, ["m.png"])
    assert mask.soft == {90: 12} and mask.area == round(1 - 19/144, 3) and not mask.palette and not mask.hidden
    rgba = np.dstack([np.full((4, 5, 3), 7, np.uint8), np.uint8([[0, 100, 127, 128, 255]]*4)])
    Image.fromarray(rgba).save(tmp_path/"alpha.png")
    assert filestats.mask_contents(tmp_path, ["alpha.png"])[0][1].hidden == {7: 12}


def test_the_colors_of_a_palette_image_are_those_that_it_shows(tmp_path):
    im = Image.fromarray(np.uint8([[0, 1], [1, 2]]))
    im.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 9])
    im.save(tmp_path/"m.png")
    Image.fromarray(np.array([[True, False, True]])).save(tmp_path/"bits.png")
    palette, bits = (mask for _, mask in filestats.mask_contents(tmp_path, ["m.png", "bits.png"]))
    assert palette.colors() == {(0, 0, 0): 1, (255, 0, 0): 2, (0, 0, 9): 1} and palette.counts == {0: 1, 1: 2, 2: 1}
    assert bits.colors() == {(0, 0, 0): 1, (255, 255, 255): 2} and bits.counts == {0: 1, 1: 2}
