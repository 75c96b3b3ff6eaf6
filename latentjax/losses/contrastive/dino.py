"""Self-distillation of a student from a centred, sharpened teacher (DINO)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.collectives import device_mean
from latentjax.losses.contrastive._views import as_views, cross_view_entropy

__all__ = ["dino_loss", "update_dino_centre"]


def dino_loss(
  student_logits: ArrayLike,
  teacher_logits: ArrayLike,
  centre: ArrayLike,
  *,
  student_temperature: ArrayLike = 0.1,
  teacher_temperature: ArrayLike = 0.04,
) -> jax.Array:
  r"""Cross-entropy of the student's views against the teacher's other views (DINO).

  .. math::

    \frac{1}{T (V - 1)} \sum_{t=1}^T \sum_{v \ne t}
    - \mathrm{softmax}\big((g_t - c) / \tau_t\big) \cdot \log \mathrm{softmax}(s_v / \tau_s)

  The centre keeps one prototype from taking all, the teacher's low temperature keeps its output from
  becoming uniform. The teacher's temperature is warmed up in the paper: it can be traced.

  Args:
    student_logits: outputs of all views, global crops first, shape (V, B, K).
    teacher_logits: outputs of the teacher for the first T views, the global crops, shape (T, B, K).
    centre: moving average of the teacher's outputs, shape (K,); zeros at first, then from
      `update_dino_centre`.
    student_temperature: positive. Can be traced.
    teacher_temperature: positive; the paper raises it from 0.04 to 0.07. Can be traced.

  Returns:
    Loss per example in nats, shape (B,), float32 or wider. Gradient flows to student_logits; teacher
    and centre are detached.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit, there is a single view, or a temperature is not positive.

  Example:
    >>> dino_loss(jnp.zeros((2, 1, 4)), jnp.zeros((2, 1, 4)), jnp.zeros(4)).tolist()  # log 4
    [1.38629...]

  References:
    Caron et al., Emerging Properties in Self-Supervised Vision Transformers, 2021.
      arXiv:2104.14294
  """
  student = as_views(student_logits=student_logits)
  teacher, centre = _as_teacher(teacher_logits, centre)
  if student.shape[1:] != teacher.shape[1:] or len(teacher) > len(student):
    raise ValueError(
      "teacher_logits must have the shape (T, B, K) of student_logits' first T views, "
      f"got teacher_logits {teacher.shape}, student_logits {student.shape}"
    )
  check_range(
    low=0.0,
    strict=True,
    student_temperature=student_temperature,
    teacher_temperature=teacher_temperature,
  )
  dtype = wide_dtype(student, teacher)
  logits = jax.lax.stop_gradient((teacher - centre).astype(dtype))
  targets = jax.nn.softmax(logits / jnp.asarray(teacher_temperature, dtype), axis=-1)
  logits = student.astype(dtype) / jnp.asarray(student_temperature, dtype)
  return cross_view_entropy(targets, jax.nn.log_softmax(logits, axis=-1))


def update_dino_centre(
  centre: ArrayLike,
  teacher_logits: ArrayLike,
  *,
  momentum: ArrayLike = 0.9,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Centre of the teacher's outputs after a batch (DINO).

  .. math:: c \leftarrow m c + (1 - m) \frac{1}{T B} \sum_{t, b} g_{tb}

  Args:
    centre: centre before the batch, shape (K,).
    teacher_logits: the teacher's outputs, shape (T, B, K).
    momentum: m, in [0, 1]. Can be traced.
    axis_name: mapped device axis over which B is split, inside `pmap` or `shard_map`.

  Returns:
    The next centre, shape (K,), float32 or wider, the same on every device. Detached.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit or momentum is not in [0, 1].

  Example:
    >>> update_dino_centre(jnp.zeros(2), jnp.full((1, 3, 2), 10.0), momentum=0.5).tolist()
    [5.0, 5.0]

  References:
    Caron et al., Emerging Properties in Self-Supervised Vision Transformers, 2021.
      arXiv:2104.14294
  """
  teacher, centre = _as_teacher(teacher_logits, centre)
  check_range(0.0, 1.0, momentum=momentum)
  momentum = jnp.asarray(momentum, teacher.dtype)
  mean = device_mean(jnp.mean(teacher, axis=(0, 1)), axis_name)
  return jax.lax.stop_gradient(momentum * centre + (1 - momentum) * mean)


def _as_teacher(teacher_logits: ArrayLike, centre: ArrayLike) -> tuple[jax.Array, jax.Array]:
  check_float(centre=centre)
  check_rank(1, centre=centre)
  teacher = as_views(1, teacher_logits=teacher_logits)
  if jnp.shape(centre) != teacher.shape[2:]:
    raise ValueError(f"centre must have shape {teacher.shape[2:]}, got {jnp.shape(centre)}")
  dtype = wide_dtype(teacher, centre)
  return teacher.astype(dtype), jnp.asarray(centre, dtype)
