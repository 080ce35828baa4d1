"""Brings a model into a folder: goes on where it was interrupted, and verifies what came."""

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import get_token, hf_hub_url

from plimsoll_runtime.hub import record
from plimsoll_runtime.hub.errors import HubError, HubUnreachableError, told
from plimsoll_runtime.hub.listing import Listing, RemoteFile, address, list_files
from plimsoll_runtime.hub.progress import Progress, size
from plimsoll_runtime.hub.record import Record
from plimsoll_runtime.hub.transfer import TIMEOUT, transfer

AT_ONCE = 4
"""Files: one stream seldom fills the network of a node with GPUs."""
ATTEMPTS = 2
"""At a file that came wrong, each from its beginning."""
TELL_SECONDS = 10.0
LOCK = ".plimsoll-download.lock"
PART = ".part"

Say = Callable[[str], None]


def fetch(name: str, revision: str | None, folder: Path, say: Say = print) -> str:
    """The model NAME of the Hub, whole, in `folder`; returns its commit.

    Where a whole one is there and the Hub does not answer, that one does. Only one process at a
    time works on a folder. Raises HubError.
    """
    at = address(name, revision)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HubError(f"{at}: cannot make {folder}: {error.strerror}") from error
    with told(at), _alone(folder, say):
        here = record.read(folder)
        if here.commit is not None and here.serves(revision):
            say(f"{at} is in {folder}")
            return here.commit
        try:
            listing = list_files(name, revision)
        except HubUnreachableError as error:
            if here.commit is None:
                raise
            say(f"{error}: going on with commit {here.commit}, which is in {folder}")
            return here.commit
        _bring(name, listing, folder, here, say)
        return listing.commit


def _bring(name: str, listing: Listing, folder: Path, here: Record, say: Say) -> None:
    wanted = {file.name: file.digest for file in listing.files}
    digests = {each: digest for each, digest in here.digests.items() if wanted.get(each) == digest}
    record.write(folder, Record(None, digests))
    for stale in set(here.digests) - set(wanted):
        (folder / stale).unlink(missing_ok=True)
    missing = [file for file in listing.files if not _is_whole(folder, file, digests)]
    if missing:
        before = _present(folder, listing)
        _check_room(folder, sum(file.size for file in listing.files) - before)
        with _telling(folder, listing, before, say):
            for file in _all_of(name, listing.commit, missing, folder):
                digests[file.name] = file.digest
                record.write(folder, Record(None, digests))
    record.write(folder, Record(listing.commit, digests | wanted))
    total = size(sum(file.size for file in listing.files))
    say(f"{name} at {listing.commit}: {len(listing.files)} files, {total}, verified, in {folder}")


def _is_whole(folder: Path, file: RemoteFile, verified: dict[str, str]) -> bool:
    path = folder / file.name
    if verified.get(file.name) == file.digest:
        return path.is_file() and path.stat().st_size == file.size
    return file.is_at(path)


def _all_of(name: str, commit: str, files: list[RemoteFile], folder: Path) -> Iterator[RemoteFile]:
    """Each file once it is here. After the first that fails no other is begun."""
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # A redirect to another host takes the token away.
    with (
        httpx2.Client(follow_redirects=True, timeout=TIMEOUT, headers=headers) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        # The large ones first, so that the last to end is a small one.
        ordered = sorted(files, key=lambda file: -file.size)
        coming = {}
        for file in ordered:
            url = hf_hub_url(name, file.name, revision=commit)
            coming[pool.submit(_one, client, url, file, folder)] = file
        try:
            for future in as_completed(coming):
                future.result()
                yield coming[future]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _one(client: httpx2.Client, url: str, file: RemoteFile, folder: Path) -> None:
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    for _ in range(ATTEMPTS):
        transfer(client, url, part, file.size)
        if file.is_at(part):
            os.replace(part, path)
            return
        part.unlink()
    raise HubError(
        f"{url} came {ATTEMPTS} times with another hash than the Hub tells ({file.digest}): "
        "something on the way changes it, such as a proxy or a full disk"
    )


def _present(folder: Path, listing: Listing) -> int:
    """Bytes of the model that are here, also of files that are not whole."""
    return sum(
        path.stat().st_size
        for file in listing.files
        for path in (folder / file.name, folder / (file.name + PART))
        if path.is_file()
    )


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise HubError(
            f"{size(needed)} are missing, and only {size(free)} are free in {folder}: give it a "
            "larger disk (spec.model.cache names a claim)"
        )


@contextmanager
def _telling(folder: Path, listing: Listing, before: int, say: Say) -> Iterator[None]:
    """Says how far it is, now and then."""
    progress = Progress(sum(file.size for file in listing.files), before)
    began, over = time.monotonic(), threading.Event()
    say(progress.line(before, 0))

    def tell() -> None:
        while not over.wait(TELL_SECONDS):
            say(progress.line(_present(folder, listing), time.monotonic() - began))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """Waits while another process works on the folder, which may be shared among nodes."""
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting: another pod downloads into {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
