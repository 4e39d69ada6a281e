"""A job of two sites that defend, record and attack themselves. Needs gradiometer[nvflare].

python job.py --defense hospital:noisy --workspace /tmp/gradiometer
"""

import argparse
from pathlib import Path

from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe.sim_env import SimEnv

import hospital
from gradiometer.federation.nvflare import Defend, Record, SelfAudit

parser = argparse.ArgumentParser()
parser.add_argument("--workspace", type=Path, required=True)
parser.add_argument("--defense", help="module:name of a defense")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--differences", action="store_true", help="sites send differences instead of weights")
parser.add_argument("--seed", type=int, help="of the defense's randomness; for tests only")
asked = parser.parse_args()

recipe = FedAvgRecipe(
    name="job",
    model=hospital.Net(),
    min_clients=2,
    num_rounds=asked.rounds,
    train_script="train.py",
    train_args="--differences" if asked.differences else "",
)
if asked.defense:
    recipe.add_client_output_filter(Defend(asked.defense, "hospital:net", seed=asked.seed))
recipe.add_client_output_filter(Record("hospital:client", str(asked.workspace / "sent")))
recipe.add_client_output_filter(
    SelfAudit("hospital:client", "hospital:attacks", "hospital:behind", folder=str(asked.workspace / "leaks"))
)
recipe.execute(SimEnv(clients=list(hospital.SITES), workspace_root=str(asked.workspace)))
