"""Objects of S3 and Google Cloud Storage by their URLs (``s3://``, ``gs://``).

A `Url` offers what is used of `pathlib.Path`, so most code takes either. The client, `obstore`, tries requests again
with growing pauses; reads and writes of large objects are pieces of CHUNK bytes, PARALLEL of them at a time.

Credentials, regions and endpoints come from the environment alone, under the names that everyone uses
(docs/storage.md), and go nowhere else.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from rt2data.errors import Rt2dataError

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

GAP = 1 << 20  # bytes that are read over rather than asked for apart: some 10 ms of a network
REQUEST_BYTES = 8 << 20  # bytes of a request: long enough that its latency costs little, short enough to be tried again
PARALLEL = 16  # requests that a process has under way: at most PARALLEL * CHUNK bytes in memory
# Seconds after which a request is given up and tried again, and after which none is tried again. The client gives up
# after 30, in which a line of less than 4 MB/s does not bring the first of PARALLEL chunks.
TIMEOUT, RETRIES = 120, 240
PAUSES = (0.1, 0.4, 1.6)  # seconds after an answer that is whole by what it says of itself, and too short
FRESH = 60.0  # seconds for which sizes and versions that were listed are believed
# Where clouds hand credentials to their machines. The client asks there last, when it found none.
_METADATA = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")


class Stat(NamedTuple):
    """What a store says of an object: its size in bytes, and its ETag, which another content never has."""

    st_size: int
    etag: str


@dataclass(frozen=True, slots=True, order=True)
class Url:
    """An object, or a prefix that stands for a folder. `key` has neither a slash at its start nor at its end."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def __truediv__(self, name: str) -> Url:
        return Url(self.scheme, self.bucket, "/".join(filter(None, [self.key, *name.split("/")])))

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Url:
        return Url(self.scheme, self.bucket, self.key.rpartition("/")[0])

    def with_name(self, name: str) -> Url:
        return self.parent / name

    def relative_to(self, folder: Url) -> PurePosixPath:
        return PurePosixPath(self.key).relative_to(folder.key)

    def absolute(self) -> Url:
        return self

    def resolve(self) -> Url:
        return self

    def stat(self) -> Stat:
        """Raises FileNotFoundError where there is no such object."""
        known = _known(self)
        if known is None:
            with _asking(self, "head") as (obstore, store):
                found = obstore.head(store, self.key)
            known = _STATS[self] = _stat(found)
        return known[0]

    def is_file(self) -> bool:
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        return any(True for _ in _listed(self))

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        return False

    def iterdir(self) -> Iterator[Url]:
        """The objects and prefixes right below."""
        with _asking(self, "list") as (obstore, store):
            found = obstore.list_with_delimiter(store, _prefix(self))
        _LISTED[self] = time.monotonic()
        yield from (Url(self.scheme, self.bucket, prefix.rstrip("/")) for prefix in found["common_prefixes"])
        for entry in found["objects"]:
            yield _note(self, entry)

    def glob(self, pattern: str) -> Iterator[Url]:
        """The objects whose names below this prefix match, as `Path.glob` has it."""
        fixed = re.split(r"[*?\[]", pattern)[0].rpartition("/")[0]
        start, matches = self / fixed, re.compile(_regex(pattern)).fullmatch
        deep = "/" in pattern.removeprefix(fixed).lstrip("/")
        found = _listed(start) if deep else (one for one in start.iterdir() if one.is_file())
        yield from (one for one in found if matches(one.relative_to(self).as_posix()))

    def read_bytes(self) -> bytes:
        with _asking(self, "get") as (obstore, store):
            return bytes(obstore.get(store, self.key).bytes())

    def read_text(self) -> str:
        return self.read_bytes().decode()

    def write_bytes(self, data: bytes) -> None:
        """Write the object; it is there whole, or as before."""
        _put(self, data)

    def unlink(self, *, missing_ok: bool = False) -> None:
        if missing_ok and not self.is_file():
            return
        _changed(self)
        with _asking(self, "delete") as (obstore, store):
            obstore.delete(store, self.key)


_STATS: dict[Url, tuple[Stat, float]] = {}
_LISTED: dict[Url, float] = {}  # folders of which every object is in _STATS, and since when


def list_folders(folders: Iterable[Path | Url]) -> None:
    """List some folders, so that for a minute nothing in them needs a request of its own to be found, or missed."""
    for folder in set(folders):
        if isinstance(folder, Url) and _LISTED.get(folder, -FRESH) + FRESH < time.monotonic():
            for _ in folder.iterdir():
                pass


def forget_listings() -> None:
    """Believe no size and no version that was seen before."""
    _STATS.clear()
    _LISTED.clear()


def _known(url: Url) -> tuple[Stat, float] | None:
    known, now = _STATS.get(url), time.monotonic()
    if known is not None and known[1] + FRESH > now:
        return known
    if _LISTED.get(url.parent, -FRESH) + FRESH > now:
        raise FileNotFoundError(2, "no such object", str(url))
    return None


def _stat(entry: Any) -> tuple[Stat, float]:
    """What a store says, and when; without the quotes that some of its answers have around an ETag."""
    return Stat(entry["size"], (entry["e_tag"] or "").strip('"')), time.monotonic()


def _note(folder: Url, entry: Any) -> Url:
    url = Url(folder.scheme, folder.bucket, entry["path"])
    _STATS[url] = _stat(entry)
    return url


def _prefix(folder: Url) -> str:
    return f"{folder.key}/" if folder.key else ""


def _listed(folder: Url) -> Iterator[Url]:
    """Every object below a prefix, in the order of their names."""
    with _asking(folder, "list") as (obstore, store):
        for page in obstore.list(store, _prefix(folder), chunk_size=1000):
            for entry in page:
                yield _note(folder, entry)


def _changed(url: Url) -> None:
    _STATS.pop(url, None)
    _LISTED.pop(url.parent, None)


def _put(url: Url, content: Any) -> None:
    _changed(url)
    with _asking(url, "put") as (obstore, store):
        obstore.put(store, url.key, content, chunk_size=REQUEST_BYTES, max_concurrency=PARALLEL)


def _regex(pattern: str) -> str:
    """A pattern of `Path.glob` as a regular expression."""
    parts = re.split(r"(\*\*/|\*|\?|\[[^\]]*\])", pattern)
    known = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(known.get(p) or (_set(p) if p[:1] == "[" and p[-1:] == "]" else re.escape(p)) for p in parts)


def _set(characters: str) -> str:
    """A set of characters, ``[abc]`` or ``[!abc]``, as a regular expression."""
    inside = characters[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    return f"[^{inside[1:]}]" if inside[:1] == "!" else f"[{inside}]"


# Requests


@cache
def _store(scheme: str, bucket: str) -> Any:
    """The client of a bucket."""
    from obstore import store

    client: dict[str, Any] = {"timeout": timedelta(seconds=TIMEOUT)}
    options: dict[str, Any] = {"client_options": client, "retry_config": {"retry_timeout": timedelta(seconds=RETRIES)}}
    if scheme == "gs":
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        if not emulator:
            return store.GCSStore(bucket, **options)
        base = emulator if "://" in emulator else f"http://{emulator}"
        options |= {"base_url": base}
        client |= {"allow_http": base.startswith("http:")}
        options["credential_provider"] = lambda: {"token": "emulator", "expires_at": None}  # which asks for none
        return store.GCSStore(bucket, **options)
    endpoints = (os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    if next(filter(None, endpoints), "").startswith("http:"):
        client["allow_http"] = True
    if os.environ.get("AWS_PROFILE") and not os.environ.get("AWS_ACCESS_KEY_ID"):
        from obstore.auth.boto3 import Boto3CredentialProvider  # the one that knows ~/.aws

        options["credential_provider"] = Boto3CredentialProvider()
    return store.S3Store(bucket, **options)


@contextmanager
def _asking(url: Url, what: str) -> Iterator[tuple[Any, Any]]:
    """(`obstore`, the client of the object's bucket), whose errors become ours."""
    import obstore
    from obstore.exceptions import BaseError, PreconditionError

    try:
        yield obstore, _store(url.scheme, url.bucket)
    except FileNotFoundError:
        raise FileNotFoundError(2, "no such object", str(url)) from None
    except PreconditionError:
        expected = "a file that stays as it is while it is read"
        raise Rt2dataError(str(url), "it changed while it was read", expected, "Build again") from None
    except (BaseError, OSError) as error:
        repair = "Check bucket, network and the credentials of this environment; the same command continues"
        said = " ".join(str(error).partition("Debug source")[0].split())
        if any(host in said for host in _METADATA):
            said = "no credentials in this environment, and none that this machine hands out"
            repair = "Set them, or AWS_SKIP_SIGNATURE=true or GOOGLE_SKIP_SIGNATURE=true for a public bucket"
        found = f"{what} failed: {said[:300]}"
        raise Rt2dataError(str(url), found, "a store that answers", repair) from None


@cache
def _threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(PARALLEL, thread_name_prefix="rt2data-storage")


def fetch_ranges(ranges: Iterable[tuple[Url, int, int]], etag: str = "") -> Iterator[memoryview]:
    """The bytes from `start` to `stop` of each (object, start, stop), in order, PARALLEL requests at a time.

    `etag` is that of the only object among them; else it is the one that was seen a moment ago.

    Raises:
        Rt2dataError: an object is not there any more, or another one than it was.
    """

    def one(url: Url, start: int, stop: int) -> memoryview:
        known = _known(url)
        options: dict[str, Any] = {"range": (start, stop)}
        if tag := etag or (known[0].etag if known else ""):
            options["if_match"] = f'"{tag}"'
        try:
            with _asking(url, "get") as (obstore, store):
                return _whole(url, stop - start, lambda: obstore.get(store, url.key, options=options))
        except FileNotFoundError:
            raise Rt2dataError(str(url), "no such object", "the file that was indexed") from None

    pending: deque[tuple[int, Future[memoryview]]] = deque()
    under_way = 0
    try:
        for url, start, stop in ranges:
            while pending and (len(pending) == PARALLEL or under_way + stop - start > PARALLEL * REQUEST_BYTES):
                size, future = pending.popleft()
                yield future.result()
                under_way -= size
            pending.append((stop - start, _threads().submit(one, url, start, stop)))
            under_way += stop - start
        while pending:
            yield pending.popleft()[1].result()
    finally:
        for _, future in pending:
            future.cancel()


def _whole(url: Url, size: int, get: Callable[[], Any]) -> memoryview:
    """The bytes of an answer, which must be `size`; asked for again while they are not."""
    for pause in PAUSES:
        data = memoryview(get().bytes())
        if len(data) == size:
            return data
        time.sleep(pause)
    found = f"an answer of {len(data)} bytes"
    raise Rt2dataError(str(url), found, f"{size}", "It changed or is damaged: build again")


def byte_ranges(size: int) -> list[tuple[int, int]]:
    """The requests, from where to where, that read an object of `size` bytes."""
    return [(start, min(size, start + REQUEST_BYTES)) for start in range(0, size, REQUEST_BYTES)]


@contextmanager
def uploading(url: Url) -> Iterator[Path]:
    """A local path; what was written there becomes the object `url` when the block ends without an error."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rt2data-") as folder:
        path = Path(folder) / "object"
        yield path
        _put(url, path)


def count_writes(sizes: Sequence[int]) -> int:
    """How many requests write objects of such sizes: one, or a multipart upload's first, its parts and its last."""
    return sum(1 if size <= REQUEST_BYTES else 2 + len(byte_ranges(size)) for size in sizes)
