"""What a training step of each model costs, in fp32 and in bf16 with the channels last.

    python tests/benchmarks/models_cost.py [--models NAME ...] [--size 96x128] [--batch-size 8] [--steps 5] [--threads
        N] [--device cpu]
    python tests/benchmarks/models_cost.py --profile unet_resnet34

Prints images per second of forward and backward together (no optimizer, no loader), on random data. With --profile: the
share of the time that each block of fastai's U-Net takes, and the operators that take most. Run it on an idle machine.
"""
import argparse
import statistics
import time
import warnings

warnings.filterwarnings("ignore", message="`torch.jit.script`")

import torch  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

from segfast.core.errors import UsageError  # noqa: E402
from segfast.data.classes import ClassTable  # noqa: E402
from segfast.models.zoo import seg_model  # noqa: E402
from segfast.runs.recipe import parse_size  # noqa: E402

CLASSES = ClassTable([str(i) for i in range(12)])
VARIANTS = [("unet_resnet34", {}), ("unet_resnet34", dict(bottle=True)), ("unet_resnet34", dict(blur=True)),
            ("unet_resnet34", dict(self_attention=True)), ("unet_resnet34", dict(last_cross=False)),
            ("unet_resnet18", {}), ("unet_resnet18", dict(last_cross=False)), ("fast", {}),
            ("fast", dict(upsampling="bilinear")), ("fast", dict(channels=[256, 128, 64, 32])),
            ("fast", dict(encoder="resnet34")), ("fast", dict(encoder="resnet34", channels=[256, 128, 64, 32])),
            ("deeplabv3_resnet50", {}), ("unet", {}), ("unet_dropout", {}), ("smp:unet/resnet34", {}),
            ("smp:unetplusplus/efficientnet-b3", {}), ("smp:fpn/tu-convnext_tiny", {}),]


def made(name, options, device, precision):
    "A model in training, as `segfast train` has it on the device."
    model = seg_model(name, CLASSES, "none", **options).to(device)
    return model.to(memory_format=torch.channels_last) if precision == "bf16" else model


def loss_of(out, y):
    outs = out if isinstance(out, tuple) else (out,)
    return sum(torch.nn.functional.cross_entropy(item.float(), y)*k for item, k in zip(outs, (1, 0.4)))


def batch(args, precision):
    size, device = parse_size(args.size), torch.device(args.device)
    x = torch.randn(args.batch_size, 3, *size, device=device)
    if precision == "bf16":
        x = x.contiguous(memory_format=torch.channels_last)
    return x, torch.randint(0, len(CLASSES), (args.batch_size, *size), device=device)


def now(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def rates(model, args, precision):
    "Images per second in training and in inference."
    x, y = batch(args, precision)
    cast = torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=precision == "bf16")

    def step():
        with cast:
            loss = loss_of(model(x), y)
        loss.backward()
        model.zero_grad()

    def look():
        with torch.no_grad(), cast:
            model(x)

    def median(f):
        f()
        times = []
        for _ in range(args.steps):
            start = now(args.device)
            f()
            times.append(now(args.device) - start)
        return args.batch_size/statistics.median(times)
    return median(step), median(lambda: (model.eval(), look(), model.train()))


def table(args):
    print(f"{args.size}, batch {args.batch_size}, {torch.get_num_threads()} threads, {args.device}; images/s\n")
    print(f"{'model':<58}{'M par.':>8}{'train fp32':>12}{'bf16':>8}{'infer fp32':>12}{'bf16':>8}")
    for name, options in [(item, {}) for item in args.models] or VARIANTS:
        label = name + "".join(f" {k}=" + str(v).replace(" ", "") for k, v in options.items())
        try:
            cells = []
            for precision in ("fp32", "bf16"):
                model = made(name, options, args.device, precision)
                cells += rates(model, args, precision)
        except UsageError as e:
            print(f"{label:<58}{str(e).splitlines()[0][:60]}")
            continue
        million = sum(p.numel() for p in model.parameters())/1e6
        print(f"{label:<58}{million:>8.1f}{cells[0]:>12.1f}{cells[2]:>8.1f}{cells[1]:>12.1f}{cells[3]:>8.1f}",
              flush=True)


def block_times(model, x, y, cast):
    "Seconds forward and backward of each top-level layer of a sequential model, one step."
    events, hooks = [], []
    for i, layer in enumerate(model.layers):
        def before(m, inp, i=i): events.append(("f", i, time.perf_counter()))

        def after(m, inp, out, i=i):
            events.append(("F", i, time.perf_counter()))
            if out.requires_grad:
                out.register_hook(lambda g, i=i: events.append(("b", i, time.perf_counter())))
        hooks += [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
    with cast:
        loss = loss_of(model(x), y)
    loss.backward()
    end = time.perf_counter()
    for h in hooks:
        h.remove()
    starts = {i: t for kind, i, t in events if kind == "f"}
    forward = {i: t - starts[i] for kind, i, t in events if kind == "F"}
    # the gradient of a layer's output is there: its backward begins
    back = sorted((t, i) for kind, i, t in events if kind == "b")
    backward = dict.fromkeys(forward, 0.)
    for (t, i), (u, _) in zip(back, back[1:] + [(end, None)]):
        backward[i] += u - t
    return forward, backward


def blocks(args):
    for precision in ("fp32", "bf16"):
        model = made(args.profile, {}, args.device, precision)
        x, y = batch(args, precision)
        cast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        block_times(model, x, y, cast)
        runs = [block_times(model, x, y, cast) for _ in range(args.steps)]
        total = statistics.median(sum(f.values()) + sum(b.values()) for f, b in runs)
        print(
            f"\n{args.profile}, {args.size}, batch {args.batch_size}, {precision}: {total:.2f} s forward and backward")
        for i, layer in enumerate(model.layers):
            f, b = (statistics.median(r[k][i] for r in runs) for k in (0, 1))
            if (f + b)/total >= 0.005:
                print(f"  {i:>2} {type(layer).__name__:<20} forward {f:6.3f} s  backward {b:6.3f} s  "
                      f"{(f + b)/total:4.0%}")
        with profile(activities=[ProfilerActivity.CPU]) as p, cast:
            loss_of(model(x), y).backward()
        print(p.key_averages().table(sort_by="self_cpu_time_total", row_limit=10,
                                     max_name_column_width=44).split("\n\n")[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--profile", metavar="NAME", help="a unet_ model: where its time goes")
    parser.add_argument("--size", default="96x128")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    blocks(args) if args.profile else table(args)


if __name__ == "__main__":
    main()
