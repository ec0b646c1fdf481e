"""The plain fastai recipe on a folder in CamVid's layout: what segfast is measured against.

    python tests/benchmarks/plain_fastai.py FOLDER [--size 96x128] [--epochs 5,5,5] [--seed 42] [--fp16]

Two fits at half size (batch 8), one at full size (batch 4), one-cycle at 1e-3, 5e-4, 5e-4, weight decay 1e-2, resnet34
U-Net from
random weights, fastai's defaults for everything else: files decoded at every epoch, fp32, loss over all pixels. Prints
one JSON line.
"""
import argparse
import json
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message="`torch.jit.script`")

import numpy as np  # noqa: E402
from fastai.vision.all import (  # noqa: E402
    Callback, DataBlock, FileSplitter, ImageBlock, MaskBlock, Normalize, aug_transforms, get_image_files,
    imagenet_stats, resnet34, set_seed, unet_learner,
)


class Clock(Callback):
    "Seconds and images of the training part of all epochs."
    seconds, images = 0.0, 0
    def before_train(self): self.start = time.perf_counter()
    def after_train(self): self.seconds += time.perf_counter() - self.start
    def after_batch(self): self.images += len(self.x)*self.training


def batches(path, codes, size, bs):
    "Half or full size batches, resized on the batch as the lesson does."
    block = DataBlock(blocks=(ImageBlock, MaskBlock(codes)), get_items=get_image_files,
                      splitter=FileSplitter(path/"valid.txt"), get_y=lambda file: path/"labels"/f"{file.stem}_P.png",
                      batch_tfms=[*aug_transforms(size=size), Normalize.from_stats(*imagenet_stats)])
    return block.dataloaders(path/"images", bs=bs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="96x128")
    parser.add_argument("--epochs", default="5,5,5")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--fp16", action="store_true", help="fastai's to_fp16(), on CUDA")
    args = parser.parse_args()
    full = tuple(int(part) for part in args.size.split("x"))
    half = full[0]//2, full[1]//2
    codes = np.array([line.strip() for line in (args.folder/"codes.txt").read_text().splitlines() if line.strip()])
    void = [code.lower() for code in codes].index("void")

    def acc_camvid(logits, target):
        labelled = target != void
        return (logits.argmax(dim=1)[labelled] == target[labelled]).float().mean()

    set_seed(args.seed, reproducible=True)
    started, learn, stages = time.perf_counter(), None, []
    for size, bs, epochs, lr in zip((half, half, full), (8, 8, 4), map(int, args.epochs.split(",")),
                                    (1e-3, 5e-4, 5e-4)):
        dls = batches(args.folder, codes, size, bs)
        if learn is None:
            learn = unet_learner(dls, resnet34, pretrained=False, metrics=acc_camvid, wd=1e-2)
            if args.fp16:
                learn.to_fp16()
        learn.dls = dls
        clock = Clock()
        with learn.no_bar():
            learn.fit_one_cycle(epochs, lr, cbs=clock)
        accuracy = float(learn.recorder.values[-1][-1])
        stages.append(dict(size=f"{size[0]}x{size[1]}", epochs=epochs, seconds=clock.seconds,
                           images_per_second=clock.images/clock.seconds, batch_accuracy=accuracy))
    print(json.dumps(dict(batch_accuracy=accuracy, seconds=time.perf_counter() - started, stages=stages)))


if __name__ == "__main__":
    main()
