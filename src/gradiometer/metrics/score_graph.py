"""score_graph: where true graphs meet guessed ones, as `score` is for pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gradiometer.core import BadInput, Batch, Client, Data, Guess, Unsupported, simulate
from gradiometer.numerics.assignment import assign

from .graph import Whole, exact_graph, gsm, shared_edges
from .identification import drawn_others

SAME = 1e-5
"""Relative distance of two gradients below which a float32 client cannot tell them apart."""


@dataclass(frozen=True, kw_only=True)
class GraphScore:
    """How well one true graph was recovered.

    Args:
        gsm0, gsm1, gsm2: likeness of nodes, and of their neighborhoods of one and two hops; gsm: their mean.
        edges: F-measure of edges between assigned nodes.
        exact: the same graph, up to the order of nodes.
        equivalent: another graph with the same gradient: nobody could tell from this update. None where no client was given.
        rank: place of the true graph among `candidates`, ordered by mean GSM with the guess; 1 is best, and an exact guess has it.
        identified: rank 1, among at least two candidates.
        blind_gsm, blind_name: mean GSM of the best of the blind baselines for this very graph.
        noise_gsm: of the same attack on an update of pure noise, where that was run; it is one of the baselines.
        gain: gsm - blind_gsm. Only what is above zero can be leakage.
        matched: False if the attack gave no graph for this one; it is then scored as an empty one.
        guess: position of the assigned graph in the guess, None where not matched.
    """

    gsm0: float
    gsm1: float
    gsm2: float
    gsm: float
    edges: float
    exact: bool
    equivalent: bool | None
    rank: int
    candidates: int
    identified: bool
    blind_gsm: float
    blind_name: str
    noise_gsm: float | None
    gain: float
    matched: bool
    guess: int | None


def score_graph(
    guess: Guess,
    truth: Batch,
    data: Data,
    *,
    rng: torch.Generator,
    client: Client | None = None,
    candidates: int = 100,
    noise_guess: Guess | None = None,
) -> list[GraphScore]:
    """Scores every true graph.

    Guessed graphs are assigned to true ones one to one, at the largest total mean GSM.

    Args:
        guess: the attack's; without `nodes` and `adjacency`, nothing is matched.
        truth: the private batch.
        data: for the other candidates and the blind baselines.
        client: its gradient tells graphs that are equivalent from those that are wrong.
        candidates: N of the identification; fewer where there are fewer graphs.
        noise_guess: of the same attack on `update.noise(rng)`.

    Returns:
        n scores, in the order of `truth`.

    Raises:
        BadInput: guessed graphs of another shape than the layout's.
        Unsupported: the data are no graphs.
    """
    if "adjacency" not in data.layout:
        raise Unsupported(
            "score_graph() compares graphs, and these data have none", fix='give the layout "nodes" and "adjacency"'
        )
    real = graphs(truth)
    shown, source = _assigned(guess, real, data)
    blind = blind_graphs(truth.size, data, rng=rng)
    if noise_guess is not None:
        blind["noise"], _ = _assigned(noise_guess, real, data)
    scores = []
    for i, (mine, one, j) in enumerate(zip(shown, real, source)):
        likeness = {name: _mean(gsm(said[i], one)) for name, said in blind.items()}
        best = max(likeness, key=lambda name: (likeness[name], name))
        others = drawn_others(one, data, graphs, exact_graph, candidates - 1, rng)
        three, exact = gsm(mine, one), exact_graph(mine, one)
        nearer = len(others) if j is None else 0
        if j is not None and not exact:
            nearer = sum(_mean(gsm(mine, other)) >= _mean(three) for other in others)
        scores.append(
            GraphScore(
                gsm0=three[0],
                gsm1=three[1],
                gsm2=three[2],
                gsm=_mean(three),
                edges=shared_edges(mine, one),
                exact=exact,
                equivalent=None
                if client is None
                else j is not None and not exact and _same(client, truth, i, guess, j),
                rank=1 + nearer,
                candidates=len(others) + 1,
                identified=not nearer and len(others) > 0,
                blind_gsm=likeness[best],
                blind_name=best,
                noise_gsm=likeness.get("noise"),
                gain=_mean(three) - likeness[best],
                matched=j is not None,
                guess=j,
            )
        )
    return scores


def blind_graphs(count: int, data: Data, *, rng: torch.Generator) -> dict[str, list[Whole]]:
    """What somebody shows who never saw the update, a graph for each example.

    - `common`: the commonest public node, as often as a public graph has nodes in the median, and no edge;
    - `random_public`: a public graph, drawn by `rng`.

    Without public data, the empty graph.
    """
    if data.public is None:
        features = data.layout["nodes"].shape[1]
        return {"nothing": [Whole(nodes=torch.zeros(0, features), adjacency=torch.zeros(0, 0))] * count}
    public = graphs(data.public)
    kinds, counts = torch.cat([one.nodes for one in public]).unique(dim=0, return_counts=True)
    size = sorted(len(one.nodes) for one in public)[len(public) // 2]
    common = Whole(nodes=kinds[counts.argmax()].repeat(size, 1), adjacency=torch.zeros(size, size))
    drawn = torch.randint(len(public), (count,), generator=rng).tolist()
    return {"common": [common] * count, "random_public": [public[i] for i in drawn]}


def graphs(batch: Batch | Guess) -> list[Whole]:
    """The graphs of a batch or a guess, without their padding."""
    nodes, adjacency = batch["nodes"].detach().cpu(), batch["adjacency"].detach().cpu()
    mask = batch["mask"].detach().cpu().bool() if "mask" in batch else torch.ones(nodes.shape[:2], dtype=torch.bool)
    return [Whole(nodes=x[m], adjacency=a[m][:, m]) for x, a, m in zip(nodes, adjacency, mask)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _assigned(guess: Guess, real: list[Whole], data: Data) -> tuple[list[Whole], list[int | None]]:
    """For every real graph the guessed one (an empty one where there is none), and its position in the guess."""
    offered = _offered(guess, data)[: len(real)]
    likeness = torch.tensor([[_mean(gsm(mine, one)) for mine in offered] for one in real])
    pairs = dict(assign(-likeness)) if offered else {}
    nothing = Whole(nodes=real[0].nodes[:0], adjacency=real[0].adjacency[:0, :0])
    source = [pairs.get(i) for i in range(len(real))]
    return [nothing if j is None else offered[j] for j in source], source


def _offered(guess: Guess, data: Data) -> list[Whole]:
    if "nodes" not in guess or "adjacency" not in guess:
        return []
    for name in ("nodes", "adjacency"):
        if tuple(guess[name].shape[1:]) != data.layout[name].shape:
            raise BadInput(
                f"guessed {name} have shape {tuple(guess[name].shape)}, and {data.layout[name].shape} is due"
            )
    return graphs(guess)


def _same(client: Client, truth: Batch, i: int, guess: Guess, j: int) -> bool:
    """Whether guess j causes the gradient of truth i."""
    one = truth.take([i])
    other = Batch({name: guess[name][j : j + 1].to(one[name]) for name in one if name in guess})
    if set(other) != set(one):
        return False
    mine, theirs = (simulate(client.model, client.loss, client.recipe, batch).values for batch in (other, one))
    apart = sum(float((mine[name] - theirs[name]).double().square().sum()) for name in theirs)
    size = sum(float(value.double().square().sum()) for value in theirs.values())
    return apart <= SAME**2 * size
