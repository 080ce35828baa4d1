"""Models that ship inside the distribution, addressed as ``builtin://NAME``.

A builtin model is a folder next to this file that holds ``config.json``. The
scripts that make one live in :mod:`plimsoll_runtime.builtin.train`; nothing
that serves imports them.
"""

from pathlib import Path

SCHEME = "builtin://"

_ROOT = Path(__file__).resolve().parent


def names() -> list[str]:
    """Return the names of the builtin models, sorted."""
    return sorted(config.parent.name for config in _ROOT.glob("*/config.json"))


def path(name: str) -> Path:
    """Return the folder of the builtin model `name`.

    `name` is the part after ``builtin://``, for example ``tiny``. The folder is
    read-only by contract: it is part of the installed distribution.

    Raises:
        ValueError: no builtin model has that name; the message lists those that exist.
    """
    known = names()
    if name not in known:
        listed = ", ".join(SCHEME + each for each in known) or "none (the installation is broken)"
        raise ValueError(f"no builtin model is named {name!r}; these exist: {listed}")
    return _ROOT / name
