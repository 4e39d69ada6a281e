"""Runs the peer `breaching`, unmodified, on one gradient. Executed by the peer's own interpreter (see matching.py).

    python peer_breaching.py IN.safetensors OUT.safetensors ITERATIONS [--model lenet|convnet64|resnet18]
        [--config invertinggradients|deepleakage] [--decibel DB] [--cap SECONDS]

IN holds the pictures `x` as the model takes them, their `mean` and `std`, the labels `y`, and the model's weights as
`model.NNNN` in their order; OUT gets the peer's `x`, its CPU `seconds`, and those `until` its iterate stands at so many decibels (infinite: never).

`invertinggradients`: cosine distance, total variation 0.2, Adam with hard signs, steps of 0.1 divided by 10 at 3/8, 5/8 and 7/8 of the
iterations, a normal start; labels are granted. `deepleakage`: squared distance, L-BFGS of torch without line search, a normal start, labels
optimized with the picture; not granted. Only the number of iterations is exchanged; at the cap the search is interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings

import torch
from safetensors.torch import load_file, save_file

NAMES = {"lenet": "lenet_zhu", "convnet64": "ConvNet", "resnet18": "ResNet18"}


class Meta:
    """What the peer wants to know of the data; it reads some of it as attributes and some as items."""

    modality, task, classes, shape = "vision", "classification", 10, (3, 32, 32)
    normalize, name = True, "CIFAR10"

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        self.mean, self.std = tuple(mean.tolist()), tuple(std.tolist())

    def __getitem__(self, name: str) -> object:
        return getattr(self, name)


def victim(name: str, held: dict[str, torch.Tensor], meta: Meta) -> torch.nn.Module:
    """The peer's network with our weights: both list the same tensors in the same order."""
    from breaching.cases.models.model_preparation import _construct_vision_model

    model = _construct_vision_model(NAMES[name], meta, pretrained=False)
    ours = [held[key] for key in sorted(held) if key.startswith("model.")]
    theirs = model.state_dict()
    if [value.shape for value in ours] != [value.shape for value in theirs.values()]:
        sys.exit(f"error: the peer's {NAMES[name]} has other tensors than ours")
    model.load_state_dict(dict(zip(theirs, ours)))
    return model.eval()


def main(options: argparse.Namespace) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    # Two operators that torchvision's Python part expects and a CPU build of torch does not declare. Keep the handle.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import breaching

    held = load_file(options.source)
    meta = Meta(held["mean"], held["std"])
    model, loss = victim(options.model, held, meta), torch.nn.CrossEntropyLoss()
    gradient = torch.autograd.grad(loss(model(held["x"]), held["y"]), list(model.parameters()))
    config = breaching.get_attack_config(
        options.config, overrides=[f"optim.max_iterations={options.iterations}", "optim.callback=1000000"]
    )
    setup = {"device": torch.device("cpu"), "dtype": torch.float}
    attacker = breaching.attacks.prepare_attack(model, loss, config, setup)
    payload = [{"parameters": list(model.parameters()), "buffers": list(model.buffers()), "metadata": meta}]
    granted = held["y"] if options.config == "invertinggradients" else None
    known = {"num_data_points": len(held["y"]), "labels": granted, "local_hyperparams": None}
    shared = [{"gradients": [value.detach() for value in gradient], "buffers": None, "metadata": known}]
    torch.manual_seed(1)
    until, objective = float("inf"), attacker._compute_objective
    mean, std = (held[name][:, None, None] for name in ("mean", "std"))
    truth, start = held["x"] * std + mean, time.process_time()

    def watched(candidate: torch.Tensor, *args: object) -> object:
        nonlocal until
        spent = time.process_time() - start
        error = ((candidate.detach() * std + mean).clamp(0, 1) - truth).square().mean()
        if float(-10 * error.log10()) >= options.decibel:
            until = spent
        if spent > options.cap or until == spent:
            raise KeyboardInterrupt  # which the peer takes as the end of the search
        return objective(candidate, *args)

    attacker._compute_objective = watched
    found, _ = attacker.reconstruct(payload, shared, {}, dryrun=False)
    seconds = torch.tensor(time.process_time() - start)
    save_file(
        {"x": found["data"].detach().contiguous(), "seconds": seconds, "until": torch.tensor(until)}, options.target
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("iterations", type=int)
    parser.add_argument("--model", choices=tuple(NAMES), default="convnet64")
    parser.add_argument("--config", choices=("invertinggradients", "deepleakage"), default="invertinggradients")
    parser.add_argument("--decibel", type=float, default=float("inf"), help="end the search there")
    parser.add_argument("--cap", type=float, default=float("inf"), help="CPU seconds")
    main(parser.parse_args())
