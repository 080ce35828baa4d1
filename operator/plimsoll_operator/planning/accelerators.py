"""From Accelerator resources to what the planner knows of accelerators."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from plimsoll_operator.api.accelerator import AcceleratorSpec, Compute, Link, LinkKind
from plimsoll_operator.api.quantity import parse_bytes, parse_quantity
from plimsoll_operator.api.validate import InvalidSpecError, parse_accelerator
from plimsoll_operator.calibration.figures import calibrated
from plimsoll_operator.engines.engine_support import ENGINE
from plimsoll_operator.extended_resources import AMD_GPU, GAUDI, GPU
from plimsoll_planner import accelerator as known
from plimsoll_planner.accelerator import Accelerator, Peaks, Sources, Vendor
from plimsoll_planner.accelerators import find, normalized

FORMATS = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4")
_KINDS = {
    LinkKind.NVLINK: known.LinkKind.NVLINK,
    LinkKind.INFINITY_FABRIC: known.LinkKind.XGMI,
    LinkKind.ROCE: known.LinkKind.ROCE,
    LinkKind.PCIE: known.LinkKind.PCIE,
}


@dataclass(frozen=True)
class Verdict:
    """What becomes of one resource. `accelerator` is what plans use, None where it is not used.

    `product` is the product of the catalogue that it changes, if any.
    """

    name: str
    reason: str
    message: str
    accelerator: Accelerator | None = None
    product: str | None = None


def verdicts(objects: Iterable[Mapping[str, Any]]) -> tuple[Verdict, ...]:
    """One for each Accelerator object. Where two are of one product, the older is used."""
    found: list[Verdict] = []
    taken: dict[str, str] = {}
    for item in sorted(objects, key=_age):
        verdict = judge(str(item["metadata"]["name"]), item.get("spec"))
        if verdict.accelerator is not None:
            names = _names(verdict.accelerator)
            holder = next((taken[name] for name in sorted(names) if name in taken), None)
            if holder is not None:
                verdict = Verdict(
                    verdict.name,
                    "Conflict",
                    f"{verdict.accelerator.name}: the Accelerator {holder} is of the same product "
                    "and older: delete one, or put what they say into one",
                )
            else:
                taken.update(dict.fromkeys(names, verdict.name))
        found.append(verdict)
    return tuple(found)


def overrides(found: Iterable[Verdict]) -> tuple[Accelerator, ...]:
    """What goes before the catalogue, in the order of names."""
    used = [verdict.accelerator for verdict in found if verdict.accelerator is not None]
    return tuple(sorted(used, key=lambda item: item.name))


def judge(name: str, raw: object) -> Verdict:
    """What becomes of an Accelerator with that spec, if it is alone."""
    try:
        spec = parse_accelerator(raw)
    except InvalidSpecError as error:
        return Verdict(name, "InvalidSpec", "; ".join(map(str, error.problems)))
    bases = {base.name: base for product in spec.products if (base := find(product)) is not None}
    if len(bases) > 1:
        return Verdict(
            name,
            "Ambiguous",
            f"spec.products names different products, {' and '.join(sorted(bases))}: make an "
            "Accelerator for each",
        )
    for base in bases.values():
        changed = _changed(base, spec)
        return Verdict(
            name, "Overrides", f"plans use it for {base.name}", changed, product=base.name
        )
    lacking = [
        field
        for field, value in (
            ("memory", spec.memory),
            ("bandwidth", spec.bandwidth),
            ("compute.fp32", spec.compute and spec.compute.fp32),
        )
        if value is None
    ]
    if lacking:
        return Verdict(
            name,
            "Incomplete",
            f"{spec.products[0]} is not in the catalogue, so spec.{' and spec.'.join(lacking)} "
            "must be given",
        )
    described = _changed(_blank(spec), spec)
    return Verdict(name, "Describes", f"plans use it for {spec.products[0]}", described)


def _changed(base: Accelerator, spec: AcceleratorSpec) -> Accelerator:
    own = [name for name in spec.products if normalized(name) != normalized(base.name)]
    resource = spec.resource_name or base.resource
    changed = replace(
        base,
        vendor=base.vendor if resource == base.resource else _vendor(resource),
        memory_bytes=base.memory_bytes if spec.memory is None else parse_bytes(spec.memory),
        bandwidth=base.bandwidth if spec.bandwidth is None else _number(spec.bandwidth),
        peaks=base.peaks if spec.compute is None else _peaks(base.peaks, spec.compute),
        link=base.link if spec.link is None else _link(spec.link),
        resource=resource,
        aliases=tuple(dict.fromkeys((*base.aliases, *own))),
        price_per_hour=_price(spec.price_per_hour),
        spot_price_per_hour=_price(spec.spot_price_per_hour),
    )
    return changed if spec.calibration is None else calibrated(changed, spec.calibration)


def _blank(spec: AcceleratorSpec) -> Accelerator:
    """A new product before its figures; without a link it works alone."""
    source = "an Accelerator resource"
    resource = spec.resource_name or GPU
    return Accelerator(
        name=spec.products[0],
        vendor=_vendor(resource),
        memory_bytes=0,
        bandwidth=0.0,
        peaks=Peaks(fp32=0.0),
        link=None,
        sources=Sources(source, source, source, source),
        resource=resource,
    )


def _peaks(base: Peaks, compute: Compute) -> Peaks:
    given = {name: getattr(compute, name) for name in FORMATS}
    return replace(base, **{k: _number(v) for k, v in given.items() if v is not None})


def _link(link: Link) -> known.Link:
    return known.Link(_KINDS[link.kind], 0, 1, _number(link.bandwidth), link.joins)


def _vendor(resource: str) -> Vendor:
    if ENGINE.runs_on(resource):
        return Vendor.NVIDIA
    return {AMD_GPU: Vendor.AMD, GAUDI: Vendor.INTEL}.get(resource, Vendor.OTHER)


def _names(item: Accelerator) -> frozenset[str]:
    return frozenset(normalized(name) for name in (item.name, *item.aliases))


def _number(quantity: str) -> float:
    return float(parse_quantity(quantity))


def _price(text: str | None) -> float | None:
    return None if text is None else float(text)


def _age(item: Mapping[str, Any]) -> tuple[str, str]:
    metadata = item["metadata"]
    return (str(metadata.get("creationTimestamp", "")), str(metadata["name"]))
