"""A claim: what a paper says, what was measured over the seeds, and whether it holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Claim:
  """One number of a paper against ours.

  Attributes:
    what: the quantity, in words a reader of the table understands.
    expected: the value it is compared with.
    measured: our value for each seed.
    published: where the expected value stands (paper, table or figure), or what it follows from.
    relation: "within" the tolerance of the expected value, "at least" or "at most" it.
    tolerance: slack granted in the claim's disfavour, decided before measuring.
    unit: unit of both.
  """

  what: str
  expected: float
  measured: Sequence[float]
  published: str
  relation: Literal["within", "at least", "at most"] = "within"
  tolerance: float = 0.0
  unit: str = "nats"

  def __post_init__(self) -> None:
    values = [float(m) for m in np.ravel(self.measured)]
    if not values:
      raise ValueError(f"measured: got no value for {self.what!r}, wanted one per seed")
    object.__setattr__(self, "measured", values)

  @property
  def mean(self) -> float:
    """Mean over the seeds."""
    return math.fsum(self.measured) / len(self.measured)

  @property
  def standard_error(self) -> float | None:
    """Standard error of the mean; None for a single seed."""
    n = len(self.measured)
    return float(np.std(self.measured, ddof=1) / math.sqrt(n)) if n > 1 else None

  @property
  def holds(self) -> bool:
    """Whether the mean over the seeds fulfils the claim; never if it is not finite."""
    if self.relation == "at least":
      return self.mean >= self.expected - self.tolerance
    if self.relation == "at most":
      return self.mean <= self.expected + self.tolerance
    return abs(self.mean - self.expected) <= self.tolerance

  def expected_text(self) -> str:
    """Such as "at most 86.76 nats"."""
    within = f" ± {self.tolerance:g}" if self.relation == "within" else ""
    slack = f" (tolerance {self.tolerance:g})" if self.tolerance and not within else ""
    sign = "" if self.relation == "within" else f"{self.relation} "
    return f"{sign}{self.expected:g}{within} {self.unit}{slack}".strip()

  def measured_text(self) -> str:
    """Such as "88.31 ± 0.04 nats (4 seeds)"."""
    spread = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
    seeds = f"{len(self.measured)} seed" + ("s" if len(self.measured) > 1 else "")
    return f"{self.mean:.5g}{spread} {self.unit} ({seeds})".replace("  ", " ")

  def to_json(self) -> dict[str, Any]:
    """Everything, the verdict included, as a JSON object."""
    return {
      **dataclasses.asdict(self),
      "mean": self.mean,
      "standard_error": self.standard_error,
      "holds": self.holds,
      "expected_text": self.expected_text(),
      "measured_text": self.measured_text(),
    }


class Outcome(NamedTuple):
  """What an experiment returns.

  Attributes:
    claims: what it set out to show.
    details: further numbers worth keeping, a JSON object.
  """

  claims: Sequence[Claim]
  details: dict[str, Any]


def show(claims: Sequence[Claim], *, judged: bool) -> str:
  """Claims as text for a terminal.

  Args:
    claims: what to show.
    judged: False for a shortened run, of which the claims say nothing.
  """
  lines = []
  for claim in claims:
    verdict = ("HOLDS" if claim.holds else "FAILS") if judged else "not judged (--quick)"
    per_seed = ", ".join(f"{m:.5g}" for m in claim.measured)
    lines += [
      f"claim     {claim.what}",
      f"published {claim.published}",
      f"expected  {claim.expected_text()}",
      f"measured  {claim.measured_text()}   per seed: {per_seed}",
      f"verdict   {verdict}",
      "",
    ]
  return "\n".join(lines)
