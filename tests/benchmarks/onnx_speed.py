"""Images per second of an exported model in ONNX Runtime and of the same model in torch (fp32, channels_last), on the
CPU.

    python tests/benchmarks/onnx_speed.py [MODEL...] [--size 96x128] [--batch-size 8] [--threads 1,2] [--seconds 5]
        [--int8]

Untrained models on random images: the arithmetic is the same. Both normalize them. Batches alternate between the
two, so that what else the machine does slows both; the median is shown. Needs the extra onnx.
"""
import argparse
import copy
import statistics
import tempfile
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message="`torch.jit.script`")

import onnx  # noqa: E402
import torch  # noqa: E402

from segfast.inference.onnx import INPUT, open_session  # noqa: E402
from segfast.tools.export import Portable, quantize_int8, onnx_proto, trace, make_traceable  # noqa: E402
from segfast.models.zoo import find_model  # noqa: E402
from segfast.runs.recipe import parse_size  # noqa: E402


def alternating(ways, seconds):
    "Median seconds of each of some functions, called in turn."
    times = {k: [] for k in ways}
    for f in ways.values():
        f()
    end = time.perf_counter() + seconds*len(ways)
    while time.perf_counter() < end or len(next(iter(times.values()))) < 3:
        for k, f in ways.items():
            start = time.perf_counter()
            f()
            times[k].append(time.perf_counter() - start)
    return {k: statistics.median(v) for k, v in times.items()}


def files(net, size, folder, images, int8):
    "Name -> ONNX file."
    proto = onnx_proto(trace(make_traceable(Portable(copy.deepcopy(net)))))
    onnx.save(proto, folder/"fp32.onnx")
    if int8:
        onnx.save(quantize_int8(proto, list(images)), folder/"int8.onnx")
    return {f"onnxruntime {path.stem}": path for path in sorted(folder.glob("*.onnx"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["fast", "unet_resnet34"])
    parser.add_argument("--size", default="96x128")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--int8", action="store_true")
    args = parser.parse_args()
    size = parse_size(args.size)
    print(f"{'model':<24}{'threads':>8}   {'images/s':<24}")
    for name in args.models:
        torch.manual_seed(0)
        net = find_model(name)(12, "none").eval()
        images = torch.rand(args.batch_size, *size, 3)*255
        torch_net = Portable(net).to(memory_format=torch.channels_last).eval()
        with tempfile.TemporaryDirectory() as d:
            made = files(net, size, Path(d), images, args.int8)
            for threads in map(int, args.threads.split(",")):
                torch.set_num_threads(threads)
                x = images.permute(0, 3, 1, 2)  # channels_last, as images are
                sessions = {k: open_session(item, threads) for k, item in made.items()}
                given = x.contiguous().numpy()

                def in_torch(net=torch_net, x=x):
                    with torch.inference_mode():
                        return net(x)
                ways = {"torch fp32": in_torch, **{k: (lambda s=s, given=given: s.run(None, {INPUT: given}))
                                                   for k, s in sessions.items()}}
                found = alternating(ways, args.seconds)
                print(f"{name:<24}{threads:>8}   " + "   ".join(f"{k} {args.batch_size/v:.1f}"
                                                                for k, v in found.items()), flush=True)


if __name__ == "__main__":
    main()
