"""Messages of other programs in short, for conditions."""

import re

LIMIT = 300
_CHANGING = re.compile(
    # Identifiers, times and source ports: new whenever the same thing is said again.
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"
    r"|(?<=:)\d+(?=->)",
    re.IGNORECASE,
)


def excerpt(message: str, limit: int = LIMIT) -> str:
    """`message` on one line of at most `limit` characters.

    What differs from one time to the next, such as a request's identifier, is left out: a status
    that quoted it would be written anew at every attempt.
    """
    line = " ".join(_CHANGING.sub("…", message).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
