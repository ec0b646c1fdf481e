"""Images a second of `segfast predict`'s library call against a loop over fastai's `learn.predict`, reading and writing
files included.

    python tests/benchmarks/predict_speed.py [--model unet_resnet34] [--size 96x128] [--on 96x128 360x480] [--images 64]
        [--loop 24] [--rounds 3] [--threads N] [--device cpu] [--json]

One model with random weights, one size that it is shown, the same JPEG files for both. The loop is what people write:
`learn.predict(path)` for each file, then its mask saved
as a PNG of the image's own size. segfast writes a palette PNG for each image, in fp32 and in bf16. Each way is warmed
up, then all take turns; the table has the median of the rounds.
Run it on an idle machine: what else runs is printed (`load`).
"""
import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message="`torch.jit.script`")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from fastai.vision.all import (  # noqa: E402
    CrossEntropyLossFlat, DataBlock, ImageBlock, Learner, MaskBlock, Normalize, Resize, ResizeMethod, get_image_files,
    imagenet_stats,
)
from PIL import Image  # noqa: E402

from predict_memory import photo  # noqa: E402
from segfast.models.zoo import seg_model  # noqa: E402
from segfast.runs.recipe import parse_size  # noqa: E402
from segfast.inference.predict import Output, open_predictors, predict_images  # noqa: E402
from segfast.inference.sliding import InferenceOptions, Segmenter  # noqa: E402
from untrained import CLASSES, about, about_text, untrained  # noqa: E402


def fastai_learner(run, files, size, device):
    "The same model and weights in a fastai `Learner`, whose pipeline resizes to the size."
    masks = files[0].parent.parent/"empty"
    masks.mkdir(exist_ok=True)
    for f in files[:4]:
        Image.fromarray(np.zeros(Image.open(f).size[::-1], np.uint8)).save(masks/f"{f.stem}.png")
    block = DataBlock(blocks=(ImageBlock, MaskBlock(CLASSES.names)), get_items=lambda _: files[:4],
                      get_y=lambda f: masks/f"{f.stem}.png", item_tfms=Resize(size, method=ResizeMethod.Squish),
                      batch_tfms=Normalize.from_stats(*imagenet_stats))
    dls = block.dataloaders(files[0].parent, bs=4, num_workers=0, device=torch.device(device))
    from safetensors.torch import load_file
    model = seg_model(run.recipe.model, CLASSES, "none")
    model.load_state_dict(load_file(run.weights_file))
    return Learner(dls, model.to(device), loss_func=CrossEntropyLossFlat(axis=1))


def loop(learn, files, out):
    "Images a second of the plain loop."
    out.mkdir(exist_ok=True)
    start = time.perf_counter()
    for f in files:
        with learn.no_bar():
            mask = learn.predict(f)[0]
        with Image.open(f) as im:
            Image.fromarray(np.asarray(mask, np.uint8)).resize(im.size, Image.NEAREST).save(out/f"{f.stem}.png")
    return len(files)/(time.perf_counter() - start)


def ours(run, folder, out, device, precision):
    "A function that gives images a second of segfast, the model loaded before."
    segmenter = Segmenter(open_predictors([run.path], InferenceOptions(device=device, precision=precision)))

    def measured():
        done = predict_images(segmenter, [folder], Output(out, overwrite=True))
        assert not done.failed
        return done.images_per_second
    return measured


def ways(args, folder, on):
    "name -> function that gives images a second, for images of a size on disk."
    images = folder/f"{on[0]}x{on[1]}"/"images"
    images.mkdir(parents=True)
    for i in range(args.images):
        photo(images/f"{i:04}.jpg", *on, seed=i)
    size, files = parse_size(args.size), sorted(get_image_files(images))
    run = untrained(images.parent, "run", args.model, size)
    learn = fastai_learner(run, files, size, args.device)
    found = {"learn.predict": lambda: loop(learn, files[:args.loop], images.parent/"fastai")}
    for precision in "fp32", "bf16":
        found[f"segfast {precision}"] = ours(run, images, images.parent/precision, args.device, precision)
    return found


def measured(args, folder, on):
    found = ways(args, folder, on)
    for f in found.values():
        f()
    rates = {name: [] for name in found}
    for _ in range(args.rounds):
        for name, f in found.items():
            rates[name].append(f())
    base = statistics.median(rates["learn.predict"])
    return [dict(on="x".join(map(str, on)), way=name, images_per_second=round(statistics.median(r), 2),
                 ratio=round(statistics.median(r)/base, 2), rounds=[round(row, 2) for row in r])
            for name, r in rates.items()]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="unet_resnet34")
    p.add_argument("--size", default="96x128")
    p.add_argument("--on", nargs="+", default=["96x128", "360x480"], help="sizes of the images on disk")
    p.add_argument("--images", type=int, default=64)
    p.add_argument("--loop", type=int, default=24, help="images of the loop, which is slow")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--threads", type=int, help="of PyTorch")
    p.add_argument("--device", default="cpu")
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    machine = about(torch.get_num_threads()) | dict(load=round(os.getloadavg()[0], 1), device=args.device)
    print(about_text(machine))
    folder, rows = Path(tempfile.mkdtemp(prefix="predict-speed-")), []
    try:
        for on in args.on:
            rows += measured(args, folder, parse_size(on))
            for r in rows[-3:]:
                print(f"{args.model} at {args.size}, {r['on']:>8} on disk   {r['way']:<14} "
                      f"{r['images_per_second']:>7.2f} images/s  {r['ratio']:>5.2f} of the loop", flush=True)
    finally:
        shutil.rmtree(folder)
    if args.json:
        print(json.dumps(dict(about=machine, model=args.model, size=args.size, rows=rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
