"""The workers of a trial as Ray Train runs them: what is said of one that dies, hangs, or raises."""

import dataclasses
import threading
import time

import pytest
from ray.exceptions import RayActorError, RayError
from ray.tune.search.basic_variant import BasicVariantGenerator

from ray_birds.config import TuneConfig
from ray_birds.core import cluster
from ray_birds.core.cluster import Resources
from ray_birds.core.errors import OutOfMemoryError, OutputError, SettingsError
from ray_birds.sweep import gang, prepare, search
from ray_birds.sweep.callbacks import last_failure
from tests.sweep.test_trials import planned

LOST = gang.LostPeerError("lost the others (closed)")
HUNG = gang.StalledError("no step for 600 s, in rows (store.py, line 220)")
FULL = OutOfMemoryError("batches of 8 do not fit; give a smaller --batch-size")
DEAD = RayActorError(error_msg="The actor died\nunexpectedly.")
SHORT = RayActorError(error_msg="1 worker(s) were killed due to the node running low on memory.")


@pytest.mark.parametrize(
    ("failures", "kind", "said"),
    [
        ((LOST, DEAD), RayError, "worker 1 died, or its node"),
        ((LOST, SHORT), RayError, "worker 1: its node was short of memory; free some"),
        ((LOST, FULL), OutOfMemoryError, "batches of 8 do not fit; give a smaller --batch-size"),
        ((FULL, LOST), OutOfMemoryError, "batches of 8 do not fit; give a smaller --batch-size"),
        ((LOST, ValueError("no\nway")), RuntimeError, "worker 1: ValueError: no"),
        ((LOST, HUNG), RayError, "worker 1: no step for 600 s, in rows (store.py, line 220)"),
        ((LOST,), RayError, "worker 0: lost the others (closed)"),
    ],
    ids=str,
)
def test_the_cause_is_told_and_not_what_it_did_to_the_others(
    failures: tuple[Exception, ...], kind: type[Exception], said: str
) -> None:
    told = gang.reason(dict(enumerate(failures)))
    assert type(told) is kind and said in str(told) and "\n" not in str(told)
    assert last_failure(f"ray::ImplicitFunc.train()\n{kind.__module__}.{kind.__name__}: {told}").raised == (
        kind is not RayError  # only who dies or hangs is tried again and again
    )


def test_a_worker_that_does_no_step_is_given_up_and_says_where_it_is() -> None:
    watch, wait = gang.Watch(0.2), threading.Event()

    def steps() -> None:
        with watch.paused():
            time.sleep(1.5)  # longer than the patience, which is meant
        prefetch_that_hangs()

    def prefetch_that_hangs() -> None:
        wait.wait(60)

    with pytest.raises(gang.StalledError, match=r"^no step for 0 s, in \w+"):
        watch.run(steps)
    wait.set()


def test_what_a_worker_raises_comes_out_of_its_watch() -> None:
    def fails() -> None:
        raise OutputError("no room")

    with pytest.raises(OutputError, match="no room"):
        gang.Watch(10).run(fails)
    gang.Watch(10).run(lambda: None)


def test_no_more_trials_are_begun_than_have_room() -> None:
    config = TuneConfig(data="d", unfreeze=(0, 10, "all"), samples=2, search="optuna")
    all_of_them = config.replace(samples=0, search="grid")
    for gangs in (None, 2):
        made, chosen = (
            search.algorithm(dataclasses.replace(planned(one), workers=2, gangs=gangs))
            for one in (all_of_them, config)
        )
        assert isinstance(made, BasicVariantGenerator) and made.max_concurrent == (gangs or 0)
        assert getattr(chosen, "max_concurrent", None) == gangs


def test_more_workers_than_there_is_room_for_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Resources(3, 12, 4, 4, 0, own=True, sizes=((4, 0), (4, 2), (4, 2)))
    assert prepare._gangs(3, 4, 0, nodes) == 1 and prepare._gangs(3, 2, 0, nodes) == 2
    assert prepare._gangs(2, 1, 1, nodes) == 2
    with pytest.raises(
        SettingsError, match=r"--workers-per-trial 5, .* 1 GPU\(s\): the 3 node\(s\) have room for 4;"
    ):
        prepare._gangs(5, 1, 1, nodes)
    monkeypatch.setattr(cluster, "may_grow", lambda resources: True)
    assert prepare._gangs(5, 1, 1, nodes) is None
