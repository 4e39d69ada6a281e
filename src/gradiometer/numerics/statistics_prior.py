"""The prior that makes training mode attackable: batch statistics of normalization layers must agree with known ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from gradiometer.core import NotApplicable, Update, clone_model, simulate

from .batchnorm import Statistics, averaged, call_weights, input_statistics, normalizations, sent_statistics
from .terms import Iterate, Term, watching

Target = Callable[[str, int], Statistics]


@dataclass(frozen=True, kw_only=True)
class BatchStatistics:
    """weight * sum over normalization layers of ||mean(x) - mean*||_2 + ||var(x) - var*||_2, of the layers' inputs.

    BatchNorm in train mode takes the batch's own mean and contrast out of every channel, so that the gradient hardly
    tells them; known statistics put exactly this back. The variance is the unbiased one, as the buffers hold it.

    Args:
        weight: of the sum.
        source: where the targets come from: `exact`, the buffers that the client sent after its training; `proxy`, the
            same training simulated on public examples (also for layer, group and instance normalization); `running`,
            the running averages of the model before the round.
        proxies: over how many public batches `proxy` averages.

    References:
        Yin, Mallya, Vahdat, Alvarez, Kautz, Molchanov, "See through Gradients: Image Batch Recovery via
        GradInversion", 2021, arXiv:2104.07586.
        Huang, Gupta, Song, Li, Arora, "Evaluating Gradient Inversion Attacks and Defenses in Federated Learning",
        2021, arXiv:2112.00059.
        Valadi et al., "From Research to Reality: Feasibility of Gradient Inversion Attacks in Federated Learning",
        2025, arXiv:2508.19819.
    """

    weight: float = 1e-3
    source: Literal["exact", "proxy", "running"] = "exact"
    proxies: int = 8

    def term(self, update: Update) -> Term:
        """See `Prior.term`."""
        layers = normalizations(update.need("model"), running=self.source != "proxy")
        if not layers:
            raise NotApplicable(
                f"{self.source} batch statistics need a model with normalization layers"
                + (" that keep running averages" if self.source != "proxy" else ""),
                fix="drop the BatchStatistics prior, or choose another source",
            )
        sources = {"exact": _exact, "running": _running, "proxy": self._proxy}
        target = cache(sources[self.source](update, layers))

        def penalty(at: Iterate) -> Tensor:
            gaps = []
            for name, values in at.inputs.items():
                if name in layers and values:
                    layer, calls = layers[name], len(values)
                    weights = call_weights(layer, calls) if self.source == "exact" else [1.0] * calls
                    seen = averaged([input_statistics(layer, value) for value in values], weights)
                    aim = target(name, calls)
                    gaps += [(seen.mean - aim.mean).norm(), (seen.variance - aim.variance).norm()]
            return self.weight * torch.stack(gaps).sum()

        return Term(penalty=penalty, watches=tuple(layers))

    def _proxy(self, update: Update, layers: dict[str, Any]) -> Target:
        public, n = update.need("public"), update.need("batch_size")
        model, seen = clone_model(update.need("model")), []
        if public.size < n:
            raise NotApplicable(f"proxy statistics need at least {n} public examples, as many as the client trained on")
        for first in range(0, min(self.proxies * n, public.size - n + 1), n):
            part, rng = public.take(slice(first, first + n)), torch.Generator().manual_seed(first)
            with watching(model, frozenset(layers)) as inputs:
                simulate(model, update.need("loss"), update.need("recipe"), part, rng=rng)
            calls = {
                name: [input_statistics(layers[name], v.detach()) for v in values] for name, values in inputs.items()
            }
            seen.append({name: averaged(records, [1.0] * len(records)) for name, records in calls.items()})
        merged = {name: averaged([one[name] for one in seen], [1.0] * len(seen)) for name in layers}
        return lambda name, calls: merged[name]


def _exact(update: Update, layers: dict[str, Any]) -> Target:
    after = update.need("buffers")
    if update.need("recipe").mode != "train":
        raise NotApplicable(
            "the client ran its normalization layers in eval mode, which leaves their buffers as they were",
            fix="drop the BatchStatistics prior: eval mode takes nothing out of the gradient",
        )
    return lambda name, calls: sent_statistics(name, layers[name], after, calls)


def _running(update: Update, layers: dict[str, Any]) -> Target:
    known = {n: Statistics(mean=layer.running_mean, variance=layer.running_var) for n, layer in layers.items()}
    return lambda name, calls: known[name]
