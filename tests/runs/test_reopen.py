"What a run recorded of its data: read as what it is, and refused with the row and the column where it is not."
import os

import pandas as pd
import pytest
from helpers.problems import missing

from segfast.core.errors import DataError
from segfast.core.files import read_json, without, write_json
from segfast.data.classes import ClassTable
from segfast.runs.recipe import Recipe, Stage
from segfast.runs.reopen import changed_files, open_arguments, recorded_files
from segfast.runs.run import Run

SUM = "0123456789abcdef"*4


def table(**columns):
    return pd.DataFrame(dict(image=["a.png", "b.png"], mask=["a_m.png", "b_m.png"], split=["train", "valid"], height=48,
                             image_sha256=SUM, mask_sha256=[SUM, ""]) | columns)


def make(out, files, **about):
    recipe = Recipe([Stage("full", (48, 64), 1)])
    about = dict(name="toy", opened=dict(source=str(out), check=True)) | about
    return Run.create(out/"runs", recipe, ClassTable(["sky", "road"]), about, name="one",
                      files=files if isinstance(files, str) else files.to_csv(index=False))


def test_a_table_as_it_was_written(tmp_path):
    run = make(tmp_path, table())
    assert recorded_files(run).image.tolist() == ["a.png", "b.png"] and changed_files(run, table()) == []


@pytest.mark.parametrize("column, value, row", [("split", "Train", 1), ("split", "", 1), ("split", "x"*10_000, 1),
                                                ("image", "", 1), ("image", " ", 1), ("mask", "", 1),
                                                ("image_sha256", "x", 1), ("mask_sha256", [SUM, SUM.upper()], 2),
                                                ("image_sha256", SUM + "\n", 1), ("mask_sha256", ["", "\x1b[2J"], 2),
                                                ("split", ["test", "nan"], 2)])
def test_the_error_names_the_row_and_the_column(tmp_path, column, value, row):
    run = make(tmp_path, table(**{column: value}))
    with pytest.raises(DataError) as e: recorded_files(run)
    assert not missing(e, run.path/"data.csv", f"row {row}", column) and len(str(e.value)) < 500
    assert "\x1b" not in str(e.value)


@pytest.mark.parametrize("text", ["", "a\n", "image,mask\na,b\n", "\0"*1000,
                                  "image,mask,split\na,b,train,c,d\ne,f,g,h,i,j\n", '"'*99, "\ufeff\n"*50, ","*10_000],
                         ids=lambda text: repr(text[:12]))
def test_what_is_no_table(tmp_path, text):
    run = make(tmp_path, text)
    with pytest.raises(DataError, match="data.csv"): recorded_files(run)


def test_a_table_that_was_changed(tmp_path):
    run = make(tmp_path, table())
    text = (run.path/"data.csv").read_text()
    (run.path/"data.csv").write_text(text.replace("valid", "train"))
    with pytest.raises(DataError) as e: recorded_files(run)
    assert not missing(e, run.path/"data.csv", "changed since", "data.json")
    write_json(run.path/"data.json", without(read_json(run.path/"data.json"), "files"))  # on purpose
    assert set(recorded_files(run).split) == {"train"}


@pytest.mark.parametrize("make_entry", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), os.mkdir,
                                        lambda path: path.symlink_to(path.parent/"classes.csv")])
def test_what_is_no_file(tmp_path, make_entry):
    run = make(tmp_path, table())
    (run.path/"data.csv").unlink()
    make_entry(run.path/"data.csv")
    with pytest.raises(DataError, match="data.csv"): recorded_files(run)


@pytest.mark.parametrize("opened", [3, [], "x", {"check": True}, {"source": 5}, {"source": "x", "check": "yes"},
                                    {"source": "x", "seed": -1}, {"source": "x", "split": ["valid"]}])
def test_how_the_data_was_opened(tmp_path, opened):
    run = make(tmp_path, table(), opened=opened)
    if not opened: return
    with pytest.raises(DataError, match="data.json"): open_arguments(run.path)


def test_the_recipe_of_a_run_with_links_is_refused(tmp_path):
    run = make(tmp_path, table())
    assert open_arguments(run.path/"recipe.toml")["check"] is True and open_arguments(tmp_path) is None
    (run.path/"photo.png").symlink_to(tmp_path)
    for path in run.path, run.path/"recipe.toml":
        with pytest.raises(DataError, match="photo.png: is a link"): open_arguments(path)
