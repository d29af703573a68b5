"""Bytes from a web server to a file: resumes where it stopped, waits when told to, says what went wrong.

The kaggle client has a transfer of its own (KaggleApi.download_file). It is not used because, as of 2.2.4, it
writes whatever a server answers to a resumed request into the archive, error pages too (kaggle-cli pull
request 1179), has no look at the disk, and waits as long as a server asks without a word.
"""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from ray_birds.core.terminal import progress, say
from ray_birds.data.sources.disk import check_cap, check_room

WHAT = "the download"
CHUNK = 1 << 16  # bytes; the rest of a broken chunk is lost
MB = 10**6
WAITS = (1.0, 2.0, 4.0)  # seconds before the second, third and fourth try that brings nothing new
LONGEST_WAIT = 120.0  # seconds; a server that asks for more is a quota, which is the user's to wait for
TIMEOUT = (10.0, 60.0)  # seconds to connect, and without a byte

PATIENCE = 120.0  # seconds in which something must come: CHUNK bytes of a file, or all of an answer
MOST_ANSWER = 16 * MB  # of what is no file

AGAIN = "run the same command again, it goes on where it stopped if the server can"

Result = TypeVar("Result")


class StartOverError(requests.RequestException):
    """The server cannot go on where the file stopped."""


class TooSlowError(requests.RequestException):
    """The server sends so little that the end would never come."""


class AnswerTooLongError(requests.RequestException):
    """The server sends more than such an answer can have."""


BROKEN_OFF = (requests.exceptions.ChunkedEncodingError, StartOverError)
NO_CONNECTION = (requests.ConnectionError, requests.Timeout)
PASSING = (*BROKEN_OFF, *NO_CONNECTION)


def status(error: requests.RequestException) -> int:
    """The HTTP status that an error stands for, 0 where there was no answer."""
    return 0 if error.response is None else error.response.status_code


def retry_after(error: requests.RequestException) -> float | None:
    """Seconds that the server asks to wait (RFC 9110, 10.2.3: a number or a date), if it does."""
    text = "" if error.response is None else error.response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def patiently(call: Callable[[], Result], reached: Callable[[], int] = lambda: 0) -> Result:
    """The result of `call`, which is tried again after what may pass: no connection, 429, a server's 5xx.

    `reached` tells how far the calls have come; the count of failures starts anew whenever that has grown by a
    chunk. Raises the last requests.RequestException, TooSlowError where a call brings too little in its time.
    """
    failures, best = 0, reached()
    while True:
        try:
            return _timed(call, reached)
        except requests.RequestException as error:
            if reached() >= best + CHUNK:
                failures, best = 0, reached()
            wait = _wait(error, failures)
            if wait is None:
                raise
            broken = "the connection broke" if isinstance(error, BROKEN_OFF) else "no connection"
            reason = f"the server answers {status(error)}" if status(error) else broken
            say(f"{reason}; trying again in {wait:.0f} s")
        failures += 1
        time.sleep(wait)


def _timed(call: Callable[[], Result], reached: Callable[[], int]) -> Result:
    """The result of `call`, which has PATIENCE seconds for each chunk that it reaches, whatever it does meanwhile.

    It is done in a thread, as the time that a server takes for one line has no other limit. Raises TooSlowError;
    the thread is left to itself then, and ends when the server says something, or at the latest with us.
    """
    done: Queue[Result | BaseException] = Queue()

    def work() -> None:
        try:
            done.put(call())
        except BaseException as error:
            done.put(error)

    Thread(target=work, daemon=True).start()
    before = reached()
    while True:
        try:
            result = done.get(timeout=PATIENCE)
        except Empty:
            if reached() < before + CHUNK:
                raise TooSlowError from None
            before = reached()
            continue
        if isinstance(result, BaseException):
            raise result
        return result


def read(address: str) -> bytes:
    """What a server answers where this is no file. Raises requests.RequestException, also for an endless one."""

    def ask() -> bytes:
        with requests.get(address, timeout=TIMEOUT, stream=True) as found:
            found.raise_for_status()
            data = b""
            for part in found.iter_content(CHUNK):
                data += part
                if len(data) > MOST_ANSWER:
                    raise AnswerTooLongError
        return data

    return patiently(ask)


def _wait(error: requests.RequestException, failures: int) -> float | None:
    """Seconds to wait before the next try, None where another try is useless."""
    worth_it = isinstance(error, PASSING) or status(error) == 429 or status(error) >= 500
    if not worth_it or failures >= len(WAITS):
        return None
    wait = retry_after(error)
    if wait is None:
        return WAITS[failures]
    return wait if wait <= LONGEST_WAIT else None


def explain(error: requests.RequestException, host: str) -> str:
    """What went wrong and what to do now, in one line without addresses, which may hold keys."""
    code = status(error)
    if code in (401, 403):
        return f"{host} asks for a login ({code}): fetch it with a browser, then --from FILE.zip"
    if code in (404, 410):
        return f"{host} has nothing at this address ({code}): check it"
    if code == 429:
        seconds = retry_after(error)
        when = f"in {seconds / 60:,.0f} min" if seconds else "later"
        return f"the quota at {host} is used up (429): {when}, {AGAIN}"
    if code:
        return f"{host} answers with status {code}: later, {AGAIN}"
    if isinstance(error, TooSlowError):
        return f"{host} brings less than {CHUNK:,} bytes in {PATIENCE:g} s: later, {AGAIN}"
    if isinstance(error, BROKEN_OFF):
        return f"{host} breaks off before all bytes have come: {AGAIN}"
    if isinstance(error, NO_CONNECTION):
        return f"no connection to {host}: check the network (and HTTPS_PROXY, if there is a proxy), then {AGAIN}"
    return f"{host}: not an address that can be fetched ({type(error).__name__})"


def fetch(request: requests.PreparedRequest, target: Path, cap: int) -> None:
    """Carry out a request and write the answer's body to `target`; nothing happens where that exists.

    Until all has come the bytes lie in `target`.part, and beside them what proves at the next run that they
    belong to the same file: the server's ETag or date. `cap` is in bytes.
    Raises requests.RequestException, and OutputError where the file is too large for the cap or the disk.
    """
    if target.exists():
        return
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)

    def reached() -> int:
        return part.stat().st_size if part.exists() else 0

    over = Event()
    with requests.Session() as session:
        try:
            patiently(lambda: _receive(session, request, part, cap, over), reached)
        finally:
            over.set()
    part.rename(target)
    _note(part).unlink()


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _receive(
    session: requests.Session, request: requests.PreparedRequest, part: Path, cap: int, over: Event
) -> None:
    """Bring `part` from what it holds to its full length; not a byte more once it is `over`."""
    start, known = _so_far(part)
    if start and start == known["size"]:
        return
    asked = request.copy()
    asked.headers["Accept-Encoding"] = "identity"
    if start:
        asked.headers.update({"Range": f"bytes={start}-", "If-Range": known["validator"]})
    settings = session.merge_environment_settings(str(asked.url), {}, True, None, None)
    with session.send(asked, timeout=TIMEOUT, **settings) as answer:
        if answer.status_code == 416:
            part.unlink()
            raise StartOverError
        answer.raise_for_status()
        if answer.status_code != 206:
            start = 0
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            raise StartOverError
        length = re.fullmatch(r"\d{1,18}", answer.headers.get("Content-Length", ""), re.ASCII)
        size = start + int(length[0]) if length else None
        check_cap(size or 0, cap, WHAT)
        # Images do not shrink in an archive: unpacked it takes its own size once more, at least.
        check_room(part.parent, 2 * size - start if size else 0, WHAT)
        if not start:
            part.unlink(missing_ok=True)  # before the note that would vouch for it
            validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            _note(part).write_text(json.dumps({"validator": validator, "size": size}), encoding="utf-8")
        _write(answer, part, start, size, cap, over)


def discard(folder: Path) -> None:
    """Remove what no next run can go on from: the beginnings of files of which the server told no version."""
    for part in folder.glob("*.part"):
        if not _so_far(part)[0]:
            part.unlink()
    for note in folder.glob("*.part.json"):
        if not note.with_suffix("").exists():
            note.unlink()


def _so_far(part: Path) -> tuple[int, dict[str, Any]]:
    """Length of what has come and can be proven to belong to the file, and the note about it."""
    try:
        known = json.loads(_note(part).read_text(encoding="utf-8"))
        return (part.stat().st_size, known) if known["validator"] else (0, {})
    except (OSError, ValueError, KeyError, TypeError):
        return 0, {}


def _write(answer: requests.Response, part: Path, start: int, size: int | None, cap: int, over: Event) -> None:
    host = urlsplit(answer.url).hostname
    with (
        part.open("ab" if start else "wb") as file,
        progress(f"from {host}", (size or 0) // MB, "MB") as meter,
    ):
        meter.advance(start // MB)
        done = start
        for data in answer.iter_content(CHUNK):
            if over.is_set():
                return
            check_cap(done + len(data), cap, WHAT)  # the server may not have told its size
            file.write(data)
            meter.advance((done + len(data)) // MB - done // MB)
            done += len(data)
