"""The R-operator path: objective and derivative by hand-written passes over the layers, without a graph through them.

One evaluation is `forward`, `backward`, the distance with its cotangent v, and the two tangent passes along v: the derivative by
the input of <v, dL/dw> is the move of dL/dx when the weights move along v. That takes one pass less than double backward,
nothing is recorded, and every layer is computed in the way that suits its shape (`choice`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Values, in_mode
from gradiometer.numerics.distances import Combined, Distance, Paired, Products

from .elementwise import Kinked
from .fixed import MaxPooled
from .matrix import Dense, Matrix
from .point import Decode, Penalty, Point
from .unfolded import Unfolded


class Fast:
    """A traced classifier with mean softmax cross-entropy, prepared for batches of one shape.

    Args:
        model: at the start of the round.
        mode: of normalization, `train` or `eval`.
        x: a batch of the shape and precision to come; with a model of 16-bit floats and such a batch, the passes over the layers are
            in this precision, loss and distance in 32 bits.
        distance, sent: what the gradient is compared with; of parameters that the model does not use it is zero.
        scale: factor on the gradient before the comparison.
        ghosts: whether weight gradients may be left unformed where that is cheaper and the distance allows it.

    Raises:
        NotApplicable: the model cannot be traced.
    """

    def __init__(
        self,
        model: nn.Module,
        mode: str,
        x: Tensor,
        distance: Distance,
        sent: Values,
        *,
        scale: float = 1.0,
        ghosts: bool = True,
    ) -> None:
        from .capture import capture  # torch.fx takes a while to load

        self._scale, self._dtype = scale, x.dtype
        self._wide = torch.promote_types(x.dtype, torch.float32)
        self._paired = distance if isinstance(distance, Paired) else None
        with in_mode(model, mode):
            # Near a match |s - t| is lost in the rounding of products.
            ghosts = ghosts and self._paired is not None and not self._paired.asks_gap
            self.program = capture(model, x, frozenset(sent), ghosts=ghosts)
        single = x.dtype == torch.float32
        self.kinked = single and any(isinstance(rule, (Kinked, MaxPooled)) for rule in self.program.rules)
        self._slots = {slot.name: slot for slot in self.program.slots if slot.name}
        self._compare = distance.against(sent)
        self._unused = {n: torch.zeros_like(v) for n, v in sent.items() if n not in self._slots}
        self._ghosts = [m for m in map(_ghost, self.program.rules) if m is not None]
        hidden = {id(matrix.slot) for matrix in self._ghosts}
        self._formed = [slot for slot in self._slots.values() if id(slot) not in hidden]
        size = sum(slot.value.numel() for slot in self._formed)
        self._gradient, self._change = x.new_zeros(size), x.new_zeros(0)
        self._sent = x.new_zeros(size, dtype=self._wide)
        for slot, gradient, target in zip(self._formed, self._parts(self._gradient), self._parts(self._sent)):
            slot.gradient = gradient
            target.copy_(slot.own(sent[slot.name].detach()))
        for matrix in self._ghosts:
            matrix.send(matrix.slot.own(sent[matrix.slot.name].detach().to(x.dtype)).contiguous())
        self.length, self._alien = (
            sum(float(sent[name].detach().double().square().sum()) for name in names) for names in (sent, self._unused)
        )

    def __call__(self, unknowns: Sequence[Tensor], decode: Decode, penalty: Penalty | None = None) -> Point:
        """Evaluates once, as `Eager` does."""
        leaves = [value.detach().requires_grad_() for value in unknowns]
        with torch.enable_grad():
            batch = decode(leaves)
        x, y = batch["x"], batch["y"]
        with torch.no_grad():
            delta = self._loss(self.program.forward(x.detach().to(self._dtype)), y.detach())
            self.program.backward(delta)
            found = self._compared()
        extra, inner = (None, {}) if penalty is None else self._penalized(penalty, batch)
        with torch.no_grad():
            by_x, by_y = self._second(inner)
        roots, weights = [x], [by_x]
        if y.requires_grad:
            roots, weights = [*roots, y], [*weights, by_y]
        total = found
        if extra is not None and extra.requires_grad:
            total = found + float(extra.detach())
            roots, weights = [*roots, extra], [*weights, torch.ones_like(extra)]
        slopes = torch.autograd.grad(roots, leaves, weights, materialize_grads=True)
        gradient = [slope.contiguous() for slope in slopes]
        return Point(value=total, distance=found, gradient=gradient, mixed=self._dtype != self._wide)

    @property
    def formed(self) -> bool:
        """Whether every weight gradient is formed."""
        return not self._ghosts

    def begin(self, x: Tensor, y: Tensor) -> None:
        """Makes the first two passes, through every layer, and room for the gradient's changes."""
        if not self._change.numel():
            self._change = torch.zeros_like(self._gradient)
            for slot, part in zip(self._formed, self._parts(self._change)):
                slot.change = part
        with torch.no_grad():
            self.program.backward(self._loss(self.program.forward(x), y), whole=True)

    def difference(self) -> Tensor:
        """The gradient of the last batch minus what was sent, flat."""
        return self._gradient - self._sent

    def change_along(self, move: Tensor) -> Tensor:
        """The gradient's derivative along a move of the pictures, flat."""
        for slot in self._formed:
            slot.move = None
        with torch.no_grad():
            self._second({}, move)
            for rule in self.program.rules:
                rule.collect()
        return self._change.clone()

    def weighted(self, weights: Tensor) -> Tensor:
        """The derivative by the pictures of the gradient's inner product with `weights`."""
        for slot, part in zip(self._formed, self._parts(weights)):
            slot.move = part
        with torch.no_grad():
            return self._second({})[0].contiguous()

    def _parts(self, flat: Tensor) -> list[Tensor]:
        sizes = [slot.value.numel() for slot in self._formed]
        return [part.view(slot.value.shape) for slot, part in zip(self._formed, flat.split(sizes))]

    def _penalized(self, penalty: Penalty, batch: Batch) -> tuple[Tensor, dict[int, Tensor]]:
        """The priors, with their graph to the batch, and their derivatives by the inner tensors that they read."""
        watched, values = self.program.watched, self.program.values
        hidden = {i: values[i].detach().requires_grad_() for i in watched.values() if i}
        with torch.enable_grad():
            extra = penalty(batch, {name: [hidden[i] if i else batch["x"]] for name, i in watched.items()})
        if not (hidden and extra.requires_grad):
            return extra, {}
        pulls = torch.autograd.grad(extra, list(hidden.values()), retain_graph=True, materialize_grads=True)
        return extra, dict(zip(hidden, pulls))

    def _loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The derivative of the scaled mean cross-entropy by the logits."""
        self._p = logits.to(self._wide).softmax(1)
        target = y if y.is_floating_point() else torch.zeros_like(self._p).scatter_(1, y[:, None], 1.0)
        self._mass = target.sum(1, keepdim=True)
        return ((self._p * self._mass - target) * (self._scale / len(logits))).to(self._dtype)

    def _second(self, inner: dict[int, Tensor], move: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Derivatives by the input and by the probabilities of the labels, along the slots' moves and the input's."""
        moved, p = self.program.tangent(move), self._p
        assert moved is not None
        centered = moved - (p * moved).sum(1, keepdim=True)
        factor = self._scale / len(p)
        pulled = self.program.pull((p * centered * self._mass * factor).to(self._dtype), inner)
        assert pulled is not None
        return pulled.to(self._wide), -factor * centered

    def _compared(self) -> float:
        """The distance; leaves its derivative in the slots' moves."""
        if self._paired is None:
            parts = self._parts(self._gradient.to(self._wide))
            gradient = {slot.name: slot.natural(part) for slot, part in zip(self._formed, parts)}
            value, cotangents = self._compare({**gradient, **self._unused})
            for slot in self._formed:
                assert slot.gradient is not None
                slot.gradient.copy_(slot.own(cotangents[slot.name]))
                slot.move = slot.gradient
            return float(value)
        formed, sent = self._gradient.to(self._wide), self._sent
        apart = (formed - sent).norm().square() if self._paired.asks_gap else formed.new_zeros(())
        found = torch.stack([torch.dot(formed, sent), torch.dot(formed, formed), apart])
        if self._ghosts:
            found[:2] += torch.stack([matrix.products() for matrix in self._ghosts]).sum(0)
        totals = found.tolist()
        products = Products(inner=totals[0], squared=totals[1], gap=totals[2] + self._alien)
        combined = self._paired.combine(products, self.length)
        self._turn(formed, combined)
        return combined.value

    def _turn(self, formed: Tensor, found: Combined) -> None:
        self._gradient.copy_(formed.mul_(found.along).add_(self._sent, alpha=found.across))
        for slot in self._formed:
            slot.move = slot.gradient
        for matrix in self._ghosts:
            matrix.along, matrix.across = found.along, found.across


def _ghost(rule: object) -> Matrix | None:
    return rule.matrix if isinstance(rule, (Dense, Unfolded)) and rule.matrix.ghost else None
