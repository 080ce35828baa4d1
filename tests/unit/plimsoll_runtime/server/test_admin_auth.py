"""The admin port with a trust file: who is let in, who is not, and keys that are replaced."""

import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.engines.engine_token import identity_of
from plimsoll_operator.render.admin_trust import AUDIENCE, FILE, Identity, admin_trust
from plimsoll_runtime.server.admin import create_admin_app
from plimsoll_runtime.server.admin_auth import AdminAuthentication, Trust, read_trust, verify
from plimsoll_runtime.server.errors import APIError

ISSUER = "https://kubernetes.default.svc"
OPERATOR = "system:serviceaccount:plimsoll-system:plimsoll-operator"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def public(key: Any, kid: str, algorithm: str = "RS256") -> dict[str, Any]:
    """As the API server publishes it at /openid/v1/jwks."""
    signer = jwt.get_algorithm_by_name(algorithm)
    jwk = json.loads(signer.to_jwk(key.public_key()))  # type: ignore[attr-defined]
    jwk.pop("key_ops", None)
    return {**jwk, "use": "sig", "kid": kid, "alg": algorithm}


def token(key: Any = RSA_KEY, kid: str = "one", algorithm: str = "RS256", **claims: Any) -> str:
    """As the kubelet projects it; a claim of None is left out."""
    now = int(time.time())
    full = {
        "iss": ISSUER,
        "aud": [AUDIENCE],
        "sub": OPERATOR,
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "kubernetes.io": {"namespace": "plimsoll-system"},
        **claims,
    }
    kept = {name: value for name, value in full.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid})


def published(*keys: dict[str, Any]) -> str:
    """What the operator writes into the ConfigMap."""
    identity = identity_of(token())
    assert identity == Identity(ISSUER, OPERATOR)
    return str(admin_trust("ml", identity, keys)["data"][FILE])


TRUSTED = published(public(RSA_KEY, "one"), public(EC_KEY, "two", "ES256"))


def trust() -> Trust:
    return Trust.model_validate_json(TRUSTED)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / FILE
    file.write_text(TRUSTED)
    return file


@pytest.fixture
async def admin(app: FastAPI, file: Path) -> AsyncIterator[httpx.AsyncClient]:
    context = app.state.context
    context.settings = replace(context.settings, admin_trust_file=file)
    transport = httpx.ASGITransport(create_admin_app(context), client=("10.0.0.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        yield client


def write(file: Path, content: str | None) -> None:
    """As the kubelet does when the ConfigMap changes or goes."""
    if content is None:
        file.unlink()
    else:
        file.write_text(content)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_the_operator_changes_limits_and_loopback_needs_no_token(
    admin: httpx.AsyncClient, app: FastAPI
) -> None:
    few = {"max_num_seqs": 2}
    answer = await admin.put("/admin/limits", json=few, headers=bearer(token()))
    assert (answer.status_code, answer.json()["max_num_seqs"]) == (200, 2)
    transport = httpx.ASGITransport(create_admin_app(app.state.context), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as inside:
        answer = await inside.put("/admin/limits", json={"max_num_seqs": 3})
    assert (answer.status_code, answer.json()["max_num_seqs"]) == (200, 3)


@pytest.mark.parametrize("path", ["/admin/limits", "/admin/steps"])
async def test_the_operator_is_let_in(admin: httpx.AsyncClient, path: str) -> None:
    assert (await admin.get(path, headers=bearer(token()))).status_code == 200
    es256 = token(EC_KEY, "two", "ES256")
    assert (await admin.get(path, headers=bearer(es256))).status_code == 200


async def test_nobody_else_is(admin: httpx.AsyncClient) -> None:
    change = {"max_num_seqs": 1}
    for headers, status in (
        ({}, 401),
        ({"Authorization": f"Basic {token()}"}, 401),
        (bearer(token(sub="system:serviceaccount:ml:chat")), 403),
    ):
        answer = await admin.put("/admin/limits", json=change, headers=headers)
        assert answer.status_code == status
    before = (await admin.get("/admin/limits", headers=bearer(token()))).json()
    assert before["max_num_seqs"] == before["most"]["max_num_seqs"] > 1
    answer = await admin.get("/admin/nothing")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


NOW = int(time.time())


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (lambda: token(aud=["https://kubernetes.default.svc"]), "[Aa]udience"),
        (lambda: token(aud=None), "aud"),
        (lambda: token(iss="https://elsewhere"), "[Ii]ssuer"),
        (lambda: token(iss=None), "iss"),
        (lambda: token(exp=NOW - 60), "expired"),
        (lambda: token(exp=None), "exp"),
        (lambda: token(sub=None), "sub"),
        (lambda: token(nbf=int(time.time()) + 600), "not yet valid"),
        (lambda: token(OTHER_KEY), "[Ss]ignature"),
        (lambda: token(OTHER_KEY, kid="three"), "has not published"),
        (lambda: token(EC_KEY, "one", "ES256"), "[Aa]lg|[Kk]ey"),
        (lambda: jwt.encode({"sub": OPERATOR}, "", algorithm="none"), "has not published"),
        (lambda: "", "[Ss]egments"),
        (lambda: "a.b.c", "[Ii]nvalid"),
    ],
)
def test_a_token_that_is_not_trusted(bad: Any, why: str) -> None:
    with pytest.raises(APIError, match=why) as error:
        verify(bad(), trust())
    assert error.value.status == 401


def test_a_public_key_is_no_shared_secret() -> None:
    """The classic: HMAC with the public key as its secret, or no algorithm at all."""
    head, body, _ = token().split(".")

    def with_header(**header: str) -> str:
        raw = json.dumps({"kid": "one", **header}).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    for forged in (
        f"{with_header(alg='none')}.{body}.",
        f"{with_header(alg='HS256')}.{body}.{'A' * 43}",
        f"{head}.{body}.{'A' * 342}",
    ):
        with pytest.raises(APIError):
            verify(forged, trust())
    symmetric = {"kty": "oct", "k": "c2VjcmV0", "kid": "oct", "alg": "HS256"}
    believing = trust().model_copy(update={"keys": [symmetric]})
    claims = jwt.decode(token(), options={"verify_signature": False})
    hashed = jwt.encode(claims, b"secret" * 8, algorithm="HS256", headers={"kid": "oct"})
    with pytest.raises(APIError):
        verify(hashed, believing)


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_refused_and_nothing_worse(text: str) -> None:
    for each in (text, f"{token().rpartition('.')[0]}.{text}", f"{text}.{text}.{text}"):
        with pytest.raises(APIError) as error:
            verify(each, trust())
        assert error.value.status == 401


async def test_keys_are_replaced_without_a_restart(admin: httpx.AsyncClient, file: Path) -> None:
    old, new = bearer(token()), bearer(token(OTHER_KEY, "three"))
    assert (await admin.get("/admin/limits", headers=new)).status_code == 401
    write(file, published(public(RSA_KEY, "one"), public(OTHER_KEY, "three")))
    for headers in (old, new):
        assert (await admin.get("/admin/limits", headers=headers)).status_code == 200
    write(file, published(public(OTHER_KEY, "three")))
    assert (await admin.get("/admin/limits", headers=old)).status_code == 401
    assert (await admin.get("/admin/limits", headers=new)).status_code == 200


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", published(), TRUSTED.replace(OPERATOR, ""), " " * 2**18 + TRUSTED, None],
)
async def test_without_a_usable_file_nobody_is_let_in(
    admin: httpx.AsyncClient, file: Path, content: str | None
) -> None:
    write(file, content)
    answer = await admin.get("/admin/limits", headers=bearer(token()))
    assert answer.status_code == 401
    assert "ml" not in answer.json()["error"]["message"]


def test_what_is_wrong_with_a_file_quotes_nothing_of_it(file: Path) -> None:
    file.write_text(json.dumps({"issuer": "secret", "keys": "secret"}))
    with pytest.raises(ValueError, match=r"see audience, subject, keys|see keys") as error:
        read_trust(file)
    assert "secret" not in str(error.value)


async def test_other_protocols_pass() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await AdminAuthentication(app, Path("none"))({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
