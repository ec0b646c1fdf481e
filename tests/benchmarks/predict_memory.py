"""How much memory `segfast predict` needs: for one very large image, and for very many small ones.

    python tests/benchmarks/predict_memory.py large [--side 8000] [--tile 512x512] [--overlap 64] [--model fast] [--size
        96x128] [--precision fp32] [--classes 12] [--limit 2000] [--json]
    python tests/benchmarks/predict_memory.py many [--images 10000] [--model fast] [--size 64x96] [--growth 20] [--json]

`large` runs the command on a square photograph, once in tiles and once whole, each in a process of its own, and takes
the largest resident memory that the operating system
saw; it ends with 1 where the tiles took more than `--limit` MB. `many` predicts a folder of small images in one process
and looks at its resident memory after every
hundredth; it ends with 1 where the mean of the last quarter is more than `--growth` MB above that of the second. Random
weights: memory does not ask what was learned.
"""
import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore", message="`torch.jit.script`")

import numpy as np  # noqa: E402
import psutil  # noqa: E402
from PIL import Image  # noqa: E402

from segfast.data.classes import ClassTable  # noqa: E402
from segfast.runs.recipe import parse_size  # noqa: E402
from untrained import about, about_text, untrained  # noqa: E402


def photo(path, h, w, seed=0):
    "Soft colors with a little noise: as large a file as a photograph, whose decoding costs what a photograph's does."
    rng = np.random.default_rng(seed)
    soft = np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((w, h), Image.BICUBIC))
    Image.fromarray(soft ^ rng.integers(0, 8, (h, w, 1), np.uint8)).save(path, quality=90)


def peak_of(run, image, out, *options):
    "Seconds, MB at most and size of the mask of one command, in a process of its own."
    started = time.perf_counter()
    command = [sys.executable, "-c", "from segfast.cli import app; app()", "predict", run.path, image, "--out", out,
               *options]
    code = (f"import resource, subprocess; subprocess.run({[str(word) for word in command]!r}, check=True, "
            "stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    peak = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout
    with Image.open(Path(out)/f"{image.stem}.png") as mask:
        row = dict(how=" ".join(map(str, options)), seconds=round(time.perf_counter() - started, 1),
                   peak_mb=int(peak)//1024, mask=[mask.height, mask.width])
    print(f"{row['mask'][0]}x{row['mask'][1]}  {row['how']:<30} {row['peak_mb']:>6} MB at most, {row['seconds']:>6.1f} "
          "s", flush=True)
    return row


def large(folder, args):
    image, run = folder/"large.jpg", untrained(folder, "run", args.model, parse_size(args.size),
                                               classes=ClassTable([f"class {i}" for i in range(args.classes)]))
    photo(image, args.side, args.side)
    rows = [peak_of(run, image, folder/"tiles", "--precision", args.precision, "--tile", args.tile, "--overlap",
                    args.overlap), peak_of(run, image, folder/"whole", "--precision", args.precision)]
    assert all(r["mask"] == [args.side, args.side] for r in rows), rows
    return dict(side=args.side, model=args.model, classes=args.classes, rows=rows, ok=rows[0]["peak_mb"] <= args.limit)


def many(folder, args):
    from segfast.inference.predict import open_predictors, predict_images
    from segfast.inference.sliding import Segmenter
    size = parse_size(args.size)
    run, images = untrained(folder, "run", args.model, size), folder/"images"
    images.mkdir()
    for i in range(100):
        photo(images/f"{i}.jpg", *size, seed=i)
    # other files with the same bytes: drawing ten thousand would take longer than predicting them
    for i in range(100, args.images):
        shutil.copyfile(images/f"{i % 100}.jpg", images/f"{i}.jpg")
    process, seen, began = psutil.Process(), [], time.perf_counter()

    def look(done, total):
        if not seen or done//100 > seen[-1][0]//100:
            seen.append((done, process.memory_info().rss/2**20, process.num_fds()))
    done = predict_images(Segmenter(open_predictors([run.path])), [images], folder/"masks", look)
    seconds = time.perf_counter() - began
    assert done.masks == args.images == len(list((folder/"masks").iterdir())), done
    for n, mb, fds in seen[::max(1, len(seen)//10)] + seen[-1:]:
        print(f"{n:>6} images  {mb:>7.1f} MB  {fds} open files")
    quarter = len(seen)//4
    second, last = (float(np.mean([mb for _, mb, _ in item])) for item in (seen[quarter:2*quarter], seen[-quarter:]))
    print(f"{args.images} images in {seconds:.0f} s, {done.images_per_second:.1f} a second; second quarter "
          f"{second:.1f} MB, last quarter {last:.1f} MB: {last - second:+.1f} MB")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024
    return dict(images=args.images, model=args.model, size=args.size, seconds=round(seconds, 1),
                images_per_second=round(done.images_per_second, 1), second_quarter_mb=round(second, 1),
                last_quarter_mb=round(last, 1), peak_mb=peak, seen=[(n, round(mb, 1), fds) for n, mb, fds in seen],
                ok=last - second <= args.growth)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["large", "many"])
    p.add_argument("--side", type=int, default=8000)
    p.add_argument("--tile", default="512x512")
    p.add_argument("--overlap", default="64")
    p.add_argument("--limit", type=int, default=2000, help="MB that the tiles may take")
    p.add_argument("--images", type=int, default=10_000)
    p.add_argument("--growth", type=float, default=20, help="MB between the second and the last "
                                                            "quarter that are still flat")
    p.add_argument("--model", default="fast")
    p.add_argument("--size", help="of the run's last stage  [default: 96x128 for large, 64x96 for many]")
    p.add_argument("--classes", type=int, default=12)
    p.add_argument("--precision", default="auto", help="of the one large image")
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    args.size = args.size or dict(large="96x128", many="64x96")[args.what]
    machine, folder = about(os.environ["OMP_NUM_THREADS"]), Path(tempfile.mkdtemp(prefix="predict-memory-"))
    print(about_text(machine))
    try:
        found = (large if args.what == "large" else many)(folder, args)
    finally:
        shutil.rmtree(folder)
    if args.json:
        print(json.dumps(dict(about=machine, **found)))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
