"""The operator's own token for engines: a projected one, which the kubelet renews."""

import base64
import binascii
import json
import logging
from pathlib import Path

from plimsoll_operator.render.admin_trust import Identity

logger = logging.getLogger(__name__)

FILE = Path("/var/run/secrets/plimsoll.dev/engine/token")


class EngineToken:
    """Read at every use. Without the file, as outside of a cluster, there is none."""

    def __init__(self, file: Path = FILE) -> None:
        self._file = file

    def read(self) -> str | None:
        """The token, or None."""
        try:
            return self._file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            logger.debug("no token for engines: %s", error)
            return None

    def identity(self) -> Identity | None:
        """Whom engines must let in: the one whom the token is for; None without a token."""
        token = self.read()
        return None if token is None else identity_of(token)


def bearer(token: str | None) -> dict[str, str]:
    """The header that shows a token, if there is one."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def identity_of(token: str) -> Identity | None:
    """What a token says of itself, unverified: it is our own. None where it is no such token."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return Identity(issuer=str(claims["iss"]), subject=str(claims["sub"]))
    except (ValueError, TypeError, KeyError, binascii.Error):
        return None
