"""Targets: what follows a rollout's state outside of this process."""

from __future__ import annotations

from pathlib import Path

from rollguard import spec
from rollguard.spec import Rollout
from rollguard.targets.flagd_file import FlagdFileTarget
from rollguard.targets.interface import Target, TargetError
from rollguard.targets.yaml_file import YamlFileTarget

__all__ = ["Target", "TargetError", "build"]


def build(rollout: Rollout, root: Path) -> list[Target]:
    """Return a rollout's targets in the order in which they are to be applied.

    Args:
        rollout: its file.
        root: the folder that relative paths are under.
    """
    return [_build(rollout, target, root) for target in rollout.targets]


def _build(rollout: Rollout, target: spec.Target, root: Path) -> Target:
    if target.flagd_file:
        return FlagdFileTarget(target.name, rollout, root / target.flagd_file.path)
    assert target.yaml_file is not None
    return YamlFileTarget(target.name, rollout, root / target.yaml_file.path, target.yaml_file.values)
