"""segfast against plain fastai: the same model, sizes, epochs and batch sizes, on one machine, one after the other.

    python tests/benchmarks/speed.py FOLDER [--size 96x128] [--epochs 5,5,5] [--seed 42] [--out runs] [--fp16]

Takes about half an hour on two processor cores with the defaults; leave the machine alone meanwhile. Prints a table:
images per second of
each stage, seconds of the whole, accuracy averaged over validation batches at training size (the lesson's way of
counting).
"""
import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
from fastai.learner import AvgMetric

from segfast.metrics.fastai_metrics import acc_camvid
from segfast.runs.run import Run

here = Path(__file__).resolve().parent


def last_json(*command):
    "Run a command and read the last line of its stdout; its stderr goes to ours."
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def batch_accuracy(run):
    "The accuracy of a run's last stage, averaged over validation batches."
    learn = run.learner(metrics=[AvgMetric(partial(acc_camvid, void=run.classes.ignore_index))])
    with learn.no_bar(), learn.no_logging():
        return learn.validate()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--size", default="96x128")
    parser.add_argument("--epochs", default="5,5,5")
    parser.add_argument("--seed", default="42")
    parser.add_argument("--out", default="runs")
    parser.add_argument("--fp16", action="store_true", help="give plain fastai its to_fp16(), on CUDA")
    args = parser.parse_args()
    same = ["--size", args.size, "--epochs", args.epochs, "--seed", args.seed]
    ours = last_json(sys.executable, "-c", "from segfast.cli import app; app()", "train", args.folder, "--progressive",
                     "--weights", "none", *same, "--batch-size", "8,8,4", "--out", args.out, "--json")
    plain = last_json(sys.executable, here/"plain_fastai.py", args.folder, *same, *["--fp16"]*args.fp16)

    history = pd.read_csv(Path(ours["run"])/"history.csv")
    history["train_seconds"] = 1/history.images_per_second  # of one image
    rows = []
    for (_, stage), other in zip(history.groupby("stage"), plain["stages"]):
        speed = len(stage)/stage.train_seconds.sum()
        rows.append([f"{other['size']}, {other['epochs']} epochs, images/s", other["images_per_second"], speed,
                     speed/other["images_per_second"]])
    rows.append(["whole command, seconds", plain["seconds"], ours["seconds"], plain["seconds"]/ours["seconds"]])
    rows.append(["accuracy averaged over batches, training size", plain["batch_accuracy"],
                 batch_accuracy(Run(ours["run"])), float("nan")])
    table = pd.DataFrame(rows, columns=["", "plain fastai", "segfast", "ratio"])
    print(table.to_string(index=False, float_format=lambda x: f"{x:.3f}"))
    print(
        f"segfast at native size: accuracy {ours['accuracy']:.4f}, mean IoU {ours['mean_iou']:.4f}; run {ours['run']}")


if __name__ == "__main__":
    main()
