"""Class tables: names, colors, void, and the files they are read from."""
import os
import time

import pytest
from helpers.refusals import refuses

from segfast.core.errors import DataError
from segfast.data.classes import CAMVID_COLORS, ClassTable, codes_table, default_colors, find_void, read_codes
from segfast.data.classes import try_codes, try_label_colors

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


# Files that a stranger may have made

HEAD, ROAD = "id,name,red,green,blue,void", "0,Road,128,64,128,0"


@pytest.mark.parametrize("lines, named", [
    ([], ["line 1", HEAD]), (["id,name", "0,Road"], ["line 1"]), ([HEAD, "0,Road"], ["line 2", 2, 6]),
    ([HEAD, ROAD, "1,Car,1,2,3,0,9"], ["line 3", 7, 6]), ([HEAD, "0,Road,128,64,256,0"], ["line 2", "blue", "256"]),
    ([HEAD, "0,Road,128,64,-1,0"], ["line 2", "blue", "-1"]), ([HEAD, "0,Road,1e2,0,0,0"], ["line 2", "red", "1e2"]),
    ([HEAD, f"0,Road,{'9'*5000},0,0,0"], ["line 2", "red"]), ([HEAD, "0,Road,\u0663,0,0,0"], ["line 2", "red"]),
    ([HEAD, "0,Road,128,64,128,2"], ["line 2", "void", 2]), ([HEAD, ROAD, "0,Car,1,2,3,0"], ["line 3", "id", 0, 1]),
    ([HEAD, ROAD, "5,Car,1,2,3,0"], ["line 3", "id", 5, 1]), ([HEAD, ROAD, "1,,1,2,3,0"], ["line 3", "name"]),
    ([HEAD, ROAD, "0,,0,0,0,1"], ["line 3", "name"]),
    ([HEAD, "0,Road,1,2,3,1", "1,Car,1,2,3,1"], ["line 3", "void"]),
    ([HEAD, ROAD, "255,,0,0,0,1", "254,,0,0,0,1"], ["line 4", "void"]),
    ([HEAD, ROAD, "255,,0,0,0,1", "1,Car,1,2,3,0"], ["line 4", "void"]),
    ([HEAD, ROAD, "1,Road,1,2,3,0"], ["Road", "more than once"]), ([HEAD], ["at least one name"]),
    ([HEAD, '0,"Road' + "x"*200_000 + '",1,2,3,0'], ["line 2"]), ([HEAD, "0,Ro\0ad\n"], ["line 2"])])
def test_a_table_that_save_did_not_write(lines, named, tmp_path):
    path = tmp_path/"classes.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    with refuses(DataError, path, *named) as e: ClassTable.load(path)
    assert len(str(e.value)) < 400 + len(str(path))


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large", "bytes", "nothing"])
def test_a_table_that_is_no_text_file(kind, tmp_path):
    path, other = tmp_path/"classes.csv", tmp_path/"other.csv"
    ClassTable(["Road"]).save(other)
    if kind == "link": path.symlink_to(other)
    elif kind == "pipe": os.mkfifo(path)
    elif kind == "folder": path.mkdir()
    elif kind == "large": path.write_bytes(other.read_bytes() + b"\n"*(1 << 20))
    elif kind == "bytes": path.write_bytes(b"\xff\xfe\x00")
    with refuses(DataError, path): ClassTable.load(path)


def test_saving_replaces_a_link_and_does_not_follow_it(tmp_path):
    (tmp_path/"mine").write_text("mine")
    (tmp_path/"classes.csv").symlink_to(tmp_path/"mine")
    ClassTable(["Road"]).save(tmp_path/"classes.csv")
    assert (tmp_path/"mine").read_text() == "mine" and ClassTable.load(tmp_path/"classes.csv").names == ("Road",)


@pytest.mark.parametrize("read", [try_codes, try_label_colors])
@pytest.mark.parametrize("line", ["1 2 3 a", "x", "\0", "1 2 3 a\r"])
def test_large_lists_take_no_time(read, line, tmp_path):
    "A list of 100 kilobytes is read in less than a second, a larger file than a megabyte not at all."
    (tmp_path/"a.txt").write_text(f"{line}\n"*(100_000//len(line)))
    start = time.perf_counter()
    assert any(problem.kind == "error" for problem in read(tmp_path/"a.txt")[1])
    (tmp_path/"a.txt").write_text(f"{line}\n"*(1_200_000//len(line)))
    [problem] = read(tmp_path/"a.txt")[1]
    assert "1 MB" in problem.message and time.perf_counter() - start < 10


@pytest.mark.parametrize("file", ["label_colors.txt", "class_dict.csv", "labelmap.txt"])
def test_lines_with_a_hash_are_comments(tmp_path, file):
    (tmp_path/file).write_text("# color (RGB) label\n#\n1 2 3 road\n# 9 9 9 car\n4 5 6 sky #2\n")
    table, problems = try_label_colors(tmp_path/file)
    assert table.names == ("road", "sky #2") and table.colors == ((1, 2, 3), (4, 5, 6)) and problems == []
    (tmp_path/file).write_text("# color\n1 2 3 road\nr g b name\n")
    [said] = try_label_colors(tmp_path/file)[1]
    assert said.kind == "error" and "line 3" in said.message
