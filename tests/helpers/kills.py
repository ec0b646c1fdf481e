"""Commands that are killed at any moment: what must be true at once, and after the command was given again."""
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from helpers.forking import Ended, run_command, run_forked
from helpers.killing import differences
from helpers.material import Material, recipe
from helpers.torn import Operations, content, parts_in, torn_files

OLD = 2*24*3600 # seconds: what a killed process left is swept by the next one when it is more than a day old
# have times in them
CLOCK = ("status.json", "log.txt", "environment.json", "history.csv", "scores.json", "report.html", "page.html",
         ".heartbeat")


@dataclass
class Scenario:
    "A command, what it starts from, and what it leaves."
    m: Material
    peace: dict = field(default_factory=dict)  # content of the results when nothing is killed
    before: dict = field(default_factory=dict) # content of the results before the command
    operations: list = field(default_factory=list)
    seconds: float = 0.
    leaves_run = False                         # the result is a run that was trained

    @property
    def name(self): return type(self).__name__.lower()
    @property
    def work(self): return self.m.folder/"work"
    @property
    def result(self): return self.work/"result"

    def prepare(self):
        "Make a fresh folder to work in."
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        os.environ["SEGFAST_CACHE"] = str(self.m.cache)
        self.start()
        self.before = content(self.result) if self.result.exists() else {}

    def start(self): pass
    def command(self): raise NotImplementedError
    def again(self): return self.command()
    def measure(self):
        "Run it in peace: its operations, seconds and results."
        self.prepare()
        ended = self.run(self.command)
        assert ended.code == 0, f"{self.name} in peace: {ended}"
        self.operations, self.peace = ended.value, self.kept()
        self.prepare()
        ended = self.run(self.command, count=False)
        assert ended.code == 0, f"{self.name} in peace: {ended}"
        self.seconds = ended.seconds
        if self.leaves_run: shutil.copytree(self.result, self.m.folder/f"peace-{self.name}")
        return self

    def kept(self):
        "The results, without the files that have the time in them."
        if not self.result.exists(): return {}
        return {name: raw for name, raw in content(self.result).items() if Path(name).name not in CLOCK
                and not name.startswith("checkpoints/")}

    def run(self, command, die_at=None, after=None, count=True):
        "The command in a forked process, which dies at an operation or after some seconds."
        argv = command()

        def work():
            operations = Operations(self.m.folder, die_at).watch() if count else None
            code = run_command(argv)
            if code: raise SystemExit(f"exit code {code}")
            return operations.seen if operations else None
        ended = run_forked(work, limit=60, after=after)
        assert not ended.late or after is not None, f"{self.name}: hangs"
        return ended

    def wrong_now(self):
        "What is wrong right after the kill."
        odd = torn_files(self.result) if self.result.exists() else []
        if self.leaves_run: return odd
        now = self.kept() if self.result.exists() else {}
        return odd + [f"{name}: neither the old content nor the new one" for name, raw in now.items()
                      if raw not in (self.peace.get(name), self.before.get(name))]

    def wrong_later(self):
        "What is wrong when the command was given again, and came to its end."
        left = [f"{path}: left half done" for path in parts_in(self.work)]
        if self.leaves_run:
            return left + [f"differs: {k} {v}"[:300] for k, v in differences(
                self.m.folder/f"peace-{self.name}", self.result).items()]
        now = self.kept()
        odd = [name for name in sorted(now.keys() | self.peace.keys()) if now.get(name) != self.peace.get(name)]
        return left + [f"{name}: not as it is without a kill" for name in odd]

    def finish(self):
        "Give the command again."
        ended = self.run(self.again, count=False)
        return [] if ended.code == 0 else [f"the next command failed with {ended.code}: {ended.text[-600:]}"]


def age_parts(folder, run=None):
    "Make what was left half done two days old, with all that is in it; what is in a run stays young."
    then = time.time() - OLD
    for path in (Path(folder)/name for name in parts_in(folder)):
        if run in path.parents: continue
        for each in (*path.rglob("*"), path): os.utime(each, (then, then), follow_symlinks=False)


class Train(Scenario):
    leaves_run = True

    def start(self):
        os.environ["SEGFAST_CACHE"] = str(self.work/"cache") # is filled as well
        from segfast.runs.recipe import save_recipe
        save_recipe(recipe(1), self.work/"recipe.toml")

    def command(self):
        return ["train", self.m.data, "--recipe", self.work/"recipe.toml", "--out", self.work, "--name", "result",
                "--device", "cpu"]

    def again(self): return ["resume", self.result, "--device", "cpu"] if self.result.exists() else self.command()

    def finish(self):
        ended = self.run(self.again, count=False)
        if "--extend" in ended.text: # it was killed after its training had ended
            return self.next_report() or self.next_training()
        if ended.code == 0: return self.next_training()
        return [f"the next command failed with {ended.code}: {ended.text[-600:]}"]


    def next_report(self):
        "What was left in a run that is done is swept by the next report, and by `segfast clean`."
        age_parts(self.work)
        ended = self.run(lambda: ["report", self.result], count=False)
        return [] if ended.code == 0 else [f"the next report failed with {ended.code}: {ended.text[-600:]}"]

    def next_training(self):
        "What a killed command left beside the run is swept by the next training, not by a resume."
        if all(name.startswith("result/") for name in parts_in(self.work)): return []
        argv = [*Train.command(self), "--name", "next", "--size", "40x56"] # a size that the cache does not have
        if not (self.work/"recipe.toml").exists(): argv[argv.index("--recipe") + 1] = self.result/"recipe.toml"
        ended = self.run(lambda: argv, count=False)
        return [] if ended.code == 0 else [f"the next training failed with {ended.code}: {ended.text[-600:]}"]


class Resume(Train):
    def start(self): shutil.copytree(self.m.runs/"half", self.result)
    def command(self): return ["resume", self.result, "--device", "cpu"]


class Predict(Scenario):
    def command(self):
        return ["predict", self.m.runs/"done", self.m.data/"images", "--out", self.result, "--overlay",
                "--probabilities", "--device", "cpu"]

    def again(self): return [*self.command(), "--skip-existing"]


class Repredict(Predict):
    "Over the masks of another run."
    def start(self):
        argv = [self.m.runs/"other" if part == self.m.runs/"done" else part for part in Predict.command(self)]
        assert self.m.command(*argv).code == 0

    def command(self): return [*Predict.command(self), "--overwrite"]
    def again(self): return self.command()


class Export(Scenario):
    to = "safetensors"

    def start(self): shutil.copytree(self.m.runs/"done", self.work/"done")
    @property
    def result(self): return self.work/"done/export"
    def command(self): return ["export", self.work/"done", "--to", self.to]
    def again(self): return [*self.command(), "--overwrite"]


class Onnx(Export):
    to = "onnx"


class Fix(Scenario):
    @property
    def result(self): return self.work/"fixed"

    def start(self):
        shutil.copytree(self.m.data, self.work/"data")
        (self.work/"data/images/scene_003.png").write_bytes(b"") # to be left out

    def command(self):
        return ["check", self.work/"data", "--fix", self.result]

    def run(self, command, die_at=None, after=None, count=True):
        "A check that finds errors ends with 1 also when the copy was written."
        argv = command()

        def work():
            operations = Operations(self.m.folder, die_at).watch() if count else None
            code = run_command(argv)
            if code not in (0, 1) or not self.result.exists(): raise SystemExit(f"exit code {code}")
            return operations.seen if operations else None
        return run_forked(work, limit=60, after=after)

    def wrong_now(self):
        odd = super().wrong_now()
        if self.result.exists() and self.kept() != self.peace: odd.append("the copy is there, and not whole")
        return odd

    def finish(self): return [] if self.result.exists() else super().finish()

    def wrong_later(self):
        if not parts_in(self.work): return super().wrong_later()
        shutil.rmtree(self.result)                  # the folder was there: nobody had a reason to sweep
        return super().finish() + super().wrong_later()


class Clean(Scenario):
    def start(self): shutil.copytree(self.m.runs/"done", self.result)
    def command(self): return ["clean", self.result, "--yes"]

    def measure(self):
        super().measure()
        self.mask = self.masks(self.m.runs/"done")
        return self

    def masks(self, run):
        "What a run predicts."
        out = self.m.folder/"clean-masks"
        shutil.rmtree(out, ignore_errors=True)
        ended = self.m.command("predict", run, self.m.images, "--out", out, "--device", "cpu")
        return content(out) if ended.code == 0 else ended.text[-300:]

    def wrong_now(self):
        now = self.masks(self.result)
        odd = [] if now == self.mask else [f"predicts something else: {now if isinstance(now, str) else ''}"]
        return torn_files(self.work) + odd

    def wrong_later(self): return super().wrong_later() + self.wrong_now()


class Discard(Scenario):
    "A run that failed is deleted as a whole."
    def start(self): shutil.copytree(self.m.runs/"half", self.result)
    def command(self): return ["clean", self.work, "--failed", "--yes"]

    def wrong_now(self):
        ended = self.m.command("runs", self.work)
        return [] if ended.code == 0 else [f"segfast runs fails: {ended.text[-300:]}"]

    def wrong_later(self): return [f"{name}: still there" for name in content(self.work)]


class Report(Scenario):
    "Over a page that is there."
    def start(self):
        self.result.mkdir()
        shutil.copytree(self.m.runs/"done", self.work/"done")
        self.page = self.result/"page.html"
        shutil.copy(self.work/"done/report.html", self.page)

    def command(self): return ["report", self.work/"done", "--out", self.page]


class Evaluate(Scenario):
    def command(self): return ["evaluate", self.m.runs/"done", "--out", self.result, "--device", "cpu"]


SHARES = {Train: 30, Resume: 20, Predict: 10, Repredict: 5, Export: 8, Onnx: 2, Fix: 8, Clean: 6, Discard: 3, Report: 4,
          Evaluate: 4} # of 100 kills


class Kills:
    "Trials by number: the same seed and number repeat the same kill, except those at a moment of time."
    def __init__(self, m, seed=0, kinds=SHARES, times=True):
        self.m, self.seed, self.times = m, seed, times
        self.shares, self.ready = {kind: SHARES[kind] for kind in kinds}, {}

    def scenario(self, kind):
        "A scenario, measured once."
        if kind not in self.ready: self.ready[kind] = kind(self.m).measure()
        return self.ready[kind]

    def trial(self, i):
        "What kind of trial it was, the number of kills, and what went wrong."
        rng = random.Random(f"{self.seed}-{i}")
        s = self.scenario(rng.choices(list(self.shares), self.shares.values())[0])
        s.prepare()
        kill = self.draw(rng, s)
        said, kills, wrong = [self.words(s, kill)], 0, []
        ended = s.run(s.command, **kill)
        while ended.code == -signal.SIGKILL and not wrong:
            kills += 1
            wrong = s.wrong_now()
            if kills == 3 or rng.random() > .3: break
            kill = self.draw(rng, s)
            said.append(self.words(s, kill))
            ended = s.run(s.again, **kill)
        if not wrong and self.failed(ended): wrong = [f"ended with {ended.code}: {ended.text[-600:]}"]
        if not wrong:
            age_parts(s.work, s.result if s.leaves_run else None)
            wrong = s.finish() if kills else []
            wrong = wrong or (s.wrong_later() if kills else [])
        return dict(trial=i, kind=s.name, kills=kills, moments=said, wrong=wrong)

    @staticmethod
    def failed(ended: Ended):
        "Whether a command ended with an error of its own; a run that is done already is none."
        return ended.code not in (0, -signal.SIGKILL) and "--extend" not in ended.text

    def draw(self, rng, s):
        "A moment to die at: two of three are file operations, all of them without `times`."
        if rng.random() < 2/3 or not self.times: return dict(die_at=rng.randint(1, len(s.operations)))
        return dict(after=rng.uniform(0, s.seconds), count=False)

    @staticmethod
    def words(s, kill):
        "The moment, for people."
        if "after" in kill: return f"after {kill['after']:.3f} s"
        return f"operation {kill['die_at']} of {len(s.operations)}: {s.operations[kill['die_at'] - 1]}"
