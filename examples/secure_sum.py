"""Secure aggregation of five hospitals: what the sum hides, what it shows, and who stands alone in the difference of two."""

import torch

from gradiometer import Client, Recipe, data, models, play, play_sum
from gradiometer.attacks import LinearBias, RowSum, difference_of_rounds
from gradiometer.core import derive
from gradiometer.federation import SecureAggregation
from gradiometer.metrics import psnr, score

torch.set_num_threads(1)
tiles = data.medical()
client = Client(model=models.mlp((3, 32, 32), 5, widths=(256,)), layout=tiles.layout, recipe=Recipe(examples=1))
hospitals = [tiles.private.take([int((tiles.private["y"] == label).nonzero()[3])]) for label in range(5)]
secure = SecureAggregation(clip=1.0, bits=24)

# Round 0: all five. Every key, share, mask and signature of the protocol is made; the server ends up with the sum alone.
everybody = play_sum(client, hospitals, rng=derive(0), aggregation=secure)
plain = play_sum(client, hospitals, rng=derive(0))
error = max(float((everybody.values[name] - value).abs().max()) for name, value in plain.values.items())
step = secure.settings(round=0, clients=5, length=1).fixed_point.step
print(
    f"five clients: {everybody.wire_bytes / 5e6:.1f} MB a client, the sum is off by {error / step:.1f} steps (below 5)"
)

# It hides who, not how many: each picture of the sum is read; nothing says whose it is.
guess = LinearBias().run(everybody, derive(1))
truth = tiles.private.take([int((tiles.private["y"] == label).nonzero()[3]) for label in range(5)])
scores = score(guess, truth, tiles, rng=derive(2))
print(f"read off the sum: {sum(one.identified for one in scores)} of 5 pictures identified,", end=" ")
print(f"labels {RowSum().run(everybody, derive(3))['y'].sort().values.tolist()}")

# Round 1: the last hospital drops out after it shared its keys. The others open its masks, and the sum is theirs.
messages = {i: play(client, batch, rng=derive(4, i)).values for i, batch in enumerate(hospitals[:4])}
done = secure.mean(messages, dict.fromkeys(messages, 1), most=1, rng=derive(5), round=1, gone=[4])
print(f"one drops out: the mean of clients {done.survivors}, {done.seconds:.2f} s of CPU")

# The same model, and the same batches of those who stayed: the difference of the two sums is the hospital that left.
left = {name: value * len(done.survivors) for name, value in done.mean.items()}
fewer = everybody.replace(values=left, clients=4, batch_size=4)
alone = difference_of_rounds(everybody, fewer)
picture = tiles.layout["x"].clamp(LinearBias().run(alone, derive(6))["x"])
print(
    f"differencing: the update of {alone.clients} client, its picture at {float(psnr(picture, hospitals[4]['x'])):.0f} dB"
)
