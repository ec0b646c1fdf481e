"""What a frozen stage costs, with and without fastai's habit of training the encoder's batch norms.

    python tests/benchmarks/frozen.py [--size 96x128] [--batch-size 8] [--steps 10] [--precision auto] [--device auto]

Prints the median seconds of a training step (forward, backward, optimizer) on random data, and the images per second.
"""
import argparse
import statistics
import time
import warnings

warnings.filterwarnings("ignore", message="`torch.jit.script`")

import torch  # noqa: E402
from fastai.callback.core import Callback, CancelValidException  # noqa: E402
from fastai.data.core import DataLoader, DataLoaders  # noqa: E402

from segfast.data.classes import ClassTable  # noqa: E402
from segfast.training.learner import seg_learner  # noqa: E402
from segfast.runs.recipe import parse_size  # noqa: E402
from segfast.core.devices import pick_device, pick_precision  # noqa: E402
from segfast.training.callbacks import precision_cbs  # noqa: E402


class NoValidation(Callback):
    "Only the training step is timed."
    def before_validate(self): raise CancelValidException


def step_seconds(args, frozen, train_bn):
    "Seconds of each of some training steps."
    device, size = pick_device(args.device), parse_size(args.size)
    item = (torch.randn(3, *size), torch.randint(0, 12, size))
    dls = DataLoaders(DataLoader([item]*args.batch_size, bs=args.batch_size), DataLoader([item]*2, bs=2), device=device)
    cbs = precision_cbs(pick_precision(args.precision, device), device)
    learn = seg_learner(dls, ClassTable([str(i) for i in range(12)]), weights="none", train_bn=train_bn, cbs=cbs)
    learn.model.to(device, memory_format=torch.channels_last)
    learn.freeze() if frozen else learn.unfreeze()
    times = []
    with learn.no_bar(), learn.no_logging():
        for _ in range(args.steps + 2):
            start = time.perf_counter()
            learn.fit(1, 1e-4, cbs=NoValidation())
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return times[2:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="96x128")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    for label, frozen, train_bn in (("all layers train", False, True),
                                    ("frozen, batch norms train (train_bn = true)", True, True),
                                    ("frozen (train_bn = false)", True, False)):
        s = statistics.median(step_seconds(args, frozen, train_bn))
        print(f"{label:<45} {s:.3f} s a step  {args.batch_size/s:.1f} images/s")


if __name__ == "__main__":
    main()
