"""Prints how each case ended, then a summary; exit status 1 if one went wrong."""

import argparse
import sys

from tests.hostile import campaign


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.hostile")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first_seed", type=int, default=0)
    options = parser.parse_args()
    outcomes = []
    for outcome in campaign.run(options.count, options.first_seed):
        outcomes.append(outcome)
        if outcome.kind == campaign.WRONG:
            print(f"{outcome.name}, seed {outcome.seed}: {outcome.message}\n")
    print(campaign.summary(outcomes))
    return int(any(outcome.kind == campaign.WRONG for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
