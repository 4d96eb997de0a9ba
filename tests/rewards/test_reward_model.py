import pytest

from plaudit.data.template import encode_answer
from plaudit.models.tiny import tiny_tokenizer
from plaudit.rewards.base import Context
from plaudit.rewards.mix import RewardMix
from plaudit.rewards.model import ModelReward, same_tokenizer
from plaudit.schema import Completion, Message, Prompt, UserError

CHAT = Prompt(messages=(Message("user", "Where is order 12?"),))


def other_tokenizer():
    """Same kind, other ids: one merge and a template of its own."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["on its way"])
    tokenizer.chat_template = tokenizer.chat_template.replace("a helpful", "an honest")
    return tokenizer


def completion(prompt, text, tokens, reason="stop"):
    return Completion(prompt.id, text, (1, 50, 51), tuple(tokens), (-1.0,) * len(tokens), reason)


def reads(tokenizer, made, **kwargs):
    """The rows that the scorer is given."""
    seen = []

    def scorer(rows):
        seen.extend(rows)
        return [float(len(row)) for row in rows]

    reward = ModelReward(scorer, tokenizer, **kwargs)
    scores = reward.score([CHAT] * len(made), made, Context())
    assert scores == [float(len(row)) for row in seen]
    return seen


def test_the_same_tokenizer_reads_the_sampled_ids():
    """The ids are not those of the text encoded again, and that is how they must stay."""
    tokenizer = tiny_tokenizer()
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "Ġorder"]
    end = tokenizer.eos_token_id
    made = [completion(CHAT, " order", [*letters, end]), completion(CHAT, " order", letters, "length")]
    assert len(encode_answer(tokenizer, CHAT, " order").ids) < len(letters) + 40
    expected = [[1, 50, 51, *letters, end], [1, 50, 51, *letters]]
    assert reads(tokenizer, made) == expected
    assert reads(tokenizer, made, policy_tokenizer=tiny_tokenizer()) == expected


def test_an_answer_that_a_stop_string_ended_gets_the_end_token():
    tokenizer = tiny_tokenizer()
    made = [completion(CHAT, "a", [70]), completion(CHAT, "", [])]
    assert reads(tokenizer, made) == [[1, 50, 51, 70, tokenizer.eos_token_id], [1, 50, 51, tokenizer.eos_token_id]]


def test_another_tokenizer_reads_the_text_through_its_own_template():
    mine, policys = other_tokenizer(), tiny_tokenizer()
    made = [completion(CHAT, "on its way", [70, 2]), completion(CHAT, "on its way", [70], "length")]
    closed, cut = reads(mine, made, policy_tokenizer=policys)
    assert closed == encode_answer(mine, CHAT, "on its way").ids
    assert mine.decode(closed).endswith("<|im_start|>assistant\non its way<|im_end|>")
    assert "an honest assistant" in mine.decode(closed) and mine.convert_tokens_to_ids("on its way") in closed
    assert cut == closed[:-1]  # it ran into the limit: no end token is invented


def test_what_makes_two_tokenizers_the_same():
    plain, worn = tiny_tokenizer(), tiny_tokenizer()
    worn(["a", "bcd"], padding=True, truncation=True, max_length=2)  # leaves settings behind in the tokenizer
    assert same_tokenizer(plain, worn)
    assert not same_tokenizer(plain, other_tokenizer())
    template = tiny_tokenizer()
    template.chat_template = template.chat_template.replace("helpful", "kind")
    assert not same_tokenizer(plain, template)


def test_rows_too_long_for_the_model_do_not_apply_and_are_counted():
    context = Context()
    reward = ModelReward(lambda rows: [0.5] * len(rows), tiny_tokenizer(), max_length=5)
    made = [completion(CHAT, "a", [70, 2]), completion(CHAT, "ab", [70, 71, 2])]
    scored = RewardMix((reward,), (1.0,)).score([CHAT] * 2, made, context)
    assert [s.reward for s in scored] == [0.5, None]
    assert context.metrics == {"rewards/reward_model/too_long": [1.0]}


def test_a_model_that_gives_no_number_is_named():
    reward = ModelReward(lambda rows: [float("nan")] * len(rows), tiny_tokenizer(), "helpful")
    with pytest.raises(UserError, match="reward model helpful returned nan for answer 1"):
        reward.score([CHAT], [completion(CHAT, "a", [70, 2])], Context())
