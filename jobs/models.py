"""``earmark models``: list the available models."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.models.bundle import INFO_FILE, WEIGHTS_FILE, parse_info, shipped_models
from pipeline.models.model_cache import added_models
from pipeline.models.published import PUBLISHED
from schemas.model import ModelInfo


@dataclass(frozen=True, slots=True)
class ListedModel:
    """An entry in the list of models.

    Attributes
    ----------
    name : str
        What ``--model`` takes.
    state : str
        ``ships``, ``added`` or ``can be added``.
    license : str
        The terms it is under.
    size : int
        Bytes of its weights.
    info : ModelInfo or None
        Its metadata; None before it is added.
    """

    name: str
    state: str
    license: str
    size: int
    info: ModelInfo | None


def list_models() -> list[ListedModel]:
    """Return the shipped models, the added ones, and those that can be added."""
    added = added_models()
    found = [_listed(name, "ships", "Apache-2.0", folder) for name, folder in shipped_models().items()]
    for name, model in PUBLISHED.items():
        if name in added:
            found.append(_listed(name, "added", model.license, added[name]))
        else:
            found.append(ListedModel(name, "can be added", model.license, model.size, None))
    return found


def _listed(name: str, state: str, terms: str, folder: Path) -> ListedModel:
    info = parse_info((folder / INFO_FILE).read_bytes(), str(folder))
    return ListedModel(name, state, info.license or terms, (folder / WEIGHTS_FILE).stat().st_size, info)
