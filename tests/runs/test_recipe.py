"""Recipes: what they hold, how they are written down, and what a command line makes of them."""
import itertools
import os
import random
from dataclasses import fields, replace

import pytest
from helpers.refusals import refuses

from segfast.core.errors import UsageError
from segfast.runs.recipe import MONITORS, SCHEDULES, PRECISIONS, Recipe, Stage, from_toml
from segfast.runs.presets import PRESETS, RecipeOptions, half_size
from segfast.runs.recipe import load_recipe, parse_counts, parse_lr, parse_size, parse_value, resize_recipe
from segfast.runs.presets import preset, progressive
from segfast.runs.recipe import save_recipe, set_value, to_toml, with_lr, with_stages
from segfast.runs.presets import single

SIZE = 96, 128


def random_recipe(seed):
    rng = random.Random(seed)

    def stage(i):
        return Stage(f'stage "{i}" ü', (rng.randint(16, 999), rng.randint(16, 999)), rng.randint(1, 40),
                     rng.random() < .5, rng.choice(["find", 10**rng.uniform(-7, 1)]), 10**rng.uniform(0, 4),
                     rng.choice(["auto", rng.randint(1, 64)]), rng.choice(PRECISIONS), rng.uniform(.01, .99),
                     rng.random() < .5, rng.choice(SCHEDULES), rng.randint(1, 9))
    return Recipe([stage(i) for i in range(rng.randint(1, 6))], rng.choice(["a", "é # b", "c\nd"]), "m",
                  rng.choice(["none", "C:\\w.pth", "imagenet"]), "loss", "aug", rng.choice([0., rng.random()]),
                  rng.randint(0, 2**40), rng.random() < .5, rng.choice([{}, {"blur": True, "act": "é"}]),
                  rng.choice(["none", "inverse"]), "sgd", rng.choice([0., 1.5]), rng.choice([0., .99]),
                  rng.choice(MONITORS), rng.randint(0, 9), rng.randint(0, 9), rng.choice(["last", "best"]))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("weights", ["none", "imagenet", "file.pth"])
def test_presets_round_trip(name, weights, tmp_path):
    recipe = preset(name, SIZE, weights=weights)
    assert from_toml(to_toml(recipe)) == recipe and recipe.size == SIZE and recipe.weights == weights
    save_recipe(recipe, tmp_path/"r.toml")
    assert load_recipe(tmp_path/"r.toml") == recipe
    assert any(stage.frozen for stage in recipe.stages) == (weights != "none" and name not in ("camseq", "pets", "idd"))


@pytest.mark.parametrize("seed", range(40))
def test_any_recipe_round_trips(seed):
    recipe = random_recipe(seed)
    assert from_toml(to_toml(recipe)) == recipe


def test_a_slice_survives_as_rate_and_spread():
    stage = Stage("s", SIZE, 1, lr=slice(1e-5, 1e-3))
    back = from_toml(to_toml(Recipe([stage]))).stages[0]
    assert back == stage and back.lr_range == slice(pytest.approx(1e-5), 1e-3)
    assert Stage("s", SIZE, 1, lr=(1e-5, 1e-3)) == stage == Stage("s", SIZE, 1, lr=[1e-5, 1e-3])


def test_unknown_and_missing_keys():
    text = to_toml(preset("single", SIZE))
    for bad, named in ((text.replace("seed =", "sed ="), ["'sed'", "'seed'"]),
                       (text.replace("epochs =", "epoch ="), ["'epoch'", "'epochs'"]),
                       (text + "\nextra = 1\n", ["'extra'"]), ("wd = 0.1", ["stages"]),
                       ('[[stages]]\nname = "a"\nepochs = 1', ["size"]), ("stages = [", ["TOML"]),
                       ("stages = []", ["stages", "[]"])):
        with refuses(UsageError, *named):
            from_toml(bad)


@pytest.mark.parametrize("text", ["stages = 3", "stages = [3]", 'stages = "x"', 'stages = ["x"]', "[stages]\na = 1"])
def test_stages_of_another_type(text):
    with pytest.raises(UsageError):
        from_toml(text)


@pytest.mark.parametrize("key, values", dict(size=[None, 3, (3,), (96, 128, 3), (96, 15), (96., 128), (True, 128),
                                                   "96x128", (-96, 128)], epochs=[0, -1, 1.5, True, "5", None],
                                             lr=[0, -1e-3, True, "fast", float("nan"), float("inf"), None, (1e-3,),
                                                 (0, 1e-3), (1, 2, 3), slice(None, 1e-3)],
                                             spread=[0, .5, -1, True, "x", float("nan"), float("inf")],
                                             batch_size=[0, -4, 2.5, True, "many", None], precision=["fp64", None, 16],
                                             pct_start=[0, 1, -.1, 2, True, "x"], frozen=[1, 0, "yes", None],
                                             train_bn=[1, "no"]).items())
def test_bad_stage_values(key, values):
    good = dict(name="full", size=SIZE, epochs=1)
    for value in values:
        with refuses(UsageError, "full", key, *([] if key == "lr" else [repr(value)])):  # rates become floats
            Stage(**good | {key: value})


@pytest.mark.parametrize("key, values", dict(seed=[-1, 1.5, True, "x"], wd=[-.1, True, "x", float("nan")],
                                             cache=[1, "yes"], model=[None, 3], weights=[None, 1], loss=[1],
                                             augment=[None], name=[4]).items())
def test_bad_recipe_values(key, values):
    for value in values:
        with refuses(UsageError, key, repr(value)):
            Recipe([Stage("s", SIZE, 1)], **{key: value})


# What a stranger gives

BOMBS = {"deep": "a = " + "["*5000, "tables": "[" + ".".join("a"*5000) + "]", "dotted": ".".join("a"*500_000) + " = 1",
         "quoted": "x = {" + " . ".join(['"a"']*100_000) + " = 1}", "digits": "seed = 1" + "0"*400, "nan": "wd = nan",
         "infinite": "wd = inf", "large": "# " + "x"*2_000_000, "null bytes": "\0"*99, "not utf-8": "\udcff",
         "list": "[1]", "many stages": '[[stages]]\nname="a"\nsize=[16,16]\nepochs=1\n'*1001,
         "huge size": '[[stages]]\nname="a"\n' "size=[1000000,1000000]\nepochs=1",
         "long value": 'model = "' + "x"*500_000 + '"\nstages = 3', "long key": "k"*500_000 + " = 1",
         "control": '"\\u001b[2J" = 1'}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_recipe_that_is_built_to_do_harm(kind, tmp_path):
    (tmp_path/"r.toml").write_text(BOMBS[kind], encoding="utf-8", errors="surrogateescape")
    for use in (lambda: load_recipe(tmp_path/"r.toml"), lambda: RecipeOptions(recipe=str(tmp_path/"r.toml"))):
        with pytest.raises(UsageError, match="r.toml") as e: use()
        assert len(str(e.value)) < 1500


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"),
                                  lambda path: path.symlink_to(path)])
def test_a_recipe_that_is_no_file(make, tmp_path):
    make(tmp_path/"r.toml")
    with pytest.raises(UsageError, match="r.toml"): load_recipe(tmp_path/"r.toml")


def test_a_recipe_may_be_a_link(tmp_path):
    "It is the user who names it; what is written in its place replaces the link."
    recipe = preset("single", SIZE)
    save_recipe(recipe, tmp_path/"r.toml")
    (tmp_path/"link.toml").symlink_to(tmp_path/"r.toml")
    assert load_recipe(tmp_path/"link.toml") == recipe
    save_recipe(preset("progressive", SIZE), tmp_path/"link.toml")
    assert load_recipe(tmp_path/"r.toml") == recipe and not (tmp_path/"link.toml").is_symlink()


@pytest.mark.parametrize("text", ["[[[[", "1"*400, "nan", "{a", "a.b = 1", "9"*20])
def test_a_typed_value_that_is_none_is_text(text):
    assert parse_value(text) == text


# What the lesson says

@pytest.mark.parametrize("size", [(96, 128), (97, 131), (360, 480), (33, 32)])
def test_half_size_first(size):
    recipe = progressive(size)
    assert half_size(size) == (size[0]//2, size[1]//2)
    assert [stage.size for stage in recipe.stages] == [half_size(size), half_size(size), size]
    assert [stage.frozen for stage in recipe.stages] == [True, False, False]
    assert recipe.stages[1].spread == pytest.approx(100) and recipe.epochs == 15


def test_the_lesson():
    recipe = preset("camvid", (360, 480))
    stages = [(stage.size, stage.epochs, stage.frozen) for stage in recipe.stages]
    assert stages == [((180, 240), 10, True), ((180, 240), 12, False), ((360, 480), 10, True), ((360, 480), 10, False)]
    first, second, third, fourth = (stage.lr_range for stage in recipe.stages)
    assert first == 3e-3 and third == pytest.approx(1e-3)
    assert second == slice(pytest.approx(3e-3/400), pytest.approx(3e-3/4))
    assert fourth == slice(pytest.approx(1e-6), pytest.approx(1e-4))
    assert recipe.wd == 1e-2 and [stage.pct_start for stage in recipe.stages] == [.9, .25, .8, .25]


def test_epochs_per_stage():
    assert [stage.epochs for stage in progressive(SIZE, 7).stages] == [7, 7, 7]
    assert [stage.epochs for stage in progressive(SIZE, (1, 2, 3, 4)).stages] == [1, 2, 3, 4]
    for bad in (1, 2), (1,)*5:
        with refuses(UsageError, "epochs", len(bad)):
            progressive(SIZE, bad)
    assert [len(single(SIZE, e).stages) for e in (3, (3,), (3, 4))] == [1, 1, 2]


# Changing one thing

@pytest.mark.parametrize("size", [(33, 35), (96, 128), (97, 131), (501, 333)])
@pytest.mark.parametrize("name", PRESETS)
def test_resized(name, size):
    recipe = resize_recipe(preset(name, SIZE), size)
    assert recipe.size == size and all(stage.size in (size, half_size(size)) for stage in recipe.stages)
    assert recipe == preset(name, size)


def test_set_value():
    recipe = preset("single", SIZE)
    assert set_value(recipe, "wd=0.5").wd == .5 and set_value(recipe, " wd = 0 ").wd == 0 and set_value(recipe,
        "loss=focal").loss == "focal"
    assert set_value(recipe, 'name="a b"').name == "a b" and set_value(recipe, "cache=false").cache is False
    assert set_value(recipe, "weights=a=b.pth").weights == "a=b.pth"
    assert set_value(recipe, "stages.2.lr=find").stages[1].lr == "find" and set_value(recipe,
        "stages.1.size=[40, 50]").stages[0].size == (40, 50)
    changed = set_value(recipe, "stages.2.epochs=99")
    assert changed.stages[0] == recipe.stages[0] and changed.stages[1] == replace(recipe.stages[1], epochs=99)
    assert recipe == preset("single", SIZE), "the recipe itself stays"
    for bad in ("wd", "=3", "nope=3", "stages=3", "stages.0.lr=1", "stages.3.lr=1", "stages.x.lr=1", "stages.1.nope=1",
                "stages.1=3", "wd=-1", "seed=1.5", "cache=1", "stages.1.epochs=true", "wd="):
        with pytest.raises(UsageError):
            set_value(recipe, bad)


@pytest.mark.parametrize("name, weights", list(itertools.product(PRESETS, ["none", "imagenet"])))
def test_with_lr_keeps_proportions(name, weights):
    recipe = preset(name, SIZE, weights=weights)
    scaled = with_lr(recipe, recipe.stages[0].lr*7)
    for stage, other in zip(recipe.stages, scaled.stages):
        assert other.lr == pytest.approx(7*stage.lr) and replace(other, lr=stage.lr) == stage
    assert with_lr(recipe, None) == recipe and {stage.lr for stage in with_lr(recipe, "find").stages} == {"find"}
    assert with_lr(with_lr(recipe, "find"), 1e-3).stages[0].lr == 1e-3


def test_with_stages():
    recipe = progressive(SIZE)
    assert [stage.batch_size for stage in with_stages(recipe, "batch_size", 3).stages] == [3, 3, 3]
    assert [stage.batch_size for stage in with_stages(recipe, "batch_size", (1, 2, 3)).stages] == [1, 2, 3]
    with refuses(UsageError, "batch_size", 2, 3):
        with_stages(recipe, "batch_size", (1, 2))


# Command lines

def test_nothing_chosen():
    for data, name in ("camvid", "camvid"), ("demo", "demo"), ("mine", "progressive"):
        assert RecipeOptions().to_recipe(data, SIZE).name == name
    assert RecipeOptions().to_recipe("demo", (240, 320)).size == (96, 128)
    assert RecipeOptions().to_recipe("mine", (241, 321)).size == (241, 321)


OPTIONS = dict(recipe=(None, "progressive", "camvid"), progressive=(None, True), weights=(None, "none"),
               size=(None, (64, 66)), epochs=(None, (2,), (1, 2, 3)), batch_size=(None, (3,)), lr=(None, "find", 1e-2),
               precision=(None, "bf16"), seed=(None, 7))
choices = [dict(zip(OPTIONS, values)) for values in itertools.product(*OPTIONS.values())]


@pytest.mark.parametrize("given", random.Random(0).sample(choices, 120),
                         ids=lambda given: "-".join(str(v) for v in given.values() if v is not None))
def test_every_choice_is_in_the_recipe(given):
    recipe = RecipeOptions(**given).to_recipe("mine", SIZE)
    assert recipe.size == (given["size"] or SIZE)
    if given["weights"]:
        assert recipe.weights == "none" and not any(stage.frozen for stage in recipe.stages)
    if given["epochs"]:
        epochs = given["epochs"]*len(recipe.stages) if len(given["epochs"]) == 1 else given["epochs"]
        assert [stage.epochs for stage in recipe.stages] == list(epochs)
    if given["batch_size"]:
        assert {stage.batch_size for stage in recipe.stages} == {3}
    if given["lr"]:
        assert recipe.stages[0].lr == given["lr"]
    if given["precision"]:
        assert {stage.precision for stage in recipe.stages} == {"bf16"}
    assert recipe.seed == (given["seed"] or 42)


def test_one_size():
    recipe = RecipeOptions(progressive=False).to_recipe("demo", SIZE)
    assert {stage.size for stage in recipe.stages} == {SIZE} and recipe.name == "single"
    with refuses(UsageError, "--recipe", "single", "--progressive"):
        RecipeOptions(recipe="single", progressive=True)


def test_the_demo_at_one_size_stays_small_and_from_scratch():
    "`segfast train demo --no-progressive` must not need a download that `segfast train demo` does not need."
    recipe = RecipeOptions(progressive=False).to_recipe("demo", (240, 320))
    assert recipe.weights == "none"


def test_a_preset_and_no_progressive_contradict():
    "`--recipe camvid --no-progressive` would silently train progressively."
    with refuses(UsageError, "--recipe", "camvid", "--no-progressive"):
        RecipeOptions(recipe="camvid", progressive=False).to_recipe("camvid", SIZE)


def test_a_file(tmp_path):
    own = random_recipe(3)
    save_recipe(own, tmp_path/"own.toml")
    assert RecipeOptions(recipe=str(tmp_path/"own.toml")).to_recipe("mine", SIZE) == own
    options = RecipeOptions(recipe=str(tmp_path/"own.toml"), epochs=(2,), seed=9, sets=("wd=0.25",))
    recipe = options.to_recipe("mine", SIZE)
    assert (recipe.seed, recipe.wd, {stage.epochs for stage in recipe.stages}) == (9, .25, {2})
    changed = {f.name for f in fields(Recipe) if getattr(recipe, f.name) != getattr(own, f.name)}
    assert changed == {"seed", "wd", "stages"}
    for name in "nope", "nope.toml":
        with refuses(UsageError, name):
            RecipeOptions(recipe=name)
    with refuses(UsageError, "--recipe", tmp_path/"own.toml", "--no-progressive"):
        RecipeOptions(recipe=str(tmp_path/"own.toml"), progressive=False)


@pytest.mark.parametrize("text", ["0x0", "96", "96x", "x96", "axb", "96x128x3", "-96x128", "31x64", "96.5x128", "",
                                  "²x³"])
def test_bad_sizes(text):
    with refuses(UsageError, "--size", text):
        parse_size(text)


@pytest.mark.parametrize("text", ["a,b", "0", "5,0", "5,,5", "", "1.5", "-1", "5,5,", "²"])
def test_bad_counts(text):
    with refuses(UsageError, "--epochs", text):
        parse_counts(text)


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "nan", "inf", "1e400", "AUTO"])
def test_bad_rates(text):
    with refuses(UsageError, "--lr", text, "auto", "find"):
        parse_lr(text)


def test_good_values():
    assert parse_size("96x128") == parse_size(" 96 X 128 ") == parse_size("96×128") == SIZE
    assert parse_counts(" 5, 6 ,7") == (5, 6, 7) and parse_lr("1e-3") == 1e-3 and parse_lr("auto") is None and parse_lr(
        "find") == "find"
