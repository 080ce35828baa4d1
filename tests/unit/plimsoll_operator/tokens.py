"""A token of the operator's ServiceAccount, and the keys that an API server publishes."""

import base64
import json
from pathlib import Path

OPERATOR = "system:serviceaccount:plimsoll-system:plimsoll-operator"
ISSUER = "https://kubernetes.default.svc"
KEYS = [{"kty": "RSA", "kid": "b", "n": "x"}, {"kty": "RSA", "kid": "a", "n": "y"}]


def encoded(value: object) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


TOKEN = f"{encoded({'alg': 'RS256'})}.{encoded({'iss': ISSUER, 'sub': OPERATOR})}.c2ln"


def token_file(folder: Path) -> Path:
    """The token as the kubelet projects it."""
    file = folder / "token"
    file.write_text(TOKEN + "\n")
    return file
