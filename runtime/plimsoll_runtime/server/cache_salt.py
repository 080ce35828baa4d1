"""Whose prompts share the KV cache."""

from hashlib import sha256

from starlette.datastructures import Headers

from plimsoll_runtime.server.middleware import bearer_key


def cache_salt(headers: Headers, wanted: str | None) -> str:
    """A salt for each pair of an API key and the `cache_salt` that a client asked for.

    How fast an answer begins shows whether its prompt was cached, so tenants with different keys
    must not share prefixes; with `cache_salt` one key's users can be told apart too. The key is
    taken as sent, also where none is needed: a gateway may have checked it. Hashed, so that
    neither secret goes further than here. Without both the salt is empty.
    """
    key = bearer_key(headers) or b""
    if not key and wanted is None:
        return ""
    # The key's digest has a fixed length, so no two pairs give the same bytes.
    return sha256(sha256(key).digest() + (wanted or "").encode()).hexdigest()
