"""What experiments share: flags, claims, the table of results, pictures."""

from experiments.harness.claims import Claim as Claim
from experiments.harness.claims import Outcome as Outcome
from experiments.harness.config import Config as Config
from latentjax.training.config import free as free

__all__ = ["Claim", "Config", "Outcome", "free"]
