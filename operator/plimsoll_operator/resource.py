"""An LLMDeployment as the operator reads it: typed, frozen, and forgiving where it must be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from plimsoll_operator.api import API_VERSION, KIND
from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import LLMDeploymentStatus
from plimsoll_operator.api.validate import InvalidSpecError, parse_spec
from plimsoll_operator.plans.spec_hash import edited

Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True)
class Resource:
    """One LLMDeployment. `spec` is None, and `invalid` says why, if the spec cannot be read.
    `edited` is the hash of what people declare, whatever is made of `spec` on the way.

    The API server refuses such specs; one can still be stored from before a rule existed.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    deleting: bool
    spec: LLMDeploymentSpec | None
    invalid: str
    status: LLMDeploymentStatus
    edited: str = ""

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)

    @property
    def frozen(self) -> bool:
        """Whether a rollout that is under way is to stop where it is."""
        served = self.status.served
        done = served is not None and served.revision == self.status.current_revision
        return self.spec is not None and self.spec.rollout.paused and not done

    def reference(self) -> dict[str, Any]:
        """The ownerReference that children carry; deleting the resource collects them."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def parse_resource(raw: Mapping[str, Any], before: Resource | None = None) -> Resource:
    """The resource in the object that the API server sent; never raises for a bad spec or status.

    What does not parse of a status counts as absent, and is then written anew; the rest stands.
    `before` is another version with the same spec, if there is one, which is then not read again.
    """
    metadata = raw["metadata"]
    spec: LLMDeploymentSpec | None = None
    invalid = hashed = ""
    if before is not None:
        spec, invalid, hashed = before.spec, before.invalid, before.edited
    else:
        try:
            spec = parse_spec(raw.get("spec"))
            hashed = edited(spec)
        except InvalidSpecError as error:
            invalid = "; ".join(map(str, error.problems))
    return Resource(
        namespace=str(metadata["namespace"]),
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        generation=int(metadata.get("generation", 0)),
        deleting="deletionTimestamp" in metadata,
        spec=spec,
        invalid=invalid,
        status=_status(raw.get("status")),
        edited=hashed,
    )


def _status(found: object) -> LLMDeploymentStatus:
    """As far as this version can read it.

    Another version of the operator may have written it, before an upgrade that is taken back or
    while two run at once. The plan in force is in it: without that, pods would be made anew.
    """
    if not isinstance(found, Mapping):
        return LLMDeploymentStatus()
    try:
        return LLMDeploymentStatus.model_validate(found)
    except ValidationError as error:
        broken = {item["loc"][0] for item in error.errors(include_url=False)}
    kept = {name: value for name, value in found.items() if name not in broken}
    return LLMDeploymentStatus.model_validate(kept)


def dump_status(status: LLMDeploymentStatus) -> dict[str, Any]:
    """The status as the API server stores it: absent rather than null or empty."""
    dumped = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {name: value for name, value in dumped.items() if value != []}
