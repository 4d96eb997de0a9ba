"""A Plaudit model for lm-evaluation-harness: `lm_eval.simple_evaluate(model=PlauditLM("runs/ppo"), tasks=[...])`.

Requests are encoded as the harness' own Hugging Face backend encodes them, so that its figures compare with published ones;
answers are written by Plaudit's engine. Import this module only where the package lm-eval is installed: `make lm-eval`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lm_eval import utils
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from lm_eval.api.model import TemplateLM  # isort: skip
from plaudit.evaluation.subject import Subject
from plaudit.models import families
from plaudit.models.machine import device
from plaudit.schema import Prompt, Sampling, UserError

Request = tuple[Any, list[int], list[int]]
KNOWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k", "min_p", "num_beams"}


@register_model("plaudit")
class PlauditLM(TemplateLM):  # type: ignore[misc]
    """A run, model folder, adapter, file or name, driven by the harness.

    `pretrained` is its name; `batch_size` rows are read at a time; `max_length` tokens of each (the model's own).
    """

    def __init__(
        self, pretrained: str, *, batch_size: int | str = 8, max_length: int | None = None, seed: int = 0, **_: Any
    ) -> None:
        super().__init__()
        self.subject = Subject(pretrained)
        loaded = self.subject.loaded
        self.model, self.tokenizer = loaded.model.to(device()).eval(), loaded.tokenizer
        self.max_length = max_length or int(families.context(self.model.config))
        self.batch_size = int(batch_size) if str(batch_size).isdigit() else 8
        self.seed = seed

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        return int(self.tokenizer.bos_token_id) if self.tokenizer.bos_token_id is not None else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        return str(self.subject.name).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Ids of a text; a BOS that the text begins with is not written twice."""
        if add_special_tokens is None and string.startswith(self.tokenizer.decode([self.prefix_token_id])):
            add_special_tokens = False
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **options))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The dialogue as text, by the model's own template."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    @torch.no_grad()
    def _loglikelihood_tokens(self, requests: Sequence[Request], **_: Any) -> list[tuple[float, bool]]:
        """(log p of the continuation, whether greedy decoding would write it) of each (request, context, continuation)."""
        rows = [(context + continuation)[-(self.max_length + 1) :] for _, context, continuation in requests]
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        found: list[tuple[float, bool]] = [(0.0, False)] * len(rows)
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            width = len(rows[chosen[0]]) - 1
            ids = torch.zeros(len(chosen), width, dtype=torch.long)
            for r, i in enumerate(chosen):
                ids[r, : len(rows[i]) - 1] = torch.tensor(rows[i][:-1])
            # Padding stands on the right and attention is causal, so no mask is needed.
            logits = self.model(ids.to(self.model.device)).logits
            for r, i in enumerate(chosen):
                request, continuation = requests[i][0], requests[i][2]
                end = len(rows[i]) - 1
                mine = logits[r, end - len(continuation) : end].log_softmax(-1)
                wanted = torch.tensor(continuation, device=mine.device)
                value = float(mine.gather(1, wanted[:, None]).sum())
                found[i] = (value, bool((mine.argmax(-1) == wanted).all()))
                if request is not None:
                    self.cache_hook.add_partial("loglikelihood", request, found[i])
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """log p of whole texts, in windows of the model's length that predict every token once."""
        found = []
        for (text,) in [request.args for request in requests]:
            windows = utils.get_rolling_token_windows(
                token_list=self.tok_encode(text), prefix_token=self.prefix_token_id, max_seq_len=self.max_length, context_len=1
            )
            pieces = [(None, *utils.make_disjoint_window(window)) for window in windows]
            found.append(sum(value for value, _ in self._loglikelihood_tokens(pieces)))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), found[-1])
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers by the engine; greedy unless the task asks to sample. UserError for an option that it cannot follow."""
        found: dict[int, str] = {}
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items(), key=str)), []).append(number)
        for numbers in groups.values():
            given: dict[str, Any] = dict(normalize_gen_kwargs(dict(requests[numbers[0]].args[1]), 256))
            if strange := sorted(set(given) - KNOWN):
                raise UserError(f"the task wants the generation option {strange[0]}, which the engine does not have")
            if given.get("num_beams", 1) != 1:
                raise UserError("the task wants beam search, which the engine does not have")
            until = handle_stop_sequences(given.get("until"), eos=self.tokenizer.decode([self.eot_token_id]))
            sampling = self._sampling(given, [stop for stop in until if stop])
            prompts = [Prompt(text=self._cut(requests[i].args[0], sampling.max_new_tokens)) for i in numbers]
            for i, answer in zip(numbers, self.subject.answers(prompts, 1, sampling), strict=True):
                found[i] = postprocess_generated_text(answer.text, until, None)
                self.cache_hook.add_partial("generate_until", requests[i].args, found[i])
        return [found[i] for i in range(len(requests))]

    def _sampling(self, given: dict[str, Any], stop: list[str]) -> Sampling:
        warm = given.get("temperature") or 0.0
        return Sampling(
            max_new_tokens=int(given["max_gen_toks"]),
            temperature=float(warm or (1.0 if given.get("do_sample") else 0.0)),
            top_p=float(given.get("top_p") or 1.0),
            top_k=int(given.get("top_k") or 0),
            min_p=float(given.get("min_p") or 0.0),
            stop=tuple(stop),
            seed=self.seed,
        )

    def _cut(self, context: str, room: int) -> str:
        """The end of a context that leaves room for the answer."""
        ids, most = self.tok_encode(context), self.max_length - room
        if most < 1:
            raise UserError(f"the task wants {room} new tokens, and {self.subject.name} can read {self.max_length} in all")
        return context if len(ids) <= most else str(self.tokenizer.decode(ids[-most:], skip_special_tokens=False))
