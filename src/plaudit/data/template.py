"""Prompts and answers to token ids, with a mask of 1 exactly on what the assistant wrote, its end token included.

One rule: **a row starts with the very ids that the engine reads at generation**, `encode_prompt(prompt)`, mask 0. What
follows is the rest of the dialogue as the model's own chat template writes it, up to the last end token.
- The dialogue is tokenised once, as a whole. Only where a token would cross into an assistant turn (so that the model
  could never have read what is before and written what is after) is it cut where its assistant turns start.
- Every assistant turn of the answer is trained: its text and the end token that the template writes after it, not the
  role header before and not the newline after. A template without an end token gets the tokenizer's EOS after the last turn.
- Plain text needs no template: the tokenizer's BOS where it adds one, exactly once; the text; EOS.
- Where turns start is read from the template's `{% generation %}` blocks, or else by rendering the dialogue up to the turn
  with the generation prompt. Ends are known by position, never by an id, so pad may equal EOS.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from plaudit.schema import Demonstration, Message, Prompt, UserError

Tokenizer = Any
"""A transformers `PreTrainedTokenizerFast`; kept loose so that importing this file does not import transformers."""
Span = tuple[int, int]

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
PROBE = (Message("user", "question"), Message("assistant", "answer"))


@dataclass(frozen=True)
class Row:
    """One row of tokens: `ids` [T], `mask` [T] (1 is trained), and how many ids are the prompt's.

    `truncated` says that the end of the answer is not in the row.
    """

    ids: list[int]
    mask: list[int]
    prompt_length: int
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def key(self) -> int:
        """A number in [0, 2^63) from the row's content alone, for anything random that belongs to the row."""
        found = hashlib.sha256(array("q", [self.prompt_length, *self.ids]).tobytes()).digest()
        return int.from_bytes(found[:8], "big") >> 1


def encode_prompt(tokenizer: Tokenizer, prompt: Prompt) -> list[int]:
    """The ids the model reads before it answers: the chat template with its generation prompt, or BOS and plain text."""
    written = prompt.text if prompt.text is not None else _render(tokenizer, prompt.messages, ask=True)
    return _ids(tokenizer, written, bos=prompt.text is not None)[0]


def encode_demonstration(tokenizer: Tokenizer, demo: Demonstration) -> Row:
    """`encode_answer` of a demonstration."""
    return encode_answer(tokenizer, demo.prompt, demo.answer)


def encode_answer(tokenizer: Tokenizer, prompt: Prompt, answer: Sequence[Message] | str, *, add_eos: bool = True) -> Row:
    """The row of a prompt and its answer by the rule at the top; `add_eos=False` leaves the last end token out.

    A string that answers messages is one assistant turn. UserError where the answer does not fit the prompt's form, and
    for templates that write the prompt, or an earlier turn, differently once more follows.
    """
    if prompt.text is not None:
        if not isinstance(answer, str):
            raise UserError(f"Prompt {prompt.id} is plain text, but its answer is a list of messages; give both in one form.")
        whole, start = prompt.text + answer, len(prompt.text)
        spans = [(start, len(whole))]
    else:
        turns = (Message("assistant", answer),) if isinstance(answer, str) else tuple(answer)
        whole, start, spans = _dialogue(tokenizer, prompt, turns, add_eos)
    ids, mask, head = _aligned(tokenizer, whole, start, spans, bos=prompt.text is not None)
    end = turn_end_id(tokenizer, chat=prompt.text is None) if add_eos else None
    if end is not None and not (mask[-1:] == [1] and ids[-1] == end):
        ids, mask = [*ids, end], [*mask, 1]
    if head == 0 and mask:
        mask[0] = 0  # nothing comes before the first token, so nothing predicts it
    return Row(ids, mask, head)


def encode_steps(tokenizer: Tokenizer, prompt: Prompt, steps: Sequence[str], separator: str) -> tuple[Row, list[int]]:
    """The row of a prompt and an answer in steps, and where the last token of each step stands in it.

    As TRL's process reward trainer has it: every step and the separator behind it are tokenised on their own, so that no
    token reaches over the end of a step. No end token follows: a step is judged where it ends.
    """
    ids = encode_prompt(tokenizer, prompt)
    head = len(ids)
    ends = []
    for step in steps:
        piece, _ = _continued(tokenizer, step + separator)
        ids = [*ids, *piece]
        ends.append(len(ids) - 1)
    mask = [0] * head + [1] * (len(ids) - head)
    if head == 0 and mask:
        mask[0] = 0
    return Row(ids, mask, head), ends


def turn_end_id(tokenizer: Tokenizer, *, chat: bool = True) -> int:
    """The id that ends an answer: what the chat template writes after an assistant turn, else the tokenizer's EOS."""
    end = _turn_end(tokenizer, tokenizer.chat_template and tokenizer.get_chat_template()) if chat else None
    return tokenizer.convert_tokens_to_ids(end) if end else _eos(tokenizer)


def _dialogue(tokenizer: Tokenizer, prompt: Prompt, turns: Sequence[Message], add_eos: bool) -> tuple[str, int, list[Span]]:
    """The whole dialogue as text, where its answer starts, and the spans of the answer's assistant turns."""
    if not turns or turns[0].role != "assistant":
        raise UserError(f"The answer to prompt {prompt.id} does not start with an assistant turn.")
    messages = (*prompt.messages, *turns)
    last = max(i for i, turn in enumerate(messages) if turn.role == "assistant")
    whole, blocks = _render_blocks(tokenizer, messages)
    start = 0
    if prompt.messages:
        start = _start(tokenizer, whole, messages, len(prompt.messages))
    answering = [i for i in range(len(prompt.messages), last + 1) if messages[i].role == "assistant"]
    if blocks is not None:
        starts = [max(a, start) for a, b in blocks if b > start or a == start]
        if len(starts) != len(answering):
            raise UserError(
                f"The chat template marks {len(starts)} of {len(answering)} assistant turns with {{% generation %}}; "
                "put each one, and nothing else, into a block."
            )
    else:
        starts = [start if prompt.messages and i == answering[0] else _start(tokenizer, whole, messages, i) for i in answering]
    limits = [*starts[1:], len(whole)]
    end = _turn_end(tokenizer, tokenizer.get_chat_template())
    spans = [
        _span(whole, a, b, messages[i].content, end, close=add_eos or i < last)
        for i, a, b in zip(answering, starts, limits, strict=True)
    ]
    return whole, start, spans


def _start(tokenizer: Tokenizer, whole: str, messages: Sequence[Message], turn: int) -> int:
    """Where the text of assistant turn `turn` starts in `whole`: after the dialogue before it and the role header."""
    if turn == 0:  # a template cannot render nothing: the header is what stands before the content
        opening = _render(tokenizer, messages[:1])
        content = messages[0].content.strip()
        return opening.rfind(content) if content and whole.startswith(opening.rstrip()) else _no_prefix(whole, opening)
    before = _render(tokenizer, messages[:turn], ask=True)
    return len(before) if whole.startswith(before) else _no_prefix(whole, before)


def _no_prefix(whole: str, before: str) -> int:
    at = next((i for i, (a, b) in enumerate(zip(whole, before, strict=False)) if a != b), min(len(whole), len(before)))
    raise UserError(
        "The chat template writes the dialogue before an answer differently once the answer follows "
        f"({before[at : at + 24]!r} becomes {whole[at : at + 24]!r} at character {at + 1}), so the model would be trained "
        "on a prompt that it never reads; set tokenizer.chat_template to one that only adds text at the end."
    )


def _span(whole: str, start: int, limit: int, content: str, end: str | None, *, close: bool) -> Span:
    """From `start` to behind the turn's content and, where `close`, its end token."""
    at, found = whole.find(content, start, limit), content
    if at < 0:
        found = content.strip()  # many templates strip
        at = whole.find(found, start, limit)
    before = whole[start : max(at, start)]  # Qwen 3 writes an empty thinking here
    if at < 0 or (end in before if end else before.strip()):
        raise UserError(
            f"The chat template rewrites the assistant turn {content[:40]!r}, so that its tokens cannot be told; "
            "leave out of earlier turns what the template removes (such as their thinking)."
        )
    closed = whole.find(end, at + len(found), limit) if end and close else -1
    return start, closed + len(end) if closed >= 0 and end else at + len(found)


@lru_cache(maxsize=16)
def _turn_end(tokenizer: Tokenizer, chat_template: str | None) -> str | None:
    """The special token that the template writes after an assistant turn; None where it writes none.

    The first one after the turn's text in a small dialogue: Phi-3, for one, writes another at the end of the dialogue.
    """
    if chat_template is None:
        return None
    after = _render(tokenizer, PROBE).rpartition(PROBE[1].content)[2]
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    places = [(after.find(token), -len(token), token) for token in special if token in after]
    return min(places)[2] if places else None


def _aligned(
    tokenizer: Tokenizer, whole: str, start: int, spans: Sequence[Span], *, bos: bool
) -> tuple[list[int], list[int], int]:
    """Ids and mask up to the last trained token, and the number of ids that stand before `start`, the prompt's."""
    ids, offsets = _ids(tokenizer, whole, bos=bos)
    cuts = sorted({start, *(low for low, _ in spans)})
    heads = [_ids(tokenizer, whole[:cut], bos=bos)[0] for cut in cuts]
    first = {cut: len(head) for cut, head in zip(cuts, heads, strict=True)}  # where a turn starts, in tokens
    if any(ids[: len(head)] != head for head in heads):
        ids, offsets = list(heads[0]), [(0, 0)] * len(heads[0])
        for a, b in itertools.pairwise([*cuts, len(whole)]):
            first[a] = len(ids)
            piece, places = _continued(tokenizer, whole[a:b])
            ids, offsets = ids + piece, offsets + [(x + a, y + a) for x, y in places]
    mask = [0] * len(ids)
    for low, high in spans:
        # Some tokenizers leave blanks out of the spans: one at the very end of the text must still be found inside.
        end = high if high < len(whole) else len(whole) + 1
        for t in range(first[low], len(ids)):
            mask[t] |= int(offsets[t][0] < end)
    head = heads[0]
    length = max((t + 1 for t, m in enumerate(mask) if m), default=len(head))
    return ids[:length], mask[:length], len(head)


def _ids(tokenizer: Tokenizer, written: str, *, bos: bool) -> tuple[list[int], list[Span]]:
    """Ids and character spans of `written`; with `bos`, the tokenizer's BOS in front where it adds one and it is not there.

    A chat template writes its own BOS, so nothing is added then.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"The tokenizer {type(tokenizer).__name__} gives no character positions; load the fast tokenizer of this model."
        )
    coded = tokenizer(written, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, offsets = list(coded["input_ids"]), [tuple(o) for o in coded["offset_mapping"]]
    first = tokenizer.bos_token_id
    if bos and first is not None and ids[:1] != [first] and first in tokenizer("")["input_ids"]:
        return [first, *ids], [(0, 0), *offsets]
    return ids, offsets


def _continued(tokenizer: Tokenizer, written: str) -> tuple[list[int], list[Span]]:
    """As `_ids`, for text that follows other text: without the blank that some tokenizers put before a text's first word."""
    ids, offsets = _ids(tokenizer, "\n" + written, bos=False)
    lead, _ = _ids(tokenizer, "\n", bos=False)
    if ids[: len(lead)] != lead:
        return _ids(tokenizer, written, bos=False)
    return ids[len(lead) :], [(a - 1, b - 1) for a, b in offsets[len(lead) :]]


def _eos(tokenizer: Tokenizer) -> int:
    if tokenizer.eos_token_id is None:
        raise UserError("The tokenizer has no EOS token, so the model could not learn where to end; set tokenizer.eos_token.")
    return int(tokenizer.eos_token_id)


def _render(tokenizer: Tokenizer, messages: Sequence[Message], *, ask: bool = False) -> str:
    """The template's text of `messages`, with the header of the coming answer where `ask`."""
    return _templated(tokenizer, messages, add_generation_prompt=ask)[0][0] if messages else ""


def _render_blocks(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[str, list[Span] | None]:
    """The text of the whole dialogue and the template's own marks of the assistant's turns; None where it makes none."""
    if tokenizer.chat_template is None or not GENERATION.search(tokenizer.get_chat_template()):
        return _render(tokenizer, messages), None
    written, blocks = _templated(tokenizer, messages, return_assistant_tokens_mask=True)
    return written[0], blocks[0]


def _templated(tokenizer: Tokenizer, messages: Sequence[Message], **options: Any) -> Any:
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    if tokenizer.chat_template is None:
        raise UserError(
            "The tokenizer has no chat template, which conversational data needs; use the model's instruct version, set "
            "tokenizer.chat_template, or give plain text."
        )
    chat = [{"role": m.role, "content": m.content} for m in messages]
    try:
        return render_jinja_template(
            [chat], chat_template=tokenizer.get_chat_template(), **options, **tokenizer.special_tokens_map
        )
    except TemplateError as error:
        roles = ", ".join(m.role for m in messages)
        raise UserError(f"The chat template refuses a dialogue of the turns {roles}: {error}.") from None
