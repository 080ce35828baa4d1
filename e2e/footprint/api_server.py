"""An API server in memory: as much of it as the operator and kopf ask for, over TLS.

No validation, no rights, no defaults but a Service's: it is there for what the operator spends.
"""

import asyncio
import json
import ssl
import time
import uuid
from collections import Counter
from dataclasses import dataclass

from aiohttp import web

from e2e.footprint.controllers import Controllers
from e2e.footprint.objects import Object, Objects, managed, merged
from plimsoll_operator.kube.kinds import BY_NAME, Kind

BOOKMARK_SECONDS = 60.0
_BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in BY_NAME.values()}
_KOPF_KINDS = (
    Kind("Namespace", "", "v1", "namespaces", namespaced=False),
    Kind(
        "CustomResourceDefinition",
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        namespaced=False,
    ),
)
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
_NOT_FOUND = {"kind": "Status", "reason": "NotFound", "code": 404}
_SERVICE = {
    "clusterIP": "10.96.1.1",
    "clusterIPs": ["10.96.1.1"],
    "ipFamilies": ["IPv4"],
    "ipFamilyPolicy": "SingleStack",
    "internalTrafficPolicy": "Cluster",
    "sessionAffinity": "None",
    "type": "ClusterIP",
}


@dataclass(frozen=True)
class Target:
    """What a path names: a kind, within a namespace, one object of it, a part of that."""

    kind: Kind
    namespace: str | None
    name: str | None
    part: str


class ApiServer:
    """Serves `objects`; `calls` counts requests by verb and kind."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.calls: Counter[str] = Counter()
        self._controllers = Controllers(self.objects)
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self, context: ssl.SSLContext) -> int:
        """Listens on loopback; returns the port."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts[0] not in ("api", "apis"):
            return _json({"keys": []} if "jwks" in request.path else {"major": "1", "minor": "36"})
        named = parts[1:] if parts[0] == "apis" else ["", *parts[1:]]
        if len(named) < 3:
            return _json(_discovery(*named))
        target = _target(named)
        if request.method == "GET":
            return await self._read(request, target)
        return await self._write(request, target)

    def _count(self, verb: str, target: Target) -> None:
        self.calls[" ".join(filter(None, (verb, target.kind.name, target.part)))] += 1

    async def _read(self, request: web.Request, target: Target) -> web.StreamResponse:
        if "watch" in request.query:
            self._count("WATCH", target)
            return await self._watch(request, target.kind.name)
        if target.name is None:
            self._count("LIST", target)
            return self._list(request, target)
        self._count("GET", target)
        known = self.objects.get(target.kind.name, (target.namespace or "", target.name))
        return _json(_NOT_FOUND, 404) if known is None else _json(known)

    async def _write(self, request: web.Request, target: Target) -> web.StreamResponse:
        self._count(request.method, target)
        kind, at = target.kind.name, (target.namespace or "", str(target.name))
        body = json.loads(await request.read() or b"{}")
        if request.method == "POST":
            return _json(self._create(target, body), 201)
        known = self.objects.get(kind, at)
        if request.method == "PATCH" and known is None and not target.part:
            return _json(self._apply_new(kind, body, request), 201)
        if known is None:
            return _json(_NOT_FOUND, 404)
        if request.method == "DELETE":
            self.objects.delete(kind, at)
            return _json({"kind": "Status", "status": "Success"})
        return _json(self._patch(target, known, body))

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        since = int(request.query.get("resourceVersion") or 0)
        queue = self.objects.watch(kind, request.query.get("labelSelector", ""), since)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        end = time.monotonic() + float(request.query.get("timeoutSeconds", 60))
        try:
            while (left := end - time.monotonic()) > 0:
                try:
                    line = await asyncio.wait_for(queue.get(), min(left, BOOKMARK_SECONDS))
                except TimeoutError:
                    version = {"resourceVersion": str(self.objects.version)}
                    bookmark = {"type": "BOOKMARK", "object": {"kind": kind, "metadata": version}}
                    line = json.dumps(bookmark).encode() + b"\n"
                await response.write(line)
        except ConnectionResetError:
            pass  # who watched has left
        finally:
            self.objects.unwatch(kind, queue)
        return response

    def _list(self, request: web.Request, target: Target) -> web.Response:
        kind, query = target.kind, request.query
        items = self.objects.selected(kind.name, query.get("labelSelector", ""), target.namespace)
        start, size = int(query.get("continue") or 0), int(query.get("limit") or len(items) or 1)
        metadata = {"resourceVersion": str(self.objects.version)}
        if start + size < len(items):
            metadata["continue"] = str(start + size)
        page = {"metadata": metadata, "items": items[start : start + size]}
        return _json({**kind.type_meta(), "kind": f"{kind.name}List", **page})

    def _create(self, target: Target, body: Object) -> Object:
        metadata = body["metadata"]
        metadata["namespace"] = target.namespace or ""
        if "generateName" in metadata:
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:6]
        return self.objects.create(target.kind.name, body, "plimsoll", "Update")

    def _apply_new(self, kind: str, body: Object, request: web.Request) -> Object:
        if kind == "Service":
            body["spec"] = {**_SERVICE, **body["spec"]}
        made = self.objects.create(kind, body, request.query.get("fieldManager", ""), "Apply")
        self._controllers.created(kind, made)
        return made

    def _patch(self, target: Target, known: Object, body: Object) -> Object:
        if target.part == "status":
            if known.get("status") == body["status"]:
                return known
            entry = managed({"status": body["status"]}, "plimsoll-status", "Apply", "status")
            others = [
                each
                for each in known["metadata"]["managedFields"]
                if each.get("subresource") != "status"
            ]
            metadata = {**known["metadata"], "managedFields": [*others, entry]}
            return self.objects.put(
                target.kind.name, {**known, "metadata": metadata, "status": body["status"]}
            )
        after = merged(known, body)
        return known if after == known else self.objects.put(target.kind.name, after)


def _target(named: list[str]) -> Target:
    group, version, *rest = named
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural, name, part = (*rest, *[None] * 3)[:3]
    return Target(_BY_PATH[group, version, str(plural)], namespace, name, part or "")


def _discovery(group: str = "", version: str = "") -> Object:
    """What kopf asks at its start: the groups, or the kinds of one of them."""
    kinds = [*_BY_PATH.values(), *_KOPF_KINDS]
    if not version:
        pairs = sorted({(kind.group, kind.version) for kind in kinds if kind.group})
        named = [(name, {"groupVersion": f"{name}/{v}", "version": v}) for name, v in pairs]
        groups = [{"name": name, "versions": [v], "preferredVersion": v} for name, v in named]
        return {"kind": "APIGroupList", "apiVersion": "v1", "versions": ["v1"], "groups": groups}
    resources = [
        {"name": kind.plural, "singularName": kind.name.lower(), "kind": kind.name}
        | {"namespaced": kind.namespaced, "verbs": _VERBS}
        for kind in kinds
        if (kind.group, kind.version) == (group, version)
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}


def _json(answer: object, status: int = 200) -> web.Response:
    body = json.dumps(answer, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, content_type="application/json")
