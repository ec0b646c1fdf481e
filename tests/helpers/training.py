"""Recipes, trainings and comparisons that several tests share."""
import torch
from fastai.callback.core import Callback
from safetensors.torch import load_file

import segfast.training.learner as learner
from segfast.runs.recipe import Recipe, Stage
from segfast.runs.run import Run
from segfast.training.train import train

FULL, HALF = (32, 48), (16, 24)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def recipe_of(*stages, **kwargs):
    settings = dict(model="tiny", weights="none", augment="none") | kwargs
    return Recipe([Stage(**dict(name=f"s{i}", size=FULL, epochs=1, batch_size=4, precision="fp32") | s)
                   for i, s in enumerate(stages, 1)], **settings)


def fit(data, recipe, out, **kwargs):
    return train(data, recipe, out=out, **dict(device="cpu", screen="quiet") | kwargs)


def weights_of(run, kind="last"):
    return load_file(run.checkpoint_file(kind))


class Bad(Callback):
    "Raise, or spoil the weights, in a given epoch of a given training batch."
    order = -20
    def __init__(self, at, what): self.at, self.what = at, what
    def before_batch(self):
        if self.training and self.epoch == self.at:
            self.what(self)


def with_bad(monkeypatch, at, what):
    real = learner.seg_learner

    def seg_learner(*args, **kwargs):
        learn = real(*args, **kwargs)
        learn.add_cb(Bad(at, what))
        return learn
    monkeypatch.setattr(learner, "seg_learner", seg_learner)


def only_run(out):
    folders = [p for p in out.iterdir() if p.is_dir()]
    assert len(folders) == 1
    return Run(folders[0])


class Said:
    "A screen that remembers what was said."
    def __init__(self): self.lines = []
    def __enter__(self): return self
    def __exit__(self, *args): pass
    def say(self, text): self.lines.append(text)
    def __getattr__(self, name): return lambda *args, **kwargs: None
