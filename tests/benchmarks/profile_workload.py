"""cProfile of one workload: ``python tests/benchmarks/profile_workload.py w2 [--sort cumulative] [--lines 40]``.

The profiler makes small functions look dearer than they are: it finds where calls go, `run.py` tells what they cost.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile

import run
import trio


def main():
    """Profile the first workload of a name, once warm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="w1 to w10, idle")
    parser.add_argument("--sort", default="tottime")
    parser.add_argument("--lines", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        case = next(each for each in run.cases(folder) if each.name == given.name)
        work = case.ours()
        trio.run(work)
        profile = cProfile.Profile()
        profile.runcall(trio.run, work)
    pstats.Stats(profile).sort_stats(given.sort).print_stats(given.lines)


if __name__ == "__main__":
    main()
