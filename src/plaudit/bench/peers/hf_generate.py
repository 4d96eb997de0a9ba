"""transformers' generate on the job's prompts, all in one batch: texts in, texts out, each answer of the length it is given.

A row that has its length is told to stop, and the batch goes on until the last one has: that is how `generate` works.
"""

import side
import torch
from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList

BATCH = 64
"""Rows at one time, as many as Plaudit's engine has slots."""


class Lengths(StoppingCriteria):
    """Row i is done after limits[i] new tokens."""

    def __init__(self, limits, prompt):
        self.limits, self.prompt = torch.tensor(limits), prompt

    def __call__(self, input_ids, scores, **kwargs):
        return (input_ids.shape[1] - self.prompt >= self.limits).to(input_ids.device)


job, clock = side.work(), side.Clock()
dtype = {"default": "auto", "fp32": torch.float32, "bf16": torch.bfloat16}[job["dtype"]]
device = "cuda" if torch.cuda.is_available() else "cpu"
model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=dtype).eval().to(device)
tokenizer = side.tokenizer(job["folder"])
tokenizer.padding_side = "left"
prompts, limits = [row["prompt"] for row in job["rows"]], job["new_tokens"]
options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, **job["options"]}


def answer(texts, limits):
    """Answers to one batch; how many tokens they have."""
    inputs = tokenizer(texts, return_tensors="pt", padding=True).to(device)
    width = inputs["input_ids"].shape[1]
    stop = StoppingCriteriaList([Lengths(limits, width)])
    found = model.generate(**inputs, max_new_tokens=max(limits), stopping_criteria=stop, **options)[:, width:]
    tokenizer.batch_decode(found, skip_special_tokens=True)
    return sum(min(limit, found.shape[1]) for limit in limits)


for number in range(job["warmup"] + job["steps"]):
    torch.manual_seed(number)
    clock.start()
    for i in range(0, len(prompts), BATCH):
        clock.passed(answer(prompts[i : i + BATCH], limits[i : i + BATCH]))
    clock.stop()
side.finish("transformers", "bf16" if model.dtype == torch.bfloat16 else "fp32", clock)
