"""Log lines of one JSON object each, so that they can be searched by resource."""

import json
import logging
import sys
from datetime import UTC, datetime

FIELDS = ("resource", "child", "because", "reason", "delay", "error", "seconds")


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `message`, and what was given as `extra` of the known fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({name: getattr(record, name) for name in FIELDS if hasattr(record, name)})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str) -> None:
    """Sends all logs to standard error as JSON; libraries speak only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library in ("kopf", "httpx", "httpcore", "urllib3", "kubernetes", "aiohttp"):
        logging.getLogger(library).setLevel(logging.WARNING)
