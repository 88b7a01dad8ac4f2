"""A measurement of a feature: a line that names its rollout and holds whatever was measured."""

from __future__ import annotations

import math
from typing import Any

import msgspec

_LARGEST = 1e15


class Measurement(msgspec.Struct, frozen=True, tag="measurement"):
    """One line.

    Args:
        ts: Unix seconds.
        rollout: whose it is.
        values: everything else that it says.
    """

    ts: float
    rollout: str
    values: dict[str, Any]

    @property
    def percent(self) -> object:
        """The stage's at its assignment; None where it does not say."""
        return self.values.get("percent")

    @property
    def assignment(self) -> object:
        """How its variant was chosen; None where it does not say."""
        return self.values.get("assignment")

    @property
    def unit(self) -> object:
        """Whom the split assigns as a whole; None where it does not say."""
        return self.values.get("unit")

    @property
    def is_stage(self) -> bool:
        """Whether it says that a stage began, rather than what was measured."""
        return self.values.get("event") == "stage"


class MeasurementDecoder:
    """Decodes a line into a measurement; raises msgspec.ValidationError where it is none.

    Args:
        rollouts: whose measurements are known.
    """

    def __init__(self, rollouts: tuple[str, ...]) -> None:
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode
        self._rollouts = frozenset(rollouts)

    def decode(self, line: bytes) -> Measurement:
        """Return the measurement of a line."""
        values = self._decode(line)
        ts, rollout = values.pop("ts", None), values.pop("rollout", None)
        if isinstance(ts, bool) or not isinstance(ts, int | float) or not 0 <= ts <= _LARGEST:
            raise msgspec.ValidationError("Expected Unix seconds - at `$.ts`")
        if not isinstance(rollout, str) or rollout not in self._rollouts:
            raise msgspec.ValidationError("Expected a rollout of the declaration - at `$.rollout`")
        return Measurement(float(ts), rollout, values)


def number(value: object) -> float | None:
    """Return a number, true and false as 1 and 0; nothing of what is none, or is not finite."""
    if not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > _LARGEST:
        return None
    return float(value)
