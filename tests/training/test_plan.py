"""What is settled before the first step: batch sizes, precision, first weights, contradicting settings."""
import pytest
import torch
from helpers.problems import missing
from helpers.training import HALF, Said, fit, recipe_of, same, weights_of

import segfast.training.train as train_module
from segfast.core.devices import pick_device, pick_precision
from segfast.core.errors import UsageError
from segfast.data.classes import ClassTable
from segfast.training.plan import first_weights, head_tensors, settle_recipe


def test_precision_by_name(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for bf16, expected in (True, "bf16"), (False, "fp32"):
        monkeypatch.setattr("segfast.core.devices.cpu_has_bf16", lambda bf16=bf16: bf16)
        assert pick_precision("auto", cpu) == expected
    assert pick_precision("auto", cuda) == "fp16" and pick_precision("fp16", cuda) == "fp16"
    with pytest.raises(UsageError) as e:
        pick_precision("fp16", cpu)
    assert not missing(e, "--precision", "fp16", "cpu", "fp32", "bf16", "auto")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:3", "meta", ""])
def test_odd_devices_are_refused(name):
    with pytest.raises(UsageError, match="--device"):
        pick_device(name)


def test_settle_is_the_lessons_rule(monkeypatch):
    stages = dict(size=HALF, batch_size="auto", precision="auto"), dict(batch_size="auto"), dict(batch_size=3)
    for free, expected in (8.3e9, [8, 4, 3]), (8e9, [4, 2, 3]):
        monkeypatch.setattr("segfast.training.plan.free_bytes", lambda device, free=free: free)
        got = settle_recipe(recipe_of(*stages), torch.device("cpu"))
        assert [s.batch_size for s in got.stages] == expected
        assert all(s.precision != "auto" for s in got.stages)
    monkeypatch.setattr("segfast.training.plan.free_bytes", lambda device: 9e9)
    assert settle_recipe(recipe_of(dict(batch_size="auto")), torch.device("cpu")).stages[0].batch_size == 8


def test_the_weights_of_another_run(small, tiny, tmp_path):
    other = fit(small, recipe_of({}), tmp_path)
    screen = Said()
    model = first_weights(recipe_of({}, model=other.recipe.model, weights=str(other.path)), small.classes, screen)
    assert same(model.state_dict(), weights_of(other)) and str(other.path) in screen.lines[0] and small.classes.names[
        0] not in screen.lines[0]


@pytest.mark.parametrize("names", [("a", "b", "c"), None])
def test_other_classes_get_a_new_head(small, tiny, tmp_path, names):
    "Also where there are as many of them."
    other = fit(small, recipe_of({}), tmp_path)
    names = names or tuple(f"other {o}" for o in small.classes.names)
    screen, recipe = Said(), recipe_of({}, model=other.recipe.model, weights=str(other.path))
    model, theirs = first_weights(recipe, ClassTable(names), screen), weights_of(other)
    head = head_tensors(recipe.model, {})
    assert 0 < len(head) <= 2 and str(other.path) in screen.lines[0] and small.classes.names[0] in screen.lines[0]
    for k, v in model.state_dict().items():
        assert (v.shape == theirs[k].shape and torch.equal(v, theirs[k])) == (k not in head), k


def test_a_run_starts_from_a_run(small, tiny, tmp_path):
    "By choices, as the command line has them: the other run's model is taken over."
    from segfast.runs.presets import RecipeOptions
    other = fit(small, recipe_of(dict(epochs=2)), tmp_path)
    run = train_module.train(small, RecipeOptions(weights=str(other.path), size=(32, 48), epochs=(1, 1),
                                                  recipe="single", batch_size=(4,), precision="fp32", lr=1e-9),
                             out=tmp_path, name="next", device="cpu", screen="quiet")
    assert run.recipe.model == other.recipe.model and run.recipe.stages[0].frozen
    gone = max((a - b).abs().max().item() for (k, a), b in zip(weights_of(run).items(), weights_of(other).values())
               if "running" not in k and "num_batches" not in k)
    assert gone < 1e-6


def test_another_model_is_refused(small, tiny, tmp_path):
    other = fit(small, recipe_of({}), tmp_path)
    with pytest.raises(UsageError) as e:
        train_module.train(small, recipe_of({}, model="unet", weights=str(other.path)), out=tmp_path, name="x",
                           device="cpu", screen="quiet")
    assert not missing(e, f"--from {other.path}", "tiny", "unet", "--model")
    assert not (tmp_path/"x").exists()


@pytest.mark.parametrize("bad", [dict(loss="dice", class_weights="inverse"), dict(loss="weighted"),
                                 dict(loss="0.375*ce+1.125*dice", class_weights="inverse")])
def test_loss_and_weights_that_do_not_go_together_leave_no_run(small, tiny, tmp_path, bad):
    with pytest.raises(UsageError) as e:
        fit(small, recipe_of({}, **bad), tmp_path)
    assert not missing(e, "class_weights", bad["loss"])
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_body_is_not_frozen(small, tiny, tmp_path):
    recipe = recipe_of(dict(frozen=True, spread=100.), model="unet", model_options=dict(channels=[4], middle=4))
    run = fit(small, recipe, tmp_path)
    assert (run.recipe.stages[0].frozen, run.recipe.stages[0].spread) == (False, 1.)


@pytest.mark.parametrize("p, file", [(.001, True), (1., True), (1., False)])
def test_a_pipeline_is_tried_at_every_stage_before_the_run(small, tiny, tmp_path, p, file):
    "A crop that fits into the images of the full size and not into those of the half."
    A = pytest.importorskip("albumentations")
    A.save(A.Compose([A.HorizontalFlip(), A.RandomCrop(40, 50, p=p)]), tmp_path/"crop.json")
    given = str(tmp_path/"crop.json") if file else (tmp_path/"crop.json").read_text()
    recipe = recipe_of(dict(size=HALF), dict(size=(48, 64)), augment=given)
    with pytest.raises(UsageError) as e: fit(small, recipe, tmp_path/"runs")
    named = "--aug", "stage s1", "16x24", "RandomCrop", "32x48", "CropSizeError", *[tmp_path/"crop.json"]*file
    assert not missing(e, *named)
    assert not (tmp_path/"runs").exists()
