import asyncio
import functools
import math
import textwrap
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
import torch

from plaudit.rewards.base import Context, TrainerState, checked
from plaudit.rewards.functions import FunctionReward, load_function, start
from plaudit.rewards.mix import RewardMix
from plaudit.schema import Completion, Message, Prompt, UserError


def answer(prompt, text, tokens=(5, 6), reason="stop"):
    return Completion(prompt.id, text, (1, 2), tuple(tokens), (-0.5,) * len(tokens), reason)


PLAIN = Prompt(text="2+2=", meta={"answer": "4", "level": 1})
CHAT = Prompt(messages=(Message("system", "Be brief"), Message("user", "Hi")), meta={"answer": None})
ROWS = [PLAIN, CHAT], [answer(PLAIN, "4"), answer(CHAT, "Hello", (7, 8, 9))]


def test_a_function_is_called_by_keyword_with_what_trl_gives():
    seen = {}

    def reward(**kwargs):
        seen.update(kwargs)
        kwargs["log_extra"]("length", [1, 5])
        kwargs["log_metric"]("seen", 2)
        kwargs["log_metric"]("seen", 4)
        return [1, None]

    context = Context(TrainerState(global_step=7, max_steps=9))
    assert FunctionReward(reward).score(*ROWS, context) == [1.0, None]
    assert seen["prompts"] == ["2+2=", [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]]
    assert seen["completions"] == ["4", [{"role": "assistant", "content": "Hello"}]]
    assert seen["completion_ids"] == [[5, 6], [7, 8, 9]]
    assert seen["answer"] == ["4", None] and seen["level"] == [1, None]  # a column that a row lacks is None there
    assert seen["trainer_state"].global_step == 7 and seen["trainer_state"].max_steps == 9
    assert set(seen) == {
        *("prompts", "completions", "completion_ids", "answer", "level", "trainer_state", "log_extra", "log_metric")
    }
    assert context.columns == {"length": [1, 5]} and context.metrics == {"seen": [2.0, 4.0]}


def test_a_function_gets_only_what_it_names():
    def lengths(completions):
        return [float(len(c)) for c in completions]

    assert FunctionReward(lengths).score(*ROWS, Context()) == [1.0, 1.0]


def test_a_column_that_is_not_there_and_an_option_that_is():
    def scaled(completions, gold, *, scale=1.0):
        return [scale] * len(completions)

    with pytest.raises(UserError, match=r"scaled asks for the column gold.*there are answer, level"):
        FunctionReward(scaled).score(*ROWS, Context())
    with pytest.raises(UserError, match="scaled has no option size"):
        FunctionReward(scaled, options={"size": 2})
    rows = [Prompt(text="a", meta={"gold": 1})]
    assert FunctionReward(scaled, options={"scale": 3.0}).score(rows, [answer(rows[0], "b")], Context()) == [3.0]


def test_a_column_with_a_name_that_is_taken():
    prompt = Prompt(text="a", meta={"completions": 1})
    with pytest.raises(UserError, match="column completions"):
        FunctionReward(lambda **_: [0]).score([prompt], [answer(prompt, "b")], Context())


def test_names():
    class Judge:
        def __call__(self, **_):
            return [0, 0]

    def base(scale, **_):
        return [scale, scale]

    assert FunctionReward(Judge()).name == "Judge"
    assert FunctionReward(functools.partial(base, 2)).name == "base"
    assert FunctionReward(functools.partial(base, 2)).score(*ROWS, Context()) == [2.0, 2.0]


@pytest.mark.parametrize(
    "values",
    [
        [1, 0.5],
        (True, Fraction(1, 2).__float__()),
        np.array([1.0, 0.5]),
        torch.tensor([1.0, 0.5]),
        [np.float32(1), torch.tensor(0.5)],
    ],
)
def test_numbers_of_every_kind_are_taken(values):
    assert checked(values, 2, "f") == [1.0, 0.5]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1.0], "reward function bad returned 1 values for 2 answers"),
        ([1.0, 2.0, 3.0], "returned 3 values for 2 answers"),
        (None, r"returned None \(NoneType\) instead of a list"),
        (1.0, r"returned 1.0 \(float\) instead of a list"),
        ({"a": 1, "b": 2}, "instead of a list"),
        ([1.0, math.nan], "returned nan for answer 2"),
        ([math.inf, 1.0], "returned inf for answer 1"),
        (torch.tensor([0.0, math.nan]), "returned nan for answer 2"),
        ([0.0, 10**400], "returned inf for answer 2"),
        ([0.0, "good"], r"returned 'good' \(str\) for answer 2"),
        ([0.0, [1.0]], "1 numbers for answer 2, which has 3 tokens"),
        ([0.0, np.array([1.0, 2.0])], "2 numbers for answer 2, which has 3 tokens"),
        ([0.0, np.ones((2, 2))], "for answer 2; it must be a single number"),
        ([0.0, 1j], "for answer 2; it must be a number"),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_bad_values_are_refused_by_name_and_row(values, says, kind):
    def bad(**_):
        return values

    async def later(**_):
        return values

    reward = FunctionReward(bad) if kind == "plain" else FunctionReward(later, "bad")
    with pytest.raises(UserError, match=says) as caught:
        RewardMix((reward,), (1.0,)).score(*ROWS)
    assert "bad" in str(caught.value) and "\n" not in str(caught.value)


def test_a_function_that_raises_is_named_with_its_line():
    def fails(**_):
        return [int("x\ny")]

    async def fails_later(**_):
        raise KeyError("label")

    line = fails.__code__.co_firstlineno + 1
    with pytest.raises(
        UserError, match=rf"reward function fails raised ValueError: .*batch of 2 answers \(.*{__name__}.py, line {line}\)"
    ):
        FunctionReward(fails).score(*ROWS, Context())
    with pytest.raises(
        UserError, match=rf"fails_later raised KeyError: 'label' .*line {fails_later.__code__.co_firstlineno + 1}\)"
    ):
        RewardMix((FunctionReward(fails_later),), (1.0,)).score(*ROWS)


def test_the_line_is_the_users_own_even_where_a_library_raises():
    def parses(**_):
        return textwrap.dedent(5)

    with pytest.raises(UserError, match=rf"{__name__}.py, line {parses.__code__.co_firstlineno + 1}\)"):
        FunctionReward(parses).score(*ROWS, Context())


def test_async_functions_run_at_the_same_time_and_beside_plain_ones():
    """Each waits for what only another gives, so one after the other they would never end."""
    here, there, plain = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loops = []

    def set_plain(**_):
        loops[0].call_soon_threadsafe(plain.set)
        return [4.0, 4.0]

    async def first(**_):
        loops.append(asyncio.get_running_loop())
        here.set()
        await there.wait()
        return [1.0, 1.0]

    async def second(**_):
        await here.wait()
        there.set()
        return [2.0, None]

    async def third(**_):
        await plain.wait()
        return [3.0, 3.0]

    def waits_for_the_loop(**_):
        # Not started before the async ones are: it needs the loop that `first` runs on.
        start(_nothing()).result()
        return set_plain()

    rewards = tuple(map(FunctionReward, (waits_for_the_loop, first, second, third)))
    scored = RewardMix(rewards, (1.0,) * 4).score(*ROWS)
    assert [s.reward for s in scored] == [10.0, 8.0]
    assert list(scored[0].parts) == ["waits_for_the_loop", "first", "second", "third"]  # in the order given
    assert scored[1].parts["second"] is None


async def _nothing():
    return []


def test_async_functions_work_inside_a_running_loop_and_keep_their_loop():
    loops = set()

    async def where(**_):
        loops.add(asyncio.get_running_loop())
        return [0.0, 0.0]

    mixed = RewardMix((FunctionReward(where),), (1.0,))

    async def notebook():
        return mixed.score(*ROWS)

    with ThreadPoolExecutor() as pool:  # another test of this process may have left a loop running in this thread
        pool.submit(lambda: asyncio.run(notebook())).result()
    mixed.score(*ROWS)
    assert len(loops) == 1


def test_loading_by_name_module_and_file(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "def polite(completions, **kwargs):\n    return ['please' in c for c in completions]\nx = 3\n"
    )
    prompt = Prompt(text="a")
    rows = [prompt] * 2, [answer(prompt, "please"), answer(prompt, "no")]
    by_file = load_function(f"{tmp_path / 'mine.py'}:polite")
    assert by_file.name == "polite" and by_file.score(*rows, Context()) == [1.0, 0.0]
    monkeypatch.syspath_prepend(tmp_path)
    assert load_function("mine:polite").score(*rows, Context()) == [1.0, 0.0]
    assert load_function("length_penalty", {"upper": 1, "margin": 2}).score(*rows, Context()) == [-0.5, -0.5]
    with pytest.raises(UserError, match="not a function"):
        load_function("mine:x")
    with pytest.raises(UserError, match="did you mean length_penalty"):
        load_function("lenght_penalty")
