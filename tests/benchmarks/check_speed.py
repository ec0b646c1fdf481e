"""How long the check of a dataset takes, how it grows with the number of pairs, and how much memory it needs.

    python tests/benchmarks/check_speed.py photos CAMVID      700 pairs at 720x960, made from CamVid's frames; then the
        same again, unchanged
    python tests/benchmarks/check_speed.py tiny [N ...]       N pairs of 16x16 (1000, 10000 and 100000 when none is
        given)

Each check is `segfast check` in a process of its own, with a cache that is empty at first. Prints seconds and the
process's largest resident memory.
"""
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def folder_of(root, codes, names):
    "The lists of a folder in CamVid's layout; the last fifth is held out."
    (root/"codes.txt").write_text("\n".join(codes))
    (root/"valid.txt").write_text("\n".join(names[-(-len(names)*4//5):]))
    return root


def photos(root, camvid, n=700, size=(960, 720)):
    "CamVid's frames at twice their size, and mirrored ones to make up the number."
    source = sorted((camvid/"images").iterdir())
    for sub in "images", "labels":
        (root/sub).mkdir(parents=True)

    def write(i):
        stem, mirrored = source[i % len(source)].stem, i >= len(source)
        for kind, file, how in (("images", f"{stem}.png", Image.BICUBIC), ("labels", f"{stem}_P.png", Image.NEAREST)):
            with Image.open(camvid/kind/file) as im:
                im = im.resize(size, how)
            (ImageOps.mirror(im) if mirrored else im).save(root/kind/file.replace(stem, f"{i:04}"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, range(n)))
    return folder_of(root, (camvid/"codes.txt").read_text().split(), [f"{i:04}.png" for i in range(n)])


def tiny(root, n):
    "n pairs of 16x16, each image different."
    for sub in "images", "labels":
        (root/sub).mkdir(parents=True)
    mask = Image.fromarray(np.uint8([[0, 1], [2, 1]]).repeat(8, 0).repeat(8, 1))
    for i in range(n):
        Image.fromarray(np.full((16, 16, 3), i, np.uint32).astype(np.uint8)
                        + np.uint8([i >> 16 & 255, i >> 8 & 255, 0])).save(root/f"images/{i:06}.png")
        mask.save(root/f"labels/{i:06}_P.png")
    return folder_of(root, ["a", "b", "c"], [f"{i:06}.png" for i in range(n)])


def timed(what, root, cache):
    "Check a folder in a new process; print how long that took, and its memory."
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", "from segfast.cli import app; app()", "check", str(root), "--json"],
                          env=dict(os.environ, SEGFAST_CACHE=str(cache)), capture_output=True, text=True)
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
    print(f"{what}: {seconds:.1f} s; largest process so far {peak:.0f} MB", flush=True)


def main(kind, *args):
    with tempfile.TemporaryDirectory() as tmp:
        for name, make in ([("700 photos of 720x960", lambda root: photos(root, Path(args[0])))] if kind == "photos"
                           else [(f"{n} pairs of 16x16", lambda root, n=n: tiny(root, n))
                                 for n in map(int, args or (1000, 10_000, 100_000))]):
            root = make(Path(tmp)/name)
            timed(name, root, Path(tmp)/"cache")
            timed(f"{name}, again", root, Path(tmp)/"cache")


if __name__ == "__main__":
    main(*sys.argv[1:])
