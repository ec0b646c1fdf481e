"""Kill trainings at random moments until so many kills are reached, resume each time, and compare with trainings that
were left in peace.

    python tests/soaks/resume.py --kills 200 [--seed 0] [--variant ema]

Every second kill comes from outside at a random time, the others inside at a random event. Ends with 1 and names the
run where a result differs by one bit.
"""
import argparse
import collections
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

for k in "OMP_NUM_THREADS", "MKL_NUM_THREADS": os.environ.setdefault(k, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1])) # the tests' helpers

from helpers.killing import VARIANTS, Killed, Server, differences, leftovers, plans, survive, whole


def main():
    "Run it; the exit code."
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kills", type=int, default=200)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--variant", choices=VARIANTS, action="append")
    p.add_argument("--keep", action="store_true", help="leave the runs where they are")
    args = p.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    with Server() as server: ok = soak(server, folder, args)
    print(f"runs: {folder}") if args.keep or not ok else shutil.rmtree(folder)
    return 0 if ok else 1


def soak(server, folder, args):
    from segfast.data.demo import write_demo
    write_demo(folder/"data", n=10, size=(48, 64))
    rng, began, kills, bad, runs = random.Random(args.seed), time.perf_counter(), [], [], 0
    names = args.variant or VARIANTS
    peace = {v: whole(server, folder, v) for v in names}
    while len(kills) < args.kills:
        v, runs = names[runs % len(names)], runs + 1
        k = Killed(server, folder, v, name=f"killed-{v}-{runs}")
        n = min(rng.randint(3, 12), args.kills - len(kills))
        moments = [rng.uniform(0, peace[v].seconds) if i % 2 else item
                   for i, item in enumerate(plans(peace[v].traces[0], n, rng.random(), most=6))]
        odd = outcome_of(k, moments, peace[v])
        kills += k.kills
        bad += [(k.name, odd)]*bool(odd)
        print(f"{len(kills):4} kills, {time.perf_counter() - began:5.0f} s  {k.name}: {len(k.kills)} times, "
              f"{'equal' if not odd else odd}", flush=True)
        if not odd: shutil.rmtree(k.path)
    print("where:", *(f"{name} {n}," for name, n in collections.Counter(kill[0] for kill in kills).most_common()))
    print(f"{len(kills)} kills in {runs} runs, {time.perf_counter() - began:.0f} s: "
          f"{'all equal bit for bit' if not bad else f'{len(bad)} DIFFER'}")
    return not bad


def outcome_of(k, moments, peace):
    "What is wrong with a run after it was killed at these moments; nothing if all is well."
    try: survive(k, moments)
    except AssertionError as e: return f"{e} (moments: {moments})"
    return differences(peace.path, k.path) or leftovers(k.path)


if __name__ == "__main__":
    sys.exit(main())
