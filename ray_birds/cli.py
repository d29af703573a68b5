"""The command line, `ray-birds COMMAND` and jobs/*.py: parse, one library call, print what it returned.

Exit codes: 0 done, 1 some trials failed or a finding blocks a sweep, 2 a mistake that the user can mend,
130 interrupted, 143 terminated.
"""

import dataclasses
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

from ray_birds.core.errors import RayBirdsError
from ray_birds.core.settings import Settings
from ray_birds.core.text import nearest, printable

SettingsClass = TypeVar("SettingsClass", bound=Settings)
Job = Callable[[SettingsClass, frozenset[str]], str | None]  # returns what failed, if anything did


# Faults of the machine that nothing closer to them has put into words.
_WAY_OUT = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, then --resume continues"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "let this user in, or choose another place"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files (ulimit -n)"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "the disk or its network fails; when this is mended, run it again"),
    errno.ENAMETOOLONG: "choose a shorter name",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM: what Slurm, Kubernetes and `ray job stop` send.

    `came` stays, for Ray raises a KeyboardInterrupt of its own for any signal that reaches it while it waits.
    """

    came = False


class Command(NamedTuple):
    """`options` gives the class of its settings, `job` does it; both import what they need when called."""

    about: str
    options: Callable[[], type[Settings]]
    job: Job[Any]


def main(command: str = "", words: Sequence[str] | None = None) -> None:
    """Run a command with these words of the command line; by default the first of sys.argv is the command."""
    words = list(sys.argv[1:] if words is None else words)
    if not command:
        command = _command(words.pop(0) if words else "--help")
    about = COMMANDS[command]
    run_job(about.options(), about.job, words, f"ray-birds {command}")


def _command(word: str) -> str:
    """The command's name. Exits where it is none."""
    if word == "--version":
        from ray_birds import __version__

        print(f"ray-birds {__version__}")
        raise SystemExit(0)
    if word in ("-h", "--help"):
        print("usage: ray-birds COMMAND [OPTIONS]\n")
        print("\n".join(f"  {name:10}{about.about}" for name, about in COMMANDS.items()))
        print("\n`ray-birds COMMAND --help` lists the options of a command.")
        raise SystemExit(0)
    if word not in COMMANDS:
        raise SystemExit(
            _fail(f"{word}: no such command; the nearest is {nearest(word, COMMANDS)}, see ray-birds --help", 2)
        )
    return word


def run_job(settings: type[SettingsClass], job: Job[SettingsClass], words: Sequence[str], name: str) -> None:
    """Parse `words` into `settings` and run `job` on it and on the names of the options that were given."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the locale lacks ends no job
    before = "ray" in sys.modules
    code = _run(settings, job, words, name)
    if "ray" in sys.modules and not before:
        _leave(code)
    if code:
        raise SystemExit(code)


def _leave(code: int) -> NoReturn:
    """All is written and Ray is shut down; its threads have been seen to abort an exit by the book."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(settings: type[SettingsClass], job: Job[SettingsClass], words: Sequence[str], name: str) -> int:
    import tyro

    signal.signal(signal.SIGTERM, _terminate)
    try:
        config = tyro.cli(settings, args=words, prog=name, config=(tyro.conf.FlagCreatePairsOff,))
        failed = job(config, given(settings, words))
    except RayBirdsError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt as error:
        word, code = ("terminated", 143) if Terminated.came else ("interrupted", 130)
        return _fail("; ".join([word, *getattr(error, "__notes__", ())]), code)
    except OSError as error:
        if error.errno not in _WAY_OUT:
            raise
        uri = error.filename or "the disk"
        return _fail(f"{uri}: {error.strerror}; {_WAY_OUT[error.errno]}", 2)
    return _fail(failed, 1) if failed else 0


def given(settings: type[Settings], words: Sequence[str]) -> frozenset[str]:
    """Which options the words of a command line give, by field."""
    named = {
        word.partition("=")[0].removeprefix("--").replace("-", "_") for word in words if word.startswith("--")
    }
    return frozenset(field.name for field in dataclasses.fields(settings) if field.name in named)


def _terminate(number: int, frame: object) -> NoReturn:
    Terminated.came = True
    raise Terminated


def _fail(message: str, code: int) -> int:
    print(f"error: {printable(message, sys.stderr.encoding)}", file=sys.stderr)
    return code


def _tune(config: Any, given: frozenset[str]) -> str | None:
    from ray_birds.sweep import summary
    from ray_birds.sweep.run import sweep

    results = sweep(config, given)
    summary.show(results)
    return summary.failures(results)


def _predict(config: Any, given: frozenset[str]) -> None:
    from ray_birds.prediction.result import show
    from ray_birds.prediction.run import predict

    show(predict(config), config)


def _check(config: Any, given: frozenset[str]) -> str | None:
    from ray_birds.data.check import check, show

    found = check(config)
    show(found)
    return found.blocking


def _bundle(config: Any, given: frozenset[str]) -> None:
    from ray_birds.sweep.bundling import make_of, show

    show(make_of(config))


def _export(config: Any, given: frozenset[str]) -> None:
    from ray_birds import export
    from ray_birds.core.terminal import say

    say(f"written      {export(**dataclasses.asdict(config))}")


def _download(config: Any, given: frozenset[str]) -> None:
    from ray_birds.data.sources.download import download, show

    show(download(config), config.labels)


def _demo(config: Any, given: frozenset[str]) -> str | None:
    from ray_birds.demo.run import demo

    return demo(config)


def _settings(name: str) -> Callable[[], type[Settings]]:
    def find() -> type[Settings]:
        from ray_birds import config

        made: type[Settings] = getattr(config, name)
        return made

    return find


COMMANDS = {
    "tune": Command("fine-tune a classifier in many variants, keep the best", _settings("TuneConfig"), _tune),
    "predict": Command("score images, one Parquet row per file", _settings("PredictConfig"), _predict),
    "check": Command("say what is in a folder of labelled images", _settings("CheckConfig"), _check),
    "bundle": Command("make any trial of a finished sweep a model", _settings("BundleConfig"), _bundle),
    "export": Command("write a model, or predictions, for other programs", _settings("ExportConfig"), _export),
    "download": Command("fetch a labelled data set", _settings("DownloadConfig"), _download),
    "demo": Command("draw birds, run a sweep on them, and predict", _settings("DemoConfig"), _demo),
}


if __name__ == "__main__":
    main()
