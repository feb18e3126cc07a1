"""Run the networks of an ensemble."""

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
    bundle: Bundle, *, threads: int = 1, batch_size: int = 32
) -> Classifier | EnsembleClassifier:
    """Load the network of a model or all those of an ensemble; see `Classifier` for parameters and errors."""
    if isinstance(bundle, ModelBundle):
        return Classifier(bundle, threads=threads, batch_size=batch_size)
    return EnsembleClassifier(
        bundle.info,
        tuple(
            Classifier(member, threads=threads, batch_size=batch_size) for member in bundle.members.values()
        ),
    )


def networks_of(classifier: Classifier | EnsembleClassifier) -> tuple[Classifier, ...]:
    """Return the networks: several for an ensemble, else the classifier itself."""
    return classifier.networks if isinstance(classifier, EnsembleClassifier) else (classifier,)
