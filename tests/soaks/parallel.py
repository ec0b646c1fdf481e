"""Several trainings at once into one folder: each must be what it is when it runs alone, bit for bit, and none mixed up
with another.

    python tests/soaks/parallel.py [--runs 8] [--seed 0]

They share the data, the cache of decoded images (empty at the start, so all fill it at once) and the folder of runs;
they differ in seed and recipe, and take their names
by themselves. Each is repeated alone afterwards and compared. Ends with 1 and names the run where one bit differs.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for k in "OMP_NUM_THREADS", "MKL_NUM_THREADS": os.environ.setdefault(k, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1])) # the tests' helpers

from helpers import killing
from helpers.killing import differences, leftovers, variant

NAMES = "ema", "sgd", "bf16", "patience"


def main():
    "Run it; the exit code."
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", type=int, default=8)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    ok = soak(folder, args)
    shutil.rmtree(folder) if ok else print(f"runs: {folder}")
    return 0 if ok else 1


def soak(folder, args):
    from segfast.runs.recipe import save_recipe
    from segfast.runs.listing import list_runs
    from segfast.data.demo import write_demo
    write_demo(folder/"data", n=10, size=(48, 64))
    for i in range(args.runs): save_recipe(variant(NAMES[i % len(NAMES)], args.seed + i), folder/f"{i}.toml")
    began = time.perf_counter()
    ended = [p.communicate()[0] + f"exit code {p.returncode}" for p in [begin(folder, i) for i in range(args.runs)]]
    print(f"{args.runs} at once: {time.perf_counter() - began:.0f} s")
    bad = [text for text in ended if not text.endswith("exit code 0")]
    rows = list_runs(folder/"runs")
    if bad or list(rows.status) != ["done"]*args.runs: return print(*bad, rows.to_string(), sep="\n")
    return all([same(folder, i, text) for i, text in enumerate(ended)])


def begin(folder, i, out="runs", *more):
    "A training in a process of its own."
    args = [sys.executable, killing.__file__, "cli", "train", folder/"data", "--recipe", folder/f"{i}.toml", "--out",
            folder/out, "--device", "cpu", "--json", *more]
    env = os.environ | dict(SEGFAST_CACHE=str(folder/f"cache-{out}"), PYTHONWARNINGS="ignore")
    return subprocess.Popen([*map(str, args)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def same(folder, i, text):
    "Whether a run is the same as when it is trained alone."
    path = Path(json.loads(text.splitlines()[-2])["run"])
    begin(folder, i, "alone", "--name", str(i)).communicate()
    odd = differences(folder/"alone"/str(i), path) or leftovers(path)
    print(f"{path.name}: recipe {i}, {'equal' if not odd else odd}", flush=True)
    return not odd


if __name__ == "__main__":
    sys.exit(main())
