"""The networks of a learner, asked for what its algorithm wants: in passes that train, and without gradient before a step."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import torch

from plaudit.algorithms.base import Algorithm
from plaudit.core.batch import Batch, Outputs
from plaudit.models.dropout import Draw
from plaudit.models.network import Network
from plaudit.training import planning
from plaudit.training.usage import counted

Tensor = torch.Tensor
STREAMS = {"logp": "old", "entropy": "entropy", "value": "value"}
"""What a network gives -> the stream that a scoring pass keeps it in."""


@dataclass(frozen=True)
class Asked:
    """The networks by role, and the reference, as a learner has them."""

    algorithm: Algorithm
    networks: Mapping[str, Network]
    reference: Network | None

    def forward(
        self,
        network: Network,
        role: str,
        micro: Batch,
        trunk: Tensor | None,
        draw: Draw | None = None,
        want: AbstractSet[str] | None = None,
        shift: Tensor | None = None,
    ) -> Outputs:
        """What the network of a role makes of a micro-batch: what the algorithm wants of it, unless `want` says otherwise."""
        self.make_room(network)
        shared = trunk if network.start else None
        want = self.algorithm.networks[role] if want is None else want
        return network(micro, want, temperature=self.algorithm.temperature, trunk=shared, draw=draw, shift=shift)

    @torch.no_grad()
    def _asked_reference(self, rows: Batch, trunk: Tensor | None) -> Outputs:
        """Log-probabilities of the reference."""
        assert self.reference is not None
        self.make_room(self.reference)
        shared = trunk if self.reference.start else None
        return self.reference(rows, {"logp"}, temperature=self.algorithm.temperature, trunk=shared)

    def make_room(self, network: Network) -> None:
        """Where several networks are trained, only the one that is run has its weights in the dtype of its products as well.

        They share the memory of these casts, and one after another is run for all rows. A single one keeps its casts: it is
        not made to cast its weights again for each batch.
        """
        if len(self.networks) > 1:
            for other in (*self.networks.values(), self.reference):
                if other is not None and other.base is not network.base:
                    network.base.cast.take_from(other.base.cast)

    @counted("scoring")
    def trunks(self, batch: Batch, micros: list[Tensor], *, moved: bool = False) -> dict[int, Tensor | None]:
        """What the shared frozen layers make of each micro-batch, by its first row: once for all networks and passes.

        None where nothing is shared, or where embeddings are `moved`: the lowest layers then see something else than the rows.
        """
        users = [n for n in (*self.networks.values(), self.reference) if n is not None and n.start]
        users = [] if moved else users
        return {int(m[0]): users[0].trunk(batch.rows(m)) if users else None for m in micros}

    @counted("scoring")
    @torch.no_grad()
    def annotate(self, batch: Batch, micros: list[Tensor], trunks: Mapping[int, Tensor | None]) -> Batch:
        """The streams that the algorithm reads (old, entropy, value, ref); a network that none of them needs is not run."""
        reads = self.algorithm.reads
        asked = {role: {k for k in self.algorithm.networks[role] if STREAMS.get(k) in reads} for role in self.networks}
        found: dict[str, Tensor] = {}

        def put(name: str, index: Tensor, values: Tensor | None) -> None:
            if values is not None:
                stream = found.setdefault(name, values.new_zeros(batch.ids.shape))
                stream[index, : values.shape[1]] = values

        scored = [index for index in micros if reads and not planning.pretraining(batch, index)]
        for index in scored if self.reference is not None else ():
            put("ref", index, self._asked_reference(batch.rows(index), trunks[int(index[0])]).logp)
        if self.reference is not None:
            self.reference.base.rest()
        for role, network in reversed(list(self.networks.items())):  # the first is trained next, and has its casts then
            for index in scored if asked[role] else ():
                outputs = self.forward(network, role, batch.rows(index), trunks[int(index[0])], want=asked[role])
                for kind, stream in STREAMS.items():
                    put(stream, index, getattr(outputs, kind) if kind in asked[role] else None)
        return batch.with_(streams={name: stream.to(batch.mask.dtype) for name, stream in found.items()})
