"""Augmentation: image and mask move alike, no new ids, validation unchanged; pipelines and their seeds."""
import json
import random
import sys

import numpy as np
import pytest
import torch
from fastai.torch_core import TensorImage, TensorMask
from fastai.vision.augment import AffineCoordTfm
from fasttransform import Pipeline
from helpers.problems import missing
from helpers.refusals import first_named, refuses
from PIL import Image

from segfast.data.augment import AUGMENTATIONS, PipelineSource, RandomWindow, ResizeBatch, batch_tfms
from segfast.data.augment import fill_notes, is_pipeline, mask_fills, read_augmentation
from segfast.data.cache import CachedPairs
from segfast.data.loaders import seed_epoch, seg_block, seg_dls
from segfast.core.errors import UsageError
from segfast.data.classes import ClassTable

SIZE = 32, 48
CLASSES = ClassTable(("road", "car", "sky"), 255)
names = pytest.mark.parametrize("name", list(AUGMENTATIONS))
moving = pytest.mark.parametrize("name", [aug for aug in AUGMENTATIONS if aug != "none"])


def a_batch(n=6, size=(64, 96), ids=(0, 1, 2, 255), seed=0):
    "Masks of random blocks of ids, 8 pixels wide, and grey images that show them."
    rng = np.random.default_rng(seed)
    masks = rng.choice(ids, (n, size[0]//8, size[1]//8)).repeat(8, 1).repeat(8, 2)
    masks = torch.tensor(masks)
    return TensorImage(masks[:, None].float().repeat(1, 3, 1, 1)/255), TensorMask(masks)


def applied(name, pair, split_idx=0, size=SIZE, seed=1):
    random.seed(seed)
    torch.manual_seed(seed)
    return Pipeline(AUGMENTATIONS[name](size), split_idx=split_idx)(tuple(tensor.clone() for tensor in pair))


# The names

def test_the_names_in_order(): assert list(AUGMENTATIONS) == ["none", "light", "default", "strong"]


@moving
@pytest.mark.parametrize("size", [SIZE, (64, 96), (33, 65)])
def test_a_mask_moves_as_its_image_to_the_pixel(name, size):
    "The image is the mask; both sampled by nearest neighbor, the same pixels must come out."
    x, y = a_batch()
    moved = 0
    for seed in range(5):
        torch.manual_seed(seed)
        move = AUGMENTATIONS[name](size)[0]
        move.mode = "nearest"
        image, mask = move((x, y), split_idx=0)
        assert image.shape[-2:] == mask.shape[-2:] == size
        assert torch.equal((torch.Tensor(image[:, 0])*255).round().long(), torch.Tensor(mask).long())
        moved += not torch.equal(torch.Tensor(mask), torch.Tensor(ResizeBatch(size)(y)))
    assert moved == 5


@moving
def test_a_mask_moves_as_its_image_through_all_of_it(name):
    "The whole of it, with interpolation and color: black and white stay on their sides of the middle."
    def agreement(shift):
        agree = []
        for seed in range(6):
            x, y = applied(name, a_batch(ids=(0, 255), seed=seed), size=(64, 96), seed=seed)
            grey = torch.Tensor(x).mean(1)
            white = grey > ((grey.amax((1, 2)) + grey.amin((1, 2)))/2)[:, None, None]
            agree.append((white == (torch.Tensor(y).roll(shift, -1) == 255)).float().mean().item())
        return np.mean(agree)
    assert agreement(0) > .95
    assert agreement(4) < .85, "a mask four pixels beside its image is found out"


@names
def test_no_id_is_invented(name):
    "Blocks of 1 and 255 up to the very border: neither 0 nor anything between may come from padding or mixing."
    pair = a_batch(ids=(1, 255))
    for seed in range(20):
        y = applied(name, pair, seed=seed)[1]
        assert set(y.unique().tolist()) <= {1, 255} and y.dtype == torch.int64 and isinstance(y, TensorMask)


@names
def test_images_stay_between_0_and_1(name):
    for seed in range(5):
        x = torch.Tensor(applied(name, (TensorImage(torch.rand(4, 3, 64, 96)), a_batch(4)[1]), seed=seed)[0])
        assert x.isfinite().all() and 0 <= x.min() and x.max() <= 1 + 1e-5


@names
@pytest.mark.parametrize("source", [(32, 48), (64, 96), (64, 48), (32, 200)])
def test_validation_is_only_resized(name, source):
    "For every name and shape: no chance in it, nothing cut off, and close to plain resizing."
    n = 3
    ramp = TensorImage(torch.linspace(0, 1, source[1]).expand(n, 3, *source).contiguous())
    mask = TensorMask((torch.arange(source[1]) >= source[1]//2).long().expand(n, *source).contiguous())
    one, other = (applied(name, (ramp, mask), split_idx=1, seed=seed) for seed in (1, 2))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    plain = applied("none", (ramp, mask), split_idx=1)
    assert (torch.Tensor(one[0]) - torch.Tensor(plain[0])).abs().max() < 1.5/SIZE[1]
    assert (torch.Tensor(one[1]) != torch.Tensor(plain[1])).float().mean() <= 1.5/SIZE[1]


@names
def test_validation_batches_of_a_dataset(small, name):
    plain, mine = (seg_dls(small, SIZE, bs=2, aug=aug, device="cpu") for aug in ("none", name))
    first = None
    for epoch in range(2):
        seed_epoch(mine, 1, epoch)
        batches = [(torch.Tensor(x), torch.Tensor(y)) for x, y in mine.valid]
        for (x, y), (image, mask) in zip(batches, plain.valid, strict=True):
            assert (x - torch.Tensor(image)).abs().mean() < .25 and (y != torch.Tensor(mask)).float().mean() < .1
        first = first or batches
        assert all(torch.equal(one, other) for before, after in zip(first, batches)
                   for one, other in zip(before, after))


@moving
def test_images_of_a_batch_are_not_all_treated_alike(name):
    x, y = a_batch(1)
    x, y = applied(name, (TensorImage(x.repeat(8, 1, 1, 1)), TensorMask(y.repeat(8, 1, 1))))
    assert len({mask.numpy().tobytes() for mask in torch.Tensor(y)}) > 1


def test_strength_grows_with_the_names():
    "How many pixels of a mask differ from the unmoved one, its mirror image counted as the same."
    pair = a_batch()
    plain = torch.Tensor(ResizeBatch(SIZE)(pair[1]))

    def changed(name):
        ys = [torch.Tensor(applied(name, pair, seed=i)[1]) for i in range(8)]
        return np.mean([min((one != other).float().mean(), (one.flip(-1) != other).float().mean()) for y in ys
                        for one, other in zip(y, plain)])
    none, light, default, strong = map(changed, AUGMENTATIONS)
    assert none == 0 and light < .1 and light < default - .1 and default < strong - .05


def test_strong_changes_colors_and_default_does_not():
    "A gray image stays gray; a color image keeps its hue unless the augmentation is strong."
    red = TensorImage(torch.tensor([.7, .3, .3])[None, :, None, None].expand(16, 3, 64, 96).contiguous())
    for name, same in ("light", True), ("default", True), ("strong", False):
        x = torch.Tensor(applied(name, (red, a_batch(16)[1]))[0])
        assert ((x[:, 1] - x[:, 2]).abs().amax() < 1e-3) == same, name


def test_windows_stay_inside_and_masks_go_along():
    x, y = a_batch(50, ids=range(256))
    torch.manual_seed(0)
    window = RandomWindow(SIZE, min_scale=.3, p=1.)
    window.mode = "nearest"
    image, mask = window((x, y), split_idx=0)
    assert torch.equal((torch.Tensor(image[:, 0])*255).round().long(), torch.Tensor(mask).long())
    assert isinstance(window, AffineCoordTfm)
    scales = window.mat[:, [0, 1], [0, 1]]
    assert (scales <= 1).all() and (scales.prod(1) >= .3 - 1e-5).all() and scales.std(0).min() > .05
    assert ((scales + window.mat[:, :, 2].abs()) <= 1 + 1e-5).all(), "a window reaches outside the image"


def test_without_windows_everything_is_seen():
    window = RandomWindow(p=0.)
    x, y = a_batch()
    assert torch.allclose(torch.Tensor(window(x, split_idx=0)), torch.Tensor(x), atol=1e-4)


def test_an_unknown_name():
    for call in batch_tfms, lambda _, name: read_augmentation(name):
        with refuses(UsageError, "augmentation", "'strnog'", *AUGMENTATIONS, "FILE.json", "FILE.yaml") as e:
            call(SIZE, "strnog")
        assert first_named(e, AUGMENTATIONS) == "strong"


# Pipelines: reading

@pytest.fixture
def A(monkeypatch):
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
    return pytest.importorskip("albumentations")


def saved(A, path, *transforms):
    A.save(A.Compose(list(transforms)), path, data_format="yaml" if path.suffix != ".json" else "json")
    return path


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_a_file_becomes_text_that_is_enough(A, tmp_path, suffix):
    path = saved(A, tmp_path/f"aug{suffix}", A.HorizontalFlip(p=.5),
                 A.OneOf([A.GaussianBlur(), A.RandomGamma(p=.3)], p=.7), A.Affine(rotate=(-10, 10), p=1.))
    text = read_augmentation(str(path))
    path.unlink()
    assert is_pipeline(text) and "\n" not in text and read_augmentation(text) == text
    content = json.loads(text)
    assert [step["__class_fullname__"] for step in content["transform"]["transforms"]] == ["HorizontalFlip", "OneOf",
        "Affine"]
    assert content["__version__"] == A.__version__ and str(tmp_path) not in text


def test_yaml_and_json_mean_the_same(A, tmp_path):
    steps = A.Rotate(limit=20), A.RandomCrop(32, 32), A.HueSaturationValue()
    assert read_augmentation(saved(A, tmp_path/"a.json", *steps)) == read_augmentation(saved(A, tmp_path/"a.yaml",
        *steps))


def test_a_single_transform_will_do(A, tmp_path):
    A.save(A.VerticalFlip(p=1.), tmp_path/"flip.json")
    source = CachedPairs(np.zeros((1, 4, 4, 3), np.uint8), np.arange(16, dtype=np.uint8).reshape(1, 4, 4))
    assert np.array_equal(PipelineSource(source, read_augmentation(tmp_path/"flip.json"), [0]).mask(0),
                          source.mask(0)[::-1])


def one_step(name, **arguments): return json.dumps(dict(transform=dict(__class_fullname__=name, p=1) | arguments))


@pytest.mark.parametrize("content, named, cause", [
    ("{", ["JSON"], "JSONDecodeError"), ("[1, 2]", ["transform"], "NoneType"),
    ('{"transforms": []}', ["transform"], "NoneType"),
    ('{"transform": {"transforms": [3]}}', ["__class_fullname__"], "AttributeError"),
    (one_step("HorizontalFlop"), ["'HorizontalFlop'", "'HorizontalFlip'"], "NoneType"),
    (one_step("os.system"), ["transform", "'system'", "HorizontalFlip"], "NoneType"),
    ('{"transform": {"p": 1}}', ["transform", "'?'", "HorizontalFlip"], "NoneType"),
    (one_step("Compose", transforms=[dict(__class_fullname__="Nope", p=1)]), ["'Nope'", "HorizontalFlip"], "NoneType"),
    (one_step("HorizontalFlip", angle=2), ["HorizontalFlip", "'angle'"], "NoneType"),
    (one_step("HorizontalFlip", p=7), ["7"], "ValueError"),
    (one_step("RandomCrop", height=-3, width=4), ["height", "-3"], "ValueError"),
    (one_step("Rotate", mask_interpolation=1), ["Rotate", "mask_interpolation", 1, 0], "NoneType"),
    (one_step("Compose", mask_interpolation=2, transforms=[]), ["Compose", "mask_interpolation", 2, 0], "NoneType"),
])
def test_broken_pipelines_name_the_file(A, tmp_path, content, named, cause):
    path = tmp_path/"broken.json"
    path.write_text(content)
    with refuses(UsageError, "--aug", path, *named) as e:
        read_augmentation(path)
    assert type(e.value.__cause__).__name__ == cause


def test_broken_yaml(A, tmp_path):
    for content in "a: [", "!!python/object/apply:os.getcwd []":
        (tmp_path/"bad.yaml").write_text(content)
        with refuses(UsageError, "--aug", tmp_path/"bad.yaml", "YAML"):
            read_augmentation(tmp_path/"bad.yaml")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path/"binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path/"folder.yaml").mkdir()
    for name in "none.json", "binary.json", "folder.yaml":
        with refuses(UsageError, "--aug", tmp_path/name) as e:
            read_augmentation(tmp_path/name)
        assert isinstance(e.value.__cause__, (OSError, UnicodeDecodeError))


def test_broken_text_in_a_recipe(A):
    with refuses(UsageError, "JSON") as e:
        read_augmentation('{"transform": ')
    assert isinstance(e.value.__cause__, json.JSONDecodeError) and "--aug" not in str(e.value)


def test_without_albumentations(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    (tmp_path/"a.json").write_text('{"transform": {"__class_fullname__": "HorizontalFlip", "p": 1}}')
    with refuses(UsageError, "--aug", "albumentations", "pip install", "segfast[augment]"):
        read_augmentation(tmp_path/"a.json")
    assert read_augmentation("strong") == "strong"


def test_what_fills_masks(A, tmp_path):
    def text(*steps): return read_augmentation(saved(A, tmp_path/"a.json", *steps))
    quiet = text(A.Rotate(border_mode=4), A.HorizontalFlip(), A.RandomCrop(8, 8), A.CoarseDropout(),
                 A.Affine(fill_mask=255))
    assert mask_fills(quiet) == {"Affine": 255} and fill_notes(quiet, CLASSES) == []
    assert mask_fills("strong") == {} == mask_fills("none")
    note, = fill_notes(text(A.OneOf([A.Rotate(), A.HorizontalFlip()])), CLASSES)
    assert missing(note, "Rotate", "'road'", "fill_mask=255") == []
    with refuses(UsageError, "--aug", "PadIfNeeded", 7, "0, 1, 2, 255", "fill_mask"):
        fill_notes(text(A.PadIfNeeded(99, 99, border_mode=0, fill_mask=7)), CLASSES)


def test_what_to_do_where_there_is_no_void(A, tmp_path):
    note, = fill_notes(read_augmentation(saved(A, tmp_path/"a.json", A.Rotate())), ClassTable(("black", "white"), None))
    assert "None" not in note and "border_mode=4" in note


# Pipelines: working

class Twin:
    "Grey images that are their own masks."
    def __init__(self, n=10, size=(40, 56), ids=(0, 1, 2, 255)):
        self.masks = a_batch(n, size, ids)[1].numpy().astype(np.uint8)
    def __len__(self): return len(self.masks)
    def mask(self, i): return self.masks[i]
    def image(self, i): return self.masks[i][..., None].repeat(3, -1)


GEOMETRY = ["HorizontalFlip", "VerticalFlip", "RandomRotate90", "Transpose", "Rotate", "Affine", "Perspective",
            "GridDistortion", "ElasticTransform", "RandomCrop", "RandomResizedCrop", "RandomScale"]


@pytest.mark.parametrize("name", GEOMETRY)
def test_a_pipeline_moves_image_and_mask_alike(A, tmp_path, name):
    "With nearest neighbor for both, the image still equals its mask; with a change of shape too."
    options = dict(Rotate=dict(limit=40, border_mode=4), Affine=dict(rotate=(-30, 30), scale=(.7, 1.4), border_mode=4),
                   Perspective=dict(scale=(.1, .2), border_mode=4), GridDistortion=dict(border_mode=4),
                   ElasticTransform=dict(alpha=60, sigma=6, border_mode=4), RandomCrop=dict(height=24, width=30),
                   RandomResizedCrop=dict(size=(24, 30)), RandomScale=dict(scale_limit=(.2, .5)))
    nearest = {} if name in ("HorizontalFlip", "VerticalFlip", "RandomRotate90", "Transpose",
                             "RandomCrop") else dict(interpolation=0)
    path = saved(A, tmp_path/"a.json", getattr(A, name)(p=1., **options.get(name, {}), **nearest))
    source = Twin()
    piped = PipelineSource(source, read_augmentation(path), range(10))
    moved = 0
    for i in range(10):
        out = piped.pipeline(image=source.image(i), mask=source.mask(i))
        assert np.array_equal(out["image"][..., 0], out["mask"])
        image, mask = piped.image(i), piped.mask(i)
        assert image.shape == (40, 56, 3) and mask.shape == (40, 56) and image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) <= set(np.unique(source.mask(i)))
        # these are brought back to one shape, with images mixed
        if name not in ("RandomRotate90", "Transpose", "RandomCrop", "RandomResizedCrop", "RandomScale"):
            assert np.array_equal(image[..., 0], mask)
        moved += not np.array_equal(mask, source.mask(i))
    assert moved > 5


def test_flips_are_drawn_each_for_itself(A, tmp_path):
    "albumentations' own seeding gives every transform the same draws: two flips would always come together."
    piped = PipelineSource(Twin(1), read_augmentation(saved(A, tmp_path/"a.json", A.HorizontalFlip(p=.5),
                                                            A.VerticalFlip(p=.5))), [0])
    seen = set()
    for piped.seed in range(40):
        piped.image(0)
        seen.add(piped.mask(0).tobytes())
    assert len(seen) == 4


def test_only_training_pairs_are_piped(A, tmp_path):
    source = Twin(4)
    piped = PipelineSource(source, read_augmentation(saved(A, tmp_path/"a.json", A.VerticalFlip(p=1.))), [0, 2])
    assert len(piped) == 4
    for i in range(4):
        assert np.array_equal(piped.mask(i), source.mask(i)[::-1] if i in (0, 2) else source.mask(i))
        assert np.array_equal(piped.image(i)[..., 0], piped.mask(i))


def test_unseeded_pairs_differ_and_masks_belong_to_their_images(A, tmp_path):
    piped = PipelineSource(Twin(3), read_augmentation(saved(A, tmp_path/"a.json",
                                                            A.Affine(rotate=(-40, 40), interpolation=0, border_mode=4,
        p=1.))), [0, 1, 2])
    random.seed(0)
    first = [piped.image(0), piped.image(0)]
    assert not np.array_equal(*first)
    for i in 0, 1, 0, 2, 2, 1:
        assert np.array_equal(piped.image(i)[..., 0], piped.mask(i))


@pytest.mark.parametrize("step, named", [
    ("Normalize()", ["float32", "uint8", "Normalize"]), ("ToFloat(max_value=255)", ["float32", "uint8", "ToFloat"]),
    ("ToTensorV2()", ["torch.uint8", "uint8", "ToTensorV2"]), ("RandomCrop(999, 999)", ["CropSizeError", "--size"])])
def test_what_cannot_work_is_said_before_training(A, tmp_path, small, step, named):
    from albumentations.pytorch import ToTensorV2
    scope = {k: getattr(A, k) for k in ("Normalize", "ToFloat", "RandomCrop")} | dict(ToTensorV2=ToTensorV2)
    text = read_augmentation(saved(A, tmp_path/"a.json", eval(step, scope)))
    with refuses(UsageError, "--aug", *named):
        seg_dls(small, SIZE, bs=4, aug=text, device="cpu")


RARE = [lambda A: [A.RandomCrop(999, 999, p=.001)], lambda A: [A.OneOf([A.HorizontalFlip(), A.RandomCrop(999, 999)])],
        lambda A: [A.Sequential([A.HorizontalFlip(p=0.), A.RandomCrop(999, 999)], p=.001)],
        lambda A: [A.SomeOf([A.HorizontalFlip(), A.VerticalFlip(), A.RandomCrop(999, 999)], n=1, p=.01)],
        lambda A: [A.RandomOrder([A.HorizontalFlip(), A.RandomCrop(999, 999)], n=1, p=.01)],
        lambda A: [A.CenterCrop(20, 30), A.RandomCrop(25, 25, p=.001)]]


@pytest.mark.parametrize("steps", RARE)
def test_a_transform_that_is_seldom_applied_is_tried_too(A, tmp_path, small, steps):
    text = read_augmentation(saved(A, tmp_path/"a.json", *steps(A)))
    with refuses(UsageError, "--aug", "RandomCrop", "CropSizeError", "--size"):
        seg_dls(small, SIZE, bs=4, aug=text, device="cpu")


@pytest.mark.parametrize("steps", [lambda A: [A.RandomCrop(999, 999, p=0.)], lambda A: [A.CenterCrop(20, 30)],
                                   lambda A: [A.OneOf([A.RandomCrop(20, 20), A.RandomCrop(48, 64)])]])
def test_transforms_that_work_are_left_alone(A, tmp_path, small, steps):
    text = read_augmentation(saved(A, tmp_path/"a.json", *steps(A)))
    assert seg_dls(small, SIZE, bs=4, aug=text, device="cpu").one_batch()[0].shape[-2:] == SIZE


def test_fills_are_checked_against_the_dataset(A, tmp_path, small):
    text = read_augmentation(saved(A, tmp_path/"a.json", A.Rotate(fill_mask=251)))
    with refuses(UsageError, "--aug", "Rotate", 251, "fill_mask"):
        seg_dls(small, SIZE, bs=4, aug=text, device="cpu")


# Pipelines: the seeds

def epoch(dls, *key):
    seed_epoch(dls, *key)
    return [(torch.Tensor(x).clone(), torch.Tensor(y).clone()) for x, y in dls.train]


def equal(first, second):
    return len(first) == len(second) and all(torch.equal(x, y) for pair in zip(first, second) for x, y in zip(*pair))


@pytest.fixture
def text(A, tmp_path):
    return read_augmentation(saved(A, tmp_path/"a.json", A.HorizontalFlip(),
                                   A.Affine(rotate=(-20, 20), border_mode=4, p=.8), A.RandomBrightnessContrast(),
                                   A.GaussNoise()))


def test_a_piped_epoch_is_a_function_of_its_seed(small, text):
    "The same (seed, stage, epoch), the same batches, whoever makes them; another epoch, other batches."
    keys = (42, 0, 0), (42, 0, 1), (42, 1, 0), (7, 0, 0)
    made = [seg_dls(small, SIZE, bs=4, aug=text, workers=w, device="cpu") for w in (0, 0, 2)]
    epochs = []
    for key in keys:
        random.random(), np.random.rand(), torch.rand(3)
        first, second, third = (epoch(dls, *key) for dls in made)
        assert equal(first, second) and equal(first, third)
        epochs.append(first)
    assert not any(equal(epochs[i], epochs[k]) for i in range(4) for k in range(i))
    assert equal(epochs[0], epoch(made[0], *keys[0])), "epochs in between change nothing"


def test_a_pair_is_drawn_anew_in_every_epoch(small, text):
    "Not only the order differs: the sums of the images do."
    dls = seg_dls(small, SIZE, bs=8, aug=text, device="cpu")
    first, second = (sorted(float(image.sum()) for image in epoch(dls, 1, 0, k)[0][0]) for k in (0, 1))
    assert first != pytest.approx(second, rel=1e-5)


def test_piped_validation_is_left_alone(small, text):
    plain, mine = (seg_dls(small, SIZE, bs=2, aug=aug, device="cpu") for aug in ("none", text))
    for k in range(2):
        seed_epoch(mine, k)
        for (x, y), (image, mask) in zip(mine.valid, plain.valid, strict=True):
            assert torch.equal(x, image) and torch.equal(y, mask)


def test_piped_batches_keep_their_ids(small, text):
    present = {int(i) for path in small.pairs["mask"] for i in np.unique(small.ids(path))}
    dls = seg_dls(small, SIZE, bs=8, aug=text, device="cpu")
    for k in range(5):
        seed_epoch(dls, k)
        x, y = dls.one_batch()
        assert set(y.unique().tolist()) <= present and y.dtype == torch.int64 and x.shape == (8, 3, *SIZE)


def test_a_pipeline_and_the_blocks(small, text):
    "Image equals mask through blocks, loader and batch, for a pipeline that only mirrors."
    masks = np.stack([np.asarray(Image.fromarray(small.ids(path)).resize(SIZE[::-1], Image.NEAREST))
                      for path in small.pairs["mask"]])
    flips = json.loads(text)
    flips["transform"]["transforms"] = flips["transform"]["transforms"][:1]
    block = seg_block(CachedPairs(masks[..., None].repeat(3, -1)*10, masks), small, SIZE, json.dumps(flips))
    dls = block.dataloaders(small, bs=8, device=torch.device("cpu"))
    seed_epoch(dls, 3)
    x, y = dls.one_batch()
    grey = (torch.Tensor(x[:, 0])*.229 + .485)*255
    assert torch.equal((grey/10).round().long(), torch.Tensor(y).long())


def test_a_recipe_keeps_the_pipeline(text):
    "Quotes and all, through TOML and back."
    from segfast.runs.recipe import from_toml, to_toml
    from segfast.runs.presets import preset
    recipe = preset("demo", SIZE, augment=text)
    assert from_toml(to_toml(recipe)).augment == text
