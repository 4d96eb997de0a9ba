"""Any OpenAI-compatible server as an engine: vLLM, llama.cpp, Ollama, a hosted service. For judging, playing the user, data.

Conversations go to /chat/completions, plain text to /completions. Answers come as text; a server that also sends the sampled
ids and their log-probabilities (vLLM's `return_token_ids`) is asked for them, and they are kept.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import TYPE_CHECKING, Any

from plaudit.engines.base import Progress, check_request, row_seed
from plaudit.engines.http_client import Client, Refused
from plaudit.schema import Completion, Prompt, Sampling, UserError

if TYPE_CHECKING:
    from torch import Tensor

IDS = {"return_token_ids": True, "logprobs": True}


class HttpEngine:
    """Writes answers through a server. Its weights cannot be changed from here, so policy gradients are not for it.

    `returns_token_ids` is true once answers came with ids and log-probabilities (`probe` asks for one token to find out).
    Siblings are asked for together, with the seed of the first; what the server makes of a seed is its own matter.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key_variable: str = "PLAUDIT_API_KEY",
        timeout: float = 120.0,
        retries: int = 5,
        backoff: float = 0.5,
        concurrency: int = 8,
    ) -> None:
        """base_url: with the version, as in http://127.0.0.1:8000/v1. model: None is the one that the server has.

        api_key_variable: environment variable with the key, read at each request; none is sent where it is not set.
        timeout: seconds without an answer. retries: further tries after 429, 5xx, no connection or no answer in time, the
        first after `backoff` seconds, then each after twice as long. concurrency: requests at a time.
        """
        if concurrency < 1:
            raise UserError(f"engine option concurrency is {concurrency}; allowed: at least 1.")
        self.client = Client(base_url, api_key_variable, timeout, retries, backoff)
        self.concurrency = concurrency
        self.model = model or self._only_model()
        self.version = f"{self.model}@{self.client.host}"
        self.tokenizer = None
        self.returns_token_ids = False
        self._ask_ids = True
        self._limit = "max_tokens"

    def probe(self) -> bool:
        """Ask for one token, to know whether this server returns ids."""
        self.generate([Prompt(text="1")], 1, Sampling(max_new_tokens=1))
        return self.returns_token_ids

    def load(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
        """Refused: UserError."""
        raise UserError(f"the weights of the server {self.client.url} cannot be changed from here: train with `engine: torch`.")

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, progress: Progress | None = None
    ) -> list[Completion]:
        """`n` answers to each prompt, prompt-major. UserError where the server is not there, refuses, or makes no sense."""
        check_request(n, sampling)
        if not prompts:
            return []
        found: dict[int, list[Completion]] = {}
        reasons: Counter[str] = Counter()
        stop = Event()
        with ThreadPoolExecutor(min(self.concurrency, len(prompts)), thread_name_prefix="plaudit-http") as pool:
            jobs = {pool.submit(self._siblings, prompt, n, sampling, stop): i for i, prompt in enumerate(prompts)}
            try:
                for job in as_completed(jobs):
                    found[jobs[job]], odd = job.result()
                    reasons += odd
                    if progress:
                        progress(n * len(found), n * len(prompts))
            except BaseException:
                stop.set()  # those under way make no further tries
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for reason, count in reasons.items():
            logging.getLogger("plaudit").warning(f"{count} answers were ended by {self.client.url} itself ({reason}).")
        said = [one for i in range(len(prompts)) for one in found[i]]
        self.returns_token_ids = all(0 < len(one.tokens) == len(one.logprobs) and one.prompt_tokens for one in said)
        return said

    def _siblings(self, prompt: Prompt, n: int, sampling: Sampling, stop: Event) -> tuple[list[Completion], Counter[str]]:
        """All answers to one prompt. Servers that give fewer than were asked for are asked again."""
        said: list[Completion] = []
        reasons: Counter[str] = Counter()
        while len(said) < n:
            # Several greedy answers at once are refused by vLLM.
            seed, count = row_seed(sampling.seed, prompt.id, len(said)), 1 if sampling.temperature == 0 else n - len(said)
            body, choices = self._ask(prompt, count, sampling, seed, stop)
            for choice in choices[:count]:
                said.append(self._completion(prompt, body, choice, len(said), seed, sampling))
                if (reason := choice.get("finish_reason")) not in ("stop", "length"):
                    reasons[f"finish_reason {reason}"] += 1
        return said, reasons

    def _ask(
        self, prompt: Prompt, n: int, sampling: Sampling, seed: int, stop: Event
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        path = "/chat/completions" if prompt.text is None else "/completions"
        ids, limit = self._ask_ids, self._limit
        while True:
            try:
                body = self.client.post(path, self._request(prompt, n, sampling, seed, ids, limit), stop)
                break
            except Refused as refusal:
                if limit == "max_tokens" and "max_completion_tokens" in refusal.said:
                    limit = "max_completion_tokens"  # OpenAI's newer models
                elif ids and refusal.status in (400, 422):
                    ids = False  # it may not know these options; if that was not why, it refuses once more
                elif refusal.status == 404:
                    raise UserError(self._no_model(refusal)) from None
                else:
                    said = f"{self.client.url} refuses the request ({refusal.status}): {refusal.said}"
                    raise UserError(f"the server {said}") from None
        self._ask_ids, self._limit = ids, limit
        choices = body.get("choices") if isinstance(body, dict) else None
        if not isinstance(choices, list) or not choices or not all(isinstance(c, dict) for c in choices):
            raise UserError(f"{self.client.url}{path} is no OpenAI-compatible server: no choices in {str(body)[:200]}")
        return body, choices

    def _request(self, prompt: Prompt, n: int, sampling: Sampling, seed: int, ids: bool, limit: str) -> dict[str, Any]:
        """OpenAI's options, and those of vLLM and llama.cpp (top_k, min_p, stop_token_ids) where they are not off."""
        content: dict[str, Any] = {"prompt": prompt.text}
        if prompt.text is None:
            content = {"messages": [{"role": m.role, "content": m.content} for m in prompt.messages]}
        extra = {"top_k": sampling.top_k, "min_p": sampling.min_p, "stop_token_ids": list(sampling.stop_token_ids)}
        return {
            "model": self.model,
            **content,
            limit: sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
            "n": n,
            **({"stop": list(sampling.stop)} if sampling.stop else {}),
            **{name: value for name, value in extra.items() if value},
            **((IDS if prompt.text is None else {**IDS, "logprobs": 1}) if ids else {}),
        }

    def _completion(
        self, prompt: Prompt, body: dict[str, Any], choice: dict[str, Any], index: int, seed: int, sampling: Sampling
    ) -> Completion:
        message = choice.get("message")
        text = (message or {}).get("content") or "" if prompt.text is None else choice.get("text")
        if not isinstance(text, str) or (prompt.text is None and not isinstance(message, dict)):
            raise UserError(f"{self.client.url} answers with a choice that has no text: {str(choice)[:200]}")
        tokens = tuple(choice.get("token_ids") or ())
        return Completion(
            prompt_id=prompt.id,
            text=text,
            prompt_tokens=tuple(choice.get("prompt_token_ids") or body.get("prompt_token_ids") or ()),
            tokens=tokens,
            logprobs=_logprobs(choice, len(tokens), sampling),
            finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
            policy=self.version,
            index=index,
            seed=seed,
            sampling=sampling,
        )

    def _models(self) -> list[str]:
        body = self.client.get("/models")
        data = body.get("data") if isinstance(body, dict) else None
        return [str(one["id"]) for one in data or () if isinstance(one, dict) and "id" in one]

    def _only_model(self) -> str:
        try:
            names = self._models()
        except Refused as refusal:
            raise UserError(
                f"{self.client.url} does not list its models ({refusal.status}): name one, as in URL#MODEL"
            ) from None
        if len(names) != 1:
            raise UserError(f"{self.client.url} has {_listed(names)}: name one, as in {self.client.url}#MODEL")
        return names[0]

    def _no_model(self, refusal: Refused) -> str:
        try:
            names = self._models()
        except (Refused, UserError):
            return f"{self.client.url} has no such path or no model {self.model!r} (404): {refusal.said}"
        if self.model in names:
            return f"{self.client.url} has the model {self.model!r} but refuses the request (404): {refusal.said}"
        return f"the server {self.client.url} has no model {self.model!r}; it has {_listed(names)}"


def _listed(names: list[str]) -> str:
    return f"{len(names)} models ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})" if names else "no model"


def _logprobs(choice: dict[str, Any], count: int, sampling: Sampling) -> tuple[float, ...]:
    """Log-probabilities of the sampled tokens under the distribution they were drawn from, where they are known.

    Servers report the model's own distribution. It is the one drawn from at temperature 1 without filters; a greedy token is
    drawn from a point mass; for anything else nothing is kept.
    """
    if sampling.temperature == 0:
        return (0.0,) * count
    found = choice.get("logprobs") or {}
    if sampling.temperature != 1 or sampling.truncates or not isinstance(found, dict):
        return ()
    if "content" in found:
        values = [one.get("logprob") for one in found["content"] or ()]
    else:
        values = list(found.get("token_logprobs") or ())
    good = len(values) == count and all(isinstance(value, int | float) for value in values)
    return tuple(float(value) for value in values) if good else ()
