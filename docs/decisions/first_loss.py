"""The first Bradley-Terry loss of a reward model on SmolLM2, by how its head starts: the figures of decision 1.

It takes about a minute: `python docs/decisions/first_loss.py`.
"""

import torch

from plaudit.core.batch import from_rows
from plaudit.data.template import encode_answer
from plaudit.models.forward import Layout, hidden_states, read
from plaudit.models.heads import scalar_head
from plaudit.models.load import load
from plaudit.pipeline.support.demonstrations import demonstrations
from plaudit.pipeline.support.questions import questions

loaded = load("smollm2-135m-instruct")
width = loaded.model.config.hidden_size
prompts = questions(16, 1, "train")
pairs = zip(demonstrations(prompts, 1), demonstrations(prompts, 2), strict=True)
rows = [encode_answer(loaded.tokenizer, one.prompt, one.answer).ids for pair in pairs for one in pair]
batch = from_rows(rows, [[0] * len(row) for row in rows])
layout = Layout(batch, packed=False)
with torch.no_grad():
    hidden = hidden_states(loaded.model, layout)


def show(name: str, head: torch.nn.Linear) -> None:
    """Loss over the 16 pairs, and how far the two scores of a pair lie apart."""
    with torch.no_grad():
        score = read(hidden, layout, batch, {"score"}, scalar_head=head).score
    assert score is not None
    gap = score[0::2] - score[1::2]
    print(f"{name:32} loss {float(-torch.nn.functional.logsigmoid(gap).mean()):.3f}  gap {float(gap.abs().mean()):.3f}")


last = hidden[torch.arange(len(rows)), batch.length - 1]
print(f"size of a last hidden state, sqrt(mean square): {float(last.square().mean().sqrt()):.2f}")
show("head at zero", scalar_head(width))
for seed in (1, 2, 3):
    head = scalar_head(width)
    torch.nn.init.normal_(head.weight, std=(width + 1) ** -0.5, generator=torch.Generator().manual_seed(seed))
    show(f"head from N(0, 1/(d + 1)), seed {seed}", head)
