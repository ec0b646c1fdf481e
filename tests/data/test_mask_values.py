"""What masks mean when nobody says."""
import pytest
from helpers.layouts import ids, paint, two_folders
from helpers.problems import missing

from segfast.data.mask_values import guess_classes
from segfast.data.masks import Encoding
from segfast.data.open import open_data


@pytest.mark.parametrize("values, classes, void, kind",
                         [([0, 1, 2], 3, None, "index"), ([0, 1, 255], 2, 255, "index"), ([0, 255], 2, None, "values"),
                          ([1, 2], 2, None, "values"), ([0], 1, None, "index")])
def test_guesses(tmp_path, values, classes, void, kind):
    paint(tmp_path/"m.png", [values])
    table, encoding, _ = guess_classes(tmp_path, ["m.png"])
    assert (len(table), table.void, encoding.kind) == (classes, void, kind)


def test_colors_are_numbered_by_red_then_green_then_blue(tmp_path):
    colors = [(0, 0, 255), (0, 255, 0), (1, 0, 0), (255, 0, 0), (255, 0, 1)]
    paint(tmp_path/"a.png", [colors[::-1]*300])
    paint(tmp_path/"b.png", [[(9, 9, 9)] + colors[:2]*3000])
    table, encoding, said = guess_classes(tmp_path, ["a.png", "b.png"])
    assert table.colors == (*colors[:2], (1, 0, 0), (9, 9, 9), *colors[3:]) and encoding == Encoding.of_colors(table)
    assert [(p.code, p.file, p.found, p.pixels) for p in said] == [("guessed-classes", "", None, None),
        ("rare-value", "b.png", [(9, 9, 9)], 1)]


@pytest.mark.parametrize("how", ["codes.txt", "--classes"])
def test_black_and_white_with_two_names(tmp_path, how):
    two_folders(tmp_path/"d", [(0, 255)], "ground road"*(how == "codes.txt"))
    (tmp_path/"names.txt").write_text("ground\nroad\n")
    data = open_data(tmp_path/"d", classes=None if how == "codes.txt" else tmp_path/"names.txt")
    assert data.classes.names == ("ground", "road") and data.classes.void is None
    assert (data.ids("masks/0.png") == ids(0, 2)).all()


@pytest.mark.parametrize("names", ["", "ground road"])
def test_two_ways_to_write_one(tmp_path, names):
    two_folders(tmp_path, [(0, 1), (0, 255), (0, 255)], names)
    data = open_data(tmp_path)
    odd = [p for p in data.problems if p.code == "mask-mixed"]
    assert [(p.kind, p.file, p.found) for p in odd] == [("warning", "masks/0.png", ["masks/0.png", "masks/3.png"])]
    assert missing(odd[0].message, 2, 6) == []
    assert len(data.classes) == 2 and data.classes.void is None and all((data.ids(f"masks/{i}.png") == ids(i, 2)).all()
        for i in range(6))


def test_a_void_that_nobody_named(tmp_path):
    two_folders(tmp_path, [(0, 1, 2, 255)], "a b c")
    data = open_data(tmp_path)
    [said] = [p for p in data.problems if p.code == "void-guessed"]
    assert (said.kind, said.file, said.found, data.classes.void) == ("warning", "masks/0.png", [255], 255)
    assert missing(said.message, "codes.txt", 255) == []
    (tmp_path/"mine.txt").write_text("x\ny\nz\n")
    (tmp_path/"codes.txt").unlink()
    [said] = [p for p in open_data(tmp_path, classes=tmp_path/"mine.txt").problems if p.code == "void-guessed"]
    assert missing(said.message, "mine.txt", 255) == [] and "codes.txt" not in str(said)


@pytest.mark.parametrize("values, void, n", [((0, 1, 2, 255), 255, 3), ((0, 1, 255), 255, 2), ((0, 127, 255), None, 3),
                                             ((0, 85, 170, 255), None, 4), ((0, 6, 12, 60, 120, 255), 255, 5)])
def test_when_255_is_void(tmp_path, values, void, n):
    two_folders(tmp_path, [values])
    data = open_data(tmp_path)
    assert (data.classes.void, len(data.classes)) == (void, n)


def test_nothing_is_opened_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    two_folders(tmp_path/"d", [(0, 1, 2)])
    first = open_data(tmp_path/"d")
    monkeypatch.setattr("segfast.data.images.open_pil", lambda path: pytest.fail(f"{path} was opened again"))
    again = open_data(tmp_path/"d")
    assert again.pairs.equals(first.pairs) and again.classes == first.classes and again.encoding == first.encoding
    paint(tmp_path/"d/masks/0.png", ids(0, 5))
    with pytest.raises(pytest.fail.Exception, match=r"0\.png was opened again"):
        open_data(tmp_path/"d")
    monkeypatch.undo()
    monkeypatch.setenv("SEGFAST_CACHE", str(tmp_path/"cache"))
    assert len(open_data(tmp_path/"d").classes) == 5
