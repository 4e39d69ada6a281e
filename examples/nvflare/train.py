"""The training script of a site, as NVFlare runs it. Nothing in it knows of filters."""

import sys

import nvflare.client as flare
import torch

import hospital
from gradiometer import Client
from gradiometer.core import clone_model, derive

differences = "--differences" in sys.argv
flare.init()
while flare.is_running():
    asked = flare.receive()
    received = {name: torch.as_tensor(value) for name, value in asked.params.items()}
    model = clone_model(hospital.net)
    model.load_state_dict(received)
    site, number = flare.get_site_name(), asked.current_round
    batch = hospital.batch(site, number)
    # Your own training loop stands here; this one follows the recipe.
    sent = Client(model=model, layout=hospital.client.layout, recipe=hospital.recipe).train(
        batch, rng=derive(0, number, site, "train")
    )
    trained = model.state_dict() | {name: received[name] + delta for name, delta in sent.values.items()} | sent.buffers
    if differences:
        trained = {name: value - received[name] for name, value in trained.items()}
    flare.send(
        flare.FLModel(
            params=trained,
            params_type=flare.ParamsType.DIFF if differences else flare.ParamsType.FULL,
            meta={"NUM_STEPS_CURRENT_ROUND": batch.size, "num_examples": batch.size},
        )
    )
