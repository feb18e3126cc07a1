"""``earmark models``: list the available models."""

from dataclasses import dataclass

from pipeline.models.bundle import ModelBundle, shipped_models
from pipeline.models.model_cache import added_models, how_to_mend, model_folder
from pipeline.models.published import PUBLISHED, PublishedModel
from pipeline.storage.local_kind import local_kind
from schemas.errors import EarmarkError, MisuseError
from schemas.model import ModelInfo


@dataclass(frozen=True, slots=True)
class ListedModel:
    """An entry in the list of models.

    Attributes
    ----------
    name : str
        What ``--model`` takes.
    state : str
        ``ships``, ``added``, ``can be added`` or ``cannot be used``.
    license : str
        The terms it is under.
    size : int
        Bytes of its weights.
    info : ModelInfo or None
        Its metadata; None if it has not been added, or cannot be used.
    fault : str or None
        Why it cannot be used, and what to do.
    """

    name: str
    state: str
    license: str
    size: int
    info: ModelInfo | None = None
    fault: str | None = None


def list_models() -> list[ListedModel]:
    """Return the shipped models, the added ones, and those that can be added."""
    found = []
    for name, folder in shipped_models().items():
        bundle = ModelBundle.load(str(folder))
        found.append(ListedModel(name, "ships", "Apache-2.0", len(bundle.weights), bundle.info))
    return [*found, *(_look_at(model) for model in PUBLISHED.values())]


def _look_at(model: PublishedModel) -> ListedModel:
    """Return whether a published model has been added, and whether it was added whole."""
    folder = model_folder(model.name)
    try:
        if local_kind(folder) is None:
            return ListedModel(model.name, "can be added", model.license, model.size)
        if model.name not in added_models():
            raise MisuseError(f"{folder} lacks a file; {how_to_mend(str(folder))}")
        bundle = ModelBundle.load(model.name)
    except EarmarkError as error:
        return ListedModel(model.name, "cannot be used", model.license, model.size, fault=str(error))
    terms = bundle.info.license or model.license
    return ListedModel(model.name, "added", terms, len(bundle.weights), bundle.info)
