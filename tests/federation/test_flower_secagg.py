"""Flower's SecAgg+ read through its own functions: how its masks are seeded, and what its clients check of a proposal."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from gradiometer.federation.secure import Floors, Refused, Settings

pytestmark = pytest.mark.slow
pytest.importorskip("flwr")


def test_pairwise_masks_have_at_most_28_bits_of_seed():
    """A 32-byte agreed key is base64-encoded, folded to 32 bits of which 4 are always zero, and seeds an MT19937."""
    crypto = import_module("flwr.common.secure_aggregation.crypto.symmetric_encryption")
    mod = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    utilities = import_module("flwr.common.secure_aggregation.secaggplus_utils")
    _, other = mod.generate_key_pairs()
    seen = 0
    for _ in range(200):
        one, _ = mod.generate_key_pairs()
        key = crypto.generate_shared_key(one, other)
        seed = 0
        for start in range(0, len(key), 4):
            seed ^= int.from_bytes(key[start : start + 4], "little")
        assert seed & ~0x7F7F7F7F == 0
        seen |= seed
    assert seen == 0x7F7F7F7F, "the other 28 bits all occur"
    mask = utilities.pseudo_rand_gen(key, 2**32, [(1000,)])[0]
    assert np.array_equal(mask, np.random.RandomState(seed).randint(0, 2**32 - 1, 1000, dtype=np.int64))


def test_clients_accept_any_threshold_and_range():
    """A proposal is checked for its types. Ours with the same figures is refused."""
    from flwr.common import ConfigRecord

    mod = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    keys = import_module("flwr.common.secure_aggregation.secaggplus_constants")
    key, stage = keys.Key, keys.Stage
    proposal = {key.SAMPLE_NUMBER: 100, key.SHARE_NUMBER: 100, key.THRESHOLD: 1, key.MAX_WEIGHT: 1.0}
    proposal |= {key.CLIPPING_RANGE: 1e9, key.TARGET_RANGE: 4, key.MOD_RANGE: 2**32}
    mod.check_configs(stage.SETUP, ConfigRecord(proposal))
    weak = {**Settings.of(round=0, clients=100, length=1, clip=1e9).record(), "threshold": 2, "bits": 3}
    with pytest.raises(Refused, match=r"threshold 2.*clip 1e\+09.*3 bits"):
        Floors().check(Settings.read(weak))
