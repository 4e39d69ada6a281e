"""CKKS through TenSEAL: sums, who reads what, and bytes from strangers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gradiometer.attacks.image import LinearBias
from gradiometer.core import (
    BadInput,
    Batch,
    Client,
    Data,
    Recipe,
    Update,
    derive,
    load_update,
    play,
    play_sum,
    save_update,
)
from gradiometer.federation import FedAvg, Federation, HomomorphicAggregation, advance, begin, deal
from gradiometer.federation.homomorphic import Message, Parameters, PublicKey, SecretKey, new_key
from gradiometer.federation.vectors import flat, named

pytest.importorskip("tenseal")
pytestmark = pytest.mark.slow

LENGTH = 5000


@pytest.fixture(scope="module")
def key() -> SecretKey:
    return new_key()


def vectors(count: int, length: int = LENGTH) -> list[torch.Tensor]:
    return [torch.randn(length, generator=derive(i)) for i in range(count)]


def leak(update: Update, truth: Batch) -> float:
    """PSNR of the digit that LinearBias reads."""
    x = LinearBias().run(update, derive(1))["x"]
    return float(-10 * (x - truth["x"]).square().mean().clamp_min(1e-12).log10())


@pytest.mark.parametrize("clients", [1, 2, 10])
def test_sum_of_ciphertexts_is_the_sum(key: SecretKey, clients: int) -> None:
    own = vectors(clients)
    server = PublicKey.read(key.encode(), key.parameters)
    total = server.add([server.encrypt(v) for v in own], length=LENGTH)
    found, counted = key.decrypt(total, length=LENGTH)
    want = torch.stack(own).double().sum(0)
    assert counted == clients
    assert float((found - want).abs().max()) < 1e-8 * float(want.abs().max())


def test_sums_of_sums(key: SecretKey) -> None:
    own = vectors(3)
    first = key.add([key.encrypt(v) for v in own[:2]], length=LENGTH)
    found, counted = key.decrypt(key.add([first, key.encrypt(own[2])], length=LENGTH), length=LENGTH)
    assert counted == 3
    assert torch.allclose(found, torch.stack(own).double().sum(0), atol=1e-8)


def test_equal_vectors_are_encrypted_differently(key: SecretKey) -> None:
    (own,) = vectors(1)
    assert key.encrypt(own) != key.encrypt(own)


def test_entries_that_would_wrap_around_are_refused(key: SecretKey) -> None:
    for bad in (torch.full((3,), 512.0), torch.tensor([float("nan")]), torch.zeros(0), torch.zeros(2, 2)):
        with pytest.raises(BadInput):
            key.encrypt(bad)


def test_server_without_the_key_cannot_read(key: SecretKey) -> None:
    server = PublicKey.read(key.encode(), key.parameters)
    assert not server.context.has_secret_key()
    assert not hasattr(server, "decrypt")
    cipher = server._ciphertext(
        Message.decode(key.encrypt(vectors(1)[0]), key.parameters, key=key.fingerprint, length=LENGTH).parts[0],
        0,
        LENGTH,
    )
    with pytest.raises(ValueError, match="secret_key"):
        cipher.decrypt()


def test_key_at_the_server_is_no_protection(key: SecretKey, tiny_client: Client, digits_data: Data) -> None:
    """Whoever decrypts can decrypt one message by itself, and reads the digit as if nothing had been encrypted."""
    batch = digits_data.private.take([0])
    plain = play(tiny_client, batch, rng=derive(0))
    message = key.encrypt(flat(plain.values, plain.values))
    opened, _ = key.decrypt(message, length=sum(v.numel() for v in plain.values.values()))
    seen = plain.replace(values=named(opened, plain.values))
    assert leak(plain, batch) > 60
    assert leak(seen, batch) > 60


def test_transport_encryption_hides_nothing_from_the_server(
    tiny_client: Client, digits_data: Data, tmp_path: Path
) -> None:
    """TLS ends at the server: after decryption it holds the sender's bytes, and every attack reads them."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    batch, folder = digits_data.private.take([0]), tmp_path
    sent = save_update(play(tiny_client, batch, rng=derive(0)), folder / "sent.safetensors").read_bytes()
    session, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)  # TLS 1.3's own cipher, at either end of the connection
    on_the_wire = session.encrypt(nonce, sent, None)
    assert sent[100:200] not in on_the_wire
    (folder / "received.safetensors").write_bytes(session.decrypt(nonce, on_the_wire, None))
    received = load_update(folder / "received.safetensors", model=tiny_client.model)
    assert leak(received, batch) > 60


def test_colluding_client_opens_the_others(key: SecretKey) -> None:
    """All clients share one key: the server and any one of them read everybody."""
    colluder = SecretKey.read(key.encode_secret(), key.parameters)
    (own,) = vectors(1)
    assert torch.allclose(colluder.decrypt(key.encrypt(own), length=LENGTH)[0], own.double(), atol=1e-8)


def test_ciphertexts_of_another_key_are_refused(key: SecretKey) -> None:
    other, own = new_key(), vectors(2)
    with pytest.raises(BadInput, match="another key"):
        key.add([key.encrypt(own[0]), other.encrypt(own[1])], length=LENGTH)


def test_foreign_ciphertexts_are_checked(key: SecretKey) -> None:
    good = Message.decode(key.encrypt(vectors(1)[0]), key.parameters, key=key.fingerprint, length=LENGTH)

    def with_part(part: bytes) -> bytes:
        return Message(key=key.fingerprint, length=LENGTH, clients=1, parts=(part, *good.parts[1:])).encode()

    wide = new_key(Parameters(ring=8192, moduli=(60, 60)))
    short = Message.decode(key.encrypt(torch.ones(7)), key.parameters, key=key.fingerprint, length=7).parts[0]
    rescaled = SecretKey(Parameters(scale=40), key.fingerprint, new_key(Parameters(scale=40)).context)
    small = Message.decode(rescaled.encrypt(torch.ones(2048)), key.parameters, key=key.fingerprint, length=2048).parts[
        0
    ]
    foreign = Message.decode(wide.encrypt(torch.ones(9)), wide.parameters, key=wide.fingerprint, length=9).parts[0][
        :66_000
    ]
    for part in (b"x", bytes(300), good.parts[0][:-1], good.parts[0] + b"\0" * 40, short, small, foreign):
        with pytest.raises(BadInput, match="ciphertext 0"):
            key.add([with_part(part)], length=LENGTH)


def test_flipped_bits_never_crash(key: SecretKey) -> None:
    """Every flip is refused, or gives other numbers: CKKS has no integrity, that is the transport's matter."""
    draw, part = (
        derive(0),
        Message.decode(key.encrypt(torch.ones(9)), key.parameters, key=key.fingerprint, length=9).parts[0],
    )
    refused = 0
    for i in range(300):
        damaged = bytearray(part)
        place = int(torch.randint(200 if i % 2 else len(part), (), generator=draw))
        damaged[place] ^= 1 << int(torch.randint(8, (), generator=draw))
        try:
            key.decrypt(Message(key=key.fingerprint, length=9, clients=1, parts=(bytes(damaged),)).encode(), length=9)
        except BadInput:
            refused += 1
    assert refused > 50


def test_foreign_keys_are_checked(key: SecretKey) -> None:
    good = key.encode()
    assert PublicKey.read(good, key.parameters).fingerprint == key.fingerprint
    wide = new_key(Parameters(ring=8192, moduli=(60, 60))).encode()
    scaled = new_key(Parameters(scale=40)).encode()
    for bad in (b"", b"x" * 100, good[:-1], good[: len(good) // 2], wide, scaled):
        with pytest.raises(BadInput):
            PublicKey.read(bad, key.parameters)
    with pytest.raises(BadInput, match="holds the secret key"):
        PublicKey.read(key.encode_secret(), key.parameters)
    with pytest.raises(BadInput, match="no secret key"):
        SecretKey.read(good, key.parameters)


def test_aggregation_of_updates(tiny_client: Client, digits_data: Data) -> None:
    """Sum and mean equal the plain ones to 1e-6 of the largest entry, and the bytes are those of the ciphertexts."""
    batches = [digits_data.private.take([i]) for i in range(5)]
    plain = play_sum(tiny_client, batches, rng=derive(0))
    found = play_sum(tiny_client, batches, rng=derive(0), aggregation=HomomorphicAggregation())
    for name, value in plain.values.items():
        assert torch.allclose(found.values[name], value, atol=1e-6 * float(value.abs().max()))
    entries = sum(value.numel() for value in plain.values.values())
    assert 5 * 8 * 4 * entries < found.wire_bytes < 5 * (65_800 * -(-entries // 2048) + 100)


def test_weighted_mean() -> None:
    own = {i: {"w": v.view(50, 100), "b": v[:3]} for i, v in enumerate(vectors(3))}
    counts = {0: 1, 1: 20, 2: 79}
    done = HomomorphicAggregation().mean(own, counts, most=100, rng=derive(0))
    assert done.uplink > 0
    assert done.survivors == (0, 1, 2)
    for name in ("w", "b"):
        want = sum(counts[i] * v[name].double() for i, v in own.items()) / 100
        assert float((done.mean[name] - want).abs().max()) < 1e-6 * float(want.abs().max())
    with pytest.raises(BadInput, match="between 1 and 50"):
        HomomorphicAggregation().mean(own, counts, most=50, rng=derive(0))


def test_federation_trains_on_ciphertexts(tiny_client: Client, digits_data: Data) -> None:
    """Two rounds, one member of which drops out, end at the weights of the plain mean; what is shown is the sum."""
    client = replace(tiny_client, recipe=Recipe(sends="delta", batch_size=8, lr=0.1))
    members = deal(digits_data.private.take(slice(0, 60)), 3, alpha=None)
    plain = Federation(client=client, members=members, strategy=FedAvg(), dropout=0.3, seed=1)
    shown: list[int | None] = []
    states = []
    for one in (plain, replace(plain, aggregation=HomomorphicAggregation())):
        state = begin(one)
        for _ in range(2):
            state = advance(one, state, seen=lambda whose, update, batch: shown.append(whose))
        states.append(state)
    assert shown[-2:] == [None, None]
    for a, b in zip(*(state.model.parameters() for state in states), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_sum_that_would_wrap_around_is_refused() -> None:
    with pytest.raises(BadInput, match="wraps around"):
        HomomorphicAggregation().sum([{"w": torch.full((3,), 300.0)}] * 2, rng=derive(0))
