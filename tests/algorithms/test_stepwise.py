"""Process reward models: loss by hand, where a step is judged, and the rules that make a reward of steps."""

import json
import math

import pytest
import torch

from plaudit.algorithms.stepwise import Stepwise, StepwiseConfig
from plaudit.config import load
from plaudit.core.batch import Outputs, from_rows
from plaudit.data.encode import encode_stepwise
from plaudit.models.scorer import load_reward, reward_info
from plaudit.rewards.base import Context, Dense
from plaudit.rewards.steps import StepReward
from plaudit.schema import Completion, Prompt, Steps, UserError
from plaudit.training.run import sections, train
from small_networks import adapter, base

F64 = torch.float64


def batch(**sides):
    """Two answers: steps end at tokens 2 and 3 of the first (right, wrong), at token 1 of the second (half right)."""
    return from_rows(
        [[5, 6, 7, 8], [5, 6, 0, 0]],
        [[0, 1, 1, 1], [0, 1, 0, 0]],
        streams={"step": [[0, 0, 1, 1], [0, 1, 0, 0]], "label": [[0, 0, 1, 0], [0, 0.5, 0, 0]]},
        sides=sides,
        dtype=F64,
    )


THREE, HALF = math.log(3), 0.0  # chances 3/4 and 1/2
OUT = Outputs(steps=torch.tensor([[0, 0, THREE, THREE], [0, HALF, 0, 0]], dtype=F64))


def value(rows):
    algorithm = Stepwise(StepwiseConfig())
    prepared = algorithm.prepare(rows)
    prepared = prepared.normalised({name: float(total) for name, total in prepared.sums().items()})
    return sum(float((term * prepared.weight[name]).sum()) for name, term in algorithm.loss(OUT, prepared).items())


def test_each_step_counts_once_with_the_weight_of_its_row():
    right, wrong, half = -math.log(3 / 4), -math.log(1 / 4), math.log(2)
    assert value(batch()) == pytest.approx((right + wrong + half) / 3)
    assert value(batch(weight=[2.0, 1.0])) == pytest.approx((2 * right + 2 * wrong + half) / 5)


def test_metrics_by_hand():
    """Said right, right, not (0 is not above 0); labels right, wrong, not: 2 of 3 steps, and 1 of 2 answers."""
    algorithm = Stepwise(StepwiseConfig())
    found = algorithm.summarise(algorithm.metrics(OUT, batch()))
    assert found == pytest.approx({"accuracy": 2 / 3, "answer_accuracy": 1 / 2, "positive": 1 / 3})


def test_a_step_is_judged_at_its_last_token_itself():
    """The score of a step is that of the row cut off behind it."""
    network = adapter(base(), "reward", scalar=True)
    ids = [3, 4, 5, 6, 7, 8]
    rows = from_rows([ids], [[0] * 6], streams={"step": [[0, 0, 0, 1, 0, 1]]}, dtype=F64)
    cut = from_rows([ids[:4], ids], [[0] * 4, [0] * 6], dtype=F64)
    with torch.no_grad():
        steps, scores = network(rows, {"steps"}).steps[0], network(cut, {"score"}).score
    assert steps[[3, 5]].tolist() == pytest.approx(scores.tolist()) and not steps[[0, 1, 2, 4]].any()


# -- as a reward --------------------------------------------------------------------------------------------------------------


def run(verb, folder, *words):
    classes, defaults = sections(verb)
    common = ["model_name_or_path=tiny", "bf16=false", "use_peft=true", f"output_dir={folder}"]
    return train(verb, load(classes, None, [*common, *words], defaults))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("steps")
    rows = [
        {"prompt": f"Add {i} and {i}.", "completions": [f"{i} + {i} = {s}", "Done!"], "labels": [s == 2 * i, s == 2 * i]}
        for i in range(20)
        for s in (2 * i, "what?")
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("stepwise", root / "rm", f"train_file={root / 'rows.jsonl'}", "max_steps=40", "learning_rate=1e-2", "eval_steps=20")
    return root


@pytest.fixture(scope="module")
def network(trained):
    return load_reward(trained / "rm" / "model", dtype=torch.float32, device=torch.device("cpu"))


def answer(network, prompt, text, finish="stop"):
    tokenizer = network.base.tokenizer
    tokens = tokenizer(text, add_special_tokens=False).input_ids + ([tokenizer.eos_token_id] if finish == "stop" else [])
    return Completion(prompt.id, text, tuple(tokenizer(prompt.text).input_ids), tuple(tokens), (-1.0,) * len(tokens), finish)


def test_it_learns_and_its_folder_knows_what_ends_a_step(trained):
    log = [json.loads(line) for line in (trained / "rm" / "metrics.jsonl").read_text().splitlines()]
    assert log[0]["eval_loss"] == pytest.approx(math.log(2)) and log[-1]["eval_accuracy"] > 0.9
    assert reward_info(trained / "rm" / "model").step_separator == "\n"


def test_the_rules(network):
    prompt = Prompt(text="Add 3 and 3.")
    said = [answer(network, prompt, "3 + 3 = 6\nDone!"), answer(network, prompt, "3 + 3 = what?\n\nDone!\n", "length")]
    said += [answer(network, prompt, "  \n")]
    found = {}
    for rule in ("min", "product", "last", "dense"):
        reward, context = StepReward(network, rule), Context()
        found[rule] = reward.score([prompt] * 3, said, context)
        assert found[rule][2] is None and context.metrics["rewards/reward_model/steps"] == [4 / 3]
    for row in (0, 1):
        dense = found["dense"][row]
        assert isinstance(dense, Dense) and len(dense.tokens) == len(said[row].tokens)
        chances = [2 * token for token in dense.tokens if token]
        assert len(chances) == 2
        assert found["min"][row] == pytest.approx(min(chances)) and found["last"][row] == pytest.approx(chances[1])
        assert found["product"][row] == pytest.approx(math.prod(chances)) and dense == pytest.approx(sum(chances) / 2)
    assert found["min"][0] > 0.5 > found["min"][1]


def test_answers_are_read_as_the_rows_that_were_trained_on(network):
    prompt, steps = Prompt(text="Add 3 and 3."), ("3 + 3 = 6", "Done!")
    (row,), _ = encode_stepwise(network.base.tokenizer, [Steps(prompt, steps, (1.0, 1.0))])
    marked = StepReward(network, "min").marked(prompt, answer(network, prompt, "\n".join(steps)))
    assert marked.ids == row.rows[0].ids and marked.ends == [end for end, _ in row.marks]
    assert marked.sampled[-1] == len(marked.ids) - len(row.rows[0].ids[: row.rows[0].prompt_length]) - 2  # before the separator


def test_another_tokenizer_is_read_by_its_text_and_refused_for_single_tokens(network):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab={"a": 0}, merges=[])), eos_token="a")
    with pytest.raises(UserError, match=r"step_reward dense .* another tokenizer"):
        StepReward(network, "dense", policy_tokenizer=other)
    prompt = Prompt(text="Add 3 and 3.")
    said = answer(network, prompt, "3 + 3 = 6\nDone!")
    same, apart = StepReward(network, "min"), StepReward(network, "min", policy_tokenizer=other)
    assert apart.score([prompt], [said], Context()) == pytest.approx(same.score([prompt], [said], Context()))


@pytest.mark.parametrize("rule", ["min", "dense"])
def test_ppo_takes_it(trained, rule):
    words = [f"train_file={trained / 'rows.jsonl'}", f"reward_model_path={trained / 'rm' / 'model'}", "max_steps=1"]
    run("ppo", trained / rule, *words, f"step_reward={rule}", "max_completion_length=6", "eval_fraction=0")
    samples = [json.loads(line) for line in (trained / rule / "samples.jsonl").read_text().splitlines()]
    assert samples and all(0 < sample["reward"] < 1 for sample in samples)
