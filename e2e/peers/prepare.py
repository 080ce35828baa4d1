"""`make bench-prepare`: installs, builds and converts all that a comparison needs, and has every
engine answer once, so that none of it happens while others are measured."""

import argparse
import sys
import time

from e2e.peers.answers import answered
from e2e.peers.correctness import agreement
from e2e.peers.engine import Engine, Precision, Size
from e2e.peers.engines import ENGINES
from e2e.peers.environments import say
from e2e.peers.models import MODELS, RandomModel
from e2e.peers.options import common, engines
from e2e.peers.ours import OURS
from e2e.peers.serving import Server, end_on_sigterm, free_port


def answers(engine: Engine, model: RandomModel) -> bool:
    """Whether it starts and answers as it should; 8-bit weights may differ. Tells how it went."""
    begun = time.monotonic()
    try:
        if engine.environment is not None:
            engine.environment.make()
        port = free_port()
        start = engine.start(model, port, Size())
        prepared = time.monotonic() - begun
        with Server(start, port) as server:
            found = answered(server.url, is_ours=engine.name.startswith(OURS))
    except RuntimeError as error:
        say(f"{engine.name}, {model.name}: {error}")
        return False
    held = agreement(model.make(), found)
    say(
        f"{engine.name}, {model.name}: prepared in {prepared:.0f} s, first token after "
        f"{server.ready_seconds:.1f} s, {server.peak_bytes / 2**30:.1f} GiB; of {held.tokens} "
        f"tokens {held.likeliest} are the likeliest, others miss it by {held.short:.2f}"
    )
    return held.holds or engine.precision is not Precision.BF16


def main() -> None:
    """Each engine with each model."""
    parser = argparse.ArgumentParser(prog="python -m e2e.peers.prepare", description=__doc__)
    common(parser, ",".join(ENGINES))
    options = parser.parse_args()
    end_on_sigterm()
    models = [MODELS[name] for name in options.models.split(",")]
    wanted = engines(options.peers).values()
    found = [answers(engine, model) for model in models for engine in wanted]
    sys.exit(not all(found))


if __name__ == "__main__":
    main()
