"""A recorded trace as the record of a plan keeps it: JSON lines, packed, so that a revision stays
small; of a large one only the hash."""

import base64
import binascii
import gzip
import io
import zlib
from collections.abc import Mapping
from typing import Any

from plimsoll_operator.traces.trace_file import TraceError, parse_trace, trace_lines
from plimsoll_planner.simulation.recorded_trace import RecordedTrace

MAX_PACKED_BYTES = 1 << 17
_MOST_UNPACKED = 1 << 24


def pack_trace(trace: RecordedTrace) -> dict[str, Any]:
    """`hash` and, unless they are too large, the requests."""
    text = "\n".join(trace_lines(trace.arrivals))
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    kept = {"requests": packed} if len(packed) <= MAX_PACKED_BYTES else {}
    return {"hash": trace.digest, **kept}


def unpack_trace(kept: Mapping[str, Any]) -> RecordedTrace:
    """What `pack_trace` packed. Raises ValueError, which says why it cannot be read."""
    packed = kept.get("requests")
    if packed is None:
        raise ValueError(
            f"the trace {kept.get('hash')} is larger than {MAX_PACKED_BYTES} bytes and was not kept"
        )
    try:
        with gzip.GzipFile(
            fileobj=io.BytesIO(base64.b64decode(str(packed), validate=True))
        ) as file:
            text = file.read(_MOST_UNPACKED).decode()
        found = RecordedTrace.of(parse_trace(io.StringIO(text), "trace").requests)
    except (OSError, EOFError, zlib.error, binascii.Error, UnicodeDecodeError, TraceError) as error:
        raise ValueError(f"the trace that was kept cannot be read: {error}") from error
    if found.digest != kept.get("hash"):
        raise ValueError(f"the trace that was kept is {found.digest}, not {kept.get('hash')}")
    return found
