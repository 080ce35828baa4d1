"""What goes wrong with the Hub, in words that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

UNREACHABLE = (
    "the Hub cannot be reached and the model is not in the cache: check the network, HF_ENDPOINT "
    "and HF_HUB_OFFLINE, or give a folder"
)


class HubError(ValueError):
    """A model cannot be had from the Hub; the message says why, and what to do."""


class HubUnreachableError(HubError):
    """The same where the Hub gave no answer: what is here already may do."""


@contextmanager
def told(at: str) -> Iterator[None]:
    """Raises HubError for what the Hub's client raises; `at` names the model in the message."""
    # Here, since most models do not come from the Hub, and its client takes long to import.
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except HubError:
        raise
    except HFValidationError as error:
        raise HubError(f"{at}: not a name that the Hub allows") from error
    except GatedRepoError as error:
        raise HubError(f"{at} is gated: accept its terms on the Hub and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise HubError(f"{at}: no such revision") from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{at}: no such model, or a private one: check the name, or set HF_TOKEN"
        ) from error
    except LocalEntryNotFoundError as error:
        raise HubUnreachableError(f"{at}: {UNREACHABLE}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        kind = HubUnreachableError if isinstance(status, int) and status >= 500 else HubError
        raise kind(f"{at}: the Hub answered {status}") from error
    except (httpx2.HTTPError, ConnectionError) as error:
        raise HubUnreachableError(f"{at}: {UNREACHABLE} ({_detail(error)})") from error
    except OSError as error:
        raise HubError(f"{at}: download failed: {_detail(error)}") from error


def _detail(error: Exception) -> str:
    reason = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
