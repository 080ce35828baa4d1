"""Which field was meant by one that there is not."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel


def field_meant(model: type[BaseModel], location: Sequence[str | int]) -> str:
    """The field of `model` that is spelled most like the unknown one at `location`.

    Empty where none is alike. A location is that of a pydantic error: names and positions.
    """
    *parents, name = location
    for part in parents:
        if isinstance(part, int):
            continue
        annotation = _annotations(model).get(part)
        inner = next(_models(annotation), None)
        if inner is None:
            return ""
        model = inner
    return next(iter(get_close_matches(str(name), _annotations(model), n=1)), "")


def _annotations(model: type[BaseModel]) -> dict[str, Any]:
    fields = model.model_fields.items()
    return {field.alias or name: field.annotation for name, field in fields}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Those in an annotation such as `list[Model] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)
