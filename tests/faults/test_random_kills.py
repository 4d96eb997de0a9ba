"""kill -9 at 20 random points of each algorithm: whatever is under way, the run that goes on ends the same to the last bit.

Even points are the n-th file operation in the run's folder, odd ones a moment in time; n and the moment come from the
point's number, so a failure can be tried again (as far as moments can).
"""

from __future__ import annotations

import random
import signal

import pytest

from nursery import At
from training_runs import VERBS, Runs, same

pytestmark = pytest.mark.faults
OPERATIONS = 400
"""About as many as a whole run has."""
SECONDS = 2.0
"""About as long as a whole run takes."""


@pytest.fixture(scope="module")
def runs(nursery, tmp_path_factory):
    return Runs(nursery, tmp_path_factory.mktemp("kills"))


@pytest.mark.parametrize("point", range(20))
@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_random_it_ends_the_same(runs, verb, point):
    chance, place, peft = random.Random(f"{verb} {point}"), f"{verb}-{point}", point % 4 < 2
    words, whole = runs.words(verb, peft), runs.whole(verb, peft)
    kills = 0
    for _ in range(chance.randint(1, 3)):  # a run that is killed again and again
        if point % 2:
            done = runs.start(place, *words, "--resume", after=chance.uniform(0, SECONDS))
        else:
            done = runs.start(place, *words, "--resume", at=At("run/", chance.randint(1, OPERATIONS)))
        assert done.code in (0, -signal.SIGKILL), done.err
        kills += done.code != 0
        if done.code == 0:
            break
    done = runs.start(place, *words, "--resume")
    assert done.code == 0, done.err
    same(runs.root / place / "run", whole)
