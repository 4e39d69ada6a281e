"""Differencing: a client's own update out of sums over several, as secure aggregation shows them.

    two rounds:   sum over S and {k}  -  sum over S   =  update of k,  where the others send the same again
    collusion:    sum over all        -  own updates of those who collude  =  sum over the rest, or the one that is left

Masks do not help: both sums are what the protocol is meant to open. Whoever decides who takes part (a server that may
invite, or wait until a client is late) gets the first; every second client of a cohort of two has the other.

References:
    Pasquini, Francati, Ateniese, "Eluding Secure Aggregation in Federated Learning via Model Inconsistency", CCS 2022,
    arXiv:2111.07380, for servers that go around the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from gradiometer.core import NotApplicable, Update, Values


def difference_of_rounds(more: Update, fewer: Update) -> Update:
    """The update of the clients that are in the sum `more` and not in `fewer`, for any attack to read.

    Exact where the others send the same in both rounds, as they do when a server repeats a round with the same model and
    each computes one gradient of all its examples. Where they draw new examples, their change is noise on it.

    Args:
        more, fewer: sums of one federation over cohorts that contain one another.

    Raises:
        NotApplicable: the first is no sum over more clients, or the two carry other parameters.
    """
    if more.clients <= fewer.clients:
        raise NotApplicable(
            f"the first sum is over {more.clients} clients and the second over {fewer.clients}",
            fix="pass the round with more clients first",
        )
    sizes = more.batch_size, fewer.batch_size
    size = None if sizes[0] is None or sizes[1] is None else sizes[0] - sizes[1]
    return _less(more, fewer.values, fewer.clients, size)


def without_colluders(total: Update, own: Mapping[int, Update] | Update) -> Update:
    """The update of those who are left when clients subtract their own from the sum that they are in.

    Of a sum over n it takes n - 1 of them to see one client alone; of n = 2, either one sees the other.

    Args:
        own: what the colluding client sent, or each of several by its number.

    Raises:
        NotApplicable: there would be nobody left, or the updates carry other parameters.
    """
    known = [own] if isinstance(own, Update) else list(own.values())
    gone = sum(update.clients for update in known)
    if not 0 < gone < total.clients:
        raise NotApplicable(f"{gone} of {total.clients} clients collude: nobody is left to attack, or nobody colludes")
    sizes = [update.batch_size for update in known]
    size = None
    if total.batch_size is not None and None not in sizes:
        size = total.batch_size - sum(size or 0 for size in sizes)
    sums = {name: torch.stack([_entry(update.values, name) for update in known]).sum(0) for name in total.values}
    return _less(total, sums, gone, size)


def _less(update: Update, values: Values, clients: int, size: int | None) -> Update:
    """`update` without these clients' share. Labels are not known to whom they belong."""
    recipe = update.recipe
    if size is not None and size < 1:
        raise NotApplicable("the smaller sum is over no fewer examples", fix="pass sums over cohorts that differ")
    return update.replace(
        values={name: value - _entry(values, name) for name, value in update.values.items()},
        clients=update.clients - clients,
        batch_size=size,
        recipe=None if recipe is None else replace(recipe, examples=size or 1),
        labels=None,
    )


def _entry(values: Values, name: str) -> Tensor:
    if name not in values:
        raise NotApplicable(f"one of the updates carries no parameter {name!r}", fix="pass sums of one federation")
    return values[name]
