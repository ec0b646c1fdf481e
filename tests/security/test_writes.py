"""Every file that the library writes is written under another name and renamed (`new_file`, `new_folder`), or is listed
here with the reason why not."""
import ast
from pathlib import Path

import pytest

import segfast

PACKAGE = Path(segfast.__file__).parent
SAVERS = {"write_text": None, "write_bytes": None, "savefig": 0, "to_csv": 0, "to_json": 0, "to_html": 0,
          "to_parquet": 0, "save": 0, "dump": 1, "tofile": 0, "savez": 0, "savetxt": 0, "imwrite": 0, "save_file": 1,
          "save_model": 1, "copyfile": 1, "copy": 1, "copy2": 1, "copytree": 1, "move": 1, "open_memmap": 0,
          "memmap": 0, "mkstemp": 0, "mkdtemp": 0, "TemporaryDirectory": 0, "NamedTemporaryFile": 0}
SECOND = {"onnx.save", "torch.save", "torch.export.save"} # their second argument is the file
# functions of the library that write to the path they are given, and its place among their arguments: they may, and
# every call of them is searched for as a write
GIVEN = {"save_mask": 1, "save_array": 1, "save_jpeg": 1, "save_weights": 1, "keep_example": 0, "keep_probabilities": 0,
         "copy_image": 1}

# (file, function): why it may write to something that is not named as a part
ALLOWED = {
    ("core/files.py", "append_text"): "the one function that adds to a file",
    ("core/files.py", "acquire_lock"): "a lock is an empty file, created only if it is not there",
    ("data/fix.py", "join_pair"): "its two files are in the folder of `new_folder`",
    ("cli.py", "check"): "`CheckReport.save` is `write_output`",
    ("tools/export.py", "quantize_int8"): "onnxruntime takes only paths; the temporary folder is this process's own",
}


def dotted(value):
    "`a.b.c` of an expression; `?` for what is no name."
    if isinstance(value, ast.Name): return value.id
    return f"{dotted(value.value)}.{value.attr}" if isinstance(value, ast.Attribute) else "?"


def root(value):
    "The variable that a path begins with: `part` of `part/'images'/name` and of `f'{part}/x'`."
    while True:
        if isinstance(value, ast.BinOp): value = value.left
        elif isinstance(value, ast.Attribute) and value.attr == "part": return "part"
        elif isinstance(value, ast.Attribute | ast.Subscript | ast.Starred | ast.FormattedValue): value = value.value
        elif isinstance(value, ast.JoinedStr) and value.values: value = value.values[0]
        elif isinstance(value, ast.NamedExpr): value = value.target
        elif isinstance(value, ast.Call): value = value.args[0] if value.args else value.func
        else: return value.id if isinstance(value, ast.Name) else None


def mode_of(call, at):
    "The mode of an `open`, if it is written there."
    given = [k.value for k in call.keywords if k.arg == "mode"] or call.args[at:at + 1]
    return given[0].value if given and isinstance(given[0], ast.Constant) else "r" if not given else "?"


def target(call):
    "The file that a call writes to, as an expression; None for a call that writes none."
    name = dotted(call.func)
    last, before = name.rsplit(".", 1)[-1], call.func.value if isinstance(call.func, ast.Attribute) else None
    if last in ("open", "fdopen") and (before is None or dotted(before) in ("os", "io", "Image")):
        if dotted(before) == "Image": return None
        if name == "os.open": return call.args[0] if "O_CREAT" in ast.dump(call) else None
        return call.args[0] if set(str(mode_of(call, 1))) & set("wax+?") else None
    if last == "open": return before if set(str(mode_of(call, 0))) & set("wax+") else None
    if last in GIVEN and name == last: return (call.args[GIVEN[last]:GIVEN[last] + 1] or [call])[0]
    if last not in SAVERS or last == "save" and before is None: return None # `save` of safetensors gives bytes
    if last == "copy" and dotted(before) != "shutil": return None
    at = 1 if name in SECOND else SAVERS[last]
    if at is None: return before
    place = [k.value for k in call.keywords if k.arg in ("path", "dir", "path_or_buf", "filename", "fname")]
    if last in ("mkstemp", "mkdtemp", "TemporaryDirectory", "NamedTemporaryFile"):
        return (place or [ast.Constant(0)])[0]
    return (call.args[at:at + 1] or place or [None])[0]


def parts(tree):
    "Names that stand for a file or folder that is not finished, or for no file: from `with new_file(...) as NAME`."
    names = {"part"}
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            call = node.context_expr
            name = dotted(call.func).rsplit(".", 1)[-1] if isinstance(call, ast.Call) else ""
            if name in ("new_file", "new_folder", "new_output"):
                names.add(node.optional_vars.id)
        if isinstance(node, ast.Assign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            memory = any(kind in ast.dump(node.value) for kind in ("'BytesIO'", "'StringIO'"))
            if memory or isinstance(node.value, ast.BinOp) and root(node.value) in names:
                names |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return names


def writes(source):
    "(function, call) for each write to something that has its final name."
    tree, found = ast.parse(source), []

    def look(node, function, names):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}" if function else node.name
            names = names | parts(node)
        given = function.rsplit(".", 1)[-1] in GIVEN
        place = target(node) if isinstance(node, ast.Call) else None
        if place is not None and root(place) not in names and not given:
            found.append((function, ast.unparse(node)[:100]))
        for child in ast.iter_child_nodes(node): look(child, function, names)
    look(tree, "", {"part"})
    return found


def sources():
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("name", sources())
def test_writes_go_through_new_file_or_are_listed(name):
    found = writes((PACKAGE/name).read_text(encoding="utf-8"))
    assert [(function, call) for function, call in found if (name, function) not in ALLOWED] == []


def test_functions_that_are_given_a_path_are_there():
    trees = [ast.parse((PACKAGE/name).read_text(encoding="utf-8")) for name in sources()]
    defined = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert set(GIVEN) <= defined


def test_what_is_listed_is_there():
    for name, function in ALLOWED:
        found = writes((PACKAGE/name).read_text(encoding="utf-8"))
        assert function in {at for at, _ in found}, f"{name}: {function} writes nothing any more; take it off the list"


@pytest.mark.parametrize("line", ["path.write_text('x')", "(run/'a').write_bytes(b'')", "open(path, 'w')",
                                  "open(path, mode='ab')", "path.open('x')",
                                  "fig.savefig(run.path/'plots/a.png', dpi=9)", "table.to_csv(folder/'a.csv')",
                                  "image.save(path, quality=9)", "np.save(path, x)",
                                  "save_file(tensors, path)", "shutil.copyfile(a, b)", "tempfile.mkdtemp(dir=folder)",
                                  "mkstemp()", "onnx.save(proto, path)", "open(path, mode)", "os.fdopen(fd, 'a')",
                                  "os.open(path, os.O_CREAT | os.O_WRONLY)", "image.save(f'{folder}/x.png')",
                                  "save_mask(found, path)", "self.path.write_bytes(raw)"])
def test_the_search_finds(line):
    assert writes(f"def f():\n    {line}")


@pytest.mark.parametrize("line", ["part.write_text('x')", "(part/'a').write_bytes(b'')", "open(part, 'w')",
                                  "open(path)", "open(path, 'rb')", "fig.savefig(part/'plots/a.png')",
                                  "table.to_csv(index=False)",
                                  "with new_file(path) as file: fig.savefig(file)", "out = io.BytesIO(); im.save(out)",
                                  "Image.open(path)", "settings.copy()", "place = part/'x'; im.save(place)",
                                  "im.save(f'{part}/x.png')", "save_mask(found, part)", "self.part.write_bytes(raw)",
                                  "raw = save(tensors)", "torch.save(x, (buffer := io.BytesIO()))"])
def test_the_search_lets_pass(line):
    assert not writes(f"def f():\n    {line}")
