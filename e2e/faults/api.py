"""The API server as the tests use it: what a person or another controller would do there."""

import json
from typing import Any

import aiohttp

from plimsoll_operator.kube.kinds import BY_NAME, Kind

Object = dict[str, Any]
NAMESPACE = Kind("Namespace", "", "v1", "namespaces", namespaced=False)
QUOTA = Kind("ResourceQuota", "", "v1", "resourcequotas")
_KINDS = {**BY_NAME, "Namespace": NAMESPACE, "ResourceQuota": QUOTA}


class RefusedError(Exception):
    """The API server's answer was `status`, with a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """A client by way of a `kubectl proxy` at `url`. All methods raise RefusedError."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return await self._ask("GET", _KINDS[kind].path(namespace, name))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, kind: str, namespace: str | None = None) -> list[Object]:
        answer = await self._ask("GET", _KINDS[kind].path(namespace))
        return list(answer["items"])

    async def create(self, body: Object, namespace: str = "") -> Object:
        return await self._ask("POST", _KINDS[body["kind"]].path(namespace), body)

    async def merge(
        self, kind: str, namespace: str, name: str, patch: Object, subresource: str = ""
    ) -> Object:
        """A merge patch, as of `kubectl patch --type=merge`."""
        path = _KINDS[kind].path(namespace, name) + subresource
        return await self._ask("PATCH", path, patch, "application/merge-patch+json")

    async def replace_spec(self, kind: str, namespace: str, name: str, spec: Object) -> Object:
        """Puts `spec` in the place of all that was there, as `kubectl replace` does."""
        patch = [{"op": "replace", "path": "/spec", "value": spec}]
        path = _KINDS[kind].path(namespace, name)
        return await self._ask("PATCH", path, patch, "application/json-patch+json")

    async def apply(self, body: Object, namespace: str = "", subresource: str = "") -> Object:
        """A server-side apply, which takes what others own."""
        path = _KINDS[body["kind"]].path(namespace, body["metadata"]["name"]) + subresource
        query = "?fieldManager=e2e&force=true"
        return await self._ask("PATCH", path + query, body, "application/apply-patch+yaml")

    async def delete(
        self, kind: str, namespace: str, name: str, policy: str = "Background"
    ) -> None:
        """Deletes; `policy` says what becomes of dependents. One that is gone is no error."""
        try:
            path = _KINDS[kind].path(namespace, name)
            await self._ask("DELETE", path, {"propagationPolicy": policy})
        except RefusedError as error:
            if error.status != 404:
                raise

    async def _ask(
        self, method: str, path: str, body: object = None, form: str = "application/json"
    ) -> Object:
        data = None if body is None else json.dumps(body)
        async with self._session.request(
            method,
            self._url + path,
            data=data,
            headers={"Content-Type": form} if data else {},
            timeout=aiohttp.ClientTimeout(total=120),
        ) as answer:
            found: Object = await answer.json(content_type=None)
            if answer.status >= 400:
                raise RefusedError(answer.status, str(found.get("message")))
            return found
