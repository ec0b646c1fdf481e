"The JSON files of a run: every value that is of another kind is found, and the error names the file and the key."
import json

import pytest

from segfast.core.errors import DataError
from segfast.core.files import write_json
from segfast.core.records import LONGEST, RECORDS, check_types, find_misfit, read_record, value_is

ODD = [None, True, False, 0, -1, 3, 2**63, 0.5, -0.5, "", "x", "x"*(LONGEST + 1), [], ["x"], [[1]], [None], {},
       {"x": 1}, {"": {}}, {"status": ["x"]}]
ALLOWED = {str: lambda v: isinstance(v, str) and len(v) <= LONGEST, bool: lambda v: isinstance(v, bool),
           int: lambda v: type(v) is int and v >= 0, float: lambda v: type(v) in (int, float),
           None: lambda v: v is None}


@pytest.mark.parametrize("kind", ALLOWED, ids=str)
def test_simple_kinds(kind):
    for value in ODD:
        assert value_is(value, kind) == ALLOWED[kind](value), value


def leaves(kind, key=""):
    "Every place in a description that holds a simple kind, and the description of a list or dict there."
    if isinstance(kind, tuple): kind = next((part for part in kind if isinstance(part, dict)), kind)
    if isinstance(kind, dict) and str not in kind:
        for name, part in kind.items(): yield from leaves(part, f"{key}.{name}" if key else name)
    elif key: yield key, kind


def put(values, key, value):
    *above, last = key.split(".")
    for part in above: values = values.setdefault(part, {})
    values[last] = value


@pytest.mark.parametrize("file", RECORDS)
def test_every_key_refuses_what_it_cannot_hold(file, tmp_path):
    "What is let through is of its kind; what is not is named."
    whole = dict(folds=2, data={}) if file == "fold_set.json" else {}
    for key, kind in leaves(RECORDS[file]):
        refused = 0
        for value in ODD:
            put(values := json.loads(json.dumps(whole)), key, value)
            if find_misfit(value, kind) is None:
                check_types(values, tmp_path/file)
                continue
            refused += 1
            write_json(tmp_path/file, values)
            with pytest.raises(DataError) as e: read_record(tmp_path/file)
            assert f"{tmp_path/file}: the value {key}" in str(e.value) and len(str(e.value)) < 400
        assert refused > 5, key


@pytest.mark.parametrize("values", [{}, {"folds": 3}, {"data": {}}, {"folds": 3, "data": None},
                                    {"folds": "3", "data": {}}])
def test_a_fold_set_needs_its_settings(values, tmp_path):
    write_json(tmp_path/"fold_set.json", values)
    with pytest.raises(DataError, match="fold_set.json"): read_record(tmp_path/"fold_set.json")


def test_a_record_may_not_be_large(tmp_path):
    (tmp_path/"status.json").write_text('{"a": "' + "x"*(5 << 20) + '"}')
    with pytest.raises(DataError, match="status.json: is larger than 4 MB"): read_record(tmp_path/"status.json")


@pytest.mark.parametrize("key", ["a\x1b[2J", "x"*10_000, "\u202e", "a.b", ""])
def test_the_key_of_a_stranger_is_text(key, tmp_path):
    write_json(tmp_path/"scores.json", dict(classes={key: 3}))
    with pytest.raises(DataError, match="scores.json") as e: read_record(tmp_path/"scores.json")
    assert "\x1b" not in str(e.value) and "\u202e" not in str(e.value) and len(str(e.value)) < 400
