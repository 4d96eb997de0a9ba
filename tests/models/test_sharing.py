"""Rows behind one copy of what they begin with: where every token lies, what it sees, and that nothing it is worth changes."""

import torch

from plaudit.core.batch import from_rows
from plaudit.models.network import Network
from plaudit.models.scorer import Scorer
from plaudit.models.sharing import alike, lines_of
from small_networks import VOCABULARY, adapter, base


def batch(ids, group):
    return from_rows(ids, [[0] * (len(row) - 1) + [1] for row in ids], group=group, dtype=torch.float64)


def test_the_lines_by_hand():
    """Two answers behind 5 6 7; a row of another group; the third row of the first group stands apart in the batch."""
    lines = lines_of(batch([[5, 6, 7, 1], [5, 6, 7, 2, 3], [9, 8], [5, 6, 7]], [0, 0, 1, 0]))
    assert lines.ids.tolist() == [[5, 6, 7, 1, 2, 3], [9, 8, 0, 0, 0, 0]]
    assert lines.positions.tolist() == [[0, 1, 2, 3, 3, 4], [0, 1, 0, 0, 0, 0]]
    assert lines.index.tolist() == [[0, 1, 2, 3, 0], [0, 1, 2, 4, 5], [6, 7, 0, 0, 0], [0, 1, 2, 0, 0]]
    seen = lines.mask()[0, 0].long().tolist()
    assert seen[3] == [1, 1, 1, 1, 0, 0]  # the first answer sees the beginning and itself
    assert seen[5] == [1, 1, 1, 0, 1, 1]  # the second one does not see the first
    assert lines.mask()[1, 0, 1].long().tolist() == [1, 1, 0, 0, 0, 0]


def test_rows_that_begin_alike_are_found():
    assert alike([[1, 2, 3, 4], [1, 2, 9], [1, 2, 3], [7], [7], [8, 7]]) == [0, 0, 0, 3, 3, 5]


def test_outputs_are_those_of_rows_of_their_own():
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(3, VOCABULARY, (n,), generator=generator).tolist() for n in (4, 7, 3)]
    ids = [
        [*prompts[g], *torch.randint(3, VOCABULARY, (1 + k,), generator=generator).tolist()]
        for g in (0, 1, 2)
        for k in range(3)
    ]
    rows = batch(ids, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    network = adapter(base(), "critic", scalar=True)
    want = {"logp", "entropy", "value", "score"}
    plain = network(rows, want)
    network.sharing = True
    shared = network(rows, want)
    for kind in want:
        assert torch.allclose(getattr(plain, kind), getattr(shared, kind), rtol=1e-6, atol=1e-7), kind


def test_the_scorer_reads_a_prompt_once_and_scores_the_same():
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randint(3, VOCABULARY, (8,), generator=generator).tolist()
    rows = [[*prompt, *torch.randint(3, VOCABULARY, (n,), generator=generator).tolist()] for n in (2, 5, 1)] + [[4, 5, 6]]
    network = adapter(base(), "reward", scalar=True)
    plain = Scorer(network)(rows)
    seen = []
    run = Network.__call__

    class Counted(Network):
        def __call__(self, batch, want, **more):
            seen.append(lines_of(batch).ids.numel())
            return run(self, batch, want, **more)

    counted = Counted("reward", network.base, adapter="reward", head=network.head, sharing=True)
    assert torch.allclose(torch.tensor(Scorer(counted)(rows)), torch.tensor(plain), rtol=1e-6)
    assert sum(seen) == 2 * (8 + 2 + 5 + 1)  # two lines, the longer one holds the prompt once
