"""Golden numbers: what a small seeded training, its evaluation, a predicted mask and its ONNX file give.

`python tests/helpers/golden.py` computes them in a new process and compares them with those in `tests/golden.json`;
with `--write` it replaces the file, which takes a reason: the numbers that segfast computes have changed.
"""
import argparse
import base64
import json
import math
import os
import platform
import subprocess
import sys
import zlib
from fnmatch import fnmatch
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np

STORED = Path(__file__).resolve().parents[1]/"golden.json"
SIZE, ODD = (64, 96), (90, 121) # (height, width): of the second stage; of the image to predict
MASKS = (96, 128) # of the images and masks in the dataset
ACCURACY = "accuracy" # its column in the history
WEIGHTS = dict(raw="last/training", ema="last/model", best="best/model") # their files in a run's checkpoints
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def library():
    "The parts of segfast that are measured. All its imports stand here."
    from segfast.data.demo import scene, write_demo
    from segfast.inference.evaluate import evaluate
    from segfast.inference.onnx import OnnxModel
    from segfast.inference.sliding import InferenceOptions
    from segfast.runs.recipe import Recipe, Stage
    from segfast.tools.export import export
    from segfast.training.train import train
    return SimpleNamespace(train=train, evaluate=evaluate, InferenceOptions=InferenceOptions, export=export,
                           OnnxModel=OnnxModel, Recipe=Recipe, Stage=Stage, scene=scene, write_demo=write_demo)


# --- what is computed -------------------------------------------------------------------------------------------------

def recipe(lib):
    """Half size with a frozen encoder, then full size: each stage has 9 batches of 4 images and 6 optimizer steps.

    Every setting is there for a reason. Three batches per epoch and two per step leave one over. The EMA's decay grows
    until it reaches 0.5 at the ninth step. The best epoch is the first of the second stage by far, so that `best` and
    `last` are different weights. The gradients are clipped so hard that they come near AdamW's epsilon: parameters with
    hardly any gradient would otherwise take full steps whose sign is a matter of rounding, and clipping, which AdamW
    makes up for, would hardly change anything.
    """
    shared = dict(epochs=3, batch_size=4, accumulate=2, precision="fp32", schedule="one_cycle")
    half = lib.Stage("half", (SIZE[0]//2, SIZE[1]//2), lr=1e-2, frozen=True, **shared)
    full = lib.Stage("full", SIZE, lr=slice(1e-3, 1e-2), **shared)
    return lib.Recipe([half, full], name="golden", model="fast", weights="none", seed=7, optimizer="adamw", wd=0.1,
                      clip=1e-4, ema=0.5, monitor="mean_iou", keep="best")


def watch():
    "A fastai callback that keeps the loss of every training batch, and rates, momentum and gradient of every step."
    from fastai.callback.core import Callback

    class Watch(Callback):
        order = 1000 # after the scheduler, accumulation and clipping
        def __init__(self): self.losses, self.steps = {}, {}
        def before_fit(self): self.stage = ("half", "full")[len(self.losses)]

        def after_batch(self):
            if self.training: self.losses.setdefault(self.stage, []).append(self.learn.loss.item())

        def after_step(self):
            grads = [p.grad.double().norm().item() for p in self.model.parameters() if p.grad is not None]
            step = dict(lr=[float(h["lr"]) for h in self.opt.hypers], mom=float(self.opt.hypers[-1]["mom"]),
                        grad_norm=math.hypot(*grads))
            self.steps.setdefault(self.stage, []).append(step)
    return Watch()


def train_once(lib, folder):
    "The finished run on the demo's scenes in a folder, and the callback that watched it."
    from fastai.learner import defaults
    data = lib.write_demo(folder/"demo", n=15, size=MASKS)
    seen = watch()
    defaults.callbacks.append(seen) # every Learner takes these, whoever makes it
    try: run = lib.train(str(data), recipe(lib), out=folder/"runs", name="golden", device="cpu", screen="quiet")
    finally: defaults.callbacks.remove(seen)
    return run, seen


def training_values(run, seen):
    "Losses, steps, history and final weights of a training."
    columns = dict(train_loss="train_loss", valid_loss="valid_loss", accuracy=ACCURACY, mean_iou="mean_iou")
    epochs = [{k: float(row[v]) for k, v in columns.items()} for row in run.history.to_dict("records")]
    best = json.loads((run.path/"checkpoints/best/state.json").read_text())
    weights = {k: read_weights(run.path/f"checkpoints/{v}.safetensors") for k, v in WEIGHTS.items()}
    return dict(losses=seen.losses, steps=seen.steps, epochs=epochs, best={k: best[k] for k in ("stage", "epoch")},
                norms={k: norms(v) for k, v in weights.items()}, bits={k: checksum(v) for k, v in weights.items()})


def read_weights(path):
    from safetensors.torch import load_file
    return load_file(path)


def norm(tensor):
    "The Euclidean norm, in float64."
    return tensor.double().square().sum().sqrt().item()


def norms(tensors):
    return {k: norm(v) for k, v in sorted(tensors.items())}


def checksum(tensors):
    "One checksum of all names and bits."
    found = sha256()
    for k, v in sorted(tensors.items()): found.update(k.encode() + v.numpy().tobytes())
    return found.hexdigest()


def evaluation_values(found):
    cm, scores = found.cm, found.scores
    more = {k: float(scores[k]) for k in ("accuracy", "mean_iou", "mean_dice", "boundary_iou", "ece")}
    iou = {k: None if np.isnan(v) else float(v) for k, v in zip(cm.classes.names, cm.iou)}
    return dict(more, iou=iou, confusion=cm.matrix.tolist(), images=scores["images"])


def mask_values(ids, classes):
    "Facts on a mask of class ids, and the ids themselves."
    ids = np.ascontiguousarray(ids, np.uint8)
    counts = np.bincount(ids.ravel(), minlength=classes).tolist()
    packed = base64.b64encode(zlib.compress(ids.tobytes(), 9)).decode()
    return dict(shape=list(ids.shape), counts=counts, sha256=sha256(ids.tobytes()).hexdigest(), ids=packed)


def unpack(ids):
    return np.frombuffer(zlib.decompress(base64.b64decode(ids)), np.uint8)


def onnx_values(model, image, size):
    "What an ONNX model answers to an image that it is shown at a size."
    import torch
    logits = model([image], size=size)[0]
    return dict(norm=norm(torch.from_numpy(logits)), mask=mask_values(logits.argmax(0), len(logits)))


def compute(folder):
    "All golden numbers, with what they were computed on. For a process of its own: see `compute_in_process`."
    import torch
    torch.set_num_threads(1)
    lib = library()
    run, seen = train_once(lib, folder)
    image = np.asarray(lib.scene(3, ODD)[0])
    values = dict(image=sha256(image.tobytes()).hexdigest(), training=training_values(run, seen))
    values["evaluation"] = evaluation_values(lib.evaluate(run.path, boundary=True,
                                                          options=lib.InferenceOptions(device="cpu"), screen="quiet"))
    values["mask"] = mask_values(np.asarray(run.predict(image, device="cpu")), len(run.classes))
    model = lib.OnnxModel(lib.export(run, "onnx").path, threads=1)
    values["onnx"] = {f"{h}x{w}": onnx_values(model, image, (h, w)) for h, w in (SIZE, ODD)}
    return dict(made_with=surroundings(), values=values)


# --- on what it is computed -------------------------------------------------------------------------------------------

PACKAGES = ("torch", "torchvision", "fastai", "numpy", "pillow", "onnx", "onnxscript", "onnxruntime")


def processor():
    """The processor's name and model numbers, and its vector instructions.

    The name alone is not enough: a virtual machine often says no more than AMD EPYC, and may hide instructions.
    """
    try: lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError: return platform.processor() or platform.machine(), ""
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    numbers = [f"{k} {facts[k]}" for k in ("cpu family", "model", "stepping") if k in facts]
    vectors = [k for k in sorted(facts.get("flags", "").split()) if k.startswith(("avx", "amx", "fma"))]
    return ", ".join([facts.get("model name", platform.machine()), *numbers]), " ".join(vectors)


def surroundings():
    "Processor, instructions, threads and versions."
    import torch
    name, vectors = processor()
    return dict(processor=name, instructions=f"{torch.backends.cpu.get_cpu_capability()}: {vectors}",
                threads=torch.get_num_threads(), python=platform.python_version(), **{k: version(k) for k in PACKAGES})


def compute_in_process():
    "`compute` in a new process with one thread from its start, and with caches of its own."
    with TemporaryDirectory() as folder:
        caches = {k: f"{folder}/{k.lower()}" for k in ("SEGFAST_CACHE", "FASTAI_HOME", "TORCH_HOME")}
        command = [sys.executable, __file__, "--compute", folder]
        done = subprocess.run(command, env=os.environ | ONE_THREAD | caches | dict(MPLBACKEND="agg"), text=True,
                              capture_output=True)
        if done.returncode: raise RuntimeError(f"The golden numbers could not be computed:\n{done.stderr[-4000:]}")
        return json.loads(Path(folder, "golden.json").read_text())


# --- how it is compared -----------------------------------------------------------------------------------------------

# On the same processor with the same torch the numbers are equal to the last bit. The ONNX file's answer also depends
# on what writes and runs it. Python stands for pandas: 3.10 gets version 2, which rounds the last digit it reads.
SAME = ("processor", "instructions", "threads", "torch", "python")
SAME_ONNX = (*SAME, "onnx", "onnxscript", "onnxruntime")


def is_exact(made, now, section):
    "Whether a section of the values (training, evaluation, mask, onnx, image) must be equal to the last bit."
    return all(made[k] == now[k] for k in (SAME_ONNX if section == "onnx" else SAME))


def relative(limit): return lambda a, b: abs(a - b) <= limit*abs(a)
def absolute(limit): return lambda a, b: abs(a - b) <= limit
def equal(a, b): return repr(a) == repr(b)
def anything(a, b): return True
def pixels(limit): return lambda a, b: a.shape == b.shape and np.mean(a != b) <= limit
def moved(limit): return lambda a, b: np.abs(np.array(a) - b).sum()/2 <= limit*np.sum(a)


# Elsewhere, results differ by rounding: in the last bit at first, and more with every step. The limits are two to seven
# times what was seen on one processor held to other instructions (AVX2, and SSE4 without fused multiply-add): 0.13 % in
# the losses of the first stage and 1.1 % in those of the second, 0.03 % in the norms of weights, 3.8 % in those of
# biases, which start at 0 and are no larger than the few steps they took, 0.0064 in a score, 1.5 % of a mask's pixels.
# The first rule whose pattern fits counts.
TOLERANCES = {
    "training/losses/half/*": relative(4e-3),
    "training/losses/full/*": relative(3e-2),
    "training/steps/*/grad_norm": relative(1e-4), # it is what it was clipped to
    "training/steps/*": relative(1e-6), # rates and momentum: no more than a few cosines
    "training/epochs/*_loss": relative(0.1),
    "training/epochs/*": absolute(0.03), # accuracy and mean IoU
    "training/best/*": equal,
    "training/norms/*.running_*": relative(0.05),
    "training/norms/*.bias": relative(0.1),
    "training/norms/*": relative(2e-3),
    "training/bits/*": anything,
    "evaluation/images": equal,
    "evaluation/confusion": moved(0.02),
    "evaluation/*": absolute(0.02),
    "onnx/*/norm": relative(0.05),
    "*/ids": pixels(0.03),
    "*/shape/*": equal,
    "*": anything, # counts and checksums: of masks, which are compared pixel by pixel, and of the drawn image
}


def flat(values, path=""):
    "path -> value, for dicts and lists inside each other; the confusion matrix and masks stay whole."
    if path.endswith("/ids"): return {path: unpack(values)}
    if not isinstance(values, (dict, list)) or path.endswith("/confusion"): return {path: values}
    items = values.items() if isinstance(values, dict) else enumerate(values)
    return {k: v for key, value in items for k, v in flat(value, f"{path}/{key}" if path else str(key)).items()}


def is_close(path, stored, found):
    "Whether two values are equal within the limit that counts for their path."
    if stored is None or found is None: return stored is found
    return next(rule for pattern, rule in TOLERANCES.items() if fnmatch(path, pattern))(stored, found)


def is_same(stored, found):
    "Whether two values are equal to the last bit."
    return np.array_equal(stored, found) if isinstance(stored, np.ndarray) else equal(stored, found)


def shown(value): return f"{value.size} ids" if isinstance(value, np.ndarray) else repr(value)


def differences(stored, found, exact=None):
    "What differs, a line per value. `exact` (True or False) overrules what follows from the surroundings of both."
    a, b = flat(stored["values"]), flat(found["values"])
    lines = [f"{k}: only in {'the stored' if k in a else 'the computed'} values" for k in sorted(a.keys() ^ b.keys())]
    for k in (k for k in a if k in b):
        strict = is_exact(stored["made_with"], found["made_with"], k.split("/")[0]) if exact is None else exact
        if not (is_same(a[k], b[k]) if strict else is_close(k, a[k], b[k])):
            lines.append(f"{k}: stored {shown(a[k])}, found {shown(b[k])} ({'exact' if strict else 'within limits'})")
    return lines


def other_surroundings(stored, found):
    "What the stored values were made with, where it is not what is here."
    made, now = stored["made_with"], found["made_with"]
    return [f"{k}: stored with {made.get(k)}, here {now[k]}" for k in now if made.get(k) != now[k]]


def comparison(stored, found, most=20):
    "What differs, and what was different about the machine, for people."
    lines = differences(stored, found)
    more = [f"... and {len(lines) - most} more"]*(len(lines) > most)
    return "\n".join([f"{len(lines)} values differ", *other_surroundings(stored, found), *lines[:most], *more])


def read(): return json.loads(STORED.read_text())


def main():
    parser = argparse.ArgumentParser(description="Compute the golden numbers and compare them with the stored ones.")
    parser.add_argument("--write", action="store_true", help=f"write them to {STORED.name} instead")
    parser.add_argument("--compute", metavar="DIR", help="compute them in this process, into DIR/golden.json")
    args = parser.parse_args()
    if args.compute: return Path(args.compute, "golden.json").write_text(json.dumps(compute(Path(args.compute))))
    found = compute_in_process()
    if args.write: STORED.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    else: print(comparison(read(), found))


if __name__ == "__main__": main()
