"""A thousand tiny epochs in one process: memory and open files must stay flat.

    python tests/soaks/epochs.py [--epochs 1000] [--workers 0] [--bytes 2000] [--files 0]

Takes memory (resident and not of a file: libraries do not count) and open files after every epoch. A line is fitted
through the least memory of every 25 epochs of the second half, since what is
needed for a moment goes up and down; ends with 1 where it rises by more than `--bytes` an epoch, or where there are
more open files at the end than in the middle. The first half is left out: caches of
PyTorch, of the allocator and of imports fill up once.
"""
import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

for k in "OMP_NUM_THREADS", "MKL_NUM_THREADS": os.environ.setdefault(k, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1])) # the tests' helpers
os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np
import psutil


def main():
    "Run it; the exit code."
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--epochs", type=int, default=1000)
    p.add_argument("--workers", type=int, default=0)
    p.add_argument("--bytes", type=float, default=4000, help="growth of memory an epoch that is still flat: the "
                                                             "history that a run keeps of each")
    p.add_argument("--files", type=int, default=0, help="open files more at the end than in the "
                                                        "middle that are still flat")
    args = p.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    os.environ["SEGFAST_CACHE"] = str(folder/"cache")
    try: return report(measured(folder, args), args)
    finally: shutil.rmtree(folder)


def own(process):
    """Bytes of memory that are this process's own; without the pages of files, which become shared and private as
    others come and go."""
    m = process.memory_info()
    return m.rss - getattr(m, "shared", 0)


def measured(folder, args):
    "Seconds, bytes and open files after each epoch."
    import warnings
    warnings.filterwarnings("ignore")
    from fastai.callback.core import Callback

    from helpers.killing import register

    import segfast.training.train as train
    from segfast.data.demo import write_demo
    from segfast.runs.recipe import Recipe, Stage
    process, rows, began = psutil.Process(), [], time.perf_counter()

    class Look(Callback):
        order = 1000

        def after_epoch(self): rows.append((time.perf_counter() - began, own(process), process.num_fds()))
    real = train.stage_learner
    train.stage_learner = lambda t, cbs=(): real(t, [*cbs, Look()])
    register()
    write_demo(folder/"data", n=10, size=(48, 64))
    stage = Stage("tiny", (16, 24), args.epochs, batch_size=4, precision="fp32", lr=1e-4, schedule="constant")
    train.train(folder/"data", Recipe([stage], model="tiny", weights="none", ema=.99), out=folder/"runs", device="cpu",
                screen="quiet", workers=args.workers)
    return np.array(rows)


def report(rows, args):
    "Print the curve; 0 if it is flat, else 1."
    n, mb = len(rows), 1e6
    for i in np.unique(np.linspace(0, n - 1, 11).astype(int)):
        print(f"epoch {i + 1:5}  {rows[i, 0]:6.1f} s  {rows[i, 1]/mb:8.2f} MB  {rows[i, 2]:4.0f} open files")
    late = rows[n//2:]
    floor = np.array([[i + len(item)/2, item[:, 1].min()]
                      for i, item in ((i, late[i:i + 25]) for i in range(0, len(late), 25))])
    slope = np.polyfit(floor[:, 0], floor[:, 1], 1)[0] if len(floor) > 1 else 0.
    files = late[-25:, 2].max() - late[:25, 2].max()
    flat = slope <= args.bytes and files <= args.files
    print(f"{n} epochs: memory grows by {slope:.0f} bytes an epoch in the second half (at most {args.bytes:.0f}), open "
          f"files by {files:.0f} (at most {args.files}): {'flat' if flat else 'NOT FLAT'}")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
