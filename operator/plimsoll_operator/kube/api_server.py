"""The API server: the only module that speaks to it for us, besides the watches of kopf.

Objects go in and out as plain dictionaries. Every call has a timeout and is tried once: whoever
called tries again later, from the queue.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from plimsoll_operator.kube.connection import (
    Connection,
    UnreachableError,
    connect,
    default_namespace,
)
from plimsoll_operator.kube.kinds import BY_NAME as KINDS
from plimsoll_operator.kube.kinds import Kind

FIELD_MANAGER = "plimsoll"
PERSON_MANAGER = "kubectl-plimsoll"
STATUS_MANAGER = "plimsoll-status"
PAGE = 500
TOKEN_KEYS_PATH = "/openid/v1/jwks"  # noqa: S105 - a path
APPLY_PATCH, MERGE_PATCH = "application/apply-patch+yaml", "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_TRANSIENT = frozenset({408, 409, 410, 429, 500, 502, 503, 504})

Object = dict[str, Any]


class ClusterError(Exception):
    """The API server refused or did not answer. `status` is the HTTP status, 0 without one."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else message)
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later without anyone changing anything."""
        return self.status == 0 or self.status in _TRANSIENT


class Cluster:
    """A client of the API server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def connect(cls, connections: int, context: str | None = None) -> "Cluster":
        """As the pod's ServiceAccount inside a cluster, else as the kubeconfig says in `context`.

        Raises ClusterError where there is neither.
        """
        try:
            return cls(connect(connections, context))
        except UnreachableError as error:
            raise ClusterError(0, "", str(error)) from error

    @staticmethod
    def default_namespace(context: str | None = None) -> str:
        """The namespace of that context of the kubeconfig, or of the current one; `default` where
        it names none."""
        return default_namespace(context)

    async def close(self) -> None:
        """Drops connections; calls in flight end with an error."""
        await self._connection.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object, or None where there is none. Raises ClusterError."""
        try:
            return await self._call("GET", kind.path(namespace, quote(name, safe="")))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def version(self, kind: Kind, namespace: str, name: str) -> str | None:
        """The resource version of an object, without its content; None where there is none.

        Raises ClusterError.
        """
        path = kind.path(namespace, quote(name, safe=""))
        try:
            found = await self._call("GET", path, media=METADATA_ONLY)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise
        return str(found["metadata"]["resourceVersion"])

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        kept: Callable[[Object], Object] = dict,
    ) -> tuple[list[Object], str]:
        """All objects of a kind that its selector selects, and the list's resource version.

        `kept` is applied to each object as its page comes, so that what it drops of many objects
        never lies in memory at once. Raises ClusterError.
        """
        items: list[Object] = []
        proceed = ""
        while True:
            query = {"limit": str(PAGE)}
            if kind.fields:  # else etcd would be searched for them
                query = {"fieldSelector": kind.fields, "resourceVersion": "0"}
            if kind.selector:
                query["labelSelector"] = kind.selector
            if proceed:
                query["continue"] = proceed
            page = await self._call("GET", kind.path(namespace), query)
            # Items of a list lack what the list says once for all of them.
            items.extend(kept({**kind.type_meta(), **item}) for item in page.get("items") or ())
            metadata = page.get("metadata") or {}
            proceed = metadata.get("continue") or ""
            if not proceed:
                return items, str(metadata.get("resourceVersion", ""))

    async def apply(self, child: Mapping[str, Any]) -> Object:
        """Server-side apply; fields that others own and we want are taken. Raises ClusterError."""
        metadata = child["metadata"]
        path = KINDS[child["kind"]].path(metadata["namespace"], metadata["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._call("PATCH", path, query, child)

    async def apply_status(self, kind: Kind, raw: Mapping[str, Any], status: Object) -> Object:
        """Writes the whole status of `raw`, if the object still is the same one."""
        metadata = raw["metadata"]
        body = {
            **kind.type_meta(),
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "status": status,
        }
        path = kind.path(metadata.get("namespace"), metadata["name"]) + "/status"
        query = {"fieldManager": STATUS_MANAGER, "force": "true"}
        return await self._call("PATCH", path, query, body)

    async def scale(self, kind: Kind, raw: Mapping[str, Any], replicas: int) -> None:
        """Asks for replicas through /scale, if `raw` has not changed. Raises ClusterError."""
        metadata = raw["metadata"]
        kept = ("name", "namespace", "uid", "resourceVersion")
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {key: metadata[key] for key in kept},
            "spec": {"replicas": replicas},
        }
        path = kind.path(metadata["namespace"], metadata["name"]) + "/scale"
        await self._call("PUT", path, {"fieldManager": FIELD_MANAGER}, body)

    async def renumber(  # noqa: PLR0913 - the last by name
        self,
        kind: Kind,
        namespace: str,
        name: str,
        uid: str,
        number: int,
        *,
        owner: Mapping[str, Any] | None = None,
    ) -> Object:
        """Gives a revision another number, and an owner that has none, if the object still is the
        same one."""
        owners = {} if owner is None else {"ownerReferences": [owner]}
        body = {"metadata": {"uid": uid, **owners}, "revision": number}
        path, query = kind.path(namespace, name), {"fieldManager": FIELD_MANAGER}
        return await self._call("PATCH", path, query, body, MERGE_PATCH)

    async def edit(
        self, kind: Kind, raw: Mapping[str, Any], patch: Object, *, dry_run: bool = False
    ) -> Object:
        """A person's change of `raw` by a JSON merge patch, if it still is the same version.

        Raises ClusterError, with status 409 where it is not.
        """
        metadata = raw["metadata"]
        same = {key: metadata[key] for key in ("uid", "resourceVersion")}
        query = {"fieldManager": PERSON_MANAGER, **({"dryRun": "All"} if dry_run else {})}
        path = kind.path(metadata["namespace"], metadata["name"])
        return await self._call("PATCH", path, query, {**patch, "metadata": same}, MERGE_PATCH)

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Creates an object. Raises ClusterError."""
        return await self._call("POST", kind.path(namespace), {"fieldManager": FIELD_MANAGER}, body)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Deletes the object if it still has this uid; one that is gone is no error."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._call("DELETE", kind.path(namespace, name), {}, body)
        except ClusterError as error:
            if error.status != 404:
                raise

    async def token_keys(self) -> tuple[Object, ...]:
        """Public keys of ServiceAccount tokens, as JSON Web Keys. Raises ClusterError."""
        # Served as its own media type and no other.
        found = await self._call("GET", TOKEN_KEYS_PATH, media="application/jwk-set+json")
        return tuple(found.get("keys") or ())

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        media: str = "",
    ) -> Object:
        """`media` is the type of a patch, or of what a GET is to be answered with."""
        headers = {"Accept": media if method == "GET" and media else "application/json"}
        if body is not None:
            patch = (media or APPLY_PATCH) if method == "PATCH" else ""
            headers["Content-Type"] = patch or "application/json"
        sent = None if body is None else json.dumps(body).encode()
        try:
            status, answer = await self._connection.ask(
                method, path + (f"?{urlencode(query)}" if query else ""), headers, sent
            )
        except UnreachableError as error:
            raise ClusterError(0, "", f"{method} {path}: {error}") from error
        if not 200 <= status < 300:
            raise _error(status, answer)
        return dict(json.loads(answer or b"{}"))


def _error(status: int, body: bytes) -> ClusterError:
    try:
        answer = json.loads(body or "{}")
        return ClusterError(status, str(answer.get("reason", "")), str(answer.get("message", "")))
    except (ValueError, AttributeError):
        return ClusterError(status, "", str(body)[:200])
