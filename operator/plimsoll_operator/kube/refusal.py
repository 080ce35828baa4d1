"""What the API server answers to an action that it does not carry out."""

from collections.abc import Iterable
from dataclasses import dataclass

from plimsoll_operator.actions import Action, Delete
from plimsoll_operator.status.excerpt import excerpt

REASON = "ChildRefused"
_MAX_TOLD = 3
_SERVER_ERROR = 500


@dataclass(frozen=True)
class Refusal:
    """`status` and `reason` are those of the answer, such as 403 and Forbidden.

    `lasting` is whether only a change from outside can end it: a quota, a policy, a permission.
    """

    action: Action
    status: int
    reason: str
    message: str
    lasting: bool

    @property
    def telling(self) -> bool:
        """Whether a person can do something about it, unlike about an API server that is busy.

        A webhook that does not answer is an error of the server, and passes with the webhook's.
        """
        return self.lasting or self.status >= _SERVER_ERROR

    def __str__(self) -> str:
        name = " ".join(self.action.key)
        what = f"deleting {name}" if isinstance(self.action, Delete) else name
        answer = f"{self.status} {self.reason}".rstrip()
        return f"{what}: {excerpt(f'{answer}: {self.message}')}"


def lasting(refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """Those that only a change from outside can end."""
    return tuple(refusal for refusal in refusals if refusal.lasting)


def describe(refusals: Iterable[Refusal]) -> str:
    """Which children are refused and why, the same however they are ordered."""
    told = sorted(map(str, refusals))
    more = len(told) - _MAX_TOLD
    return "; ".join(told[:_MAX_TOLD]) + (f"; and {more} more" if more > 0 else "")
