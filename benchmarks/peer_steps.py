"""The peer `breaching`, unmodified, one iteration at a time. Executed by the peer's own interpreter (see engine.py).

    python peer_steps.py MODEL BATCH

MODEL is one of `lenet`, `mlp`, `convnet64`, `resnet18`. Writes `ready` and its number of parameters; then, for every number that it reads,
makes that many iterations of its `invertinggradients`, and writes their CPU seconds and the process' largest memory in MiB.
"""

from __future__ import annotations

import os
import resource
import sys
import time
import warnings

import torch

NAMES = {"lenet": "lenet_zhu", "mlp": "MLP", "convnet64": "ConvNet", "resnet18": "ResNet18"}


class Meta:
    modality, task, classes, shape = "vision", "classification", 10, (3, 32, 32)
    normalize, mean, std, name = True, (0.4915, 0.4823, 0.4468), (0.2470, 0.2435, 0.2616), "CIFAR10"


def main(name: str, batch: int) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    out, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    library = torch.library.Library("torchvision", "DEF")  # operators that a CPU build of torch does not declare
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import breaching
    from breaching.cases.models.model_preparation import _construct_vision_model

    torch.manual_seed(0)
    model = _construct_vision_model(NAMES[name], Meta, pretrained=False).eval()
    loss = torch.nn.CrossEntropyLoss()
    x, y = torch.randn(batch, 3, 32, 32), torch.arange(batch) % 10
    gradient = torch.autograd.grad(loss(model(x), y), list(model.parameters()))
    config = breaching.get_attack_config("invertinggradients", overrides=["optim.max_iterations=100000"])
    attacker = breaching.attacks.prepare_attack(
        model, loss, config, {"device": torch.device("cpu"), "dtype": torch.float}
    )
    payload = [{"parameters": list(model.parameters()), "buffers": list(model.buffers()), "metadata": Meta}]
    known = {"num_data_points": batch, "labels": y, "local_hyperparams": None}
    shared = [{"gradients": [value.detach() for value in gradient], "buffers": None, "metadata": known}]
    parameters = sum(p.numel() for p in model.parameters())
    left, began = 0, 0.0
    objective = attacker._compute_objective

    def stepping(*args: object, **options: object) -> object:
        nonlocal left, began
        if not left:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(*((time.process_time() - began, memory) if began else ("ready", parameters)), file=out, flush=True)
            left, began = int(sys.stdin.readline() or os._exit(0)), time.process_time()
        left -= 1
        return objective(*args, **options)

    attacker._compute_objective = stepping
    attacker.reconstruct(payload, shared, {}, dryrun=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
