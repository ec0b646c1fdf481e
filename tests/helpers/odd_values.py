"""Values that nobody expects in the files of a run: for each file, what it may hold in place of what segfast wrote."""
import json

LONG, DEEP = "x"*200_000, "["*100_000 + "]"*100_000
NESTED = json.dumps({"a": {"b": [{"c": [[["d"]]]}]}})
# as text, because some of them are not JSON
VALUES = dict(null="null", true="true", text='"x"', empty='""', negative="-1", fraction="0.5", huge="1e308",
              beyond="1e999", nan="NaN", infinite="-Infinity", digits="1"*400, bits=str(2**64), most=str(2**64 - 1),
              list="[]",
              texts='["x"]', nulls="[null]", numbers="[1, 2]", table="{}", nested=NESTED, deep=DEEP, long=f'"{LONG}"',
              control='"a\\u001b[2J\\u0000\\n\\u2028b"', html='"<script>alert(1)</script>"', half='"\\ud800"')

# keys of each file; a dot leads into a table, a number into a list
KEYS = {
    "status.json": ("status", "started", "seconds", "error", "lrs", "host", "pid", "stages_done", "format", "history"),
    "data.json": ("name", "root", "origin", "layout", "opened", "opened.source", "problems", "problems.0",
                  "problem_count", "problems.0.message", "fingerprint", "fingerprint.splits",
                  "fingerprint.splits.train",
                  "fingerprint.sizes", "fingerprint.mean", "fingerprint.class_share", "fingerprint.class_images",
                  "fingerprint.void_share",
                  "fingerprint.duplicates", "fingerprint.digest", "files"),
    "environment.json": ("command", "python", "packages", "packages.torch", "git", "cpu", "cores", "memory_gb",
                         "threads",
                         "gpu", "device", "platform"),
    "scores.json": ("mean_iou", "accuracy", "images", "classes", "classes.class 0", "classes.class 0.iou",
                    "classes.class 0.pixels", "confusion", "confusion.0", "confusion.0.0", "split", "files"),
    "report/examples.json": ("examples", "examples.0", "examples.0.number", "examples.0.image", "examples.0.why",
                             "examples.0.why.0", "examples.0.pixels", "examples.0.wrong", "probabilities",
                             "probabilities.image", "probabilities.means", "probabilities.means.0", "files"),
    "plots/lr-1.json": ("lrs", "lrs.0", "losses", "losses.0", "valley")}
WHOLE = dict(nothing="", brace="{", null="null", list="[]", number="1", deep=DEEP, zeros="\0"*1000, page="<html>",
             table="{}")
TABLES = {
    "history.csv": ("stage", "epoch", "lr", "train_loss", "accuracy", "seconds", "name", "size"),
    "per_image_counts.csv": ("image", "id", "tp", "fp"), "classes.csv": ("id", "name", "red", "void"),
    "data.csv": ("image", "split"), "per_class.csv": ("iou",), "per_image.csv": ("accuracy",)}
CELLS = dict(nothing="", text="x", negative="-1", fraction="0.5", huge="1e308", beyond="1e999", nan="nan",
             infinite="-inf", digits="1"*400, bits=str(2**64), long=LONG[:140_000], control="\x1b[2J\x00",
             html="<script>alert(1)</script>",
             formula="=1+1", quote='"')
TOML = dict(nothing="", deep="x = " + "["*5000 + "]"*5000, digits="seed = " + "1"*400, date="stages = 2020-01-01",
            infinite="wd = inf", page="<html>", stages="stages = 5", model="model = 5",
            size='[[stages]]\nname = "a"\nsize = [1, 2]\nepochs = 1',
            options='model = "fast"\nmodel_options = {a = 2020-01-01}\n[[stages]]\nname = "a"\nsize = [32, 32]\n'
                    'epochs = 1',
            epochs='[[stages]]\nname = "a"\nsize = [32, 32]\nepochs = 18446744073709551615', zeros="\0")


def put(found, key, text):
    "Replace a value in parsed JSON by a mark, and give the text of the whole with the new value at that place."
    *path, last = key.split(".")
    here = found
    for name in path:
        here = here[int(name)] if isinstance(here, list) else here[name]
    here[int(last) if isinstance(here, list) else last] = "@here@"
    return json.dumps(found).replace('"@here@"', text)


def spoil(run, file, key, text):
    "Change one value of a run, as somebody does who knows of the checksums: they are removed."
    path = run/file
    if key is None:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        return unseal(run, but=file)
    unseal(run)
    if file.endswith(".json"):
        path.write_text(put(json.loads(path.read_text(encoding="utf-8")), key, text), encoding="utf-8")
    else:
        rows = path.read_text(encoding="utf-8").split("\n")
        at = rows[0].strip().split(",").index(key)
        cells = rows[1].strip().split(",")
        cells[at] = text
        path.write_text("\n".join([rows[0], ",".join(cells), *rows[2:]]), encoding="utf-8")


def unseal(run, but=None):
    "Remove all checksums of a run."
    for path in run.rglob("*.json"):
        if path != run/str(but):
            found = json.loads(path.read_text(encoding="utf-8"))
            kept = {k: v for k, v in found.items() if k not in ("checksum", "files", "history")}
            path.write_text(json.dumps(kept), encoding="utf-8")
    toml = run/"recipe.toml"
    if but != "recipe.toml":
        toml.write_text("\n".join(line for line in toml.read_text().split("\n") if not line.startswith("# SHA")))


def cases():
    "All cases: (file, key, name of the value, its text); key None replaces the whole file."
    for file, keys in KEYS.items():
        yield from ((file, key, name, text) for key in keys for name, text in VALUES.items())
        yield from ((file, None, name, text) for name, text in WHOLE.items())
    for file, keys in TABLES.items():
        yield from ((file, key, name, text) for key in keys for name, text in CELLS.items())
        yield from ((file, None, name, text) for name, text in WHOLE.items())
    yield from (("recipe.toml", None, name, text) for name, text in TOML.items())


def some_cases():
    "One value for every key of every file, each time another one, and some whole files."
    found = list(cases())
    keys = dict.fromkeys((file, key) for file, key, _, _ in found)
    for i, place in enumerate(keys):
        texts = [case for case in found if case[:2] == place]
        yield texts[7*i % len(texts)]


def case_id(value):
    "A short name of a value, for the list of tests."
    return str(value)[:20] if value is None or len(str(value)) < 60 and str(value).isprintable() else "text"
