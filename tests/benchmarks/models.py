"""Which model is best after the same time, and after the same epochs? Every model from random weights, one after the
other.

    python tests/benchmarks/models.py FOLDER [--minutes 6] [--epochs 5] [--size 96x128] [--models NAME[,key=value...]
        ...] [--threads N] [--out runs]

Each row is two runs of `segfast train FOLDER --no-progressive --weights none --model NAME`: one of as many epochs as
fit into the minutes (training and
validation; a first epoch measures how long one takes), one of the same number of epochs for all. The one-cycle schedule
ends with the run in both.
Results are kept in OUT/models.json as they come, so an interrupted benchmark goes on where it stopped. Takes hours;
leave the machine alone meanwhile.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

MODELS = ["unet_resnet34", "fast", "deeplabv3_resnet50", "unet", "unet_dropout", "smp:unet/resnet34",
          "fast,encoder=resnet34", "unet_resnet34,last_cross=false"]


def trained(args, label, epochs):
    "One training as a process of its own: the end of its stdout, and its history."
    model, *options = label.split(",")
    options = [item for k in options for item in ("--set", f"model_options.{k}")]
    env = dict(os.environ, **({"OMP_NUM_THREADS": str(args.threads)} if args.threads else {}))
    command = [sys.executable, "-c", "from segfast.cli import app; app()", "train", args.folder, "--no-progressive",
               "--weights", "none", "--model", model, *options, "--size", args.size, "--epochs", str(epochs),
               "--batch-size", str(args.batch_size), "--seed", str(args.seed), "--out", args.out, "--json"]
    out = subprocess.run(command, capture_output=True, text=True, env=env)
    if out.returncode:
        sys.exit(f"{label}: {out.stderr[-2000:]}")
    result = json.loads(out.stdout.strip().splitlines()[-1])
    return result, pd.read_csv(Path(result["run"])/"history.csv")


def measured(args, label, epochs):
    result, history = trained(args, label, epochs)
    return dict(epochs=epochs, minutes=history.seconds.sum()/60, images_per_second=history.images_per_second.median(),
                accuracy=result["accuracy"], mean_iou=result["mean_iou"], run=result["run"])


def parameters(label, args):
    from segfast.data.classes import ClassTable
    from segfast.models.zoo import seg_model
    from segfast.runs.recipe import Stage, Recipe, set_value
    model, *options = label.split(",")
    recipe = Recipe([Stage("full", (64, 64), 1)], model=model)
    for option in options:
        recipe = set_value(recipe, f"model_options.{option}")
    return sum(p.numel() for p in seg_model(model, ClassTable([str(i) for i in range(12)]), "none",
                                            **recipe.model_options).parameters())/1e6


def fill(args, label, row):
    "What is still missing of a model's row."
    if "millions" not in row:
        row["millions"] = parameters(label, args)
    if "epoch_minutes" not in row:
        row["epoch_minutes"] = measured(args, label, 1)["minutes"]
    if "budget" not in row:
        row["budget"] = measured(args, label, max(1, int(args.minutes/row["epoch_minutes"])))
        return True
    if "same" not in row:
        row["same"] = row["budget"] if row["budget"]["epochs"] == args.epochs else measured(args, label, args.epochs)
        return True
    return False


def shown(done, args):
    head = ["model", "M parameters", "images/s", f"epochs in {args.minutes:g} min", "minutes", "void accuracy",
            "mean IoU", f"void accuracy, {args.epochs} epochs", f"mean IoU, {args.epochs} epochs",
            f"minutes, {args.epochs} epochs"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|"*len(head)]
    for label, row in done.items():
        b, s = row.get("budget"), row.get("same")
        cells = [label, f"{row['millions']:.1f}"]
        cells += [f"{b['images_per_second']:.1f}", b["epochs"], f"{b['minutes']:.1f}", f"{b['accuracy']:.3f}",
                  f"{b['mean_iou']:.3f}"] if b else [""]*5
        cells += [f"{s['accuracy']:.3f}", f"{s['mean_iou']:.3f}", f"{s['minutes']:.1f}"] if s else [""]*3
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", default="96x128")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", default="runs")
    args = parser.parse_args()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    file = Path(args.out)/"models.json"
    settings = {k: v for k, v in vars(args).items() if k not in ("models", "out")}
    kept = json.loads(file.read_text()) if file.exists() else dict(settings=settings, done={})
    if kept["settings"] != settings:
        sys.exit(f"{file} is of other settings: {kept['settings']}. Give another --out.")
    for _ in range(2):  # first the time budget of all, then the same epochs of all
        for label in args.models:
            if fill(args, label, kept["done"].setdefault(label, {})):
                file.write_text(json.dumps(kept, indent=1))
                print(shown(kept["done"], args), flush=True)


if __name__ == "__main__":
    main()
