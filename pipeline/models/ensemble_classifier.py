"""Run the networks of an ensemble."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.ensemble import Bundle
from schemas.model import ModelInfo


@dataclass(frozen=True, slots=True)
class EnsembleClassifier:
    """The networks of an ensemble.

    Attributes
    ----------
    info : ModelInfo
        The ensemble.
    networks : tuple of Classifier
        The network of each member.
    """

    info: ModelInfo
    networks: tuple[Classifier, ...]


def load_classifier(
    bundle: Bundle, load: Callable[[ModelBundle], Classifier]
) -> Classifier | EnsembleClassifier:
    """Load the network of a model, or all those of an ensemble.

    Parameters
    ----------
    bundle : ModelBundle or Ensemble
        What to load.
    load : callable
        Loads one network: a `Classifier` with other settings, for example.

    Raises
    ------
    MisuseError
        If Keras in safe mode refuses a network.
    """
    if isinstance(bundle, ModelBundle):
        return load(bundle)
    return EnsembleClassifier(bundle.info, tuple(load(member) for member in bundle.members.values()))


def networks_of(classifier: Classifier | EnsembleClassifier) -> tuple[Classifier, ...]:
    """Return the networks: several for an ensemble, else the classifier itself."""
    return classifier.networks if isinstance(classifier, EnsembleClassifier) else (classifier,)
