"""What the HTTP server needs to know, decided at start."""

from dataclasses import dataclass, field
from pathlib import Path

from plimsoll_runtime.core.admission import AdmissionRules
from plimsoll_runtime.core.pooling import Pooling

DEFAULT_MAX_QUEUE_LEN = 1024


@dataclass(frozen=True)
class ServerSettings:
    """The first of `served_names` is the model's name in answers and metrics; all are accepted.

    `root` is where the model came from, as /v1/models shows it. Without `api_key` and
    `api_key_file` everybody may ask. `shutdown_timeout` is in seconds. `tool_call_parser` names how
    the model writes tool calls; without it that is what the chat template shows. `pooling` is how
    the model's embeddings are made. `admin_trust_file` says whom the admin port lets in; without
    one, everybody who reaches it.
    """

    served_names: tuple[str, ...]
    root: str
    api_key: str | None = None
    shutdown_timeout: float = 30.0
    api_key_file: Path | None = None
    admission: AdmissionRules = field(default_factory=lambda: AdmissionRules(DEFAULT_MAX_QUEUE_LEN))
    tool_call_parser: str | None = None
    pooling: Pooling = Pooling.LAST
    admin_trust_file: Path | None = None

    def __post_init__(self) -> None:
        if not self.served_names or not all(self.served_names):
            raise ValueError("a served model name must not be empty")
        if self.api_key is not None and not self.api_key:
            raise ValueError("the API key must not be empty; leave it out to let everybody ask")

    @property
    def name(self) -> str:
        """The model's name in answers."""
        return self.served_names[0]

    @property
    def needs_key(self) -> bool:
        """Whether clients must send an API key."""
        return self.api_key is not None or self.api_key_file is not None
