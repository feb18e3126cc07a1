"""Recognize errors that are caused by the installation on a node, not by a track."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ray
from ray import exceptions as ray_errors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.engine.cluster import live_nodes
from schemas.errors import EarmarkError

_LONGEST_S = 30.0
_IMPORT_FAILED = re.compile(r"failed to import on the worker|^(ModuleNotFound|Import)Error: ", re.MULTILINE)
_MISSING = re.compile(r"No module named '([\w.]+)'")
_ADDRESS = re.compile(r"\bip=([^,)\s]+)")
_MODULES = ("schemas.tracks", "pipeline.shards.featurize_shard", "jobs.engine.workers")
"""One module of each of Earmark's packages, which a package that hides ours lacks."""


@dataclass(frozen=True, slots=True)
class _Installation:
    """What a node has: the version of Earmark, and the locations of packages that hide ours."""

    address: str
    version: str | None
    others: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of an answer.

    Attributes
    ----------
    node, address : str
        Id and address of the node.
    version : str or None
        Version of its Earmark; None if it is not installed as a package.
    """

    node: str
    address: str
    version: str | None

    @classmethod
    def here(cls) -> "Origin":
        """Return the origin of the current process."""
        return cls(ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), earmark_version())


@cache
def earmark_version() -> str | None:
    """Return the installed version of Earmark; None if it is not installed as a package."""
    try:
        return version("earmark")
    except PackageNotFoundError:
        return None


def environment_error(error: ray_errors.RayError) -> EarmarkError | None:
    """Return an error that explains a fault of the workers' environment; None if it is another kind of error.

    Missing or hidden modules, and code or values that cannot be unpickled because the versions differ, fail
    for every track.

    Parameters
    ----------
    error : RayError
        As Ray raised it.
    """
    if isinstance(error, ray_errors.ActorDiedError):
        is_one = error.actor_init_failed and _IMPORT_FAILED.search(str(error)) is not None
    elif isinstance(error, ray_errors.RayTaskError):
        cause = error.cause
        is_one = isinstance(cause, ImportError | ray_errors.RaySystemError) or (
            isinstance(cause, RuntimeError) and _IMPORT_FAILED.search(str(error)) is not None
        )
    else:
        is_one = isinstance(error, ray_errors.RaySystemError)
    if not is_one:
        return None
    return installation_error() or EarmarkError(_what_it_lacks(str(error)))


def installation_error() -> EarmarkError | None:
    """Inspect all nodes, and return an error about one whose Earmark differs from ours; None if all match."""
    for node in _inspect_nodes():
        for package, location in node.others.items():
            if location is None:
                return EarmarkError(
                    f"node {node.address} lacks Earmark (it has no package '{package}'); install "
                    f"{_ours()} on every node, as in the image of infra/, and run again"
                )
            return EarmarkError(
                f"on node {node.address}, {location} hides Earmark's package '{package}'; rename it, or keep "
                "its folder off PYTHONPATH and out of the job's working_dir, and run again"
            )
        if (error := version_error(node.address, node.version)) is not None:
            return error
    return None


def version_error(address: str, theirs: str | None) -> EarmarkError | None:
    """Return an error about a node with another version of Earmark; None if no difference is known."""
    if None in (theirs, earmark_version()) or theirs == earmark_version():
        return None
    return EarmarkError(
        f"node {address} has Earmark {theirs}, but this run uses {earmark_version()}; install the same "
        "version on every node, and run again"
    )


def _ours() -> str:
    return f"Earmark {earmark_version()}" if earmark_version() else "Earmark"


def _what_it_lacks(text: str) -> str:
    """Describe what is missing on a node that has all of Earmark, by the text of an error."""
    address = _ADDRESS.search(text)
    where = f"node {address[1]}" if address else "a node of the cluster"
    if module := _MISSING.search(text):
        fault = f"lacks the module {module[1]}"
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        fault = f"cannot load what Earmark needs ({lines[-1]})"
    return f"{where} {fault}; install {_ours()} and its dependencies there, and run again"


def _inspect_nodes() -> list[_Installation]:
    """Return the installation of every node that answers."""
    task = ray.remote(num_cpus=0, max_retries=0)(_make_inspector())
    asked = {}
    for name, node in live_nodes().items():
        there = NodeAffinitySchedulingStrategy(name, soft=False)
        asked[task.options(scheduling_strategy=there).remote(_MODULES)] = node
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_LONGEST_S)
    found = []
    for ref in answered:
        try:
            its_version, others = ray.get(ref)
        except ray_errors.RayError:
            continue
        found.append(_Installation(asked[ref].address, its_version, others))
    return found


def _make_inspector() -> Callable[..., Any]:
    """Return a function that Ray pickles by value, since the node may lack Earmark to import it from."""

    def inspect(modules: tuple[str, ...]) -> Any:
        import importlib.metadata
        import importlib.util

        others: dict[str, str | None] = {}
        for module in modules:
            package = module.partition(".")[0]
            try:
                if importlib.util.find_spec(module) is not None:
                    continue
            except Exception:  # noqa: S110 (a package that cannot be imported is not ours)
                pass
            try:
                spec = importlib.util.find_spec(package)
            except Exception:
                spec = None
            locations = [] if spec is None else [*(spec.submodule_search_locations or []), spec.origin or ""]
            others[package] = locations[0] if locations else None
        try:
            its_version = importlib.metadata.version("earmark")
        except Exception:
            its_version = None
        return its_version, others

    return inspect
