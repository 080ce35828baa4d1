"""Reads the config.json of models, remembering answers and failures."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from plimsoll_operator.api.spec import LLMDeploymentSpec, ModelSource
from plimsoll_operator.plan_service.remembered import Remembered
from plimsoll_operator.planning.model_source import (
    ModelSourceError,
    SourceModel,
    SourceModels,
    parse_config,
    read_model_config,
)
from plimsoll_operator.resource import Resource
from plimsoll_operator.rollouts.failure_backoff import Setbacks

MOVING_SECONDS = 600.0
"""How long the config of a revision that may move is remembered."""
UNREADABLE_BASE_SECONDS = 60.0
UNREADABLE_LIMIT_SECONDS = 600.0
"""How seldom a hub is asked in the end for what it does not have or does not give."""
_CONFIG = "config.json"
_DRAFT_CONFIG = "draft model's config.json"

ConfigMapReader = Callable[[str, str, str], Awaitable[str | None]]
"""From namespace, name and key to the text in a ConfigMap, or None where there is none."""


class ModelReader:
    """From ConfigMaps, the Hub, and what is built in."""

    def __init__(self, read_config_map: ConfigMapReader) -> None:
        self._read_config_map = read_config_map
        self._models: Remembered[tuple[str, str | None, int], SourceModel] = Remembered()
        self._unreadable: Setbacks[str] = Setbacks(
            UNREADABLE_BASE_SECONDS, UNREADABLE_LIMIT_SECONDS
        )

    def forget(self, uid: str) -> None:
        """Drops what was noted of a resource that is gone."""
        self._unreadable.forget(uid)

    async def models_of(self, resource: Resource, spec: LLMDeploymentSpec) -> SourceModels:
        """The models that a spec names. Raises ModelSourceError."""
        target = await self._one(resource, spec.model, _CONFIG)
        draft = spec.speculation.draft_model
        if draft is None:
            return SourceModels(target)
        try:
            return SourceModels(target, await self._one(resource, draft, _DRAFT_CONFIG))
        except ModelSourceError as error:
            raise ModelSourceError(f"draft model: {error}", transient=error.transient) from error

    async def _one(self, resource: Resource, model: ModelSource, subject: str) -> SourceModel:
        if model.config_from is not None:
            reference = model.config_from.config_map_key_ref
            origin = f"ConfigMap {reference.name}, key {reference.key}"
            text = await self._read_config_map(resource.namespace, reference.name, reference.key)
            if text is None:
                raise ModelSourceError(
                    f"{origin}: there is none in namespace {resource.namespace}: "
                    "create it with the model's config.json",
                    transient=True,
                )
            return parse_config(text, origin)
        return await self._published(resource, model, subject)

    async def _published(self, resource: Resource, model: ModelSource, subject: str) -> SourceModel:
        source, revision = model.source, model.revision
        now = monotonic()
        known = self._unreadable.get(resource.uid, subject, resource.generation)
        if known is not None and known.due > now:
            raise ModelSourceError(known.answer)
        age = int(now / MOVING_SECONDS) if model.allow_moving_revision else 0
        try:
            return await self._models.get(
                (source, revision, age),
                lambda: asyncio.to_thread(read_model_config, source, revision),
            )
        except ModelSourceError as error:
            if not error.transient:
                self._unreadable.record(resource.uid, subject, resource.generation, str(error), now)
            raise
