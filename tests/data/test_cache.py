"""The cache of decoded pairs: its key, its bound, and what it holds."""
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from helpers.refusals import refuses
from PIL import Image, UnidentifiedImageError

import segfast.data.cache as cache_module
from segfast.core.errors import DataError, UsageError
from segfast.data.cache import open_pair, write_cache
from segfast.data.classes import ClassTable
from segfast.data.masks import decode_mask

SIZE = 32, 48


def kept(cache): return sorted(p.name for p in cache.iterdir()) if cache.exists() else []


# The cache

def test_key_changes_with_what_matters(copy, cache):
    def key(data=copy, size=SIZE): return cache_module.cache_key(data, size)
    first = key()
    assert key() == first and key(size=(48, 32)) != first and key(size=(32, 49)) != first
    # the arrays do not depend on what is void
    assert key(replace(copy, classes=ClassTable(copy.classes.names, None))) == first
    assert key(replace(copy, pairs=copy.pairs.iloc[::-1])) != first
    for rel in copy.pairs["image"][0], copy.pairs["mask"][9]:
        path, before = copy.path(rel), key()
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
        assert key() != before, "a new time"
        path.write_bytes(path.read_bytes() + b"\0")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert key() != before, "a new size"
    assert key() != first


def test_a_changed_file_is_decoded_again(copy, cache):
    before = write_cache(copy, SIZE).masks[0].copy()
    path = copy.path(copy.pairs["mask"][0])
    mask = decode_mask(path)
    Image.fromarray(np.full_like(mask, 3)).save(path)
    assert (write_cache(copy, SIZE).masks[0] == 3).all() and not (before == 3).all()
    assert len(kept(cache)) == 2


def test_the_cache_stays_within_its_bound(copy, cache):
    one = 10*32*48*4
    for w in range(48, 53):
        write_cache(copy, (32, w), limit=one*2.4)
        assert sum(f.stat().st_size for f in cache.rglob("*.npy")) <= one*2.4 + 2048
        assert 1 <= len(kept(cache)) <= 2
    with refuses(DataError, cache, "SEGFAST_CACHE_GB", "SEGFAST_CACHE", "--size", "cache=false"):
        write_cache(copy, (64, 64), limit=1000)
    assert 1 <= len(kept(cache)) <= 2


def test_the_longest_unused_goes_first(copy, cache):
    old = write_cache(copy, (32, 48))
    folder_old = set(kept(cache))
    time.sleep(.02)
    write_cache(copy, (32, 50))
    folder_new = set(kept(cache)) - folder_old
    time.sleep(.02)
    write_cache(copy, (32, 48))
    write_cache(copy, (32, 52), limit=10*32*52*4*2.4)
    assert folder_old <= set(kept(cache)) and not folder_new & set(kept(cache))
    assert old.masks.shape == (10, 32, 48)


def test_a_run_does_not_throw_out_its_own_other_size(copy, cache):
    "The stages of one run: what was decoded for one must still be there when the last is decoded."
    sizes = (16, 24), (32, 48)
    limit = 10*(16*24 + 32*48)*4 + 4096
    for size in sizes:
        write_cache(copy, size, limit=limit)
    assert len(kept(cache)) == 2


def test_a_failure_leaves_nothing(copy, cache):
    copy.path(copy.pairs["image"][5]).write_bytes(b"no image")
    with refuses(DataError, copy.path(copy.pairs["image"][5]), code="not-an-image") as e:
        write_cache(copy, SIZE)
    assert isinstance(e.value.__cause__, UnidentifiedImageError) and kept(cache) == []


def test_a_bound_that_is_no_number(copy, cache, monkeypatch):
    monkeypatch.setenv("SEGFAST_CACHE_GB", "much")
    with refuses(UsageError, "SEGFAST_CACHE_GB", "much"):
        write_cache(copy, SIZE)


def test_two_processes_make_one_good_cache(copy, cache):
    code = ("import sys; from segfast.data.formats.camvid import camvid; from segfast.data.cache import write_cache\n"
            f"d = write_cache(camvid({str(copy.root)!r}), {SIZE})\n"
            "print(d.masks.sum(), d.images.sum())")
    ps = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
          for _ in range(2)]
    out = [p.communicate(timeout=120)[0] for p in ps]
    assert [p.returncode for p in ps] == [0, 0] and out[0] == out[1] != ""
    assert len(kept(cache)) == 1
    cached = write_cache(copy, SIZE)
    assert f"{cached.masks.sum()} {cached.images.sum()}" == out[0].strip()


def test_losing_the_race_is_fine(copy, cache, monkeypatch):
    "Another process finishes the same arrays while these are made."
    real = cache_module.fill_cache

    def slow(data, size, folder, progress):
        real(data, size, folder, progress)
        theirs = folder.parent/cache_module.cache_key(data, size)
        shutil.copytree(folder, theirs)
    monkeypatch.setattr(cache_module, "fill_cache", slow)
    cached = write_cache(copy, SIZE)
    assert len(kept(cache)) == 1 and np.array_equal(cached.image(3), open_pair(copy, 3, SIZE)[0])


# Sizes

sizes = pytest.mark.parametrize("size", [(16, 16), (17, 31), (32, 48), (33, 65), (48, 64), (97, 131), (200, 64),
                                         (1, 1)])


@sizes
def test_masks_are_resized_by_nearest_neighbor(small, size):
    for i in range(len(small.pairs)):
        own = decode_mask(small.path(small.pairs["mask"][i]))
        mask = open_pair(small, i, size)[1]
        assert mask.shape == size and mask.dtype == np.uint8
        assert set(np.unique(mask)) <= set(np.unique(own)), "a value, void say, was invented"


@sizes
def test_images_are_as_pil_resizes_them(small, size):
    for i in 0, 9:
        im = Image.open(small.path(small.pairs["image"][i])).convert("RGB").resize((size[1], size[0]), Image.BILINEAR)
        assert np.array_equal(open_pair(small, i, size)[0], np.asarray(im))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_images_of_other_modes(copy, cache, mode):
    rel = copy.pairs["image"][0]
    im = Image.open(copy.path(rel)).convert(mode)
    suffix = ".jpg" if mode == "CMYK" else ".png"
    path = copy.path(rel).with_suffix(suffix)
    im.save(path)
    data = replace(copy, pairs=copy.pairs.assign(image=[f"images/{path.name}", *copy.pairs["image"][1:]]))
    assert open_pair(data, 0, SIZE)[0].shape == (*SIZE, 3)
