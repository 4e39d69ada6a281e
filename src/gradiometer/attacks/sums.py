"""Which sums over clients an attack on batches can read: those that are one sum over examples."""

from __future__ import annotations

from gradiometer.core import NotApplicable, Update


def refuse_sums(update: Update, *, steps: bool = True, defended: bool = False, statistics: bool = False) -> None:
    """A sum can be read as a larger batch where it is one over examples: where each client's message is the gradient itself.

    Args:
        steps: whether a weight delta would have to be followed step by step; defended: whether the defense of each client is known;
        statistics: whether clients normalized by their own batch.

    Raises:
        NotApplicable: the update is a sum over clients of another kind, with the reason.
    """
    reasons = {
        "local steps take every client a way of its own": steps and update.sends == "delta",
        "what is known of a defense holds for one client's message": defended,
        "every client normalized by its own batch": statistics,
    }
    reason = next((reason for reason, holds in reasons.items() if holds), "")
    if update.clients > 1 and reason:
        raise NotApplicable(
            f"this is a sum over {update.clients} clients, and {reason}",
            fix="attack one client's update, or a sum of plain gradients in eval mode",
        )
