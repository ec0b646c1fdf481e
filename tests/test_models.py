"""The network: any size, any number of classes, and the weights it starts from."""
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet34

from segfast.data import seg_dls
from segfast.errors import DataError, UsageError
from segfast.masks import ClassTable
from segfast.models import (activation_bytes, load_weights, models, read_weights, seg_learner, seg_model,
                            training_bytes)


def table(n, void=None): return ClassTable([f"c{i}" for i in range(n)], void)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return seg_model("unet_resnet34", table(12, 11), "none").eval()


def kept(model): return {k: v.clone() for k, v in model.state_dict().items()}
def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("size", [(32, 32), (32, 48), (33, 35), (16, 24), (48, 80), (97, 131), (127, 64)])
def test_any_size_goes_through(net, size):
    with torch.no_grad():
        assert net(torch.randn(1, 3, *size)).shape == (1, 12, *size)


def test_no_size_is_built_in(net):
    "The same picture in a larger frame: the weights know no size, and no buffer keeps one."
    before = {k: tuple(v.shape) for k, v in net.state_dict().items()}
    with torch.no_grad():
        for size in (64, 64), (33, 97), (64, 64):
            net(torch.randn(2, 3, *size))
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == before
    again = seg_model("unet_resnet34", table(12, 11), "none")
    assert {k: tuple(v.shape) for k, v in again.state_dict().items()} == before
    again.load_state_dict(net.state_dict())


@pytest.mark.parametrize("n", [1, 2])
def test_few_classes(n):
    with torch.no_grad():
        assert seg_model("unet_resnet34", table(n), "none").eval()(torch.randn(1, 3, 32, 32)).shape == (1, n, 32, 32)


@pytest.mark.parametrize("void", [0, 1, 2, 255, None])
def test_void_at_any_index_learns(small, void, tiny):
    "One step: a finite loss, and no gradient towards the output of void."
    classes = table(len(small.classes), void)
    dls = seg_dls(small, (32, 48), bs=4, aug="none", device="cpu")
    learn = seg_learner(dls, classes, tiny, "none")
    x, y = dls.one_batch()
    logits = learn.model(torch.Tensor(x)).detach().requires_grad_()
    loss = learn.loss_func(logits, y)
    loss.backward()
    assert torch.isfinite(loss)
    labelled = torch.Tensor(y) != (-100 if void is None else void)
    assert (logits.grad.abs().sum(1) > 0).eq(labelled).all()


def test_unknown_names():
    with pytest.raises(UsageError, match="model 'unet'.*unet_resnet34"):
        seg_model("unet", table(2), "none")
    for bad in "imagenett", "nope.pth", "nope.safetensors":
        with pytest.raises(UsageError, match=f"--weights {bad}"):
            seg_model("unet_resnet34", table(2), bad)


# Weights files

@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_file_of_the_whole_model(net, tmp_path, suffix):
    path = tmp_path/f"w{suffix}"
    save_file(kept(net), path) if suffix == ".safetensors" else torch.save(dict(model=kept(net)) if suffix == ".pt" else kept(net), path)
    assert same(kept(seg_model("unet_resnet34", table(12, 11), str(path))), kept(net))


@pytest.mark.parametrize("head", [True, False])
def test_a_file_of_a_resnet_body(net, tmp_path, head):
    torch.manual_seed(5)
    state = {k: v for k, v in resnet34().state_dict().items() if head or not k.startswith("fc.")}
    torch.save(state, tmp_path/"body.pth")
    torch.manual_seed(0)
    model = seg_model("unet_resnet34", table(12, 11), str(tmp_path/"body.pth"))
    assert torch.equal(model[0][0].weight, state["conv1.weight"]) and torch.equal(model[0][7][2].conv2.weight, state["layer4.2.conv2.weight"])
    rest = {k: v for k, v in kept(model).items() if not k.startswith("layers.0.")}
    assert same(rest, {k: v for k, v in kept(net).items() if k in rest}), "the decoder is as the seed made it"


def test_files_that_do_not_fit(net, tmp_path):
    whole = kept(net)
    head = max(k for k in whole if k.endswith("weight") and whole[k].shape[0] == 12)
    for name, state in ("fewer", {k: v for k, v in whole.items() if k != head}), ("more", whole | {"extra": torch.zeros(3)}), ("other", whole | {head: torch.zeros(5, *whole[head].shape[1:])}), ("none", {}):
        path = tmp_path/f"{name}.safetensors"
        save_file(state, path)
        model = seg_model("unet_resnet34", table(12, 11), "none")
        before = kept(model)
        with pytest.raises(DataError, match=rf"{name}\.safetensors: does not fit.*(\n|.)*same number of classes"):
            load_weights(model, path)
        assert same(kept(model), before), "nothing of a file that does not fit is loaded"


class Harm:
    def __reduce__(self): return print, ("code from a weights file ran",)


def test_a_pickle_is_refused(tmp_path, capsys):
    torch.save(dict(a=Harm()), tmp_path/"harm.pth")
    (tmp_path/"plain.pth").write_bytes(pickle.dumps(Harm()))
    (tmp_path/"text.pth").write_text("not weights")
    (tmp_path/"empty.safetensors").write_bytes(b"")
    (tmp_path/"empty.pth").write_bytes(b"")
    torch.save([1, 2], tmp_path/"list.pth")
    torch.save(dict(a=1), tmp_path/"numbers.pth")
    (tmp_path/"folder.pth").mkdir()
    (tmp_path/"w.h5").write_bytes(b"x")
    for p in tmp_path.iterdir():
        with pytest.raises((DataError, UsageError), match=p.name):
            read_weights(p)
    assert "ran" not in capsys.readouterr().out
    with pytest.raises(DataError, match="refused, because it is a pickle"):
        read_weights(tmp_path/"harm.pth")


# Memory

def test_activations_grow_with_size_and_batch(net):
    a, b, c = (activation_bytes(net, size, bs) for size, bs in (((64, 64), 1), ((64, 64), 4), ((128, 128), 1)))
    assert b == pytest.approx(4*a, rel=.05) and c == pytest.approx(4*a, rel=.1)
    assert training_bytes(net, (64, 64), 4, "bf16") < training_bytes(net, (64, 64), 4, "fp32")


def test_a_frozen_body_needs_less(net):
    whole = activation_bytes(net, (64, 64), 2), training_bytes(net, (64, 64), 2)
    for p in net[0].parameters():
        p.requires_grad_(False)
    try:
        assert activation_bytes(net, (64, 64), 2) < whole[0] and training_bytes(net, (64, 64), 2) < whole[1]
    finally:
        for p in net.parameters():
            p.requires_grad_(True)


def test_the_estimate_is_what_a_forward_pass_keeps(net):
    "The same count, made on a real pass."
    store = {}

    def pack(t):
        store[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t
    net.train()
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            net(torch.randn(2, 3, 64, 64)).sum()
        params = {p.untyped_storage().data_ptr() for p in [*net.parameters(), *net.buffers()]}
        real = sum(n for k, n in store.items() if k not in params)
        guess = activation_bytes(net, (64, 64), 2)
    finally:
        net.eval()
    assert guess == pytest.approx(real, rel=.2), (guess, real)


def test_measuring_changes_nothing(net):
    before = kept(net)
    activation_bytes(net, (64, 64), 2)
    assert same(kept(net), before) and all(p.device.type == "cpu" for p in net.parameters())


# The learner

def test_three_groups_and_a_module_of_ones_own(small, tiny):
    dls = seg_dls(small, (32, 48), bs=4, device="cpu")
    learn = seg_learner(dls, small.classes, models["tiny"](len(small.classes)))
    learn.create_opt()
    assert len(learn.opt.param_lists) == 3 and np.allclose(learn.wd, 1e-2)


def test_a_module_without_a_fastai_body(small):
    "`seg_learner` takes any module, as its signature says; there is then one group."
    net = torch.nn.Conv2d(3, len(small.classes), 1)
    learn = seg_learner(seg_dls(small, (32, 48), bs=4, device="cpu"), small.classes, net)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert np.isfinite(learn.recorder.values[-1][0])
