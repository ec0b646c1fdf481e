"The built-in street scenes: repeatable, aligned, complete, and never written over anything."
import filecmp
import subprocess
import sys

import numpy as np
import pytest
from helpers.refusals import refuses
from PIL import Image

import segfast.data.demo as demo_module
from segfast.data.demo import CODES, COLORS, scene, write_demo

VOID = CODES.index("Void")


def files(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    "Eighty scenes at a quarter of the usual size each way."
    return write_demo(tmp_path_factory.mktemp("scenes")/"demo", size=(60, 80))


def test_the_table_of_classes():
    assert len(CODES) == len(COLORS) == len(set(CODES)) == len(set(COLORS)) == 10
    assert VOID != len(CODES) - 1


@pytest.mark.parametrize("size", [(240, 320), (96, 128), (33, 32), (61, 87), (120, 60)])
def test_a_scene_has_the_size_asked_for(size):
    image, mask = scene(5, size)
    assert (image.mode, image.size) == ("RGB", size[::-1])
    assert mask.shape == size and mask.dtype == np.uint8 and mask.flags.c_contiguous and mask.flags.writeable
    assert mask.max() < len(CODES)


@pytest.mark.parametrize("seed", [0, 7, 420_000])
def test_the_same_seed_gives_the_same_scene(seed):
    (image, mask), (image2, mask2), (_, other) = scene(seed), scene(seed), scene(seed + 1)
    assert image.tobytes() == image2.tobytes()
    assert np.array_equal(mask, mask2)
    assert (mask != other).mean() > .05


@pytest.mark.parametrize("seed", range(4))
def test_the_classes_stay_in_place_at_another_size(seed):
    "The same street at half size: all but the pixels along the edges have the class that they had."
    large, small = scene(seed, (240, 320))[1], scene(seed, (120, 160))[1]
    assert (large[::2, ::2] == small).mean() > .95


def test_image_and_mask_are_aligned():
    "The mask's edges lie on the image's edges: moved by four pixels, they fit less well."
    def edge(mask): return np.pad(mask[:, 1:] != mask[:, :-1], ((0, 0), (0, 1)))

    fits = {by: [] for by in (-4, 0, 4)}
    for seed in range(8):
        image, mask = scene(seed)
        grey = np.asarray(image, float).mean(2)
        step = np.abs(np.pad(grey[:, 1:] - grey[:, :-1], ((0, 0), (0, 1))))
        for by in fits:
            fits[by].append(step[np.roll(edge(mask), by, 1)].mean())
    assert np.mean(fits[0]) > 1.3*np.mean(fits[4]) and np.mean(fits[0]) > 1.3*np.mean(fits[-4])


def test_every_class_occurs_and_void_is_a_small_part(small):
    counts = sum(np.bincount(np.asarray(Image.open(p)).ravel(), minlength=len(CODES))
                 for p in (small/"labels").iterdir())
    share = counts/counts.sum()
    assert len(counts) == len(CODES) and (counts > 0).all()
    assert .01 < share[VOID] < .08
    assert share.max() < .45


def test_the_layout_is_camvids(small):
    stems = [f"scene_{i:03d}" for i in range(80)]
    assert files(small) == sorted(["codes.txt", "valid.txt", *(f"images/{stem}.png" for stem in stems),
                                   *(f"labels/{stem}_P.png" for stem in stems)])
    assert (small/"codes.txt").read_text() == "\n".join(CODES) + "\n"
    assert (small/"valid.txt").read_text().splitlines() == [f"{stem}.png" for stem in stems[64:]]
    for path, mode in (small/"images"/"scene_007.png", "RGB"), (small/"labels"/"scene_007_P.png", "L"):
        with Image.open(path) as im: assert (im.mode, im.size) == (mode, (80, 60))


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first, again = (write_demo(tmp_path/name, n=6, size=(48, 64), seed=3) for name in "ab")
    assert filecmp.cmpfiles(first, again, files(first), shallow=False) == (files(first), [], [])
    other = write_demo(tmp_path/"c", n=6, size=(48, 64), seed=4)
    assert not filecmp.cmp(first/"images"/"scene_000.png", other/"images"/"scene_000.png", shallow=False)


@pytest.mark.parametrize("n,valid", [(2, 1), (5, 1), (11, 2)])
def test_the_last_fifth_is_for_validation(tmp_path, n, valid):
    seen = []
    demo = write_demo(tmp_path/"new"/"demo", n=n, size=(32, 40), progress=lambda done,
                      total: seen.append((done, total)))
    assert (demo/"valid.txt").read_text().split() == [f"scene_{i:03d}.png" for i in range(n - valid, n)]
    assert seen == [(i, n) for i in range(1, n + 1)]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path/"demo").mkdir()
    assert len(files(write_demo(tmp_path/"demo", n=2, size=(32, 40)))) == 6
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_is_not_written_over(tmp_path, kind):
    taken = tmp_path/"demo"
    if kind == "folder": taken.mkdir()
    mine = taken/"mine.txt" if kind == "folder" else taken
    mine.write_text("keep")
    with refuses(FileExistsError, taken):
        write_demo(taken, n=2, size=(32, 40))
    assert mine.read_text() == "keep" and files(tmp_path) == [mine.relative_to(tmp_path).as_posix()]


def test_an_interrupted_call_leaves_nothing(tmp_path):
    def stop(done, total):
        if done == 3: raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path/"demo", n=8, size=(32, 40), progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path):
    def other(done, total):
        if done == total:
            (tmp_path/"demo").mkdir()
            (tmp_path/"demo"/"theirs.txt").write_text("keep")

    with refuses(FileExistsError, tmp_path/"demo"):
        write_demo(tmp_path/"demo", n=2, size=(32, 40), progress=other)
    assert files(tmp_path) == ["demo/theirs.txt"]


@pytest.mark.parametrize("call, named", [
    (lambda folder: scene(-1), ["seed", -1, 0]), (lambda folder: scene(1, (16, 90)), ["size", "(16, 90)", 32]),
    (lambda folder: write_demo(folder/"demo", n=1), ["n", 1, 2])])
def test_values_that_cannot_be_drawn(tmp_path, call, named):
    with refuses(ValueError, *named): call(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert scene(0, (32, 32))[1].shape == (32, 32)


def test_the_module_is_light():
    code = (f"import sys; import {demo_module.__name__}; print([m for m in ('torch', 'fastai', 'matplotlib', 'scipy') "
            "if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=True).stdout.strip() == "[]"
