"""The network: any size, any number of classes, and the weights it starts from."""
import pickle

import sys
import warnings

import numpy as np
import pytest
import torch
from fastai.vision.learner import create_body
from fastai.vision.models.unet import DynamicUnet
from helpers.problems import missing
from helpers.refusals import first_named, refuses
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model, resnet34
from torchvision.models.segmentation import deeplabv3_resnet50

from segfast.data.loaders import seg_dls
from segfast.core.errors import DataError, UsageError
from segfast.data.classes import ClassTable
from segfast.models.zoo import ACTIVATIONS, check_model, layer_groups
from segfast.models.encoders import ENCODERS
from segfast.models.cost import SMP_EXAMPLES, activation_bytes
from segfast.models.weights import load_weights
from segfast.models.zoo import model_options, MODELS, published_weights
from segfast.models.cost import model_table, multiply_adds
from segfast.models.weights import read_weights
from segfast.models.zoo import register_model, seg_model
from segfast.training.learner import seg_learner
from segfast.models.cost import training_bytes
from segfast.models.nets import OneValueBatchNorm


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
    "The same image in a larger frame: the weights know no size, and no buffer keeps one."
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
    labeled = torch.Tensor(y) != (-100 if void is None else void)
    assert (logits.grad.abs().sum(1) > 0).eq(labeled).all()


def test_unknown_names():
    with refuses(UsageError, "model", "'unett'", *MODELS, "smp:ARCHITECTURE/ENCODER") as e:
        seg_model("unett", table(2), "none")
    assert first_named(e, MODELS) == "unet"
    for bad in "imagenett", "nope.pth", "nope.safetensors":
        with refuses(UsageError, "--weights", bad, "imagenet", "none", ".safetensors", ".pth"):
            seg_model("unet_resnet34", table(2), bad)


# Weights files

@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_file_of_the_whole_model(net, tmp_path, suffix):
    path = tmp_path/f"w{suffix}"
    save_file(kept(net), path) if suffix == ".safetensors" else torch.save(dict(model=kept(net)) if suffix == ".pt"
        else kept(net), path)
    assert same(kept(seg_model("unet_resnet34", table(12, 11), str(path))), kept(net))


@pytest.mark.parametrize("head", [True, False])
def test_a_file_of_a_resnet_encoder(net, tmp_path, head):
    torch.manual_seed(5)
    state = {k: v for k, v in resnet34().state_dict().items() if head or not k.startswith("fc.")}
    torch.save(state, tmp_path/"body.pth")
    torch.manual_seed(0)
    model = seg_model("unet_resnet34", table(12, 11), str(tmp_path/"body.pth"))
    assert torch.equal(model[0][0].weight, state["conv1.weight"]) and torch.equal(model[0][7][2].conv2.weight,
        state["layer4.2.conv2.weight"])
    rest = {k: v for k, v in kept(model).items() if not k.startswith("layers.0.")}
    assert same(rest, {k: v for k, v in kept(net).items() if k in rest}), "the decoder is as the seed made it"


@pytest.mark.slow
def test_files_that_do_not_fit(net, tmp_path):
    whole = kept(net)
    head = max(k for k in whole if k.endswith("weight") and whole[k].shape[0] == 12)
    for name, state in ("fewer", {k: v for k, v in whole.items() if k != head}), ("more",
        whole | {"extra": torch.zeros(3)}), ("other", whole | {head: torch.zeros(5, *whole[head].shape[1:])}), ("none",
        {}):
        path = tmp_path/f"{name}.safetensors"
        save_file(state, path)
        model = seg_model("unet_resnet34", table(12, 11), "none")
        before = kept(model)
        odd = sorted(set(state) ^ set(before)) or [head]
        with refuses(DataError, path, len(odd), odd[0]) as e:
            load_weights(model, path)
        shapes = [tuple(tensors[odd[0]].shape) for tensors in (state, before) if odd[0] in tensors]
        assert missing(e, *shapes) == [], "the shapes in the file and in the model"
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
        with refuses((DataError, UsageError), p):
            read_weights(p)
    assert capsys.readouterr().out == ""
    with refuses(DataError, tmp_path/"harm.pth", ".safetensors") as e:
        read_weights(tmp_path/"harm.pth")
    assert isinstance(e.value.__cause__, pickle.UnpicklingError)
    save_file({"w": torch.ones(2)}, tmp_path/"good.safetensors")
    assert read_weights(tmp_path/"good.safetensors")["w"].tolist() == [1, 1]


# Every model

SMALL = dict(unet=dict(channels=[8, 16, 32], middle=64), unet_dropout=dict(channels=[8, 16, 32, 64], middle=64))
OWN = ["unet_resnet34", "fast", "deeplabv3_resnet50", "unet", "unet_dropout"]
OPTIONS = [("unet_resnet18", dict(self_attention=True, blur=True, act="mish")), ("unet_resnet18", dict(bottle=True)),
           ("unet_resnet18", dict(last_cross=False)), ("fast", dict(encoder="resnet18", upsampling="bilinear")),
           ("fast", dict(encoder="resnet18", channels=[64, 32, 16, 8])),
           ("fast", dict(encoder="resnet50", channels=[32])), ("deeplabv3_resnet50", dict(aux=False)),
           ("unet", dict(channels=[8], middle=8, batch_norm=False, dropout=0.5)),
           ("unet_dropout", dict(channels=[4]*5, middle=8, batch_norm=True))]
CASES = [(name, SMALL.get(name, {})) for name in OWN] + OPTIONS
ids = [f"{name}-{'-'.join(map(str, options))}" for name, options in CASES]


def made(name, n, options): return seg_model(name, table(n), "none", **options)
def outputs(out): return list(out) if isinstance(out, tuple) else [out]


def heads(name, options, training):
    return 2 if training and name.startswith("deeplab") and options.get("aux", True) else 1


@pytest.mark.slow
@pytest.mark.parametrize("name, options", CASES, ids=ids)
def test_any_size_any_classes_any_mode(name, options):
    torch.manual_seed(0)
    for n, sizes in (1, [(97, 131)]), (2, [(33, 32), (32, 32)]), (12, [(97, 131)]):
        model = made(name, n, options)
        for size in sizes:
            for training in True, False:
                model.train(training)
                x = torch.randn(2, 3, *size)
                with torch.no_grad():
                    out = outputs(model(x))
                assert [tuple(logits.shape) for logits in out] == [(2, n, *size)]*heads(name, options, training)
                assert all(torch.isfinite(logits).all() for logits in out)
        if n == 12:
            model.train().to(memory_format=torch.channels_last)
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                out = outputs(model(x))
            assert all(logits.dtype == torch.bfloat16 and torch.isfinite(logits).all() for logits in out)
            sum(logits.float().square().mean() for logits in out).backward()
            assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name, options", CASES, ids=ids)
def test_the_gradient_reaches_every_parameter(name, options):
    torch.manual_seed(0)
    model = made(name, 2, options).train()
    with torch.no_grad():
        for k, p in model.named_parameters():
            if k.endswith("gamma"): p.fill_(1) # a self-attention begins with a weight of 0, and learns it first
    sum(logits.square().mean() for logits in outputs(model(torch.randn(2, 3, 97, 131)))).backward()
    assert [k for k, p in model.named_parameters() if p.grad is None] == []
    assert [k for k, p in model.named_parameters() if p.dim() > 1 and not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("name", OWN)
def test_channels_last_changes_no_value(name):
    torch.manual_seed(0)
    model = made(name, 3, SMALL.get(name, {})).eval()
    x = torch.randn(1, 3, 65, 47)
    with torch.no_grad():
        plain = model(x)
        last = model.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(plain, last, atol=1e-4)


@pytest.mark.parametrize("name", OWN)
def test_an_image_at_a_multiple_is_not_padded_and_edges_are_repeated(name):
    "The added pixels repeat the edge: an image enlarged by its own edge has the same logits inside."
    if not hasattr(model := made(name, 2, SMALL.get(name, {})).eval(), "multiple"):
        return
    x = torch.randn(1, 3, 40, 50)
    wider = nn.functional.pad(x, (0, -50 % model.multiple, 0, -40 % model.multiple), mode="replicate")
    with torch.no_grad():
        assert torch.equal(model(x), model(wider)[..., :40, :50]) and torch.equal(model(wider), model.net(wider))


def test_the_default_is_fastais_bit_for_bit():
    torch.manual_seed(3)
    ours = seg_model("unet_resnet34", table(5), "none")
    torch.manual_seed(3)
    theirs = DynamicUnet(create_body(resnet34(), pretrained=False, cut=-2), 5, (128, 128))
    assert same(kept(ours), kept(theirs))


@pytest.mark.slow
def test_options_change_the_network():
    torch.manual_seed(0)
    plain, n = seg_model("unet_resnet18", table(2), "none"), {}
    n["plain"] = multiply_adds(plain, (64, 64))
    for key, value in dict(bottle=True, last_cross=False, self_attention=True).items():
        n[key] = multiply_adds(seg_model("unet_resnet18", table(2), "none", **{key: value}), (64, 64))
    assert n["last_cross"] < n["bottle"] < n["plain"] < n["self_attention"]
    assert any(isinstance(m, nn.AvgPool2d) for m in seg_model("unet_resnet18", table(2), "none",
        blur=True)[4].modules())
    for act, cls in dict(mish=nn.Mish, leaky_relu=nn.LeakyReLU).items():
        assert ACTIVATIONS[act] is cls and any(isinstance(m, cls)
                                               for m in seg_model("unet_resnet18", table(2), "none", act=act).modules())


NO_OPTIONS = [
    ("unet_resnet34", dict(self_atention=True), ["self_atention", "self_attention", "last_cross"]),
    ("unet_resnet34", dict(blur="yes"), ["blur", "'yes'", "true", "false"]),
    ("unet_resnet34", dict(blur=1), ["blur", 1, "true", "false"]),
    ("unet_resnet34", dict(act="rleu"), ["rleu", "relu"]),
    ("unet_resnet34", dict(act=1), ["act", 1]),
    ("unet_resnet34", dict(bottle=True, last_cross=False), ["bottle", "last_cross"]),
    ("fast", dict(encoder="resnet35"), ["resnet35", "resnet34"]),
    ("fast", dict(channels=[1]*6), ["channels", [1]*6]),
    ("fast", dict(channels=[]), ["channels", []]),
    ("fast", dict(channels=[8, 0]), ["channels", [8, 0], 1]),
    ("fast", dict(channels=[8.5]), ["channels", [8.5]]),
    ("fast", dict(channels=8), ["channels", 8]),
    ("fast", dict(upsampling="bicubic"), ["upsampling", "bicubic", "nearest", "bilinear"]),
    ("unet", dict(dropout=1), ["dropout", 0, 1]),
    ("unet", dict(dropout=True), ["dropout", True]),
    ("unet", dict(middle=1.5), ["middle", 1.5])]


def test_options_that_are_none():
    for name, options, named in NO_OPTIONS:
        with refuses(UsageError, *named) as e:
            seg_model(name, table(2), "none", **options)
        assert len(str(e.value).splitlines()) <= 3, str(e.value)
    with pytest.raises(UsageError) as e:
        seg_model("unet_resnet34", table(2), "none", self_atention=True)
    assert first_named(e, model_options("unet_resnet34")) == "self_attention"


def test_a_model_of_ones_own(monkeypatch):
    "One function and one line; a plain entry in the dictionary will do too."
    registry = dict(MODELS)
    monkeypatch.setattr("segfast.models.zoo.MODELS", registry)

    @register_model()
    def dot(n_out, weights="none", bias=True): return nn.Conv2d(3, n_out, 1, bias=bias)

    assert "dot" in registry and "dot" not in MODELS
    assert published_weights("dot") == () and model_options("dot") == dict(bias=True)
    assert seg_model("dot", table(4), bias=False).bias is None
    assert model_table((32, 32), names=["dot"]).parameters[0] == 12*3 + 12


# Weights of other models

def test_models_from_nothing_have_no_published_weights():
    for name in "unet", "unet_dropout":
        assert published_weights(name) == ()
        for weights in "imagenet", "coco":
            with refuses(UsageError, weights, name, "none"):
                check_model(name, weights)
            with refuses(UsageError, name, "--weights", "none"):
                MODELS[name](2, weights)
        check_model(name), check_model(name, "none")
    with refuses(UsageError, "fast", "coco", "imagenet", "none"):
        check_model("fast", "coco")
    check_model("deeplabv3_resnet50", "coco")


@pytest.fixture
def web(monkeypatch):
    "The published weights, made here; the addresses that were asked for."
    asked = []

    def download(url):
        asked.append(url)
        with torch.random.fork_rng():
            torch.manual_seed(9)
            if "coco" in url: return deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True).state_dict()
            return get_model(url.rsplit("/", 1)[-1].split("-")[0]).state_dict()
    for module in "zoo", "weights": # whole models, and encoders
        monkeypatch.setattr(f"segfast.models.{module}.download_weights", download)
    return asked


@pytest.mark.parametrize("name, encoder, options",
                         [("unet_resnet18", "resnet18", {}), ("fast", "resnet18", {}),
                          ("fast", "resnet34", dict(encoder="resnet34")), ("deeplabv3_resnet50", "resnet50", {})])
def test_imagenet_goes_into_the_encoder_and_nowhere_else(web, name, encoder, options, tmp_path):
    torch.manual_seed(1)
    model = seg_model(name, table(3), **options) # imagenet is what it takes by itself
    assert len(web) == 1 and f"/{encoder}-" in web[0]
    torch.manual_seed(9)
    published = get_model(encoder).state_dict()
    file = tmp_path/"body.pth"
    torch.save(published, file)
    own = kept(model)
    inside = "layers.0." if name.startswith("unet_") else "body."
    for key in "conv1.weight", "layer4.1.conv2.weight", "bn1.running_mean":
        assert any(k.startswith(inside) and v.shape == published[key].shape and torch.equal(v, published[key])
                   for k, v in own.items()), key
    torch.manual_seed(1)
    assert same(own, kept(seg_model(name, table(3), str(file), **options))), "a file of the encoder does the same"


@pytest.mark.parametrize("aux", [True, False])
def test_coco_is_all_but_the_last_layers(web, aux):
    torch.manual_seed(1)
    fresh = kept(seg_model("deeplabv3_resnet50", table(3), "none", aux=aux))
    torch.manual_seed(1)
    model = kept(seg_model("deeplabv3_resnet50", table(3), "coco", aux=aux))
    assert len(web) == 1 and "deeplabv3_resnet50_coco" in web[0]
    torch.manual_seed(9)
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True).state_dict()
    assert torch.equal(model["body.layer4.2.conv3.weight"],
                       theirs["backbone.layer4.2.conv3.weight"]) and torch.equal(model["head.0.project.0.weight"],
        theirs["classifier.0.project.0.weight"])
    last = [k for k in model if k.startswith(("head.4.", "aux.4."))]
    assert len(last) == (4 if aux else 2) and all(torch.equal(model[k], fresh[k]) for k in last)
    assert all(torch.equal(v, theirs[k.replace("body.", "backbone.", 1).replace("head.", "classifier.",
        1).replace("aux.", "aux_classifier.", 1)]) for k, v in model.items() if k not in last)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_a_new_head_for_other_classes(name, tmp_path):
    options = SMALL.get(name, {})
    save_file(kept(other := made(name, 5, options)), tmp_path/"five.safetensors")
    model = made(name, 3, options)
    with refuses(DataError, tmp_path/"five.safetensors", 4 if "deeplab" in name else 2):
        load_weights(model, tmp_path/"five.safetensors")
    fresh = kept(model)
    left = load_weights(model, tmp_path/"five.safetensors", new_head=True)
    now, old = kept(model), kept(other)
    assert len(left) == (4 if "deeplab" in name else 2) and all(torch.equal(now[k], fresh[k]) for k in left)
    assert all(torch.equal(now[k], old[k]) for k in now if k not in left)
    assert load_weights(made(name, 5, options), tmp_path/"five.safetensors", new_head=True) == []
    if name == "unet":
        with refuses(DataError, tmp_path/"five.safetensors"):
            load_weights(seg_model("unet", table(3), "none", channels=[8, 16, 24], middle=64),
                         tmp_path/"five.safetensors", new_head=True)
        assert same(kept(model), now)


# Groups, and what is frozen

@pytest.mark.parametrize("name", [*OWN, "smp:unet/resnet18"])
def test_groups_hold_every_parameter_once_and_the_encoder_first(name):
    if name.startswith("smp:"): pytest.importorskip("segmentation_models_pytorch")
    model = made(name, 2, SMALL.get(name, {}))
    parts = layer_groups(model)
    assert sorted(id(p) for g in parts for p in g) == sorted(id(p) for p in model.parameters())
    assert len(parts) == (1 if name in ("unet", "unet_dropout") else 3)
    encoder = [p for g in parts[:-1] for p in g]
    for p in encoder:
        p.requires_grad_(False)
    x = torch.randn(2, 3, 64, 64)
    for logits in outputs(model.train()(x)): logits.mean().backward(retain_graph=True)
    assert all(p.grad is None for p in encoder) and all(p.grad is not None for p in parts[-1])
    if len(parts) == 3:
        names = {id(p): k for k, p in model.named_parameters()}
        first, later = [names[id(p)] for p in parts[0]], [names[id(p)] for p in parts[1]]
        assert "layer4" in later[-1] or ".7." in later[-1] and not any("layer3" in k for k in first)


@pytest.mark.parametrize("name, frozen", [("fast", True), ("unet", False)])
def test_freezing_a_learner(small, name, frozen):
    learn = seg_learner(seg_dls(small, (32, 48), bs=4, device="cpu"), small.classes, name, "none", train_bn=False,
                        model_options=SMALL.get(name, dict(encoder="resnet18")))
    learn.freeze()
    trains = [p.requires_grad for g in layer_groups(learn.model)[:-1] for p in g]
    assert (len(trains) > 0) == frozen and not any(trains) and all(p.requires_grad
        for p in layer_groups(learn.model)[-1])


# One value a channel

def test_a_batch_of_one_image_trains():
    torch.manual_seed(0)
    model = made("deeplabv3_resnet50", 2, {}).train()
    main, aux = model(torch.randn(1, 3, 32, 32))
    (main.mean() + aux.mean()).backward()
    assert torch.isfinite(main).all()


def test_the_patient_batch_norm_is_otherwise_pytorchs():
    torch.manual_seed(0)
    ours, theirs = OneValueBatchNorm(4), nn.BatchNorm2d(4)
    for shape in (2, 4, 1, 1), (1, 4, 3, 3), (3, 4, 5, 5):
        x = torch.randn(shape)
        assert torch.equal(ours(x), theirs(x))
    before = kept(theirs)
    assert same(kept(ours), before)
    one = torch.randn(1, 4, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value"):
        theirs(one)
    assert torch.equal(ours(one), theirs.eval()(one)) and same(kept(ours), before)


# Costs

def test_multiply_adds_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.ConvTranspose2d(8, 4, 2, stride=2))
    assert multiply_adds(net, (10, 12)) == 10*12*8*3*9 + 5*6*8*4*4
    assert multiply_adds(net, (10, 12), ("0", "1")) == {"0": 10*12*8*3*9, "1": 0}
    assert net.training and all(p.grad is None and p.device.type == "cpu" for p in net.parameters())


def test_the_table_of_costs():
    t = model_table((64, 64), 3, names=OWN).set_index("model")
    for name in "fast", "unet":
        model = made(name, 3, {})
        assert t.parameters[name] == sum(p.numel() for p in model.parameters())
        assert t.multiply_adds[name] == multiply_adds(model,
                                                      (64, 64)) and t.training_bytes[name] == training_bytes(model,
            (64, 64), 8)
    assert t.weights["deeplabv3_resnet50"] == "imagenet, coco, none" and t.weights["unet"] == "none" and (
        t.about.str.len() > 10).all()
    assert t.multiply_adds["fast"]*3 < t.multiply_adds["unet_resnet34"]
    with refuses(UsageError, "'fsat'", *MODELS) as e:
        model_table(names=["fsat"])
    assert first_named(e, MODELS) == "fast"


@pytest.mark.slow
def test_every_encoder_is_there():
    assert all(f"unet_{encoder}" in MODELS for encoder in ENCODERS) and next(iter(MODELS)) == "unet_resnet34"
    t = model_table((32, 32)).set_index("model")
    assert set(MODELS) | set(SMP_EXAMPLES) == set(t.index) and t.parameters[list(MODELS)].notna().all()
    assert set(t.index[t.needs == "models"]) == set(SMP_EXAMPLES)


# segmentation_models_pytorch

def test_without_the_extra(monkeypatch):
    for module in "zoo", "cost":
        monkeypatch.setattr(f"segfast.models.{module}.MODELS", dict(fast=MODELS["fast"]))
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    for ask in (lambda: seg_model("smp:unet/resnet18", table(2)), lambda: check_model("smp:unet/resnet18"),
                lambda: model_table(names=["smp:unet/resnet18"])):
        with refuses(UsageError, "pip install", "segfast[models]", "smp:unet/resnet18"):
            ask()
    t = model_table((32, 32)).set_index("model")
    assert t.parameters[list(SMP_EXAMPLES)].isna().all() and (t.needs[list(SMP_EXAMPLES)] == "models").all()


@pytest.fixture
def smp():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("segmentation_models_pytorch")


ARCHITECTURES = "unet unetplusplus manet linknet fpn pspnet deeplabv3 deeplabv3plus pan upernet segformer".split()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"smp:{name}/resnet18" for name in ARCHITECTURES),
                                  "smp:unetplusplus/efficientnet-b0", "smp:unet/tu-resnet18",
                                  "smp:fpn/tu-mobilenetv3_small_050"])
def test_smp_any_size(smp, name):
    torch.manual_seed(0)
    for n, size in (1, (33, 32)), (12, (97, 131)):
        model = made(name, n, {})
        for training in True, False:
            model.train(training)
            x = torch.randn(1 + training, 3, *size)
            assert model(x).shape == (len(x), n, *size)
    model.train()(torch.randn(1, 3, 33, 64)).mean().backward() # one image
    with torch.autocast("cpu", torch.bfloat16):
        assert model.to(memory_format=torch.channels_last)(x).shape == (1, 12, 97, 131)
    assert training_bytes(model, (64, 64), 2) > 16*sum(p.numel() for p in model.parameters()) and multiply_adds(model,
        (64, 64)) > 1e6


NO_SMP = [
    ("smp:unett/resnet18", {}, ["unett", "unet"]),
    ("smp:unet/resnet19", {}, ["resnet19", "resnet18"]),
    ("smp:unet", {}, ["''", "resnet34"]),
    ("smp:unet/tu-resnet19", {}, ["tu-resnet19", "tu-resnet18"]),
    ("smp:unet/resnet18", dict(decoder_chanels=[1]), ["decoder_chanels", "decoder_channels"]),
    ("smp:unet/resnet18", dict(decoder_channels=[8]), ["smp:unet/resnet18"]),
    ("smp:dpt/resnet18", {}, ["DPT"])]


def test_smp_options_and_mistakes(smp):
    narrow = seg_model("smp:unet/resnet18", table(2), "none", decoder_channels=[64, 32, 16, 8, 8])
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel()
        for p in made("smp:unet/resnet18", 2, {}).parameters())
    assert "decoder_channels" in model_options("smp:unet/resnet18")
    for name, options, named in NO_SMP:
        with refuses(UsageError, *named):
            seg_model(name, table(2), "none", **options)
    with pytest.raises(UsageError) as e:
        seg_model("smp:unett/resnet18", table(2), "none")
    assert first_named(e, smp.MODEL_ARCHITECTURES_MAPPING) == "unet"
    with pytest.raises(UsageError) as e:
        seg_model("smp:unet/resnet18", table(2), "none", decoder_chanels=[1])
    assert first_named(e, model_options("smp:unet/resnet18")) == "decoder_channels"


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_smp_weights_without_a_network(smp, encoder, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path/"hub"))

    def down(*args, **kwargs): raise OSError("Network is unreachable")
    monkeypatch.setattr("segfast.models.encoders.urlopen", down)
    assert "imagenet" in published_weights(f"smp:unet/{encoder}")
    with refuses(DataError, "imagenet", encoder, "--weights", "none"):
        seg_model(f"smp:unet/{encoder}", table(2))


def test_smp_encoder_file(smp, tmp_path):
    model = made("smp:unet/resnet18", 2, {})
    save_file(kept(model), tmp_path/"w.safetensors")
    assert same(kept(seg_model("smp:unet/resnet18", table(2), str(tmp_path/"w.safetensors"))), kept(model))


# Memory

def test_activations_grow_with_size_and_batch(net):
    a, b, c = (activation_bytes(net, size, bs) for size, bs in (((64, 64), 1), ((64, 64), 4), ((128, 128), 1)))
    assert b == pytest.approx(4*a, rel=.05) and c == pytest.approx(4*a, rel=.1)
    assert training_bytes(net, (64, 64), 4, "bf16") < training_bytes(net, (64, 64), 4, "fp32")


def test_a_frozen_encoder_needs_less(net):
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
    learn = seg_learner(dls, small.classes, MODELS["tiny"](len(small.classes)))
    learn.create_opt()
    assert len(learn.opt.param_lists) == 3 and np.allclose(learn.wd, 1e-2)


def test_a_module_without_an_encoder(small):
    "`seg_learner` takes any module, as its signature says; there is then one group."
    net = torch.nn.Conv2d(3, len(small.classes), 1)
    learn = seg_learner(seg_dls(small, (32, 48), bs=4, device="cpu"), small.classes, net)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert np.isfinite(learn.recorder.values[-1][0])


@pytest.mark.parametrize("name", ["unet_resnet18", "fast", "unet"])
def test_one_image_of_which_one_pixel_is_left(name):
    "A batch norm that sees a single value takes its running averages; the step is a step."
    model = seg_model(name, ClassTable(["a", "b"]), "none").train()
    out = model(torch.randn(1, 3, 32, 32))
    out.square().mean().backward()
    assert out.shape == (1, 2, 32, 32) and torch.isfinite(out).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
