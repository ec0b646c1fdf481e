"""Class tables: names, colors, void, and the files they are read from."""
import pytest
from helpers.refusals import refuses

from segfast.core.errors import DataError
from segfast.data.classes import CAMVID_COLORS, ClassTable, codes_table, default_colors, find_void, read_codes

n_classes = 32
names = tuple(f"class {i}" for i in range(n_classes))
voids = pytest.mark.parametrize("void", [0, 15, 30, 31, 255, None])


@voids
def test_void_anywhere(void):
    table = ClassTable(names, void)
    assert len(table) == n_classes and table.ignore_index == (-100 if void is None else void)
    void_is_named = void is not None and void < n_classes
    assert table.labels == tuple(i for i in range(n_classes) if i != void)
    assert len(table.labels) == n_classes - void_is_named
    assert table.valid_values == set(range(n_classes)) | (set() if void is None else {void})
    if void_is_named:
        assert table.colors[void] == (0, 0, 0)
    rows = table._repr_html_().split("<tr>")[2:]
    assert [i for i, row in enumerate(rows) if "void" in row] == ([] if void is None else [min(void, n_classes)])


@voids
@pytest.mark.parametrize("odd", [("a,b", 'say "hello"', "Häuser", "<script>alert(1)</script>", "x;y", "it's", "日本",
                                  "a\tb", " padded ")])
def test_csv_round_trip(void, odd, tmp_path):
    table = ClassTable((*odd, *names[len(odd):]), void)
    table.save(tmp_path/"classes.csv")
    assert ClassTable.load(tmp_path/"classes.csv") == table
    assert "<script>" not in table._repr_html_()


def test_csv_round_trip_of_a_class_that_is_one_void():
    table = ClassTable(["only"], 0)
    assert table.labels == () and table.valid_values == {0}


@pytest.mark.parametrize("name", ["None", "nan", "0", "1"])
def test_csv_round_trip_of_names_like_values(name, tmp_path):
    table = ClassTable(["a", name, "b"], 255)
    table.save(tmp_path/"classes.csv")
    assert ClassTable.load(tmp_path/"classes.csv") == table


@pytest.mark.parametrize("bad, named, good", [
    (dict(names=()), [], dict(names=("sky",))),
    (dict(names=("sky", "")), [1], dict(names=("sky", "road"))),
    (dict(names=("sky", "road", "sky")), ["sky"], dict(names=("sky", "road", "Sky"))),
    (dict(names=range(257)), [257, 256], dict(names=range(256))),
    (dict(names=("sky",), void=-1), ["void", -1, 0, 255], dict(names=("sky",), void=0)),
    (dict(names=("sky",), void=256), ["void", 256, 0, 255], dict(names=("sky",), void=255)),
    (dict(names=("sky", "road"), colors=[(0, 0, 0)]), [1, 2], dict(names=("sky", "road"), colors=[(0, 0, 0)]*2))])
def test_bad_tables(bad, named, good):
    with refuses(DataError, *named):
        ClassTable(**bad | dict(names=[str(name) for name in bad["names"]]))
    assert len(ClassTable(**good | dict(names=[str(name) for name in good["names"]]))) == len(good["names"])


def test_colors_differ():
    assert len(set(default_colors(64))) == 64
    assert all(0 <= v <= 255 for c in default_colors(256) for v in c)


# codes.txt

@pytest.mark.parametrize("text, expected", [
    ("Sky\nRoad\nVoid\n", ("Sky", "Road", "Void")),
    ("\ufeffSky\nRoad\nVoid", ("Sky", "Road", "Void")),
    ("Sky\r\nRoad\r\nVoid\r\n", ("Sky", "Road", "Void")),
    ("Sky  \nRoad\t\n  Void\n", ("Sky", "Road", "Void")),
    ("Sky\nroad works\nVoid\n\n\n", ("Sky", "road works", "Void")),
    ("# Sky\nRoad #2\n", ("# Sky", "Road #2")),
    ("Bäume\nStraße\n日本\n", ("Bäume", "Straße", "日本")),
])
def test_codes(text, expected, tmp_path):
    (tmp_path/"codes.txt").write_bytes(text.encode())
    assert read_codes(tmp_path/"codes.txt") == expected


@pytest.mark.parametrize("raw, code, found, named",
                         [(b"", "codes", None, []), (b"\n \n", "codes", None, []),
                          (b"sky\nroad\nsky\n", "codes-duplicate", ["sky"], ["'sky'", 0, 2]),
                          (b"a\xff\xfe\n", "encoding", None, [1, "UTF-8"])])
def test_bad_codes(raw, code, found, named, tmp_path):
    (tmp_path/"codes.txt").write_bytes(raw)
    with refuses(DataError, *named, code=code, file="codes.txt", found=found):
        read_codes(tmp_path/"codes.txt")


def test_no_codes(tmp_path):
    with refuses(DataError, tmp_path, code="codes", file="codes.txt"):
        read_codes(tmp_path/"codes.txt")


def test_camvids_own_codes(tmp_path):
    listed = sorted(set(CAMVID_COLORS) - {"Pole", "Pavement"}, key=str.lower)
    (tmp_path/"codes.txt").write_text("\n".join(listed))
    table = codes_table(tmp_path/"codes.txt")
    assert len(table) == 32 and table.names[table.void] == "Void" and table.colors[table.void] == (0, 0, 0)
    assert table.colors[table.names.index("Road")] == (128, 64, 128)
    assert len(set(table.colors)) == 32


@pytest.mark.parametrize("name", ["Void", "VOID", "void", "Unlabelled", "unlabeled", "Ignore"])
def test_void_by_name(name):
    assert find_void(["a", name, "b"]) == 1
    assert find_void(["a", name + "s", "b"]) is None
    with refuses(DataError, name, "ignored", code="codes-void", found=[name, "ignored"]):
        find_void(["a", name, "ignored"])
