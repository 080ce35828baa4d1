"""What strings of the spec may look like: each a pattern, and the same in words.

The CRD generator states a format as a rule with its message, since the API server answers a bare
`pattern` with the pattern itself; `validate.py` finds the message of a pattern here.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_UNITS = "m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi"


@dataclass(frozen=True)
class Format:
    """`pattern` is RE2 without single quotes, for the whole string; `message` what it must be."""

    pattern: str
    message: str
    max_length: int

    def field(self) -> Any:
        """What makes a pydantic field one of this format."""
        return Field(pattern=self.pattern, max_length=self.max_length)

    @property
    def cel(self) -> str:
        """The rule on a string in CEL; its pattern is raw, so that `\\.` needs no doubling."""
        return f"self.matches(r'{self.pattern}')"


DURATION = Format(
    pattern=r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$",
    message="must be a duration: a number and ms, s, m or h, such as 800ms, 1.5s or 5m",
    max_length=16,
)
QUANTITY = Format(
    pattern=rf"^[0-9]+(\.[0-9]+)?({_UNITS})?$",
    message="must be a quantity: a number, not negative and without exponent, and m, k, M, G, T, "
    "P, Ki, Mi, Gi, Ti, Pi or nothing, such as 2, 2.5, 2500m or 16Gi",
    max_length=24,
)
# No value may begin like an option or leave its folder: they become arguments of the engine.
SOURCE = Format(
    pattern=r"^(hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
    rf"|pvc://{_SUBDOMAIN}(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*"
    r"|oci://[a-z0-9][A-Za-z0-9._:/@-]*"
    r"|builtin://[a-z0-9-]+)$",
    message="must be hf://ORG/NAME, pvc://CLAIM/PATH, oci://IMAGE or builtin://NAME",
    max_length=512,
)
REVISION = Format(
    pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*$",
    message="must be a commit, branch or tag: letters, digits, '_' and '-', with single '.' or "
    "'/' in between",
    max_length=128,
)
SERVED_NAME = Format(
    pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$",
    message="must be letters, digits and any of ._:/@-, starting with a letter or digit, such as "
    "chat or org/model",
    max_length=253,
)
ACCELERATOR = Format(
    pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
    message="must be cpu or a product as nodes are labelled (nvidia.com/gpu.product), such as "
    "NVIDIA-H200",
    max_length=63,
)
RESOURCE_NAME = Format(
    pattern=rf"^{_SUBDOMAIN}/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
    message="must be an extended resource as nodes offer it, such as nvidia.com/gpu",
    max_length=253,
)
PRICE = Format(
    pattern=r"^[0-9]+(\.[0-9]+)?$",
    message="must be a decimal number, not negative, such as 4.20",
    max_length=16,
)
SHARE = Format(
    pattern=r"^(0(\.[0-9]+)?|1(\.0+)?)$",
    message="must be a share from 0 to 1 with a point, such as 0.63",
    max_length=16,
)
TIME = Format(
    pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$",
    message="must be a time in UTC, such as 2026-01-31T12:00:00Z",
    max_length=32,
)
TIME_OF_DAY = Format(
    pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
    message="must be a time of day from 00:00 to 23:59, such as 08:00",
    max_length=5,
)
TIME_ZONE = Format(
    pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*)*$",
    message="must be the IANA name of a time zone, such as UTC or Europe/Berlin",
    max_length=64,
)
OBJECT_NAME = Format(
    pattern=rf"^{_SUBDOMAIN}$",
    message="must be the name of an object: lower case letters, digits, '-' and '.', starting and "
    "ending with a letter or digit",
    max_length=253,
)
NAMESPACE = Format(
    pattern=rf"^{_LABEL}$",
    message="must be the name of a namespace: lower case letters, digits and '-', starting and "
    "ending with a letter or digit",
    max_length=63,
)
CIDR = Format(
    pattern=r"^([0-9]{1,3}(\.[0-9]{1,3}){3}/([0-9]|[12][0-9]|3[0-2])"
    r"|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))$",
    message="must be a block of addresses: an address, '/' and the length of the prefix, such as "
    "10.0.0.0/8 or fd00::/8",
    max_length=49,
)
CONFIG_MAP_KEY = Format(
    pattern=r"^[-._a-zA-Z0-9]+$",
    message="must be a key of a ConfigMap: letters, digits, '-', '_' and '.'",
    max_length=253,
)
# A pattern of its own, by which its message is found.
SECRET_KEY = Format(
    pattern=r"^[a-zA-Z0-9._-]+$",
    message="must be a key of a Secret: letters, digits, '-', '_' and '.'",
    max_length=253,
)

BY_PATTERN = {
    item.pattern: item
    for item in (
        DURATION,
        QUANTITY,
        SOURCE,
        REVISION,
        SERVED_NAME,
        ACCELERATOR,
        RESOURCE_NAME,
        PRICE,
        SHARE,
        TIME,
        TIME_OF_DAY,
        TIME_ZONE,
        OBJECT_NAME,
        NAMESPACE,
        CIDR,
        CONFIG_MAP_KEY,
        SECRET_KEY,
    )
}
