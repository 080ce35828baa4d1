"""Who may use the admin port: the holder of a token that a trusted issuer has signed.

A file names the issuer, the audience, the one subject and the public keys, so that a token is
verified here, without asking anybody. In a cluster that is a mounted ConfigMap with the cluster's
keys for ServiceAccount tokens, and the subject is the operator.
"""

import logging
from pathlib import Path

import jwt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from plimsoll_runtime.server.admin import TRUSTED
from plimsoll_runtime.server.errors import APIError
from plimsoll_runtime.server.middleware import bearer_key
from plimsoll_runtime.server.origin import over_loopback

logger = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "ES256", "ES384", "ES512")
"""With a public key only, and the ones that Kubernetes signs by."""
LEEWAY_SECONDS = 10.0
MAX_FILE_BYTES = 2**18
REQUIRED = ("exp", "iss", "aud", "sub")


class Trust(BaseModel):
    """The file's content as JSON; `keys` are JSON Web Keys."""

    model_config = ConfigDict(strict=True, frozen=True)

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    keys: list[dict[str, object]]


class AdminAuthentication:
    """Denies every path without a token that the file makes trusted, except over loopback.

    Who is in the pod, or may forward its ports, could do more than this. The file is read at every
    request: there are few, and keys are rotated while pods run. Without a readable one nobody else
    is let in.
    """

    def __init__(self, app: ASGIApp, trust_file: Path) -> None:
        self.app = app
        self._file = trust_file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and not over_loopback(scope):
            try:
                self._check(Headers(scope=scope))
            except APIError as error:
                await error.response()(scope, receive, send)
                return
            scope[TRUSTED] = True
        await self.app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        token = bearer_key(headers)
        if token is None:
            raise _denied("send the header Authorization: Bearer TOKEN")
        try:
            trust = read_trust(self._file)
        except (OSError, ValueError) as error:
            logger.error("nobody is let into the admin port: %s: %s", self._file, error)  # noqa: TRY400
            raise _denied("this engine knows nobody whom it trusts; its log says why") from error
        verify(token.decode("latin-1"), trust)


def read_trust(file: Path) -> Trust:
    """Whom to trust. Raises OSError and ValueError, which quote nothing of the file."""
    with file.open("rb") as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
    try:
        return Trust.model_validate_json(data)
    except ValidationError as error:
        where = ", ".join(".".join(map(str, each["loc"])) or "." for each in error.errors())
        raise ValueError(f"not issuer, audience, subject and keys as JSON: see {where}") from error


def verify(token: str, trust: Trust) -> None:
    """Raises APIError: 401 unless `token` is trusted, 403 where it is somebody else's."""
    try:
        key = _key(jwt.get_unverified_header(token).get("kid"), trust)
        claims = jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=trust.audience,
            issuer=trust.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": list(REQUIRED)},
        )
    except jwt.PyJWTError as error:
        raise _denied(f"the token is not valid here: {error}") from error
    if claims["sub"] != trust.subject:
        raise APIError(403, f"the admin port is open to {trust.subject} only")


def _key(kid: object, trust: Trust) -> jwt.PyJWK:
    for each in trust.keys:
        if kid is not None and each.get("kid") == kid:
            return jwt.PyJWK(dict(each))
    raise jwt.InvalidTokenError("signed by a key that the issuer has not published")


def _denied(message: str) -> APIError:
    return APIError(
        401, f"not let in: {message}", code="invalid_token", headers={"WWW-Authenticate": "Bearer"}
    )
