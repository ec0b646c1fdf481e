"""Every model of the registry as ONNX: the largest difference of a logit at two sizes, and the share of pixels whose
class differs.

    python tests/benchmarks/export_parity.py [MODEL...] [--sizes 64x96,90x120] [--images 4] [--classes 12] [--fixed]

Models are untrained; a few batches in training mode give their batch norms statistics of their own. Images are smooth
and drawn at random.
One file is written for every size (with --fixed, one for each size) and run at both sizes. Needs the extras onnx and
models.
"""
import argparse
import gc
import tempfile
import time
import warnings
from multiprocessing import get_context
from pathlib import Path

warnings.filterwarnings("ignore", message="`torch.jit.script`")

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

# noqa: E402
from segfast.tools.export import Portable, onnx_proto, open_exported, compare_outputs, trace, make_traceable
from segfast.models.cost import SMP_EXAMPLES  # noqa: E402
from segfast.models.zoo import find_model, MODELS  # noqa: E402
from segfast.inference.predictor import normalize  # noqa: E402
from segfast.runs.recipe import parse_size  # noqa: E402


def untrained(name, classes):
    "A model whose batch norms have seen something."
    torch.manual_seed(0)
    net = find_model(name)(classes, "none").train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(4, 3, 64, 96))
    return net.eval()


def pictures(n, size):
    rand = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return (F.interpolate(rand, size, mode="bilinear")*255).permute(0, 2, 3, 1)


def exported(net, size, file):
    "Write the model, which is of no other use afterwards, as a file for a size, or for every size."
    import onnx
    onnx.save(onnx_proto(trace(make_traceable(Portable(net)), size)), file)


@torch.no_grad()
def row(name, args, sizes):
    "Compare one model; its logits are computed before it is exported, so that it need not be kept twice."
    results, start = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder)/"model.onnx"
        for size in sizes if args.fixed else [None]:
            net = untrained(name, args.classes)
            batches = [pictures(args.images, item) for item in ([size] if size else sizes)]
            logits = [net(normalize(batch, batch.shape[1:3])) for batch in batches]
            exported(net, size, file)
            del net
            gc.collect()
            session = open_exported(file, "onnx")
            results += [compare_outputs(lambda x, y=y: y, session, [item]) for item, y in zip(batches, logits)]
        mb, top = file.stat().st_size/1e6, max(logit.abs().max().item() for logit in logits)
    cells = "".join(f"{result.logits:>12.1e}{result.pixels:>10.3%}" for result in results)
    print(f"{name:<32}{mb:>8.1f}{time.perf_counter() - start:>9.1f}{top:>9.1f}{cells}   "
          f"{'yes' if all(result.ok for result in results) else 'NO'}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[*MODELS, *SMP_EXAMPLES])
    parser.add_argument("--sizes", default="64x96,90x120")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--classes", type=int, default=12)
    parser.add_argument("--fixed", action="store_true")
    args = parser.parse_args()
    sizes = [parse_size(part) for part in args.sizes.split(",")]
    print(f"{'model':<32}{'MB':>8}{'seconds':>9}{'largest':>9}"
          + "".join(f"{'x'.join(map(str, size)):>12}{'pixels':>10}" for size in sizes) + "   within limits", flush=True)
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # a process a model: its memory is given back
        for name in args.models:
            pool.apply(row, (name, args, sizes))


if __name__ == "__main__":
    main()
