"""Runs the peer `breaching`, unmodified, on one gradient. Executed by the peer's own interpreter (see matching.py).

    python peer_breaching.py IN.safetensors OUT.safetensors ITERATIONS

IN holds the pictures `x` (normalized), the labels `y`, and the weights of ConvNet64 as `model.*`; OUT gets the peer's `x` and its CPU `seconds`.
Its configuration is `invertinggradients` with the number of iterations exchanged: cosine distance, total variation 0.2, Adam
with hard signs, steps of 0.1 divided by 10 at 3/8, 5/8 and 7/8, a normal start. Labels are granted.
"""

from __future__ import annotations

import sys
import time
import warnings

import torch
from safetensors.torch import load_file, save_file

MEAN, STD = (0.4914672, 0.4822617, 0.4467701), (0.2470322, 0.2434851, 0.2615878)


class Meta:
    modality, task, classes, shape = "vision", "classification", 10, (3, 32, 32)
    normalize, mean, std, name = True, MEAN, STD, "CIFAR10"


def main(source: str, target: str, iterations: int) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    # Two operators that torchvision's Python part expects and a CPU build of torch does not declare. Keep the handle.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import breaching
    from breaching.cases.models.model_preparation import _construct_vision_model

    held = load_file(source)
    model = _construct_vision_model("ConvNet", Meta, pretrained=False)
    weights = {name.removeprefix("model."): value for name, value in held.items() if name.startswith("model.")}
    prefix = next(name.removesuffix("conv0.weight") for name in model.state_dict() if name.endswith("conv0.weight"))
    model.load_state_dict({prefix + name: value for name, value in weights.items()}, strict=True)
    model.eval()
    loss = torch.nn.CrossEntropyLoss()
    gradient = torch.autograd.grad(loss(model(held["x"]), held["y"]), list(model.parameters()))
    config = breaching.get_attack_config(
        "invertinggradients", overrides=[f"optim.max_iterations={iterations}", "optim.callback=1000000"]
    )
    setup = {"device": torch.device("cpu"), "dtype": torch.float}
    attacker = breaching.attacks.prepare_attack(model, loss, config, setup)
    payload = [{"parameters": list(model.parameters()), "buffers": list(model.buffers()), "metadata": Meta}]
    known = {"num_data_points": len(held["y"]), "labels": held["y"], "local_hyperparams": None}
    shared = [{"gradients": [value.detach() for value in gradient], "buffers": None, "metadata": known}]
    torch.manual_seed(1)
    start = time.process_time()
    found, _ = attacker.reconstruct(payload, shared, {}, dryrun=False)
    seconds = torch.tensor(time.process_time() - start)
    save_file({"x": found["data"].detach().contiguous(), "seconds": seconds}, target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
