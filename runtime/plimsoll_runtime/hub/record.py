"""What a folder says of the download in it: which files are whole, and of which commit."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NAME = ".plimsoll-download.json"


@dataclass(frozen=True)
class Record:
    """`commit` is None until all is here; `digests`, by name, are of files that were verified."""

    commit: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    def serves(self, revision: str | None) -> bool:
        """Whether all is here of the commit that `revision` names in full: it never changes."""
        return self.commit is not None and self.commit == revision


def read(folder: Path) -> Record:
    """An empty one where there is none, or none that can be read: files are then verified anew."""
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return Record(
            found["commit"], {str(key): str(each) for key, each in found["files"].items()}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Record()


def write(folder: Path, record: Record) -> None:
    """Replaces it in one go."""
    text = json.dumps({"commit": record.commit, "files": dict(record.digests)}, sort_keys=True)
    scratch = folder / f"{NAME}.part"
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, folder / NAME)
