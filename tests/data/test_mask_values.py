"""What masks mean when nobody says."""
import numpy as np
import pytest
from helpers.layouts import ids, paint, photo, SIZE, two_folders
from helpers.problems import missing
from helpers.tiffs import write_tiff
from PIL import Image, ImageDraw

from segfast.core.errors import DataError, errors_of
from segfast.data.check import check
from segfast.data.demo import scene
from segfast.data.detect.mask_values import guess_classes
from segfast.data.fix import write_fixed_copy
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


# Folders of drawn masks: `save(folder, i)` writes the mask of image `i`

def drawn(i, n, scale=1):
    "Ids of ellipses and boxes on a background, larger than the masks if `scale` is."
    size = SIZE[1]*scale, SIZE[0]*scale
    rng, im = np.random.default_rng(i), Image.new("L", size)
    for c in range(1, n):
        x, y = (int(rng.integers(0, side*2//3)) for side in size)
        shape = ImageDraw.Draw(im).ellipse if c % 2 else ImageDraw.Draw(im).rectangle
        shape([x, y, x + size[0]//4, y + size[1]//3], fill=c)
    a = np.array(im)
    for c in range(1, n): # none may be covered
        y, x = 5*c*scale % (size[1] - 4*scale), 7*c*scale % (size[0] - 4*scale)
        if not (a == c).sum() > 8:
            a[y:y+4*scale, x:x+4*scale] = c
    return a


def folder_of(root, save, names="", n=4):
    (root/"masks").mkdir(parents=True)
    for i in range(n):
        photo(root/f"images/{i}.png", i)
        save(root/"masks", i)
    if names:
        (root/"codes.txt").write_text("".join(f"{name}\n" for name in names.split()))
    return root


def values_folder(root, values, dtype=np.uint8, names=""):
    "Masks with these values; the truth is their position."
    a = np.array(values, dtype)
    def save(masks, i):
        raw = a[drawn(i, len(values))]
        if a.dtype.itemsize > 2 or a.dtype.kind == "i": write_tiff(masks/f"{i}.tif", raw)
        else: Image.fromarray(raw).save(masks/f"{i}.png")
    return folder_of(root, save, names)


def with_palette(path, a, colors):
    im = Image.fromarray(np.uint8(a))
    im.putpalette(np.uint8(colors).ravel().tolist())
    im.save(path)


def same_areas(data, truth):
    "Whether masks mean the same areas, whatever the ids are."
    pairs = {}
    for row in data.pairs.itertuples():
        i = int(row.image.split("/")[-1].split(".")[0])
        for a, b in set(zip(truth(i).ravel().tolist(), data.ids(row.mask).ravel().tolist())):
            pairs.setdefault(a, set()).add(b)
    return all(len(found) == 1 for found in pairs.values()) and len({min(v) for v in pairs.values()}) == len(pairs)


def stops(data, code, *words):
    "The one error of a dataset: its code and what it names."
    errors = errors_of(data.problems)
    assert [p.code for p in errors] == [code], data.problems
    assert [word for word in words if str(word).lower() not in str(errors[0]).lower()] == []
    return errors[0]


# Values that mean: no label

@pytest.mark.parametrize("values, dtype, void",
    [pytest.param((0, 1, 2, 65535), np.uint16, [65535], id="mask_uint16_65535"), ((0, 1, 65534), np.uint16, [65534]),
     ((-1, 0, 1, 2), np.int16, [-1]), ((-1, 0, 1, 2), np.int32, [-1]), ((0, 1, 2, 2**32 - 1), np.uint32, [-1]),
     ((0, 1, 2, 2**31 - 1), np.int32, [2**31 - 1]), ((-9999, 0, 1), np.int16, [-9999]),
     ((0, 1, 2, 32767), np.int16, [32767]), ((111, 112, 311, 512, 65535), np.uint16, [65535]),
     ((0, 1, 254), np.uint8, [254]), ((*range(12), 250, 255), np.uint8, [250])])
def test_case_no_label_values(tmp_path, values, dtype, void):
    data = open_data(values_folder(tmp_path, values, dtype))
    said = [p for p in data.problems if p.code == "void-guessed"]
    assert [(p.kind, p.found) for p in said] == [("warning", [v]) for v in void] and missing(said[0], void[0]) == []
    labeled = [v for v in values if v not in (*void, 255, 2**32 - 1)]
    assert data.classes.names == tuple(f"class-{v}" for v in labeled) and data.classes.void == 255
    meant = np.uint8([labeled.index(v) if v in labeled else 255 for v in values])
    for i, row in enumerate(data.pairs.sort_values("image").itertuples()):
        assert np.array_equal(data.ids(row.mask), meant[drawn(i, len(values))])
    assert data.encoding.inverse()[0] == labeled[0]


@pytest.mark.parametrize("values, dtype",
    [pytest.param((0, 255), np.uint8, id="binary_0_255"), ((0, 65535), np.uint16), ((0, 254), np.uint8),
     ((0, 128, 255), np.uint8), ((1, 2, 3), np.uint8), ((0, 21845, 43690, 65535), np.uint16),
     ((1, 2, 3, 4, 5), np.uint8),
     ((0, 32768, 65535), np.uint16), ((111, 112, 311, 512), np.uint16), ((0, 50, 100, 150, 200, 255), np.uint8)])
def test_case_values_that_are_all_classes(tmp_path, values, dtype):
    data = open_data(values_folder(tmp_path, values, dtype))
    assert data.classes.names == tuple(f"class-{v}" for v in values) and data.classes.void is None
    assert same_areas(data, lambda i: drawn(i, len(values))) and not errors_of(data.problems)


@pytest.mark.parametrize("small", [(0, 5, 37, 88, 150), tuple(range(0, 60, 4)) + (61,), tuple(range(20)), (0, 7, 11)])
def test_255_beside_scattered_ids_is_void(tmp_path, small):
    data = open_data(values_folder(tmp_path, (*small, 255)))
    assert data.classes.void == 255 and data.classes.names == tuple(f"class-{v}" for v in small)
    [said] = [p for p in data.problems if p.code == "guessed-classes"]
    assert missing(said, 255, "void") == []


def test_a_stray_value_is_an_error_and_not_a_class(tmp_path):
    def save(masks, i):
        a = np.int32([-1, 0, 1, 2])[drawn(i, 4)]
        if i == 2: a[3, 3] = 70000
        write_tiff(masks/f"{i}.tif", a)
    data = open_data(folder_of(tmp_path, save))
    assert data.classes.names == ("class-0", "class-1", "class-2") and data.classes.void == 255
    [problem] = check(data, cache=False).errors
    assert (problem.code, problem.file, problem.pixels) == ("mask-values", "masks/2.tif", 1)
    assert missing(problem, 70000) == []


def test_a_void_that_leaves_one_class(tmp_path):
    data = open_data(values_folder(tmp_path, (-1, 0), np.int32))
    stops(data, "one-class", -1, "single class")
    assert [p.code for p in check(data, cache=False).errors] == ["one-class"]


def test_names_and_a_void_of_16_bits(tmp_path):
    data = open_data(values_folder(tmp_path, (0, 1, 2, 65535), np.uint16, "sea land ice"))
    assert data.classes.names == ("sea", "land", "ice") and data.classes.void == 255
    [said] = [p for p in data.problems if p.code == "void-guessed"]
    assert missing(said, 65535, "codes.txt") == [] and not check(data, cache=False).errors


# Notes about 0

@pytest.mark.parametrize("values", [pytest.param(tuple(range(8)), id="loveda"),
    pytest.param((0, *range(14, 40), *range(100, 131)), id="ade20k_sceneparsing")])
def test_case_zero_is_said_to_be_a_class(tmp_path, values):
    data = open_data(values_folder(tmp_path, values))
    [said] = [p for p in data.problems if p.code == "guessed-classes"]
    assert len(data.classes) == len(values) and missing(said, "0 counts as a class", "Void") == []
    assert not errors_of(data.problems)


def test_many_ids_on_areas_are_no_shades(tmp_path):
    a = np.arange(240, dtype=np.uint8).reshape(12, 20).repeat(4, 0).repeat(4, 1)
    paint(tmp_path/"m.png", a)
    table, _, problems = guess_classes(tmp_path, ["m.png"])
    assert len(table) == 240 and not errors_of(problems)
    paint(tmp_path/"m.png", np.random.default_rng(0).integers(0, 240, (48, 80)))
    assert errors_of(guess_classes(tmp_path, ["m.png"])[2])[0].code == "mask-values"


def test_one_value_is_one_class(tmp_path):
    paint(tmp_path/"m.png", np.zeros((8, 8)))
    [said] = guess_classes(tmp_path, ["m.png"])[2]
    assert missing(said, "1 value (0), read as 1 class") == []


@pytest.mark.parametrize("stray", [1, 37, 128, 254])
def test_a_stray_value_beside_black_and_white(tmp_path, stray):
    def save(masks, i):
        a = drawn(i, 2)*255
        if i == 1: a[20, 30] = stray
        paint(masks/f"{i}.png", a)
    data = open_data(folder_of(tmp_path, save))
    assert data.classes.names == ("class-0", "class-255") and data.classes.void is None
    [problem] = check(data, cache=False).errors
    assert (problem.code, problem.file, problem.pixels) == ("mask-values", "masks/1.png", 1)
    assert missing(problem, stray) == []


# Instances

@pytest.mark.parametrize("values", [(0, 7, 11, 24000, 26000, 26001, 26002), (0, 256, 257, 3328, 3329, 3330)])
def test_instance_ids_with_classes(tmp_path, values):
    stops(open_data(values_folder(tmp_path, values, np.uint16)), "mask-instances", "instance ids", values[3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_objects_that_are_counted_from_1_in_each_mask(tmp_path, dtype):
    def save(masks, i): Image.fromarray(drawn(i, 5 + 4*i).astype(dtype)).save(masks/f"{i}.png")
    stops(open_data(folder_of(tmp_path, save)), "mask-instances", "instance ids")
    stops_not = open_data(values_folder(tmp_path/"same", tuple(range(20)), dtype))
    assert not errors_of(stops_not.problems), "the same ids in every mask are classes"


def test_hundreds_of_objects(tmp_path):
    def save(masks, i):
        a = (np.arange(140) + 140*i).reshape(10, 14).astype(np.uint16)
        Image.fromarray(a.repeat(4, 0).repeat(4, 1)).save(masks/f"{i}.png")
    stops(open_data(folder_of(tmp_path, save)), "mask-instances", "instance ids", "values")


def test_a_color_for_each_object(tmp_path):
    rng = np.random.default_rng(0)
    def save(masks, i):
        colors = rng.integers(1, 256, (8, 3), np.uint8)
        colors[0] = 0
        paint(masks/f"{i}.png", colors[drawn(i, 8)])
    stops(open_data(folder_of(tmp_path/"objects", save)), "mask-colors", "instances", "label_colors.txt", 29)
    colors = rng.integers(0, 256, (90, 3), np.uint8)
    def areas(masks, i): paint(masks/f"{i}.png", colors[np.arange(90).reshape(9, 10).repeat(4, 0).repeat(5, 1)[:, i:]])
    (tmp_path/"classes").mkdir()
    for i in range(3): areas(tmp_path/"classes", i)
    table, _, problems = guess_classes(tmp_path/"classes", [f"{i}.png" for i in range(3)], None)
    assert {p.code for p in errors_of(problems)} == {"mask-values"}, "90 colors in one mask are too many"


@pytest.mark.parametrize("sizes, stopped", [((5, 9, 14, 20), True), ((8, 9, 10, 10), False), ((3, 4, 6, 8), False)])
def test_rows_of_ids_are_objects_if_their_number_varies_much(tmp_path, sizes, stopped):
    def save(masks, i): paint(masks/f"{i}.png", drawn(i, sizes[i] + 1))
    data = open_data(folder_of(tmp_path, save))
    assert [p.code for p in errors_of(data.problems)] == ["mask-instances"]*stopped


# Smoothed borders

RAINBOW = np.uint8([[0, 0, 0], [200, 0, 0], [0, 200, 0], [30, 60, 220], [220, 220, 30]])


@pytest.mark.parametrize("values, how", [pytest.param((0, 255), Image.BOX, id="soft_masks"), ((0, 255), Image.BILINEAR),
    ((0, 127, 255), Image.BILINEAR), ((0, 60, 120, 180, 240), Image.BOX), ((10, 200), Image.BOX)])
def test_case_smoothed_grays(tmp_path, values, how):
    def save(masks, i):
        fine = Image.fromarray(np.uint8(values)[drawn(i, len(values), 2)])
        fine.resize(SIZE[::-1], how).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path, save))
    problem = stops(data, "mask-smooth", "smooth", "classes")
    assert len(data.classes) == len(values) and problem.expected == list(values)
    assert ("--fix" in problem.fix) == (len(values) == 2)


def test_smoothed_black_and_white_is_divided_in_the_middle(tmp_path):
    def save(masks, i):
        Image.fromarray(drawn(i, 2, 2)*255).resize(SIZE[::-1], Image.BOX).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path, save, "ground road"))
    stops(data, "mask-smooth", "masks/0.png", "4 masks")
    for i in range(4):
        half = np.asarray(Image.open(tmp_path/f"masks/{i}.png")) > 127
        assert np.array_equal(data.ids(f"masks/{i}.png"), half)


@pytest.mark.parametrize("smoothed", [range(4), [2]])
def test_smoothed_colors(tmp_path, smoothed):
    def save(masks, i):
        fine = Image.fromarray(RAINBOW[drawn(i, 5, 2)])
        fine.resize(SIZE[::-1], Image.BOX if i in smoothed else Image.NEAREST).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path, save))
    problem = stops(data, "mask-smooth", "smoothed", "5 classes")
    assert problem.expected == sorted(map(tuple, RAINBOW.tolist())) and len(data.classes) == 5


STREETS = [scene(i, (120, 160))[1] for i in range(4)] # ten classes, poles among them
PAINT = np.random.default_rng(3).permutation(256)[:30].astype(np.uint8).reshape(10, 3)


@pytest.mark.parametrize("table", [np.arange(10), np.arange(10)*8, np.arange(10)*25, PAINT[:, 0], np.sort(PAINT[:, 0]),
                                   PAINT], ids=["ids", "8", "25", "grays", "sorted", "colors"])
@pytest.mark.parametrize("step", [1, 3, 6])
def test_streets_are_sound_at_every_size_but_not_smoothed(tmp_path, table, step):
    for i, a in enumerate(STREETS):
        paint(tmp_path/f"{i}.png", np.uint8(table)[a[::step, ::step]])
    files = [f"{i}.png" for i in range(len(STREETS))]
    classes, _, problems = guess_classes(tmp_path, files)
    assert len(classes) == len(np.unique(STREETS)) and not errors_of(problems)
    if step > 1 or np.array_equal(table, np.arange(10)): return # smoothed ids are other ids
    for i, a in enumerate(STREETS):
        Image.fromarray(np.uint8(table)[a]).resize((53, 40), Image.BOX).save(tmp_path/f"{i}.png")
    found = errors_of(guess_classes(tmp_path, files)[2])
    assert found and {p.code for p in found} <= {"mask-smooth", "mask-values"} and "smooth" in str(found[0])


@pytest.mark.parametrize("named", [False, True])
def test_colors_that_compression_made(tmp_path, named):
    rng = np.random.default_rng(0)
    def save(masks, i):
        a = RAINBOW[drawn(i, 5)].astype(int)
        noise = rng.integers(-2, 3, (6, 3))
        for (y, x), shift in zip(rng.integers(0, 40, (6, 2)), noise): a[y, x] += shift
        paint(masks/f"{i}.png", a.clip(0, 255))
    folder_of(tmp_path, save)
    if not named:
        data = open_data(tmp_path)
        problem = stops(data, "mask-colors", "noise", "5 classes")
        assert problem.expected == sorted(map(tuple, RAINBOW.tolist())) and len(data.classes) == 5
        return
    (tmp_path/"class_dict.csv").write_text("name,r,g,b\n" + "".join(f"c{i},{r},{g},{b}\n"
                                                                   for i, (r, g, b) in enumerate(RAINBOW)))
    assert {p.code for p in check(open_data(tmp_path), cache=False).errors} == {"mask-colors"}


def test_the_border_color_of_voc_is_void(tmp_path):
    colors = np.uint8([[0, 0, 0], [128, 0, 0], [192, 0, 0], [224, 224, 192]])
    def save(masks, i): paint(masks/f"{i}.png", colors[drawn(i, 4)])
    data = open_data(folder_of(tmp_path, save))
    assert data.classes.names == ("color-0-0-0", "color-128-0-0", "color-192-0-0") and data.classes.void == 255
    [said] = [p for p in data.problems if p.code == "guessed-classes"]
    assert missing(said, "(224, 224, 192)", "void") == [] and not check(data, cache=False).errors
    for i in range(4):
        assert np.array_equal(data.ids(f"masks/{i}.png"), np.uint8([0, 1, 2, 255])[drawn(i, 4)])


def test_black_is_said_to_be_a_class(tmp_path):
    def save(masks, i): paint(masks/f"{i}.png", RAINBOW[drawn(i, 3)])
    [said] = [p for p in open_data(folder_of(tmp_path, save)).problems if p.code == "guessed-classes"]
    assert missing(said, "(0, 0, 0) counts as a class", "Void", "label_colors.txt") == []


def test_thin_classes_are_no_smoothed_borders(tmp_path):
    def save(masks, i):
        a = np.full(SIZE, 20, np.uint8)
        a[20:] = 200 # road
        a[4:30, i::9] = 90 # poles, between the values of sky and road, but with the same class on both sides
        a[30:, i::11] = 130
        paint(masks/f"{i}.png", a)
    data = open_data(folder_of(tmp_path, save))
    assert data.classes.names == ("class-20", "class-90", "class-130", "class-200")
    assert not errors_of(data.problems) and not check(data, cache=False).errors


# Two piles of values

@pytest.mark.parametrize("ending, options", [pytest.param("jpg", dict(quality=75), id="kvasir_jpg"),
    ("jpg", dict(quality=100)), ("jpg", dict(quality=90, mode="RGB")), ("png", {})])
def test_case_black_and_white_that_was_a_jpeg(tmp_path, ending, options):
    def save(masks, i):
        im = Image.fromarray(np.roll(drawn(i, 2), 3, (0, 1))*255).convert(options.get("mode", "L"))
        im.save(masks/f"{i}.jpg", quality=options.get("quality", 85))
        if ending == "png":
            Image.open(masks/f"{i}.jpg").save(masks/f"{i}.png")
            (masks/f"{i}.jpg").unlink()
    data = open_data(folder_of(tmp_path, save))
    stops(data, "mask-jpeg" if ending == "jpg" else "mask-smooth", "JPEG", "--fix", "threshold")
    assert data.classes.names == ("class-0", "class-255") and data.classes.void is None
    assert same_areas(data, lambda i: np.roll(drawn(i, 2), 3, (0, 1)))


def test_the_colors_of_a_table_say_which_pile_is_which(tmp_path):
    def save(masks, i): Image.fromarray(drawn(i, 2)*255).save(masks/f"{i}.jpg")
    folder_of(tmp_path, save)
    (tmp_path/"class_dict.csv").write_text("name,r,g,b\nroad,255,255,255\nground,0,0,0\n")
    data = open_data(tmp_path)
    assert data.classes.names == ("road", "ground") and data.ids("masks/0.jpg")[drawn(0, 2) == 1].mean() < .1


# Transparency

@pytest.mark.parametrize("color", [pytest.param((255, 255, 255), id="mask_in_alpha"), (200, 0, 0), (0, 0, 0)])
@pytest.mark.parametrize("soft", [False, True])
def test_case_masks_of_one_color_under_alpha(tmp_path, color, soft):
    def save(masks, i):
        alpha = np.asarray(Image.fromarray(drawn(i, 2, 2)*255).resize(SIZE[::-1], Image.BOX if soft else Image.NEAREST))
        Image.fromarray(np.dstack([np.full((*SIZE, 3), color, np.uint8), alpha])).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path, save))
    stops(data, "mask-alpha", "alpha", "transparen", "one color")
    assert set(data.ids("masks/0.png").ravel()) == {255}, "nothing is learned from a guess"


def test_gray_masks_under_alpha(tmp_path):
    def save(masks, i):
        Image.fromarray(np.dstack([np.full(SIZE, 255, np.uint8), drawn(i, 2)*255])).save(masks/f"{i}.png")
    stops(open_data(folder_of(tmp_path, save)), "mask-alpha", "alpha", "transparen")


def test_a_color_that_is_transparent_and_visible(tmp_path):
    rgba = np.uint8([[0, 0, 0, 255], [200, 0, 0, 255], [0, 0, 0, 0]])
    def save(masks, i): Image.fromarray(rgba[drawn(i, 3)]).save(masks/f"{i}.png")
    stops(open_data(folder_of(tmp_path, save)), "mask-alpha", (0, 0, 0), "transparent")


@pytest.mark.parametrize("hidden", [0, 255])
def test_a_transparent_background_of_its_own_color(tmp_path, hidden):
    rgba = np.uint8([[0, 0, 0, hidden], [200, 0, 0, 255], [0, 200, 0, 255]])
    def save(masks, i): Image.fromarray(rgba[drawn(i, 3)]).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path, save))
    assert data.classes.names == ("color-0-0-0", "color-0-200-0", "color-200-0-0")
    assert [p.kind for p in data.problems if p.code == "mask-alpha"] == ["warning"]*(hidden == 0)
    assert same_areas(data, lambda i: drawn(i, 3))


# Palettes

def test_case_palette_per_image(tmp_path):
    colors = RAINBOW[:4]
    def save(masks, i):
        order = np.random.default_rng(i).permutation(4)
        with_palette(masks/f"{i}.png", np.argsort(order)[drawn(i, 4)], colors[order])
    data = open_data(folder_of(tmp_path, save))
    assert data.classes.colors == tuple(sorted(map(tuple, colors.tolist()))) and data.encoding.kind == "colors"
    assert [p.kind for p in data.problems if p.code == "mask-palettes"] == ["warning"]
    assert same_areas(data, lambda i: drawn(i, 4)) and not check(data, cache=False).errors


def test_palettes_that_contradict_each_other_with_names_or_without_a_rule(tmp_path):
    def save(masks, i): with_palette(masks/f"{i}.png", drawn(i, 3), RAINBOW[:3][::1 if i % 2 else -1])
    problem = stops(open_data(folder_of(tmp_path/"named", save, "a b c")), "mask-palettes", "palette", "color")
    assert "label_colors.txt" in problem.fix
    def beside(masks, i): save(masks, i) if i < 3 else paint(masks/f"{i}.png", drawn(i, 3))
    stops(open_data(folder_of(tmp_path/"flat", beside)), "mask-palettes", "palette", "color")


def test_a_table_of_colors_decides_about_palettes_in_another_order(tmp_path):
    def save(masks, i): with_palette(masks/f"{i}.png", drawn(i, 3), RAINBOW[:3])
    folder_of(tmp_path, save)
    (tmp_path/"class_dict.csv").write_text("name,r,g,b\ngrass,0,200,0\nfire,200,0,0\nground,0,0,0\n")
    data = open_data(tmp_path)
    for i in range(4):
        assert np.array_equal(data.ids(f"masks/{i}.png"), 2 - drawn(i, 3))


@pytest.mark.parametrize("colors", [[(0, 0, 0), (128, 0, 0), (0, 128, 0)], [(9, 9, 9)]*3,
                                    [(0, 0, 0), (1, 1, 1), (2, 2, 2)]])
def test_palettes_that_do_not_contradict_each_other_keep_the_ids(tmp_path, colors):
    def save(masks, i):
        if i % 2: with_palette(masks/f"{i}.png", drawn(i, 3), colors)
        else: paint(masks/f"{i}.png", drawn(i, 3), np.arange(256).repeat(3).tolist() if i == 2 else None)
    data = open_data(folder_of(tmp_path, save))
    assert len(data.classes) == 3 and all(np.array_equal(data.ids(f"masks/{i}.png"), drawn(i, 3)) for i in range(4))


@pytest.mark.parametrize("black_first", [False, True])
@pytest.mark.parametrize("plain", [1, 255, "bits", "RGB"])
def test_black_and_white_palettes_beside_gray_masks(tmp_path, black_first, plain):
    def save(masks, i):
        a = drawn(i, 2)
        order = 1 if black_first else -1
        if i % 2: with_palette(masks/f"{i}.png", a if black_first else 1 - a, [[0]*3, [255]*3][::order])
        elif plain == "bits": Image.fromarray(a.astype(bool)).save(masks/f"{i}.png")
        elif plain == "RGB": Image.fromarray(a*255).convert("RGB").save(masks/f"{i}.png")
        else: paint(masks/f"{i}.png", a*plain)
    data = open_data(folder_of(tmp_path, save))
    assert len(data.classes) == 2 and data.classes.void is None
    assert all(np.array_equal(data.ids(f"masks/{i}.png"), drawn(i, 2)) for i in range(4))
    assert not check(data, cache=False).errors


# Other kinds of files

@pytest.mark.parametrize("mode", ["RGB", "LA", "RGBA", "I;16"])
def test_gray_masks_in_any_mode_beside_plain_ones(tmp_path, mode):
    def save(masks, i):
        im = Image.fromarray(drawn(i, 3))
        if i % 2: im = Image.fromarray(drawn(i, 3).astype(np.uint16)) if mode == "I;16" else im.convert(mode)
        im.save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path, save))
    assert all(np.array_equal(data.ids(f"masks/{i}.png"), drawn(i, 3)) for i in range(4)) and len(data.classes) == 3


def test_ids_beside_painted_masks(tmp_path):
    def save(masks, i): paint(masks/f"{i}.png", RAINBOW[drawn(i, 3)] if i % 2 else drawn(i, 3))
    stops(open_data(folder_of(tmp_path, save)), "mask-mixed", "masks/0.png", "1, 2", "painted")


@pytest.mark.parametrize("value", [1., np.nan])
def test_floating_point_masks(tmp_path, value):
    def save(masks, i): Image.fromarray(np.where(drawn(i, 2), value, 0).astype(np.float32)).save(masks/f"{i}.tif")
    errors = check(open_data(folder_of(tmp_path, save)), cache=False).errors
    assert {p.code for p in errors} == {"mask-mode"} and missing(errors[0], "floating-point") == []


def test_colors_with_16_bits(tmp_path):
    def save(masks, i): write_tiff(masks/f"{i}.tif", np.dstack([drawn(i, 3).astype(np.uint16)]*3))
    errors = check(open_data(folder_of(tmp_path, save)), cache=False).errors
    assert {p.code for p in errors} == {"mask-mode"} and missing(errors[0], "16 bits", "masks/0.tif") == []


def test_case_vaihingen(tmp_path):
    colors = np.uint8([[255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 255, 0], [255, 255, 0], [255, 0, 0]])
    def save(masks, i): Image.fromarray(colors[drawn(i, 6)]).save(masks/f"{i}.tif")
    data = open_data(folder_of(tmp_path, save))
    assert data.classes.colors == tuple(sorted(map(tuple, colors.tolist()))) and not errors_of(data.problems)
    assert data.classes.names[0] == "color-0-0-255" and same_areas(data, lambda i: drawn(i, 6))


# Masks from several tools, in one folder

def any_of(kinds):
    "A way to save masks: these kinds in turn, each a function of the ids."
    def save(masks, i): Image.fromarray(np.asarray(kinds[i % len(kinds)](drawn(i, 4)))).save(masks/f"{i}.png")
    return save


def values_of(*values, dtype=np.uint8): return lambda a: np.array(values, dtype)[a % len(values)]


def warned(data, code):
    [said] = [p for p in data.problems if p.code == code]
    assert said.kind == "warning" and not errors_of(data.problems)
    return said


@pytest.mark.parametrize("forms", [(255, 65535), (1, 65535), (1, 255, 65535)])
def test_white_of_several_depths(tmp_path, forms):
    kinds = [values_of(0, v, dtype=np.uint16 if v > 255 else np.uint8) for v in forms]
    data = open_data(folder_of(tmp_path, any_of(kinds), n=6))
    said = warned(data, "mask-mixed")
    assert data.classes.names == ("class-0", f"class-{forms[0]}") and data.classes.void is None
    assert missing(said.message, *forms, 6) == [] and same_areas(data, lambda i: drawn(i, 4) % 2)


@pytest.mark.parametrize("ones", [(1, 100), (128, 255), (254, 255), (1, 254)])
def test_values_that_share_no_mask_are_told(tmp_path, ones):
    kinds = [values_of(0, v) for v in (*ones, ones[1])]
    data = open_data(folder_of(tmp_path, any_of(kinds), n=6))
    said = warned(data, "mask-mixed")
    assert said.found == [said.file, "masks/3.png"] and missing(said.message, *ones, "2 of 6") == []
    assert len(data.classes) == 3


@pytest.mark.parametrize("kinds", [[(0, 1), (0, 2)], [(0, 1), (0, 2), (0, 3)], [(0, 1, 2), (0, 3, 4)],
                                   [(0, 50), (0, 100), (0, 150)], [(0, 10, 20), (0, 30, 40)]])
def test_each_image_may_have_other_classes(tmp_path, kinds):
    data = open_data(folder_of(tmp_path, any_of([values_of(*values) for values in kinds]), n=6))
    assert "mask-mixed" not in {p.code for p in data.problems} and len(data.classes) == len({*sum(kinds, ())})


@pytest.mark.parametrize("high", [(0, 85, 170, 255), (0, 80, 160, 240), (0, 10, 20, 30), (0, 21845, 43690, 65535)])
def test_ids_and_gray_levels_of_the_same_classes(tmp_path, high):
    "Ids count where most masks hold them; the copy leaves the others out."
    other = values_of(*high, dtype=np.uint16 if max(high) > 255 else np.uint8)
    data = open_data(folder_of(tmp_path/"d", any_of([lambda a: a]*3 + [other]), n=8))
    found = stops(data, "mask-mixed", "2 of 8", *high[1:])
    assert found.found == [found.file, "masks/7.png"] and data.classes.names == tuple(f"class-{i}" for i in range(4))
    log = write_fixed_copy(check(data, cache=False), tmp_path/"copy")
    copy = open_data(tmp_path/"copy")
    assert len(copy.pairs) == 6 and check(copy, cache=False).ok and same_areas(copy, lambda i: drawn(i, 4))
    assert set(log.file[log.code == "mask-mixed"]) >= {"masks/3.png"}


@pytest.mark.parametrize("skip", [False, True])
def test_masks_that_were_stretched_one_by_one(tmp_path, skip):
    "A program scaled the largest id of each mask to 255."
    def save(masks, i):
        a = drawn(i, 6).astype(int)
        a[a > 2 + i % 4] = 0
        if skip: a[a == 1] = 0
        Image.fromarray(np.uint8(a*255//a.max())).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path/"d", save, n=8))
    stops(data, "mask-mixed", "255", "stretched")
    with pytest.raises(DataError, match="no correction is certain"):
        write_fixed_copy(check(data, cache=False), tmp_path/"copy")


@pytest.mark.parametrize("levels", [(0, 85, 170, 255), (0, 51, 102, 153, 204, 255), (0, 64, 128, 191, 255)])
def test_levels_of_one_scale_are_classes(tmp_path, levels):
    "Masks without some of the classes."
    def save(masks, i):
        a = drawn(i, len(levels))
        a[a == 1 + i % (len(levels) - 2)] = 0
        Image.fromarray(np.uint8(levels)[a]).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path, save, n=8))
    assert not errors_of(data.problems) and data.classes.names == tuple(f"class-{v}" for v in levels)


def test_black_and_white_beside_red(tmp_path):
    red = np.uint8([(0, 0, 0), (255, 0, 0)])
    data = open_data(folder_of(tmp_path, any_of([values_of(0, 255), lambda a: red[a % 2]]), n=6))
    said = warned(data, "mask-mixed")
    assert said.found == [f"masks/{i}.png" for i in (0, 2, 4)] and missing(said.message, "3 of 6", "white") == []


def test_one_painted_mask_among_ids(tmp_path):
    "It is the error; not the ids."
    colors = np.uint8([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
    def save(masks, i): Image.fromarray(colors[drawn(i, 4)] if i == 3 else drawn(i, 4)).save(masks/f"{i}.png")
    report = check(open_data(folder_of(tmp_path/"d", save, n=6)), cache=False)
    assert [(p.code, p.file) for p in report.errors] == [("mask-mode", "masks/3.png")]
    write_fixed_copy(report, tmp_path/"copy")
    copy = open_data(tmp_path/"copy")
    assert len(copy.pairs) >= 5 and check(copy, cache=False).ok and same_areas(copy, lambda i: drawn(i, 4))


# 255 in doubt

def test_a_mask_without_any_label_is_void(tmp_path):
    def save(masks, i): Image.fromarray(np.full(SIZE, 255, np.uint8) if i == 3 else drawn(i, 3)).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path, save, n=6))
    assert data.classes.names == ("class-0", "class-1", "class-2") and data.classes.void == 255
    assert warned(data, "void-guessed").file == "masks/3.png" and (data.ids("masks/3.png") == 255).all()


def test_white_beside_a_few_ones_is_told(tmp_path):
    "Black and white masks, one of them with some pixels of 1: is 255 void?"
    def save(masks, i):
        a = np.uint8(drawn(i, 2)*255)
        if i == 2: a[:2, :4] = 1
        Image.fromarray(a).save(masks/f"{i}.png")
    said = warned(open_data(folder_of(tmp_path, save, n=8)), "void-guessed")
    assert said.found == [255] and missing(said.message, 255, "8 masks") == []


# Objects, ids in one channel, many classes

@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_objects_numbered_through_all_masks(tmp_path, dtype):
    def save(masks, i):
        a = np.zeros((48, 64), dtype)
        for k in range(12): a[k//4*16:k//4*16 + 10, k%4*16:k%4*16 + 12] = 12*i + k + 1
        Image.fromarray(a).save(masks/f"{i}.png")
    stops(open_data(folder_of(tmp_path, save, n=5)), "mask-instances", "instance")


@pytest.mark.parametrize("channel", range(3))
@pytest.mark.parametrize("alpha, names", [(False, ""), (True, ""), (False, "a b c d e")])
def test_ids_in_one_channel(tmp_path, channel, alpha, names):
    "As in the masks of CARLA: almost black."
    ids_of = np.uint8([0, 1, 2, 3, 4] if names else [0, 4, 7, 10, 12])
    def save(masks, i):
        a = np.zeros((*SIZE, 4 if alpha else 3), np.uint8)
        a[..., channel] = ids_of[drawn(i, 5)]
        if alpha: a[..., 3] = 255
        Image.fromarray(a).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path, save, names, n=6))
    assert not errors_of(data.problems) and check(data, cache=False).ok and same_areas(data, lambda i: drawn(i, 5))
    assert data.classes.names == tuple(names.split() or (f"class-{v}" for v in ids_of))


def test_rare_values_of_many_classes_are_one_line(tmp_path):
    "A class among 120 is small by nature; of a few classes, one pixel is worth a line."
    def save(masks, i):
        a = np.add.outer(np.arange(60)//5*10, np.arange(80)//8).astype(np.uint8)
        a[0, i] = 121 + i
        Image.fromarray(a).save(masks/f"{i}.png")
    [said] = [p for p in open_data(folder_of(tmp_path/"many", save, n=6)).problems if p.code == "rare-value"] or [None]
    assert said is None
    def few(masks, i):
        a = drawn(i, 3)
        a[0, 0] = 30 + i
        Image.fromarray(np.kron(a, np.ones((3, 3), np.uint8))[1:, 1:] if a.size < 4000 else a).save(masks/f"{i}.png")
    found = [p for p in open_data(folder_of(tmp_path/"few", few, n=5)).problems if p.code == "rare-value"]
    assert len(found) == 1 and len(found[0].found) == 5 and missing(found[0].message, 5, 30) == []


# Lossy masks

@pytest.mark.parametrize("quality", [50, 80, 95])
def test_black_and_white_of_a_lossy_webp(tmp_path, quality):
    def save(masks, i): Image.fromarray(np.uint8(drawn(i, 2)*255)).save(masks/f"{i}.webp", quality=quality)
    report = check(open_data(folder_of(tmp_path/"d", save, n=6)), cache=False)
    assert [p.code for p in report.errors] == ["mask-smooth"]
    write_fixed_copy(report, tmp_path/"copy")
    copy = open_data(tmp_path/"copy")
    assert check(copy, cache=False).ok and len(copy.classes) == 2
    for row in copy.pairs.itertuples():
        assert (copy.ids(row.mask) != drawn(int(row.image.split("/")[-1][0]), 2)).mean() < 0.01


def test_jpeg_and_smoothed_masks_are_counted_apart(tmp_path):
    def save(masks, i):
        im = Image.fromarray(np.uint8(drawn(i, 2, 2)*255))
        if i == 1: im.resize(SIZE[::-1], Image.NEAREST).save(masks/"1.jpg", quality=90)
        else: im.resize(SIZE[::-1], Image.BILINEAR).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path, save, n=6))
    found = stops(data, "mask-jpeg", "1 of 6 masks, such as masks/1.jpg", "5 are smoothed")
    assert len(found.expected) == 2


def test_smoothed_masks_of_two_colors_become_the_nearer_one(tmp_path):
    colors = np.uint8([(0, 0, 0), (200, 40, 60)])
    def save(masks, i):
        Image.fromarray(colors[drawn(i, 2, 3)]).resize(SIZE[::-1], Image.BOX).save(masks/f"{i}.png")
    data = open_data(folder_of(tmp_path/"d", save, n=6))
    found = stops(data, "mask-smooth", "--fix")
    write_fixed_copy(check(data, cache=False), tmp_path/"copy")
    copy = open_data(tmp_path/"copy")
    assert check(copy, cache=False).ok and len(copy.classes) == 2 and len(found.expected) == 2
    for row in copy.pairs.itertuples():
        i = int(row.image.split("/")[-1][0])
        near = np.asarray(Image.fromarray(np.uint8(drawn(i, 2, 3)*255)).resize(SIZE[::-1], Image.BOX)) > 127
        assert (copy.ids(row.mask) == near).mean() > 0.99


@pytest.mark.parametrize("usual, odd", [((255, 255, 0), (252, 255, 0)), (200, 201)])
def test_one_mask_with_almost_the_value_of_the_others(tmp_path, usual, odd):
    "As in a tile of Potsdam; it is a class of its own, and that is told."
    black = np.zeros_like(usual)
    def save(masks, i):
        values = np.uint8([black, odd if i == 2 else usual, black + 90])
        Image.fromarray(values[drawn(i, 3)]).save(masks/f"{i}.png")
    said = warned(open_data(folder_of(tmp_path, save, n=6)), "rare-value")
    assert said.file == "masks/2.png" and said.found == [odd] and missing(said.message, str(odd), str(usual)) == []
