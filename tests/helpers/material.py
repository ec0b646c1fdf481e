"""A small dataset and a few tiny runs on it, for trials that damage them: made once, copied for each trial."""
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from helpers.forking import run_command, run_forked

SIZE = 48, 64


def recipe(epochs=2, seed=42, **options):
    "Half size, then full size; the network has a few hundred weights."
    from segfast.runs.recipe import Recipe, Stage
    stages = [Stage(name, size, epochs, batch_size=2, precision="fp32", lr=1e-2)
              for name, size in (("half", (16, 24)), ("full", (32, 48)))]
    return Recipe(stages, model="tiny", weights="none", seed=seed, **options)


def train_in_fork(data, out, name, die_after=None, **options):
    "Train in a forked process; `die_after` kills it after so many epochs were saved."
    def work():
        from segfast.training.train import train
        if die_after is not None: die_at_checkpoint(die_after + 1)
        train(str(data), recipe(**options), out=out, name=name, device="cpu", screen="quiet")
    ended = run_forked(work, limit=120)
    assert ended.code == (0 if die_after is None else -signal.SIGKILL), ended
    return Path(out)/name


def train_folds_in_fork(data, out, name):
    "Two folds of a training of one epoch per stage."
    def work():
        from segfast.training.crossval import train_folds
        train_folds(str(data), recipe(1), 2, out=out, name=name, device="cpu", screen="quiet")
    ended = run_forked(work, limit=120)
    assert ended.code == 0, ended


def die_at_checkpoint(n):
    "Kill this process when the n-th checkpoint would get its name."
    seen = []

    def look(event, args):
        if event != "os.rename" or not str(args[1]).endswith("checkpoints/last"): return
        seen.append(event)
        if len(seen) == n: os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(look)


@dataclass
class Material:
    "What the trials start from."
    folder: Path  # of everything
    data: Path    # six street scenes at 48×64
    runs: Path    # with `done`, `half` (killed in its last stage) and `other` (another seed)
    images: Path  # two images to predict

    @property
    def cache(self): return self.folder/"cache"
    @property
    def folds(self):
        "A fold set, trained when it is first asked for."
        path = self.folder/"sets/folds"
        if not path.exists(): train_folds_in_fork(self.data, path.parent, path.name)
        return path

    def command(self, *argv, limit=20., **options):
        "A command of segfast in a forked process."
        return run_forked(lambda: run_command(argv), limit, **options)


def make_material(folder, n=6):
    "Write the dataset and train the runs."
    from segfast.data.demo import write_demo
    folder = Path(folder)
    os.environ["SEGFAST_CACHE"] = str(folder/"cache")
    found = Material(folder, folder/"data", folder/"runs", folder/"images")
    run_forked(lambda: write_demo(found.data, n=n, size=SIZE) and None, 60)
    found.images.mkdir()
    for file in sorted((found.data/"images").iterdir())[:2]: shutil.copy(file, found.images)
    train_in_fork(found.data, found.runs, "done")
    train_in_fork(found.data, found.runs, "other", seed=7)
    train_in_fork(found.data, found.runs, "half", die_after=3)
    return found
