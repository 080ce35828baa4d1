"""`python -m e2e.soak`: load for a long time, and a verdict. See `--help`."""

import argparse
import signal
import sys

from e2e.soak import drain, fairness, leaving, mixed, openapi

SCENARIOS = ("fairness", "leaving", "drain", "mixed", "openapi")


def main(argv: list[str]) -> int:
    """Exit code 0 when every scenario passed."""
    parser = argparse.ArgumentParser(prog="python -m e2e.soak", description=__doc__)
    add = parser.add_argument
    add("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; all without")
    add("--minutes", type=float, default=30.0, help="of mixed load (%(default)g)")
    add("--clients", type=int, default=500, help="that leave, a round (%(default)s)")
    add("--rounds", type=int, default=5, help="of SIGTERM (%(default)s)")
    add("--requests", type=int, default=20_000, help="from the OpenAPI (%(default)s)")
    add("--seed", type=int, default=1, help="of what is asked (%(default)s)")
    given = parser.parse_args(argv)
    if unknown := set(given.scenarios) - {*SCENARIOS}:
        parser.error(f"no scenario {', '.join(unknown)}: there are {', '.join(SCENARIOS)}")
    runs = {
        "fairness": lambda: fairness.run(given.seed),
        "leaving": lambda: leaving.run(given.seed, given.clients),
        "drain": lambda: drain.run(given.seed, given.rounds),
        "mixed": lambda: mixed.run(given.seed, given.minutes),
        "openapi": lambda: openapi.run(given.seed, given.requests),
    }
    # Not at once: the servers are processes of their own and must end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    reports = []
    for name in given.scenarios or SCENARIOS:
        print(f"{name}:", flush=True)
        reports.append(runs[name]())
    for report in reports:
        print(report.verdict())
    return int(any(report.wrong for report in reports))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
