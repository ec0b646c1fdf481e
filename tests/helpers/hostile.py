"""Run folders that a stranger made to do harm, and what no command may do with them."""
import ctypes
import ctypes.util
import json
import os
import random
import shutil
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

from helpers.forking import run_command, run_forked
from helpers.material import Material, recipe
from helpers.problems import is_crash

SECRET = "the-secret-of-a-private-file"
LIMIT = 20        # seconds that a command may take
MEMORY = 3 << 30  # bytes that it may take beyond what PyTorch has taken


# --- what must stay as it is ---

class Watcher:
    "Tells whether any process opened, changed or deleted something in some folders, by Linux's inotify."
    KINDS = {0x1: "read", 0x2: "written", 0x4: "attributes changed", 0x20: "opened", 0x40: "renamed", 0x80: "renamed",
             0x100: "created in", 0x200: "deleted in", 0x400: "deleted"}

    def __init__(self, folders):
        self.fd, self.names = -1, {}
        if not sys.platform.startswith("linux"): return
        libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for folder in folders:
            for path in (folder, *(path for path in Path(folder).rglob("*") if path.is_dir())):
                self.names[libc.inotify_add_watch(self.fd, os.fsencode(path), sum(self.KINDS))] = str(path)

    def seen(self):
        "What happened since the last call."
        found, raw = set(), b""
        with suppress(BlockingIOError, OSError):
            while chunk := os.read(self.fd, 1 << 16): raw += chunk
        while raw:
            watch, mask, _, n = struct.unpack("iIII", raw[:16])
            name = raw[16:16 + n].rstrip(b"\0").decode(errors="replace")
            words = [word for bit, word in self.KINDS.items() if mask & bit]
            if words: found.add(f"{self.names.get(watch, '?')}/{name}: {', '.join(words)}")
            raw = raw[16 + n:]
        return sorted(found)


def facts(folder, names=False):
    "Size, time, mode and number of names of everything below a folder."
    found = {}
    for path in (Path(folder), *sorted(Path(folder).rglob("*"))):
        at = path.lstat()
        found[str(path)] = (at.st_mode, at.st_size, at.st_mtime_ns, at.st_uid) + ((at.st_nlink,) if names else ())
    return found


def note_writes(allowed, write, prefix="\0"):
    """From now on, tell of every path outside some folders that this process opens for writing, or changes; paths that
    begin with the prefix are inside too."""
    places = [os.path.realpath(folder) for folder in allowed] + ["/dev/null", "/dev/tty"]

    def real(path, fd=-1):
        if isinstance(path, int): return os.readlink(f"/proc/self/fd/{path}")
        path = os.fsdecode(path)
        if isinstance(fd, int) and fd >= 0: path = os.path.join(os.readlink(f"/proc/self/fd/{fd}"), path)
        head, tail = os.path.split(path)
        return os.path.join(os.path.realpath(head or "."), tail)

    def changed(event, args):
        "The paths that an event changes; a link in the last part is followed only where the system follows it."
        if event == "open" and isinstance(args[0], (str, bytes)) and (args[2] or 0) & (
            os.O_WRONLY | os.O_RDWR | os.O_CREAT): return [os.path.realpath(os.fsdecode(args[0]))
            if not args[2] & (os.O_NOFOLLOW | os.O_EXCL) else real(args[0])]
        if event == "os.rename": return [real(args[0], args[2]), real(args[1], args[3])]
        if event == "os.link": return [real(args[1], args[3])]
        if event == "os.symlink": return [real(args[1], args[2])]
        if event in ("os.remove", "os.rmdir"): return [real(args[0], args[1])]
        if event in ("os.mkdir", "os.chmod"): return [real(args[0], args[2])]
        if event == "os.utime": return [os.path.realpath(real(args[0], args[3]))]
        if event in ("os.truncate", "os.chown", "os.setxattr"): return [os.path.realpath(real(args[0]))]
        return []

    def look(event, args):
        with suppress(OSError):
            for path in changed(event, args):
                if not any(path == place or path.startswith((place + os.sep, prefix)) for place in places):
                    write(f"{event}: {path}\n".encode(errors="replace"))
    sys.addaudithook(look)


# --- attacks ---

TEXTS = {"path": "/etc", "up": "../../../private/secret.txt", "above": "..", "root": "/", "proc": "/proc/self/environ",
         "zero": "/dev/zero", "null byte": "a\0b", "escape": "\x1b[2J\x1b]0;x\x07", "html": "<script>alert(1)</script>",
         "quote": "'\"><img src=x onerror=alert(1)>", "formula": "=1+1", "line ends": "a\nb\r\nc", "long": "x"*300_000,
         "surrogate": "\ud800", "right to left": "\u202egnp", "shell": "$(touch it-ran)", "empty": "",
         "format": "{0.__class__}%s"}
NUMBERS = -1, 0, 1, 10**9, 10**18, 2**63, 10**30, 1e308, -0.5, 1e-320
ODD = [None, True, [], {}, ["x"], {"x": 1}, [[]], *NUMBERS, *TEXTS.values(), [1e9]*3, {"": {"": [None]}}]
BOMBS = {"deep list": "["*100_000, "deep dict": '{"a":'*100_000, "huge int": '{"a": 1' + "0"*5000 + "}",
         "infinity": '{"status": Infinity, "format": 1}', "nan": "NaN", "not utf-8": "\udcff\udcfe", "nothing": "",
         "null": "null", "number": "3", "text": '"x"', "same keys": '{"status": "done", "status": "x"}',
         "deep toml": "a = " + "["*5000 + "]"*5000, "many keys": "\n".join(f"k{i} = {i}" for i in range(20_000)),
         "dotted toml": ".".join("a"*2000) + " = 1", "csv": "a,b\n1\n2,3,4\n", "wide csv": ",".join("a"*50_000) + "\n",
         "long line": "x"*5_000_000, "null bytes": "\0"*1000, "quotes": '"'*999, "formula": "=1+1,@x\n-1,+2\n"}
EXTRA = (".lock", ".part-0123456789abcdef.json", ".part-0123456789abcdef", ".report.html.part",
         "checkpoints/.last.part", "checkpoints/.best.old", "checkpoints/.best.part",
         "plots/lr-1.png", "plots/lr-1.json", "plots/curves.svg",
         "evaluation", "evaluation/data-valid", "evaluation/data-valid/scores.json", "export", "export/safetensors",
         "export/safetensors/model.safetensors", "export/safetensors/MODEL_CARD.md", "export/onnx", "samples",
         "fold_set.json", "family.json", "fold-1", "tensorboard", "wandb", ".report.part", "data", "unknown")
SPECIAL = ("link", "folder link", "dangling link", "zero link", "proc link", "loop", "fifo", "socket", "fifo link")
CONTENT = ("hard link", "folder", "empty", "huge", "bomb", "odd value", "odd value", "odd value", "odd value", "cell",
           "cell", "odd line", "sums", "cut", "noise")


def renew(path, raw):
    "Write a file anew; one with a second name elsewhere stays as it is there."
    path.unlink()
    path.write_bytes(raw)


def parsed(raw):
    "The value of JSON; None for what another attack has made of it."
    try: return json.loads(raw)
    except (ValueError, RecursionError): return None


def clear(path):
    "Take away what is there, and make the folder above."
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink(): shutil.rmtree(path)
    elif path.is_symlink() or path.exists(): path.unlink()


def leaves(value, at=()):
    "The places of all values in nested dicts and lists."
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for k, part in items:
        yield (*at, k)
        yield from leaves(part, (*at, k))


def put(value, at, new):
    for k in at[:-1]: value = value[k]
    value[at[-1]] = new


def sign(run):
    "Give the files of a run the checksums that they would have if segfast had written them."
    from segfast.core.files import write_json
    from segfast.runs.run import file_checksum, state_checksum
    for path in sorted(run.rglob("*.json")):
        with suppress(OSError, ValueError, RecursionError, TypeError, AttributeError):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 20: continue
            value = json.loads(path.read_text("utf-8"))
            if not isinstance(value, dict): continue
            for key in "files", "sha256", "sums":
                for name in value.get(key) if isinstance(value.get(key), dict) else ():
                    file = path.parent/name
                    if file.is_symlink() or not file.is_file() or file.stat().st_size > 1 << 24: continue
                    if file.parent == path.parent and name != path.name:
                        value[key][name] = file_checksum(file)
            if isinstance(value.get("sha256"), dict): value["sha256"]["state.json"] = state_checksum(
                {k: v for k, v in value.items() if k != "checksum"})
            renew(path, json.dumps(value).encode()) if "checksum" not in value else write_json(path, value)


class Attacks:
    "Hostile runs by number: the same seed and number make the same run."
    def __init__(self, m: Material, seed=0):
        self.m, self.seed, self.work = m, seed, m.folder/"work"
        self.runs, self.out, self.private = self.work/"runs", self.work/"out", self.work/"private"
        self.hard, self.temp = self.work/"hard", self.work/"temp"
        self.run = self.runs/"evil"
        from segfast.runs.recipe import save_recipe
        save_recipe(recipe(1), m.folder/"recipe.toml")
        self.good = m.folder/"cleaned" # so that there is nothing to delete in it
        shutil.copytree(m.runs/"other", self.good)
        assert m.command("clean", self.good, "--yes").code == 0

    def prepare(self):
        "The folders around the runs; the private ones hold what a link in a run may lead to."
        shutil.rmtree(self.work, ignore_errors=True)
        for folder in self.out, self.temp, self.hard, self.private: folder.mkdir(parents=True)
        shutil.copytree(self.good, self.runs/"good")
        for place in self.private, self.hard: shutil.copytree(self.m.runs/"other", place/"run")
        (self.private/"secret.txt").write_text(SECRET + "\n")
        (self.private/"folder").mkdir()
        (self.private/"folder/secret.txt").write_text(SECRET + "\n")
        for path in self.private.rglob("*"): # valid, and with the secret in it
            if path.suffix in (".csv", ".txt", ".html"):
                path.write_text(path.read_text("utf-8") + f"\n{SECRET}\n", "utf-8")
            elif path.name in ("status.json", "scores.json", "environment.json", "data.json"):
                value = json.loads(path.read_text("utf-8"))
                path.write_text(json.dumps({k: v for k, v in value.items() if k != "checksum"} | dict(
                    name=SECRET, started=SECRET, command=[SECRET])), "utf-8")
        os.mkfifo(self.work/"pipe")

    def base(self, name): return self.m.folds if name == "folds" else self.m.runs/name

    def plan(self, i):
        "The base of a hostile run, and what is done to it: (kind, name) once or several times."
        rng = random.Random(f"{self.seed}-{i}")
        base = rng.choices(("done", "half", "folds"), (4, 4, 1))[0]
        there = [path.relative_to(self.base(base)) for path in sorted(self.base(base).rglob("*"))
                 if not path.name.startswith(".last")]
        text = [path for path in there if path.suffix in (".json", ".toml", ".csv")]
        if base == "folds": text += [path for path in text if path.name == "fold_set.json"]*20
        known = ["status.json", "data.json", "recipe.toml", "scores.json", "history.csv", "classes.csv", "data.csv",
                 "log.txt", "environment.json", "report/examples.json", "checkpoints/last/state.json",
                 "checkpoints/last/model.safetensors", "report.html", "checkpoints", "checkpoints/last", "plots"]
        if base == "folds": known = ["fold_set.json", "fold-1", "fold-2", "fold-3", "fold-1/log.txt",
                                     "fold-1/status.json", "fold-2/checkpoints", ".lock"]
        special = rng.random() < .45
        steps = []
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            kind = rng.choice(SPECIAL if special else CONTENT)
            pool = rng.choice((there, known, list(EXTRA), text)) if special else rng.choice((there, known, text, text))
            if kind in ("odd value", "bomb", "cell", "odd line", "sums"): pool = text
            steps.append((kind, str(rng.choice(pool))))
        return base, steps, rng.random() < .7, rng.randrange(2**32) # signed again?

    def build(self, plan):
        "Make the run."
        base, steps, signed, seed = plan
        rng = random.Random(seed)
        if self.run.exists(): shutil.rmtree(self.run)
        shutil.copytree(self.base(base), self.run)
        done = [self.attack(kind, self.run/name, rng) for kind, name in steps]
        if signed: sign(self.run)
        return [f"{kind} {name}: {text}"[:200] for (kind, name), text in zip(steps, done)]

    def attack(self, kind, path, rng):
        "Do one thing to a file of the run, or put one there; what it was, in words."
        if any(above.is_symlink() or above.is_file() for above in path.parents if self.run in above.parents): return "-"
        raw = path.read_bytes() if path.is_file() else b""
        same = path.relative_to(self.run)
        if kind in SPECIAL or kind in ("hard link", "folder", "empty", "huge", "bomb"): clear(path)
        if kind == "link":
            aim = self.private/"run"/same
            path.symlink_to(aim if aim.is_file() else self.private/"secret.txt")
        elif kind == "folder link":
            aim = self.private/"run"/same
            path.symlink_to(aim if aim.is_dir() else self.private/"folder")
        elif kind == "dangling link": path.symlink_to(self.private/f"new{path.suffix}")
        elif kind == "zero link": path.symlink_to(rng.choice(("/dev/zero", "/dev/random", "/dev/full")))
        elif kind == "proc link": path.symlink_to(rng.choice(("/proc/self/environ", "/proc/kmsg", "/proc/self/mem")))
        elif kind == "loop": path.symlink_to(path)
        elif kind == "fifo": os.mkfifo(path)
        elif kind == "fifo link": path.symlink_to(self.work/"pipe")
        elif kind == "socket": bind(path)
        elif kind == "hard link":
            aim = self.hard/"run"/same
            os.link(aim if aim.is_file() else self.hard/"run/log.txt", path)
        elif kind == "folder": (path/"inner").mkdir(parents=True)
        elif kind == "empty": path.write_bytes(b"")
        elif kind == "huge":
            path.write_bytes(b"")
            os.truncate(path, 1 << 40)
        elif kind == "bomb":
            name = rng.choice(list(BOMBS))
            path.write_bytes(BOMBS[name].encode("utf-8", "surrogateescape"))
            return name
        elif kind == "cut" and raw: renew(path, raw[:rng.randrange(len(raw))])
        elif kind == "noise" and raw: renew(path, rng.randbytes(len(raw)))
        elif raw: return self.odd(kind, path, raw, rng)
        return "-"

    def odd(self, kind, path, raw, rng):
        "Odd content of a text file."
        new = rng.choice(ODD)
        value = parsed(raw) if path.suffix == ".json" and kind in ("odd value", "sums") else None
        if places := list(leaves(value)):
            at = rng.choice(places)
            sums = value.get("sha256", value.get("files")) if isinstance(value, dict) else None
            if kind == "sums" and isinstance(sums, dict): sums[rng.choice(list(TEXTS.values()))] = "0"*64
            else: put(value, at, new)
            renew(path, json.dumps(value).encode("utf-8", "surrogatepass"))
            return f"{at} = {str(new)[:40]!r}"
        lines = raw.decode(errors="replace").splitlines() or [""]
        i, text = rng.randrange(len(lines)), new if isinstance(new, str) and len(new) < 1000 else json.dumps(new)[:1000]
        if path.suffix == ".toml":
            if "=" in lines[i]: lines[i] = lines[i].split("=")[0] + "= " + toml_text(new)
        elif kind == "odd line": lines[i] = text
        else:
            cells = lines[i].split(",")
            cells[rng.randrange(len(cells))] = text
            lines[i] = ",".join(cells)
        renew(path, "\n".join([*lines, ""]).encode("utf-8", "surrogatepass"))
        return f"line {i + 1}: {lines[i][:60]!r}"

    # --- what is done with it, and what may not come of it ---

    def commands(self):
        "Every command that takes a run, and whether it takes this run alone."
        run, out = self.run, self.out
        cpu = ("--device", "cpu")
        return {
            "runs": (["runs", self.runs, "--json"], False), "table of runs": (["runs", self.runs], False),
            "clean": (["clean", self.runs, "--failed", "--yes"], False), "clean one": (["clean", run, "--yes"], False),
            "compare": (["compare", self.runs/"good", run, "--html", out/"c.html", "--plot", out/"c.png"], True),
            "report": (["report", run], True), "report elsewhere": (["report", run, "--out", out/"r.html"], True),
            "evaluate": (["evaluate", run, *cpu], True),
            "evaluate elsewhere": (["evaluate", run, "--data", self.m.data, "--out", out/"e", *cpu], True),
            "predict": (["predict", run, self.m.images, "--out", out/"masks", "--overlay", *cpu], True),
            "export": (["export", run, "--to", "safetensors"], True),
            "export elsewhere": (["export", run, "--to", "safetensors", "--out", out/"x/model.safetensors",
                                  "--overwrite"], True),
            "resume": (["resume", run, *cpu], True), "extend": (["resume", run, "--extend", "1", *cpu], True),
            "recipe": (["train", self.m.data, "--recipe", run/"recipe.toml", "--epochs", "1,1", "--out", out/"runs",
                        "--name", "r", *cpu], True),
            "recipe of run": (["train", "--recipe", run, "--epochs", "1,1", "--out", out/"runs", "--name", "s", *cpu],
                              True),
            "weights": (["train", self.m.data, "--recipe", self.m.folder/"recipe.toml", "--from", run, "--out",
                         out/"runs", "--name", "w", *cpu], True),
            "pages": (None, False)}

    def pages(self):
        "What the ui says about the runs, a prediction included: status codes."
        from starlette.testclient import TestClient

        from segfast.tools.ui import ui_app
        host = "http://127.0.0.1:8110"
        client = TestClient(ui_app(self.runs, "cpu"), host, headers=dict(origin=host))
        image = sorted(self.m.images.iterdir())[0]
        found = {path: client.get(path) for path in (
            "/", "/run/evil", "/run/evil/report", "/run/evil/history.png", "/run/evil/predictions.png",
            "/compare?run=evil&run=good", "/run/good")}
        found["mask"] = client.post("/run/evil/mask", files=dict(image=(image.name, image.read_bytes(), "image/png")))
        for answer in found.values(): print(answer.text)
        return {path: answer.status_code for path, answer in found.items()}

    def give(self, name, command):
        "A command in a forked process that notes what it writes elsewhere."
        shutil.rmtree(self.out)
        self.out.mkdir()
        noted = self.temp/"writes"
        noted.write_bytes(b"")
        allowed = [self.run, self.out, self.temp, self.m.folder/"cache"]

        def work():
            os.environ["TMPDIR"], sys.dont_write_bytecode = str(self.temp), True
            import tempfile
            tempfile.tempdir = str(self.temp)
            fd = os.open(noted, os.O_WRONLY | os.O_APPEND)
            note_writes(allowed, lambda raw: os.write(fd, raw), f"{os.path.realpath(self.runs)}/.part-")
            return run_command(command) if command else self.pages()
        ended = run_forked(work, LIMIT, MEMORY, cwd=self.temp)
        return ended, [f"writes elsewhere: {line}" for line in noted.read_text(errors="replace").splitlines()]

    def trial(self, i, names=None):
        "Every command with one hostile run: what is wrong."
        self.prepare()
        plan = self.plan(i)
        special, wrong = plan[1][0][0] in SPECIAL, []
        words, built = self.build(plan), None
        fixed = facts(self.private), facts(self.hard), facts(self.runs/"good")
        watcher = Watcher([self.private])
        try:
            for name, (command, single) in self.commands().items():
                if names and name not in names: continue
                now = facts(self.run) if self.run.exists() else None
                if built is None or now != built:
                    self.build(plan)
                    built = facts(self.run)
                ended, odd = self.give(name, command)
                odd += self.judge(name, ended, single and special and words != ["-"]*len(words))
                touched = watcher.seen()
                if touched: # or was it another process, such as a search through all files of the machine?
                    self.build(plan)
                    watcher.seen()
                    self.give(name, command)
                    touched = [text for text in watcher.seen() if text in touched]
                odd += [f"private: {text}" for text in touched]
                odd += changes(fixed, (facts(self.private), facts(self.hard), facts(self.runs/"good")))
                watcher.seen() # that was this process itself
                odd += self.told(ended)
                wrong += [f"{name}: {text}" for text in odd]
        finally:
            if watcher.fd >= 0: os.close(watcher.fd)
        return dict(trial=i, kind="special" if special else "content", base=plan[0], attack=words, signed=plan[2],
                    wrong=wrong)

    @staticmethod
    def judge(name, ended, refused):
        "What is wrong with how a command ended."
        text = ended.text if name != "pages" else ended.err
        if ended.late: return [f"hangs for more than {LIMIT} s"]
        if is_crash(text): return [f"crash: {text[-400:]}"]
        if name == "pages":
            if not isinstance(ended.value, dict): return [f"the ui ended with {ended.code}: {text[-400:]}"]
            odd = {path: code for path, code in ended.value.items() if code >= 500}
            if ended.value["/"] != 200 or ended.value["/run/good"] != 200 or "good" not in ended.out:
                odd["/"] = "hidden"
            return [f"pages: {odd}"] if odd else []
        if ended.code not in (0, 1, 2): return [f"exit code {ended.code}: {text[-400:]}"]
        if name in ("runs", "table of runs") and (ended.code or "good" not in ended.out or "evil" not in ended.out):
            return [f"a run is not listed: {text[-400:]}"]
        if name == "clean" and ended.code: return [f"ends with {ended.code}: {text[-400:]}"]
        if refused and not ended.code: return ["was not refused"]
        if ended.code and (len(ended.err.splitlines()) > 40 or len(ended.err) > 20_000): return ["a very long message"]
        control = [k for k in text if ord(k) < 32 and k not in "\n\r\t" or 0x7f <= ord(k) < 0xa0 or k == "\u202e"]
        return [f"control characters are printed: {control[:5]}"] if control else []

    def told(self, ended):
        "Whether the secret got into an output."
        odd = ["the secret is printed"] if SECRET in ended.text else []
        for folder in self.out, self.run, self.runs/"good":
            for path in folder.rglob("*") if folder.exists() else ():
                if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 26: continue
                if SECRET.encode() in path.read_bytes(): odd.append(f"the secret is in {path.relative_to(self.work)}")
        return odd


def changes(old, new):
    "What changed in the folders that nobody may change."
    return [f"changed: {path}: {a.get(path)} -> {b.get(path)}" for a, b in zip(old, new)
            for path in sorted(a.keys() | b.keys()) if a.get(path) != b.get(path)]


def toml_text(value):
    "A value in TOML, where there is one."
    import tomli_w
    try: return tomli_w.dumps({"a": value}).split("=", 1)[1].strip()
    except (TypeError, ValueError, IndexError, AttributeError): return json.dumps(value)


def bind(path):
    "A socket with a name in a folder."
    here = os.getcwd()
    os.chdir(path.parent) # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as made: made.bind(path.name)
    finally: os.chdir(here)
