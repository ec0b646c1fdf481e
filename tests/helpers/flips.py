"""One flipped bit in a file of a run or of a cache: the command says so, or its result is the same."""
import hashlib
import json
import os
import random
import re
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path

from helpers.forking import run_forked
from helpers.killing import outcome
from helpers.material import Material, recipe
from helpers.problems import is_crash
from helpers.torn import content

MEMORY = 2 << 30 # bytes that a command may take
LIMIT = 20       # seconds
SAYS = re.compile(r"damaged|changed since|was changed|cannot be|could not be|is not UTF-8|not complete|missing|broken"
                  r"|checksum|decoded again|read again|unpacked again|left out|not shown", re.I)
CLOCK = re.compile(r'SHA-256 of the lines above: [0-9a-f]{64}'
                   r'|"(seconds|images_per_second|evaluated|started|updated|checksum)": [^,\n}]*'
                   r'|on \d+ \w+ \d+, \d+:\d+')


def flip(path, rng):
    "Flip a random bit of a file, whose time stays as it is; where it was, and the bytes as they were."
    raw, times = path.read_bytes(), path.stat()
    at, bit = rng.randrange(len(raw)), rng.randrange(8)
    changed = bytearray(raw)
    changed[at] ^= 1 << bit
    path.write_bytes(changed)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return f"byte {at} of {len(raw)}, bit {bit}", raw, times


@contextmanager
def flipped(path, rng):
    "A flipped bit while the block runs."
    where, raw, times = flip(path, rng)
    try: yield where
    finally:
        if path.parent.is_dir(): # a command may have deleted a damaged cache
            path.write_bytes(raw)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def digest(value):
    "A short text for a value, without the clock."
    raw = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.sha256(raw).hexdigest()[:16]


def tidy(raw):
    "Bytes of a result without seconds."
    return CLOCK.sub("", raw.decode("utf-8", "replace")) if len(raw) < 1 << 20 else digest(raw)


def folder_value(folder):
    "The files of a result, without the clock."
    return {name: tidy(raw) for name, raw in content(folder).items() if not name.endswith(("log.txt", ".lock"))}


class Reader:
    "A command that reads a run: its words, and its result."
    may_say = False # whether a result that says what is damaged may differ

    def __init__(self, m): self.m, self.out = m, m.folder/"work/out"
    @property
    def name(self): return type(self).__name__.lower()
    def command(self, run): raise NotImplementedError
    def value(self, ended, run): return folder_value(self.out) if self.out.exists() else {}

    def __call__(self, run):
        "How it ended, and its result."
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        ended = self.go(run)
        return ended, self.value(ended, run) if ended.code == 0 else None

    def go(self, run): return self.m.command(*self.command(run), limit=LIMIT, memory=MEMORY)


class Runs(Reader):
    may_say = True
    def command(self, run): return ["runs", run.parent, "--json"]
    def value(self, ended, run): return {row["name"]: row for row in json.loads(ended.out)}


class Report(Reader):
    may_say = True
    def command(self, run): return ["report", run, "--out", self.out/"page.html"]


class Compare(Reader):
    may_say = True
    def command(self, run): return ["compare", run, run.parent/"other", "--html", self.out/"page.html", "--json"]
    def value(self, ended, run): return dict(super().value(ended, run), table=tidy(ended.out.encode()))


class Evaluate(Reader):
    def command(self, run): return ["evaluate", run, "--out", self.out, "--device", "cpu"]


class Predict(Reader):
    def command(self, run): return ["predict", run, self.m.images, "--out", self.out, "--device", "cpu", "--overlay"]


class Export(Reader):
    def command(self, run): return ["export", run, "--to", "safetensors", "--out", self.out/"model.safetensors"]


class Clean(Reader):
    may_say = True # it names a run that it leaves alone, and says why
    def command(self, run): return ["clean", run]
    def value(self, ended, run): return ended.out


class Pages(Reader):
    "The pages of segfast ui."
    may_say = True

    def go(self, run):
        def work():
            from starlette.testclient import TestClient

            from segfast.tools.ui import ui_app
            host = "http://127.0.0.1:8110"
            client = TestClient(ui_app(run.parent, "cpu"), host, headers=dict(origin=host))
            found = {path: client.get(path) for path in ("/", f"/run/{run.name}", f"/run/{run.name}/report",
                                                         f"/compare?run={run.name}&run=other")}
            return {path: [answer.status_code, answer.text] for path, answer in found.items()}
        return run_forked(work, LIMIT, MEMORY)

    def value(self, ended, run):
        return {path: [code, re.sub(r"\d+ \w+ ago", "", text)] for path, (code, text) in ended.value.items()}


class Resume(Reader):
    "A copy of the run that was killed."
    def command(self, run): return ["resume", run, "--device", "cpu"]
    def value(self, ended, run): return {k: v for k, v in outcome(run).items() if not k.endswith("/files")}


class Train(Reader):
    "With a cache that has the flipped bit."
    source = "data"

    def command(self, run):
        file = self.m.folder/"recipe.toml"
        return ["train", self.m.folder/self.source, "--recipe", file, "--out", self.out, "--name", "run", "--device",
                "cpu"]

    def value(self, ended, run): return {k: v for k, v in outcome(self.out/"run").items() if not k.endswith("/files")}


class TrainZip(Train):
    source = "data.zip"


class Check(Reader):
    source = "data"
    def command(self, run): return ["check", self.m.folder/self.source, "--json"]
    def value(self, ended, run): return tidy(ended.out.encode())


class CheckZip(Check):
    source = "data.zip"


class Fix(Reader):
    "A copy from an unpacked archive."
    def command(self, run): return ["check", self.m.folder/"data.zip", "--fix", self.out/"copy"]


# where the bit is flipped -> its share, and the commands that may follow with their shares
PLACES = {
    "done": (78, {Runs: 8, Report: 5, Compare: 3, Evaluate: 2, Predict: 9, Export: 7, Pages: 2, Clean: 4}),
    "half": (9, {Runs: 5, Report: 3, Pages: 1, Resume: 4}),
    "cache/decoded": (3, {Train: 1}),
    "cache/checks": (6, {Check: 6, Train: 1}),
    "cache/unpacked": (4, {CheckZip: 5, Fix: 3, TrainZip: 2}),
}


class Flips:
    "Trials by number: the same seed and number repeat the same flip."
    def __init__(self, m: Material, seed=0):
        self.m, self.seed, self.base = m, seed, {}
        from segfast.runs.recipe import save_recipe
        save_recipe(recipe(1), m.folder/"recipe.toml")
        with zipfile.ZipFile(m.folder/"data.zip", "w") as archive:
            for file in sorted(m.data.rglob("*")):
                if file.is_file(): archive.write(file, f"scenes/{file.relative_to(m.data)}")
        for command in Train, TrainZip: command(m)(None) # fills the cache
        self.pristine = m.folder/"pristine"
        shutil.copytree(m.cache, self.pristine/"cache", symlinks=True)
        shutil.copytree(m.runs, self.pristine/"runs", symlinks=True)
        self.stamps = self.stamp(m.runs)

    @staticmethod
    def stamp(folder): return {path: path.lstat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}

    def restore(self, place):
        "The cache as it was; the runs too, where a command changed them."
        os.environ["SEGFAST_CACHE"] = str(self.m.cache)
        if place.startswith("cache"):
            shutil.rmtree(self.m.cache)
            shutil.copytree(self.pristine/"cache", self.m.cache, symlinks=True)
        elif place == "half" or self.stamp(self.m.runs) != self.stamps:
            shutil.rmtree(self.m.runs)
            shutil.copytree(self.pristine/"runs", self.m.runs, symlinks=True)
            self.stamps = self.stamp(self.m.runs)

    def files(self, place):
        "The files of a place; the order is the same in every process."
        top = self.m.folder/place if place.startswith("cache") else self.m.runs/place
        if place == "cache/unpacked": top = self.unpacked
        return sorted(file for file in top.rglob("*") if file.is_file() and file.stat().st_size)

    @property
    def unpacked(self):
        "The folder of the cache in which archives are unpacked."
        known = self.m.cache/"decoded", self.m.cache/"checks"
        return next(folder for folder in self.m.cache.iterdir() if folder not in known and any(folder.rglob("*.png")))

    def before(self, command, place, run):
        "The result without a flip, from two tries that must be equal."
        key = command.name, place
        if key not in self.base:
            tries = []
            for _ in range(2):
                self.restore(place)
                tries.append(command(run))
                assert tries[-1][0].code == 0, f"{key}: {tries[-1][0]}"
            self.restore(place)
            assert tries[0][1] == tries[1][1], f"{key} differs by itself: {difference(tries[0][1], tries[1][1])}"
            self.base[key] = tries[0]
        return self.base[key]

    def trial(self, i):
        "What was flipped, which command followed, and what is wrong."
        rng = random.Random(f"{self.seed}-{i}")
        place = rng.choices(list(PLACES), [share for share, _ in PLACES.values()])[0]
        commands = PLACES[place][1]
        command = rng.choices(list(commands), commands.values())[0](self.m)
        run = self.m.runs/(place if place in ("done", "half") else "done")
        ended, value = self.before(command, place, run)
        self.restore(place)
        path = rng.choice(self.files(place))
        with flipped(path, rng) as where: now, found = command(run)
        shown = path.relative_to(self.m.folder)
        wrong = self.judge(command, path, (ended, value), (now, found))
        return dict(trial=i, kind=f"{command.name} {place}", file=str(shown), flip=where, code=now.code,
                    seconds=round(now.seconds, 2), wrong=wrong)

    @staticmethod
    def judge(command, path, before, after):
        "What is wrong with how a command took a flipped bit."
        (was, value), (now, found) = before, after
        if now.late: return [f"hangs for more than {LIMIT} s"]
        if is_crash(now.text): return [f"crash: {now.text[-500:]}"]
        if now.code not in (0, 1, 2): return [f"exit code {now.code}: {now.text[-500:]}"]
        if now.code:
            if path.name in now.text or path.parent.name in now.text: return []
            return [f"the error does not name the file: {now.text[-500:]}"]
        if found == value: return []
        changed = difference(value, found)
        if command.may_say and SAYS.search(" ".join([changed, *new_lines(was.text, now.text)])): return []
        return [f"differs without a word: {changed[:600]}"]


def new_lines(old, new):
    "Lines that were not printed before."
    known = set(old.splitlines())
    return [line for line in new.splitlines() if line not in known]


def difference(old, new):
    "What is new in a result, as text."
    if isinstance(old, dict) and isinstance(new, dict):
        parts = [f"{k}: {difference(old.get(k), new.get(k))}" for k in sorted(old.keys() | new.keys(), key=str)
                 if old.get(k) != new.get(k)]
        return "; ".join(parts)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return "; ".join(difference(a, b) for a, b in zip(old, new) if a != b)
    if isinstance(old, str) and isinstance(new, str):
        start = next((i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new)))
        line = re.findall(r"[^<>\n]{12,}", new[max(0, start - 80):start + 3000])
        said = [text for text in re.findall(r"[^<>\n]+", new) if SAYS.search(text) and text not in old]
        return " … ".join([*said[:3], f"at {start}: {' '.join(line)[:200]!r}"])
    return f"{str(old)[:80]} -> {new if isinstance(new, str) else str(new)[:300]}"
