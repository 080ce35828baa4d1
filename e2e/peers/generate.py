"""transformers' `generate`, which takes one request at a time."""

from e2e.peers.engine import THREADS, Engine, Precision, Size, Start
from e2e.peers.environments import Environment
from e2e.peers.models import RandomModel

VERSION = "5.23.0"
_HOME = Environment(
    "transformers", VERSION, (f"transformers=={VERSION}", "torch==2.15.0", "numpy==2.4.6")
)


def engines() -> list[Engine]:
    """In bf16."""
    return [Engine("transformers", VERSION, _start, Precision.BF16, _HOME, ("W1", "W2"))]


def _start(model: RandomModel, port: int, _: Size) -> Start:
    module = "e2e.peers.transformers_server"
    return Start(
        (_HOME.python, "-m", module, str(model.make()), str(port), str(THREADS)),
        note="`generate`, one request after the other",
    )
