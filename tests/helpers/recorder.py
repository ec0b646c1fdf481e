"""What a training does, recorded while it runs: batches, weights, learning rates."""
import torch
from fastai.callback.core import Callback

from segfast.training import learner, plan, train


class Record:
    "What a training did; every entry begins with the number of stages that had begun."
    def __init__(self):
        self.shapes = [] # (stage, training or not, shape of the batch)
        self.convs = []  # (stage, training or not, number format of the first convolution's output)
        self.hypers = [] # (stage, learning rates of the parameter groups) of every batch
        self.stages = [] # weights before and after each stage


class RecordRates(Callback):
    "Add every batch's learning rates to a record."
    order = 100 # after the scheduler
    def __init__(self, record): self.record = record
    def before_batch(self):
        if self.training:
            self.record.hypers.append((len(self.record.stages), [h["lr"] for h in self.opt.hypers]))


def copy_weights(model):
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def watch_model(model, record):
    "Add every batch that a model is given to a record (its cost is found on the device `meta`, which has no data)."
    def before(module, inputs):
        if inputs[0].device.type != "meta":
            record.shapes.append((len(record.stages), module.training, tuple(inputs[0].shape)))

    def after(module, inputs, output):
        if output.device.type != "meta":
            record.convs.append((len(record.stages), module.training, output.dtype))
    model.register_forward_pre_hook(before)
    next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d)).register_forward_hook(after)
    return model


def record_training(monkeypatch):
    "A record of all trainings from now on."
    record, seg_model, seg_learner, run_stage = Record(), plan.seg_model, learner.seg_learner, train.run_stage

    def watched_learner(*args, **kwargs):
        learn = seg_learner(*args, **kwargs)
        learn.add_cb(RecordRates(record))
        return learn

    def watched_stage(training):
        record.stages.append([copy_weights(training.model), None])
        run_stage(training)
        record.stages[-1][1] = copy_weights(training.model)
    monkeypatch.setattr(plan, "seg_model", lambda *args, **kwargs: watch_model(seg_model(*args, **kwargs), record))
    monkeypatch.setattr(learner, "seg_learner", watched_learner)
    monkeypatch.setattr(train, "run_stage", watched_stage)
    return record
