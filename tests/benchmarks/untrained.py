"""A run whose weights are random, for benchmarks of predicting: speed and memory do not ask what was learned."""
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from segfast.data.classes import ClassTable
from segfast.models.zoo import seg_model
from segfast.runs.recipe import Recipe, Stage
from segfast.runs.run import Run
from segfast.core.devices import cpu_name

CLASSES = ClassTable([f"class {i}" for i in range(12)])


def untrained(folder, name, model, size, precision="fp32", classes=CLASSES):
    "A finished run folder with random weights; the batch norms have statistics, as those of a trained model have."
    import torch
    from safetensors.torch import save_file
    torch.manual_seed(0)
    net = seg_model(model, classes, "none")
    with torch.no_grad():
        net.train()(torch.randn(4, 3, *size))
    run = Run.create(folder, Recipe([Stage("full", size, 1, batch_size=8, precision=precision)], model=model,
                                    weights="none"), classes, dict(name="random"), name)
    with run.checkpoint("last", stage=1, epoch=1) as part:
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, part/"model.safetensors")
    run.update(status="done")
    return run


def about(threads):
    "The machine, versions and commit that figures belong to."
    git = subprocess.run(["git", "-C", Path(__file__).parent, "describe", "--always", "--dirty"], capture_output=True,
                         text=True).stdout.strip()
    return dict(cpu=cpu_name(), threads=threads, python=platform.python_version(),
                **{name: version(name) for name in ("torch", "fastai", "numpy", "pillow")}, commit=git or None)


def about_text(about): return ", ".join(f"{k} {v}" for k, v in about.items())
