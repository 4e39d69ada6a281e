"""GRAIN: a whole graph, nodes and edges, from the gradient of a graph network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradiometer.core import Attack, Batch, Card, Channel, Field, Guess, NotApplicable, Recipe, Update, Values, simulate

from .body import Body
from .causes import Budget, Cause, Unread
from .explain import Explained, Seen, explain, kinds_of_nodes, stages, supported_kinds
from .numbered import Node, as_batch, numbered
from .realize import Edges, Search, oddity

SINGLE = 1e-5
"""Relative distance of two gradients of the same graph that a float32 client's rounding explains."""
NOISY = 1.2
"""So many times the noise's expected size may a gradient be away."""
LEAVES, CHECKED = 400, 60
"""How many graphs with the right neighborhoods are looked at, and of how many of them the gradient is simulated."""


@dataclass(frozen=True, kw_only=True)
class GRAIN(Attack):
    """Reads a graph from the inside out: nodes, their neighborhoods, the neighborhoods of these, how often each occurs, edges.

    A vector of zeros and ones that lies in the span of the first map's gradient is a kind of node; a kind with kinds around
    it whose first-layer output lies in the span of the second map's is a neighborhood. Neighborhoods whose neighbors
    fit are glued. The readout's gradient is the sum, over nodes, of products that each second neighborhood causes and that can
    be worked out: nonnegative least squares tell how often each occurs, and, as counts are whole, how many nodes there are.
    A depth-first search joins the nodes; of the graphs found, one whose simulated gradient is the one sent is the guess.

    Two layers do not determine every graph: others with the same neighborhoods have the same gradient.

    Args:
        tolerance: sine of the angle to a span up to which something lies in it; None: from the gap of the singular values.
        most: neighborhoods to try at most, in all: a million takes 5 s (GCN) to 11 s (GAT) of one core.
        steps: of the depth-first search at most, a number of nodes.
        prior: expect molecules: kinds of nodes and bonds of the public graphs first, rings of five and six.
        channel: what an informed attacker knows of a defense: it decodes the entries.

    Returns (in `Guess`):
        nodes, adjacency, mask, y: of the one graph. confidence: 1 where the guess causes the gradient that was sent, else
        less. notes: `rank` of the spans, how many `kinds`, `blocks` and `seconds` were found, `agreement`, the relative distance of
        the caused gradient from the sent one up to its size, which a clip changes, and `verified`, whether rounding explains it;
        where not, a `cause`.

    References:
        Drencheva, Petrov, Baader, Dimitrov, Vechev, "GRAIN: Exact Graph Reconstruction from Gradients", 2025,
        arXiv:2503.01838.
    """

    card: ClassVar[Card] = Card(
        summary="Recovers a whole graph, features and edges, from the spans of a graph network's gradients.",
        title="GRAIN: Exact Graph Reconstruction from Gradients",
        authors="Drencheva, Petrov, Baader, Dimitrov, Vechev",
        year=2025,
        arxiv="2503.01838",
        modality="graph",
        family="analytic",
        formula="x is a kind of node if dist(x, rowspan dL/dW_1) < tau;  h(x, neighbors) a neighborhood if dist(h, rowspan dL/dW_2) "
        "< tau;  dL/dW_readout = sum_c n_c delta_c [x_c, e_c]^T tells the counts n_c >= 0",
        needs=("model", "loss"),
        departs="counts of second neighborhoods by nonnegative least squares instead of a search over whole graphs with a "
        "gradient check each; the label from the head's bias; rings of any size; graphs told apart by the gradient only if it can",
    )
    tolerance: float | None = None
    most: int = 4_000_000
    steps: int = 20_000
    prior: bool = True
    channel: Channel | None = None

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        update = update.to("cpu")
        body = Body(update.need("model"))
        update.need("loss")
        nodes = update.layout.get("nodes")
        if nodes is None or nodes.kind != "blocks" or "adjacency" not in update.layout:
            raise NotApplicable(
                "GRAIN reads the fields `nodes`, of zeros and ones, and `adjacency`, which the layout lacks"
            )
        if nodes.degree is None:
            raise NotApplicable(
                "GRAIN needs a block of the features that tells a node's degree", fix="name it in the layout"
            )
        if (update.batch_size or 1) > 1 or update.clients > 1:
            raise NotApplicable(
                "GRAIN reads one graph, and several stand behind the update", fix="observe batches of one"
            )
        values = update.values if self.channel is None else self.channel.decode(update.values)
        gradient = update.replace(values=values).as_gradient()
        seen = Seen.of(body, gradient, self.tolerance)
        explained = self._explained(body, seen, gradient, nodes, update, rng)
        notes = {
            "rank": [one.rank for one in seen.spans],
            "gap": [one.gap for one in seen.spans],
            "kinds": len(explained.kinds),
            "blocks": len(explained.blocks),
            "seconds": len(explained.seconds),
            "unexplained": explained.left,
        }
        return self._guess(body, update, gradient, explained, notes)

    def observing(self, channel: Channel) -> Attack:
        return replace(self, channel=channel)

    def _explained(
        self, body: Body, seen: Seen, gradient: Values, nodes: Field, update: Update, rng: torch.Generator
    ) -> Explained:
        """The first stage that explains the readout's gradient, else the one that explains most of it."""
        best: Explained | None = None
        refusal: Unread | None = None
        budget = Budget(self.most)
        for offer in (kinds_of_nodes, supported_kinds):
            try:
                kinds = offer(seen, nodes)
            except Unread as error:
                refusal = refusal or error
                continue
            for some, bonds in stages(kinds, update.public if self.prior else None):
                try:
                    found = explain(body, seen, gradient, some, bonds, budget, rng)
                except Unread as error:
                    refusal = refusal or error
                    continue
                if best is None or found.left < best.left:
                    best = found
                if best.left < seen.fits:
                    return best
        if best is not None and refusal is None:
            refusal = Unread(
                Cause.UNEXPLAINED,
                f"the {len(best.blocks)} neighborhoods found leave {best.left:.1e} of the readout's gradient unexplained",
                fix="raise the tolerance, if the gradient is not a plain one",
            )
        raise refusal or Unread(Cause.TOO_MANY_NODES, "no kind of node lies in the first span")

    def _guess(
        self, body: Body, update: Update, gradient: Values, explained: Explained, notes: dict[str, Any]
    ) -> Guess:
        most = update.layout["adjacency"].shape[0]
        label = None if body.per_node else int(gradient[body.last_bias].argmin())
        rounding, best, sized = _rounding(update, gradient), None, False
        # Behind noise, larger graphs of the same shares come as near as the true one: the smallest that noise explains is meant.
        limit = max(rounding, self._noise(update))
        for nodes in numbered(explained, most):
            sized = True
            for odd, edges in self._graphs(explained, nodes):
                if best is not None and best.agreement <= limit and best.odd <= odd:
                    break
                batch = as_batch(explained, nodes, edges, most, label)
                one = _Candidate(agreement=_apart(update, gradient, batch), odd=odd, batch=batch)
                if best is None or one.rank(limit) < best.rank(limit):
                    best = one
            if best is not None and best.agreement <= limit and not (best.odd and self.prior):
                break
        if best is None:
            cause = Cause.NO_GRAPH if sized else Cause.NO_NUMBER
            raise Unread(
                cause, f"{cause}: {len(explained.seconds)} second neighborhoods of {len(explained.blocks)} blocks"
            )
        verified = best.agreement <= rounding
        notes |= {"agreement": best.agreement, "verified": verified, "oddity": best.odd}
        notes |= {} if verified else {"cause": Cause.UNVERIFIED.name}
        confidence = torch.tensor([1.0 if verified else 1 / (1 + best.agreement / rounding)])
        return Guess(tensors=dict(best.batch), confidence=confidence, notes=notes)

    def _noise(self, update: Update) -> float:
        """Relative distance of two gradients of one graph that the noise of a known defense explains."""
        if self.channel is None:
            return 0.0
        total = sum(float(part.sum(dtype=torch.float64)) for part in self.channel.variance(update.values).values())
        size = _norm(list(self.channel.decode(update.values).values()))
        return NOISY * total**0.5 / size if math.isfinite(total) else 0.0

    def _graphs(self, explained: Explained, nodes: list[Node]) -> list[tuple[float, Edges]]:
        """Graphs of these nodes, the likeliest molecules first."""
        blocks = [explained.seconds.center[second] for _, second in nodes]
        around = [explained.seconds.around[second] for _, second in nodes]
        found = dict[Edges, float]()
        for edges in Search(blocks=blocks, around=around, prior=self.prior, most=self.steps).run():
            found[edges] = oddity(edges, len(nodes)) if self.prior else 0.0
            if len(found) >= LEAVES or (self.prior and not found[edges]):
                break
        return [(odd, edges) for edges, odd in sorted(found.items(), key=lambda one: one[1])][:CHECKED]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    """A graph, how far its gradient is from the observed one, and how odd a molecule it is."""

    agreement: float
    odd: float
    batch: Batch

    def rank(self, limit: float) -> tuple[bool, float]:
        """Graphs of the right gradient come first, the likeliest before others; then those of the nearest."""
        return self.agreement > limit, self.odd if self.agreement <= limit else self.agreement


def _rounding(update: Update, gradient: Values) -> float:
    """How far apart two gradients of one graph may be: a float32 client rounds its gradient, or the weights that it changes."""
    if update.sends == "gradient":
        return SINGLE
    recipe: Recipe = update.need("recipe")
    weights = [weight for name, weight in update.need("model").named_parameters() if name in gradient]
    return max(SINGLE, 2**-24 * _norm(weights) / (recipe.reach * _norm(list(gradient.values()))))


def _apart(update: Update, gradient: Values, batch: Batch) -> float:
    """Relative distance of the gradient that a graph causes from the one observed, up to a positive factor: it may be clipped."""
    caused = simulate(update.need("model"), update.need("loss"), Recipe(), batch).values
    mine, seen = (torch.cat([one[name].double().flatten() for name in gradient]) for one in (caused, gradient))
    factor = (mine @ seen / mine.square().sum().clamp_min(1e-300)).clamp_min(0)
    return float((factor * mine - seen).norm() / seen.norm())


def _norm(tensors: list[Tensor]) -> float:
    return sum(float(tensor.detach().double().square().sum()) for tensor in tensors) ** 0.5
