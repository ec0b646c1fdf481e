"""Everything that may be wrong with a pair, and the digest of a dataset."""
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.problems import missing
from helpers.refusals import refuses
from PIL import Image

from segfast.data.check import check, fingerprint, skip_check
from segfast.core.errors import DataError
from segfast.data.formats.camvid import camvid
from segfast.data.masks import decode_mask


@pytest.fixture
def folder(demo_dir, tmp_path): return shutil.copytree(demo_dir, tmp_path/"scenes")


def image(folder, i): return folder/f"images/scene_{i:03d}.png"
def mask(folder, i): return folder/f"labels/scene_{i:03d}_P.png"
def found(folder): return {(p.code, p.file) for p in check(camvid(folder)).errors}


def png(array, mode=None):
    f = io.BytesIO()
    Image.fromarray(array, mode).save(f, "PNG") if mode else Image.fromarray(array).save(f, "PNG")
    return f.getvalue()


@pytest.mark.slow
def test_real_camvid(shared_data):
    report = check(camvid(shared_data/"camvid"))
    assert report.ok and report.errors == [] and len(report.files) == 468
    f = fingerprint(report)
    assert f["images"] == 468 and f["splits"] == {"train": 367, "valid": 101} and sum(f["sizes"].values()) == 468
    assert sum(f["class_share"].values()) == pytest.approx(1,
                                                           abs=1e-4) and 0 < f["void_share"] < .2 and len(
        f["class_share"]) == 11
    said = report.text()
    assert missing(said, 367, 101, 12, "Void", "camvid") == [] and not re.search("^error: ", said, re.M)


def test_pixels_are_counted(folder):
    report = check(camvid(folder))
    for split in "train", "valid":
        slow = sum(np.bincount(decode_mask(folder/rel).ravel(), minlength=256)
                   for rel in report.data.split(split)["mask"])
        assert report.pixels[split].tolist() == slow.tolist()
    assert report.pixels.test.sum() == 0 and report.size == (48, 64)


def test_everything_at_once(folder):
    "Nine things are wrong with nine pairs, and one run names them all."
    good = decode_mask(mask(folder, 0))
    image(folder, 0).write_bytes(b"")
    image(folder, 1).write_bytes(b"GIF89a, not really")
    image(folder, 2).write_bytes(image(folder, 2).read_bytes()[:400])
    mask(folder, 3).unlink()
    mask(folder, 4).write_bytes(png(good[:, :50].copy()))
    bad = good.copy()
    bad[:3, 0] = 77, 77, 200
    mask(folder, 5).write_bytes(png(bad))
    mask(folder, 6).write_bytes(png(np.stack([good]*3, -1)))
    mask(folder, 7).write_bytes(png(good.astype(np.uint16) + 300))
    mask(folder, 8).unlink()
    mask(folder, 8).mkdir()
    assert found(folder) == {("empty", "images/scene_000.png"), ("not-an-image", "images/scene_001.png"),
                             ("undecodable", "images/scene_002.png"), ("missing", "labels/scene_003_P.png"),
                             ("mask-size", "labels/scene_004_P.png"), ("mask-values", "labels/scene_005_P.png"),
                             ("mask-mode", "labels/scene_006_P.png"), ("mask-values", "labels/scene_007_P.png"),
                             ("not-a-file", "labels/scene_008_P.png")}
    report = check(camvid(folder))
    values = next(p for p in report.errors if p.file == "labels/scene_005_P.png")
    assert values.pixels == 3 and "77" in str(values) and "200" in str(values)
    json.dumps(report.to_dict(), allow_nan=False)
    with refuses(DataError, 7) as e:
        report.raise_errors()
    assert e.value.problems == report.errors and len(e.value.problems) == 9 and len(str(e.value).splitlines()) == 3


def test_both_of_a_pair(folder):
    image(folder, 0).write_bytes(b"")
    mask(folder, 0).write_bytes(b"")
    assert found(folder) == {("empty", "images/scene_000.png"), ("empty", "labels/scene_000_P.png")}


def test_palette_masks_are_fine(folder):
    for i in range(10):
        im = Image.fromarray(decode_mask(mask(folder, i)))
        im.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        im.save(mask(folder, i))
    assert check(camvid(folder)).ok


def test_a_turned_photograph_is_compared_as_it_is_seen(folder):
    with Image.open(image(folder, 0)) as im:
        exif = im.getexif()
        exif[0x0112] = 6
        im.convert("RGB").rotate(90, expand=True).save(image(folder, 0).with_suffix(".jpg"), exif=exif)
    image(folder, 0).unlink()
    report = check(camvid(folder))
    assert report.ok and report.files.height[0] == 48


def test_all_void(folder):
    void = camvid(folder).classes.void
    for i in 8, 9:
        mask(folder, i).write_bytes(png(np.full((48, 64), void, np.uint8)))
    assert found(folder) == {("all-void", "")}


def test_a_class_only_outside_the_training_images(folder):
    names = (folder/"codes.txt").read_text().split()
    (folder/"codes.txt").write_text("\n".join([*names, "Rare", "Never"]))
    ids = decode_mask(mask(folder, 9))
    ids[0, 0] = len(names)
    mask(folder, 9).write_bytes(png(ids))
    report = check(camvid(folder))
    assert report.ok
    by = {p.code: p for p in report.problems}
    assert by["class-not-in-train"].kind == "warning" and len(by["class-not-in-train"].found) == 1
    assert missing(by["class-not-in-train"].found[0], "Rare", 10) == missing(by["class-not-in-train"], "Rare") == []
    assert by["class-absent"].kind == "note" and missing(by["class-absent"], "Never") == []


def test_mixed_sizes_are_a_note(folder):
    for p in image(folder, 0), mask(folder, 0):
        with Image.open(p) as im:
            im.resize((30, 20), Image.NEAREST).save(p)
    report = check(camvid(folder))
    assert report.ok and report.size == (48, 64) and "mixed-sizes" in {p.code for p in report.problems}


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_threads_change_nothing(folder, workers):
    image(folder, 3).write_bytes(b"x")
    done = []
    report = check(camvid(folder), workers, lambda *counts: done.append(counts))
    assert done == [(i, 10) for i in range(1, 11)] and [p.file for p in report.errors] == ["images/scene_003.png"]


@pytest.mark.parametrize("only", ["train", "valid", "test"])
def test_nothing_to_train_on_or_nothing_held_out(folder, only):
    "Without training or validation images, a table is an error with a message and not a traceback."
    data = camvid(folder)
    data.pairs = data.pairs.assign(split=only)
    assert not check(data).ok


def test_damaged_files_never_end_in_a_traceback(folder):
    rng, refused = np.random.default_rng(0), 0
    good = image(folder, 0).read_bytes()
    with Image.open(image(folder, 0)) as im:
        f = io.BytesIO()
        im.convert("RGB").save(f, "JPEG")
    for raw in (good, f.getvalue())*40:
        noisy = np.frombuffer(raw, np.uint8).copy()
        noisy[rng.integers(0, len(noisy), 6)] = rng.integers(0, 256, 6)
        image(folder, 0).write_bytes(noisy[:rng.integers(1, len(noisy))].tobytes() if rng.random() < .3
                                     else noisy.tobytes())
        report = check(camvid(folder))
        assert {Path(problem.file).name for problem in report.errors} <= {image(folder, 0).name}
        refused += not report.ok
    assert 20 < refused < 80, "some of the damage cannot be seen"


# The digest

def digest(folder): return fingerprint(check(camvid(folder)))["digest"]


def test_the_digest_is_of_the_content(folder, tmp_path):
    first = digest(folder)
    assert digest(shutil.copytree(folder, tmp_path/"elsewhere"/"named otherwise")) == first
    ids = decode_mask(mask(folder, 0))
    changes = [lambda: mask(folder, 0).write_bytes(
            png(np.where(ids == ids[0, 0], 3 - ids[0, 0]//3, ids).astype(np.uint8))),
               lambda: image(folder, 1).write_bytes(png(np.zeros((48, 64, 3), np.uint8))),
               lambda: (folder/"valid.txt").write_text("scene_000.png\n"),
               lambda: (folder/"codes.txt").write_text((folder/"codes.txt").read_text().replace("Sky", "Heaven")),
               lambda: (image(folder, 2).rename(image(folder, 99)), mask(folder, 2).rename(mask(folder, 99)))]
    seen = [first]
    for change in changes:
        change()
        seen.append(digest(folder))
    assert len(set(seen)) == len(seen)


def test_the_fingerprint_of_what_was_not_checked(folder):
    "Without counted pixels there are no weights, and no warning of NumPy's."
    suggested = fingerprint(skip_check(camvid(folder)))["suggested"]
    assert suggested["size"] == [48, 64] and set(suggested["class_weights"].values()) == {None}


def test_the_fingerprint_is_json(folder):
    f = fingerprint(check(camvid(folder)))
    assert json.loads(json.dumps(f, allow_nan=False)) == f
    assert f["sizes"] == {"48x64": 10} and len(f["digest"]) == 64


@pytest.mark.parametrize("n", [1, 3, 4, 30])
def test_names_of_unusual_files_add_up(n, folder):
    "Only the first names are kept, and the text counts them all."
    from segfast.data.check import PairTally
    tally = PairTally(camvid(folder))
    for i in range(n): tally.note("image-cmyk", f"{i}.jpg")
    [problem] = tally.odd_problems()
    named = len(re.findall(r"\d+\.jpg", problem.message))
    more = re.search(r"and (\d+) more", problem.message)
    assert not missing(problem.message, n) and (n == 1 or named + int(more[1] if more else 0) == n)
