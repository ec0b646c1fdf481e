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
        assert key() == before, "a new time, the same content"
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert key() != before, "the same size and time, another content"
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


# Never the wrong pixels

def truth(data, size=SIZE): return [open_pair(data, i, size) for i in range(len(data.pairs))]


def same(cached, pairs):
    return all(np.array_equal(cached.image(i), image) and np.array_equal(cached.mask(i), mask)
               for i, (image, mask) in enumerate(pairs))


@pytest.mark.parametrize("replace_file", [lambda a, b: shutil.copy2(b, a), lambda a, b: os.replace(b, a),
                                          lambda a, b: (a.unlink(), a.symlink_to(b))], ids=["cp -p", "mv", "symlink"])
@pytest.mark.parametrize("checked", [True, False])
def test_masks_of_equal_size_and_time_are_other_masks(copy, cache, tmp_path, replace_file, checked):
    "As `cp -p`, `rsync -t` and the layers of container images bring them."
    from segfast.data.check import check
    path, other = copy.path(copy.pairs["mask"][0]), tmp_path/"other.png"
    pixels = decode_mask(path)
    for p, ids in (path, pixels), (other, np.where(pixels == 3, 4, 3).astype(np.uint8)):
        Image.fromarray(ids).save(p, compress_level=0)  # one size for all pixels
        os.utime(p, (1, 1))
    assert path.stat().st_size == other.stat().st_size
    if checked: check(copy)
    before = write_cache(copy, SIZE).mask(0)
    replace_file(path, other)
    assert path.stat().st_mtime == 1
    if checked: check(copy)
    after = write_cache(copy, SIZE)
    assert np.array_equal(after.mask(0), open_pair(copy, 0, SIZE)[1]) and not np.array_equal(after.mask(0), before)


def test_files_that_are_swapped(copy, cache):
    a, b = (copy.path(copy.pairs["mask"][i]) for i in (0, 1))
    write_cache(copy, SIZE)
    a.rename(a.with_suffix(".tmp"))
    b.rename(a)
    a.with_suffix(".tmp").rename(b)
    assert same(write_cache(copy, SIZE), truth(copy))


@pytest.mark.parametrize("file", ["images", "masks", "checksums"])
def test_flipped_bits_are_noticed(copy, cache, file, caplog):
    pairs, rng = truth(copy), np.random.default_rng(0)
    for at in 3, 40, -1, *rng.integers(128, 208, 3), *rng.integers(128, 10*32*48, 4):
        caplog.clear()
        write_cache(copy, SIZE)
        path, = cache.glob(f"*/{file}.npy")
        raw = bytearray(path.read_bytes())
        at = int(at) % len(raw)
        raw[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(raw)
        assert same(write_cache(copy, SIZE), pairs), at
        assert any(str(path.parent) in record.getMessage() and "damaged" in record.getMessage()
                   for record in caplog.records), "it is said"
        assert same(write_cache(copy, SIZE), pairs), "and it is made anew"
    assert len(kept(cache)) == 1


def test_damage_after_it_was_opened(copy, cache, caplog):
    "Flipped, cut off or deleted by another program while a training reads it."
    pairs = truth(copy)
    for harm in (lambda p: p.write_bytes(bytes(p.stat().st_size)), lambda p: os.truncate(p, 500), lambda p: p.unlink(),
                 lambda p: shutil.rmtree(p.parent)):
        cached = write_cache(copy, SIZE)
        assert np.array_equal(cached.mask(0), pairs[0][1])
        for path in cache.glob("*/*.npy"):
            if path.exists(): harm(path)
        assert all(np.array_equal(cached.mask(i), pairs[i][1]) for i in range(1, 10))
        assert all(np.array_equal(cached.image(i), pairs[i][0]) for i in range(10))
        assert same(write_cache(copy, SIZE), pairs)


def test_folders_and_rows_that_are_swapped(copy, cache, tmp_path):
    "All of their checksums are right, elsewhere."
    other = replace(copy, pairs=copy.pairs.iloc[::-1].reset_index(drop=True))
    write_cache(copy, SIZE)
    one, = cache.iterdir()
    write_cache(other, SIZE)
    two, = (path for path in cache.iterdir() if path != one)
    one.rename(tmp_path/"kept")
    two.rename(one)
    (tmp_path/"kept").rename(two)
    assert same(write_cache(copy, SIZE), truth(copy)) and same(write_cache(other, SIZE), truth(other))
    write_cache(copy, SIZE)
    for name, n in ("images", 32*48*3), ("masks", 32*48), ("checksums", 8):
        raw = (one/f"{name}.npy").read_bytes()
        (one/f"{name}.npy").write_bytes(raw[:128] + raw[128 + n:128 + 2*n] + raw[128:128 + n] + raw[128 + 2*n:])
    assert same(write_cache(copy, SIZE), truth(copy))


def test_a_damaged_pair_whose_file_has_changed_is_an_error(copy, cache):
    cached = write_cache(copy, SIZE)
    path, = cache.glob("*/masks.npy")
    path.write_bytes(path.read_bytes()[:128] + bytes(10*32*48))
    Image.fromarray(np.full((48, 64), 3, np.uint8)).save(copy.path(copy.pairs["mask"][4]))
    with refuses(DataError, copy.path(copy.pairs["mask"][4])): cached.mask(4)
    assert np.array_equal(cached.mask(5), open_pair(copy, 5, SIZE)[1])


def to_link(folder):
    folder.rename(folder.parent.parent/"theirs")
    folder.symlink_to(folder.parent.parent/"theirs")


def linked(folder):
    for name in "images.npy", "masks.npy":
        (folder/name).rename(folder.parent.parent/name)
        (folder/name).symlink_to(folder.parent.parent/name)


def replaced(make):
    def change(folder):
        shutil.rmtree(folder)
        make(folder)
    return change


@pytest.mark.parametrize("change", [to_link, linked, lambda p: (p/"more").symlink_to("/etc"), lambda p: (p/"a").mkdir(),
                                    lambda p: ((p/"masks.npy").unlink(), os.mkfifo(p/"masks.npy")),
                                    replaced(lambda p: p.write_text("a file")), replaced(os.mkfifo),
                                    replaced(lambda p: p.symlink_to("/nowhere")), replaced(lambda p: p.mkdir()),
                                    replaced(lambda p: p.symlink_to(p))],
                         ids=["link", "linked files", "link inside", "folder inside", "pipe inside", "file", "pipe",
                              "dangling", "empty", "loop"])
def test_what_lies_in_place_of_the_cache_is_made_anew(copy, cache, change):
    write_cache(copy, SIZE)
    folder, = cache.iterdir()
    change(folder)
    outside = {p: p.read_bytes() for p in cache.parent.rglob("*") if p.is_file() and cache not in p.parents
               and p.suffix == ".npy"}
    assert same(write_cache(copy, SIZE), truth(copy))
    assert sorted(p.name for p in folder.iterdir()) == ["checksums.npy", "images.npy", "masks.npy"]
    assert not folder.is_symlink() and not any(p.is_symlink() for p in folder.iterdir()) and len(kept(cache)) == 1
    assert all(p.read_bytes() == raw for p, raw in outside.items()), "nothing behind a link is touched"


def test_a_file_that_changes_while_it_is_decoded(copy, cache):
    path = copy.path(copy.pairs["mask"][9])
    def change(done, total):
        if done == total: Image.fromarray(np.full((48, 64), 3, np.uint8)).save(path)
    with refuses(DataError, path): write_cache(copy, SIZE, progress=change)
    assert kept(cache) == [] and same(write_cache(copy, SIZE), truth(copy))


def test_another_process_gets_the_arrays_by_their_place(copy, cache):
    import pickle
    cached = write_cache(copy, SIZE)
    raw = pickle.dumps(cached)
    assert len(raw) < 20_000 and same(pickle.loads(raw), truth(copy))
    shutil.rmtree(cache)
    assert same(pickle.loads(raw), truth(copy))


# The disk

def test_a_disk_that_fills_up(copy, cache, monkeypatch):
    "Another program took the space after it was seen to be free."
    real, calls = os.pwrite, []

    def full(fd, raw, start):
        calls.append(start)
        if len(calls) > 7: raise OSError(28, "No space left on device")
        return real(fd, raw, start)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with refuses(DataError, cache, "No space left on device", "SEGFAST_CACHE", "--size", "cache=false") as e:
            write_cache(copy, SIZE)
    assert len(str(e.value).splitlines()) <= 3 and kept(cache) == []
    assert same(write_cache(copy, SIZE), truth(copy))


def test_a_disk_that_takes_a_part_at_a_time(copy, cache, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, raw, start: real(fd, bytes(raw)[:1000], start))
    assert same(write_cache(copy, SIZE), truth(copy))


LIMITED = """
import resource, signal, sys
from pathlib import Path
from segfast.core.errors import DataError
from segfast.data.cache import write_cache
from segfast.data.formats.camvid import camvid
data = camvid(Path(sys.argv[1]))
write_cache(data, (8, 8))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try: write_cache(data, (32, 48))
except DataError as e: print(e)
"""


def test_no_signal_ends_a_process_whose_files_cannot_grow(copy, cache):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", LIMITED, copy.root], capture_output=True, text=True)
    assert done.returncode == 0 and str(cache) in done.stdout and "SEGFAST_CACHE" in done.stdout, done.stderr
    assert len(kept(cache)) == 1, "the first one"


def test_a_cache_that_cannot_be_made(copy, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file")
    with refuses(DataError, cache, "SEGFAST_CACHE"): write_cache(copy, SIZE)


def test_what_else_lies_in_the_cache(copy, cache, tmp_path):
    "Files and links there count as the oldest, and only the link goes."
    (tmp_path/"theirs").mkdir()
    (tmp_path/"theirs/file").write_text("kept")
    cache.mkdir(parents=True)
    (cache/"stray").write_text("x")
    (cache/"link").symlink_to(tmp_path/"theirs")
    for name in "stray", "link": os.utime(cache/name, (1, 1), follow_symlinks=False)
    (cache/"deep/er").mkdir(parents=True)
    (cache/"deep/er/file").write_bytes(bytes(100_000))
    for old in ".part-fedcba9876543210", ".part-0123456789abcdef.npy":
        (cache/old).mkdir()
        os.utime(cache/old, (1, 1))
    write_cache(copy, SIZE, limit=10*32*48*4 + 1000)
    assert len(kept(cache)) == 1 and (tmp_path/"theirs/file").read_text() == "kept"


CROWD = """
import sys
import numpy as np
from pathlib import Path
from segfast.data.cache import open_pair, write_cache
from segfast.data.formats.camvid import camvid
data, limit = camvid(Path(sys.argv[1])), 10*16*24*4*2.5
for turn in range(12):
    size = 16, 16 + 2*((turn + int(sys.argv[2])) % 5)
    cached = write_cache(data, size, limit=limit)
    for i in 0, 9:
        assert np.array_equal(cached.image(i), open_pair(data, i, size)[0])
        assert np.array_equal(cached.mask(i), open_pair(data, i, size)[1])
print("fine")
"""


def test_several_processes_at_the_limit(copy, cache):
    "Each deletes what the others use."
    crowd = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", CROWD, copy.root, str(k)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) for k in range(3)]
    for one in crowd:
        out, err = one.communicate(timeout=120)
        assert out == "fine\n", err
    assert not [name for name in kept(cache) if name.startswith(".part-")]


def test_an_entry_that_vanishes_while_the_sizes_are_added(copy, cache, monkeypatch):
    for w in 20, 22, 24: write_cache(copy, (16, w))
    real = cache_module.folder_bytes

    def vanishing(folder):
        found = real(folder)
        shutil.rmtree(folder)
        return found
    monkeypatch.setattr(cache_module, "folder_bytes", vanishing)
    assert same(write_cache(copy, SIZE, limit=10*32*48*4 + 1000), truth(copy))


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
