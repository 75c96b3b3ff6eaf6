"""Training any objective: one step, one loop, checkpoints and exact resumption."""

from latentjax.training.checkpoint import CheckpointError as CheckpointError
from latentjax.training.checkpoint import CheckpointMismatch as CheckpointMismatch
from latentjax.training.config import TrainConfig as TrainConfig
from latentjax.training.loop import NonFiniteError as NonFiniteError
from latentjax.training.loop import Preempted as Preempted
from latentjax.training.loop import TrainResult as TrainResult
from latentjax.training.loop import train as train
from latentjax.training.mesh import fsdp_gather as fsdp_gather
from latentjax.training.mesh import initialize_distributed as initialize_distributed
from latentjax.training.mesh import make_mesh as make_mesh
from latentjax.training.mesh import state_shardings as state_shardings
from latentjax.training.optimizer import make_optimizer as make_optimizer
from latentjax.training.optimizer import make_schedule as make_schedule
from latentjax.training.step import TrainState as TrainState
from latentjax.training.step import init_train_state as init_train_state
from latentjax.training.step import make_train_step as make_train_step
from latentjax.training.workdir import WorkdirError as WorkdirError

__all__ = [
  "CheckpointError",
  "CheckpointMismatch",
  "NonFiniteError",
  "Preempted",
  "TrainConfig",
  "TrainResult",
  "TrainState",
  "WorkdirError",
  "fsdp_gather",
  "init_train_state",
  "initialize_distributed",
  "make_mesh",
  "make_optimizer",
  "make_schedule",
  "make_train_step",
  "state_shardings",
  "train",
]
