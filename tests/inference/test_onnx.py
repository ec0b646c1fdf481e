"""ONNX files of strangers: errors name the file and what is wrong; nothing outside of the file is read; no bomb goes
off."""
import json
import os
import random
import time

import numpy as np
import onnx
import psutil
import pytest
from helpers.problems import is_crash, missing
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from segfast.cli import app
from segfast.core.errors import DataError
from segfast.inference.onnx import (CONTRACT, INPUT, LOGITS, OnnxModel, add_checksum, check_graph, open_session,
                                    proto_fields, to_properties)
from segfast.inference.result import predict_image
from segfast.inference.sliding import InferenceOptions, Segmenter

ABOUT = dict(contract=CONTRACT, segfast="0.0", classes=["red", "green", "blue"],
             colors=[[255, 0, 0], [0, 255, 0], [0, 0, 255]], void=255, size=[32, 48])
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def model_of(nodes=None, weights=(), properties=None, n=3, opsets=(("", 18),), inputs=(), outputs=(),
             shape=("n", 3, "h", "w"), kind=TensorProto.FLOAT, out_kind=TensorProto.FLOAT, out_shape=None,
             functions=()):
    "A model in the form of an export, or almost."
    nodes = nodes or [helper.make_node("Identity", [INPUT], [LOGITS])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(INPUT, kind, shape), *inputs],
                              [helper.make_tensor_value_info(LOGITS, out_kind, out_shape or ["n", n, "h", "w"]),
                               *outputs], list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*pair) for pair in opsets], ir_version=10,
                              functions=list(functions))
    helper.set_model_props(model, to_properties(ABOUT) if properties is None else properties)
    return model


def save(model, path):
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


@pytest.fixture
def path(tmp_path):
    (tmp_path/"models").mkdir()
    return tmp_path/"models/stranger.onnx"


def test_a_good_one(path):
    found = predict_image(Segmenter(OnnxModel(save(model_of(), path), threads=1)), IMAGE)
    assert found.shape == (40, 50) and len(np.unique(found.ids)) == 3


# Properties

def raw_properties(**changed):
    return {k: v for k, v in (to_properties(ABOUT) | changed).items() if v is not None}


DEEP, LONG = "["*100_000 + "]"*100_000, json.dumps(["a"*20]*100_000)
PROPERTIES = [("classes", "3"), ("classes", "[]"), ("classes", '"abc"'), ("classes", "{}"), ("classes", "null"),
              ("classes", "[1, 2, 3]"), ("classes", '["a", "b"]'), ("classes", '["a", "a", "b"]'),
              ("classes", '["", "b", "c"]'),
              ("classes", json.dumps([f"c{i}" for i in range(257)])),
              ("classes", json.dumps(list(map(str, range(10**6))))),
              ("classes", DEEP), ("classes", "{"), ("classes", None), ("classes", '[["a"], "b", "c"]'),
              ("void", '"sky"'), ("void", "256"), ("void", "-1"), ("void", "1.5"), ("void", "[1]"), ("void", "true"),
              ("void", "1e999"), ("void", "9"*400), ("void", None), ("void", "NaN"),
              ("colors", "3"), ("colors", "[]"), ("colors", "[[1, 2, 3]]"), ("colors", "[[1, 2], [1, 2], [1, 2]]"),
              ("colors", '[["a", 2, 3], [1, 2, 3], [1, 2, 3]]'), ("colors", "[[999, 0, 0], [0, 0, 0], [0, 0, 0]]"),
              ("colors", "[[-1, 0, 0], [0, 0, 0], [0, 0, 0]]"), ("colors", "[[1e9, 0, 0], [0, 0, 0], [0, 0, 0]]"),
              ("colors", '{"a": 1}'), ("colors", "null"), ("colors", DEEP), ("colors", "[3, 4, 5]"),
              ("size", "3"), ("size", "[]"), ("size", "[1000000000, 1000000000]"), ("size", "[0, 32]"),
              ("size", "[-32, 32]"), ("size", '["32", "48"]'), ("size", "[32.5, 48]"), ("size", "[32, 48, 3]"),
              ("size", "null"), ("size", "true"), ("size", "[true, true]"), ("size", "[" + "9"*400 + ", 32]"),
              ("contract", "[1]"), ("contract", "true"), ("contract", '"1"'), ("contract", "1.0"), ("contract", "2"),
              ("contract", "9"*5000), ("contract", DEEP), ("segfast", DEEP), ("run", LONG), ("model", "NaN")]


@pytest.mark.parametrize("key, value", PROPERTIES, ids=lambda v: str(v)[:16])
def test_properties_of_the_wrong_kind(path, tmp_path, key, value):
    save(model_of(properties=raw_properties(**{key: value})), path)
    began = time.perf_counter()
    with pytest.raises(DataError) as e: OnnxModel(path, threads=1)
    text = str(e.value)
    assert text.startswith(str(path)) and len(text) < 600 and len(text.splitlines()) <= 3
    assert key in text or "version" in text or "classes" in text or "properties" in text
    assert time.perf_counter() - began < 5


def test_many_properties(path):
    save(model_of(properties=raw_properties(**{f"k{i}": "1" for i in range(2000)})), path)
    with pytest.raises(DataError, match="1000 properties"): OnnxModel(path, threads=1)


def test_properties_that_are_not_utf8(path):
    model = model_of().SerializeToString()
    save(model.replace(b'"green"', b'"gr\xff\xfe\xfd"'), path)
    with pytest.raises(DataError, match="stranger.onnx"): OnnxModel(path, threads=1)


def test_what_an_error_shows_is_safe(path):
    save(model_of(properties=raw_properties(size=json.dumps("\x1b[2J\u202e"*50))), path)
    with pytest.raises(DataError) as e: OnnxModel(path, threads=1)
    assert str(e.value).isprintable() and len(str(e.value)) < 600


def test_on_the_command_line(path, tmp_path):
    Image.fromarray(IMAGE).save(tmp_path/"photo.png")
    for key, value in ("size", "[1000000000, 1000000000]"), ("classes", DEEP), ("colors", "3"):
        save(model_of(properties=raw_properties(**{key: value})), path)
        res = CliRunner().invoke(app, ["predict", str(path), str(tmp_path/"photo.png"), "--out", str(tmp_path/"out")])
        assert res.exit_code == 1 and not missing(res.output, path, key) and not is_crash(res.output)
        assert not (tmp_path/"out").exists()


# Graphs that do not fit

def tensor(name, shape): return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


GRAPHS = {"classes": lambda: model_of(n=4),
          "flat": lambda: model_of(out_shape=["n"]), "five axes": lambda: model_of(out_shape=["n", 3, "h", "w", 1]),
          "bytes": lambda: model_of([helper.make_node("Cast", [INPUT], [LOGITS], to=TensorProto.FLOAT)],
                                    kind=TensorProto.UINT8),
          "one channel": lambda: model_of(shape=("n", 1, "h", "w")),
          "doubles": lambda: model_of([helper.make_node("Cast", [INPUT], [LOGITS], to=TensorProto.DOUBLE)],
                                      out_kind=TensorProto.DOUBLE),
          "another input": lambda: model_of(inputs=[tensor("more", [1])]),
          "another output": lambda: model_of([helper.make_node("Identity", [INPUT], [LOGITS]),
                                              helper.make_node("Identity", [INPUT], ["more"])],
                                             outputs=[tensor("more", ["n", 3, "h", "w"])]),
          "size": lambda: model_of(shape=("n", 3, 64, 64), out_shape=["n", 3, 64, 64]),
          "unknown domain": lambda: model_of([helper.make_node("Evil", [INPUT], [LOGITS], domain="evil.example")],
                                             opsets=(("", 18), ("evil.example", 1))),
          "unknown operation": lambda: model_of([helper.make_node("Evil", [INPUT], [LOGITS])]),
          "nothing": lambda: b"", "text": lambda: b"import os", "cut": lambda: model_of().SerializeToString()[:-40]}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_that_do_not_fit(path, name):
    save(GRAPHS[name](), path)
    with pytest.raises(DataError) as e: OnnxModel(path, threads=1)
    assert str(e.value).startswith(str(path)) and len(str(e.value)) < 700


def constant(name, values): return numpy_helper.from_array(np.array(values), name)


RUNS = {"lies about its classes": ([helper.make_node("Slice", [INPUT, "zero", "two", "one"], [LOGITS])],
                                   dict(zero=[0], two=[2], one=[1]), "logits"),
        "another size": ([helper.make_node("MaxPool", [INPUT], [LOGITS], kernel_shape=[2, 2], strides=[2, 2])], {},
                         "gives"),
        "no numbers": ([helper.make_node("Sub", [INPUT, INPUT], ["z"]), helper.make_node("Div", ["z", "z"], [LOGITS])],
                       {}, "not finite"),
        "infinite": ([helper.make_node("Exp", [INPUT], ["e"]), helper.make_node("Exp", ["e"], [LOGITS])], {},
                     "not finite"),
        "one image at a time": ([helper.make_node("Reshape", [INPUT, "shape"], [LOGITS])],
                                dict(shape=[1, 3, 32, 48]), "cannot be run")}


@pytest.mark.parametrize("name", RUNS)
def test_outputs_that_are_not_as_promised(path, tmp_path, name):
    nodes, constants, said = RUNS[name]
    save(model_of(nodes, [constant(k, v) for k, v in constants.items()]), path)
    images = [tmp_path/f"{i}.png" for i in range(2)]
    for image in images: Image.fromarray(IMAGE).save(image)
    res = CliRunner().invoke(app, ["predict", str(path), *map(str, images), "--out", str(tmp_path/"out")])
    assert res.exit_code == 1 and not missing(res.output, path, said) and not is_crash(res.output), res.output
    assert not list(tmp_path.glob("out/*.png"))


def test_members_of_an_ensemble_are_named(path):
    good = save(model_of(), path.with_name("good.onnx"))
    save(model_of(RUNS["no numbers"][0]), path)
    with pytest.raises(DataError, match="stranger.onnx"):
        predict_image(Segmenter([OnnxModel(good, threads=1), OnnxModel(path, threads=1)]), IMAGE)


# Nothing outside of the file

PLACES = ["../secret.bin", "weights.bin", "link.bin", "/absolute", "sub/../../secret.bin"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("where", ["weights", "constant", "sparse"])
def test_weights_elsewhere(path, tmp_path, place, where, monkeypatch):
    secret = np.arange(9, dtype=np.float32)
    for name in "secret.bin", "models/weights.bin": (tmp_path/name).write_bytes(secret.tobytes())
    (path.parent/"sub").mkdir()
    (path.parent/"link.bin").symlink_to(tmp_path/"secret.bin")
    monkeypatch.chdir(path.parent)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 3, 1, 1], [0.]*9)
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    place = str(tmp_path/"secret.bin") if place == "/absolute" else place
    weight.external_data.add(key="location", value=place)
    conv = helper.make_node("Conv", [INPUT, "w"], [LOGITS])
    if where == "weights": model = model_of([conv], [weight])
    elif where == "constant": model = model_of([helper.make_node("Constant", [], ["w"], value=weight), conv])
    else:
        model = model_of([conv])
        model.graph.sparse_initializer.add().values.CopyFrom(weight)
    save(model, path)
    with pytest.raises(DataError, match="another file") as e: OnnxModel(path, threads=1)
    assert str(e.value).startswith(str(path))


def test_a_pipe_a_device_and_a_link(path, tmp_path):
    os.mkfifo(path)
    for odd in path, "/dev/zero":
        with pytest.raises(DataError, match=os.path.basename(odd)): OnnxModel(odd, threads=1)
    linked = tmp_path/"linked.onnx"
    linked.symlink_to(save(model_of(), tmp_path/"good.onnx")) # the user's own link
    assert OnnxModel(linked, threads=1).classes.names == ("red", "green", "blue")


# Bombs

def billion_laughs():
    "Functions that call the next one twice: 2**40 operations."
    functions = [helper.make_function("f", f"F{i}", ["x"], ["y"], [
        helper.make_node(f"F{i+1}", ["x"], ["a"], domain="f"), helper.make_node(f"F{i+1}", ["a"], ["y"], domain="f")],
        [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]) for i in range(40)]
    last = helper.make_function("f", "F40", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])],
                                [helper.make_opsetid("", 18)])
    return model_of([helper.make_node("F0", [INPUT], [LOGITS], domain="f")], opsets=(("", 18), ("f", 1)),
                    functions=[*functions, last])


def endless_loop():
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["x"], ["y"])],
                             "body", [helper.make_tensor_value_info("i", TensorProto.INT64, []),
                                      helper.make_tensor_value_info("c", TensorProto.BOOL, []),
                                      tensor("x", None)],
                             [helper.make_tensor_value_info("c2", TensorProto.BOOL, []), tensor("y", None)])
    return model_of([helper.make_node("Loop", ["n", "go", INPUT], [LOGITS], body=body)],
                    [constant("n", 2**62), constant("go", True)])


def huge_constant():
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
             helper.make_node("ReduceSum", ["zeros"], ["sum"]), helper.make_node("Add", [INPUT, "sum"], [LOGITS])]
    return model_of(nodes, [constant("shape", [2**20, 2**20, 8])])


@pytest.mark.parametrize("bomb, said", [(billion_laughs, "functions"), (endless_loop, "loops"), (huge_constant, "")])
def test_bombs(path, bomb, said):
    save(bomb(), path)
    began, before = time.perf_counter(), psutil.Process().memory_info().rss
    with pytest.raises(DataError, match="stranger.onnx") as e: OnnxModel(path, threads=1)(IMAGE[None])
    assert said in str(e.value) and time.perf_counter() - began < 10
    assert psutil.Process().memory_info().rss - before < 2**30


def test_very_many_fields(path):
    began = time.perf_counter()
    with pytest.raises(DataError, match="fields"): check_graph(b"\x08\x01"*201_000, "many.onnx")
    with pytest.raises(DataError): check_graph((b"\x3a\x02\x0a\x00")*101_000, "nested.onnx")
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("raw", [b"\x0b", b"\x80"*20, b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x05abc", b"\x09\x00"])
def test_messages_that_are_damaged(raw):
    with pytest.raises(ValueError): list(proto_fields(raw))
    with pytest.raises(DataError, match="a.onnx"): check_graph(raw, "a.onnx")


# Flipped bits

def test_every_flip_is_noticed_or_changes_nothing(path):
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "w")
    raw = add_checksum(model_of([helper.make_node("Conv", [INPUT, "w"], [LOGITS])], [weight]).SerializeToString())
    save(raw, path)
    want = predict_image(Segmenter(OnnxModel(path, threads=1)), IMAGE).ids
    noticed, rng = 0, random.Random(0)
    for at in rng.sample(range(len(raw)), 150):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << rng.randrange(8)
        save(bytes(flipped), path)
        try: found = predict_image(Segmenter(OnnxModel(path, threads=1)), IMAGE).ids
        except DataError as e:
            noticed += 1
            assert str(e).startswith(str(path))
        else: assert (found == want).all() and at >= len(raw) - 78, at
    assert noticed > 120


def test_a_checksum_is_a_property(path):
    raw = add_checksum(model_of().SerializeToString())
    assert onnx.load_from_string(raw).metadata_props[-1].key == "sha256"
    onnx.checker.check_model(onnx.load_from_string(raw))
    model = OnnxModel(save(raw, path), threads=1)
    assert model.about["sha256"] and open_session(path, 1).get_inputs()[0].name == INPUT
    changed = onnx.load_from_string(raw)
    changed.graph.name = "changed"
    with pytest.raises(DataError, match="sha256"): OnnxModel(save(changed, path), threads=1)
    del changed.metadata_props[-1]
    assert OnnxModel(save(changed, path), threads=1).classes == model.classes


def test_tiles_of_a_stranger(path):
    save(model_of(), path)
    found = predict_image(Segmenter(OnnxModel(path, threads=1), InferenceOptions(tile=(32, 32))), IMAGE)
    assert found.shape == (40, 50)
