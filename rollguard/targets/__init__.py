"""Targets: what follows a rollout's state outside of this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rollguard.spec import targets
from rollguard.spec.rollout import Rollout
from rollguard.state import State
from rollguard.targets.calls import Caller
from rollguard.targets.command import CommandTarget
from rollguard.targets.env_file import EnvFileTarget
from rollguard.targets.flagd_file import FlagdFileTarget
from rollguard.targets.follow_up import FollowedTarget
from rollguard.targets.http import HttpTarget
from rollguard.targets.interface import Target, TargetError
from rollguard.targets.json_file import JsonFileTarget
from rollguard.targets.memory import Memory
from rollguard.targets.model_registry import ModelRegistryTarget
from rollguard.targets.process import Runner
from rollguard.targets.redis_stream import RedisStreamTarget
from rollguard.targets.yaml_file import YamlFileTarget

__all__ = ["Target", "TargetError", "build"]


def build(
    rollout: Rollout,
    root: Path,
    memory: Path,
    rollouts: Mapping[str, Rollout] | None = None,
    states: Callable[[], Mapping[str, State]] = dict,
) -> list[Target]:
    """Return a rollout's targets in the order in which they are to be applied.

    Args:
        rollout: its file.
        root: the folder that relative paths are under, and that commands run in.
        memory: the folder where targets keep what they must remember.
        rollouts: all of them by name, for those that this one requires.
        states: returns the states of all of them by name.
    """
    around = _Around(root, memory / rollout.name, rollouts or {}, states)
    return [_followed(rollout, target, around) for target in rollout.targets]


@dataclass(frozen=True)
class _Around:
    """What targets are built in; arguments as for `build`."""

    root: Path
    memory: Path
    rollouts: Mapping[str, Rollout]
    states: Callable[[], Mapping[str, State]]


def _followed(rollout: Rollout, target: targets.Target, around: _Around) -> Target:
    built = _file(rollout, target, around) or _other(rollout, target, around)
    if target.then is None and target.verify is None:
        return built
    noted = Memory(around.memory, f"after {target.name}")
    return FollowedTarget(built, rollout, around.root, target.then, target.verify, noted)


def _file(rollout: Rollout, target: targets.Target, around: _Around) -> Target | None:
    name, root = target.name, around.root
    if target.flagd_file:
        path = root / target.flagd_file.path
        return FlagdFileTarget(name, rollout, path, around.rollouts, around.states)
    if target.yaml_file:
        return YamlFileTarget(name, rollout, root / target.yaml_file.path, target.yaml_file.values)
    if target.env_file:
        return EnvFileTarget(name, rollout, root / target.env_file.path, target.env_file.values)
    if target.json_file:
        return JsonFileTarget(name, rollout, root / target.json_file.path, target.json_file.values)
    return None


def _other(rollout: Rollout, target: targets.Target, around: _Around) -> Target:
    name, root, memory = target.name, around.root, Memory(around.memory, target.name)
    if target.model_registry:
        registry = target.model_registry
        place = root / registry.root
        return ModelRegistryTarget(
            name, rollout, place, registry.slot, registry.as_, registry.candidate, memory
        )
    if target.http:
        body = target.http
        caller = Caller(body.timeout, body.headers, body.secret_headers, root)
        return HttpTarget(name, rollout, body, caller)
    if target.redis_stream:
        stream = target.redis_stream
        password = root / stream.password_file if stream.password_file else None
        return RedisStreamTarget(name, rollout, stream.url, password, stream.stream, stream.modes)
    assert target.command is not None
    runner = Runner(root, target.command.timeout, {})
    return CommandTarget(name, rollout, target.command.run, runner, memory)
