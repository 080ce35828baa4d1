"""Hashes of what a spec declares."""

import hashlib
import json
from collections.abc import Set

from plimsoll_operator.api.spec import LLMDeploymentSpec


def spec_hash(spec: LLMDeploymentSpec, without: Set[str]) -> str:
    """Hash of the parts of a spec that are not named.

    Without defaults, so that a field that a later version adds leaves it as it is.
    """
    parts = spec.model_dump(mode="json", exclude=set(without), exclude_defaults=True)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def edited(spec: LLMDeploymentSpec) -> str:
    """Hash of what people edit: all but `replicas`, which an autoscaler outside writes."""
    return spec_hash(spec, {"replicas"})
