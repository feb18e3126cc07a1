"""Ensembles: several models that label a track together.

``--model`` joins their names by ``+``. Beside the tables, an ensemble is a folder as any model is:
``model.json`` with the metadata of all members, and a ``.keras`` file for each.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.models.bundle import (
    INFO_FILE,
    ModelBundle,
    encode_info,
    find_model,
    read_info,
    shipped_models,
    split_name,
)
from pipeline.models.model_cache import ADDABLE
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.model import ModelInfo
from schemas.taxonomy import Taxonomy
from schemas.versions import MODEL_FORMAT

_METHOD = "geometric mean"
"""Part of the hash: models whose probabilities are combined in another way are another ensemble."""


@dataclass(frozen=True)
class Ensemble:
    """Models that label together; it stands for one model wherever whole tracks are labeled.

    Attributes
    ----------
    members : Mapping of str to ModelBundle
        The models, by name.
    """

    members: Mapping[str, ModelBundle]

    @cached_property
    def info(self) -> ModelInfo:
        """The contents of ``model.json``, with the genres, styles and features of all members.

        Raises
        ------
        MisuseError
            If the models cannot be combined.
        """
        infos = {name: self.members[name].info for name in sorted(self.members)}
        return ModelInfo(
            format_version=MODEL_FORMAT,
            name="-".join(infos),
            genres=_join_genres(infos),
            features=FeatureSpec.join(info.features for info in infos.values()),
            temperature=1.0,
            taxonomy=_join_taxonomies(infos),
            members=infos,
        )

    @cached_property
    def model(self) -> str:
        """Name and content hash, as in the labels table; the hash covers those of the members."""
        hashed = json.dumps([_METHOD, *sorted(member.model for member in self.members.values())])
        return f"{self.info.name}-{hashlib.sha256(hashed.encode()).hexdigest()[:8]}"

    @property
    def files(self) -> dict[str, bytes]:
        """The files of its folder by name, ``model.json`` last: once that is there, so are the others."""
        weights = {_weights_file(name): member.weights for name, member in self.members.items()}
        return weights | {INFO_FILE: encode_info(self.info)}


Bundle = ModelBundle | Ensemble
"""What labels tracks."""


def load_bundle(name_or_uri: str) -> Bundle:
    """Read a model or an ensemble.

    Parameters
    ----------
    name_or_uri : str
        As for `ModelBundle.load`, or names of shipped and added models joined by ``+``, or the name of an
        ensemble in the tables, or its folder.

    Raises
    ------
    MisuseError, EarmarkError
        As `ModelBundle.load`, and if the models cannot be combined.
    """
    if names := split_name(name_or_uri):
        return _combine(name_or_uri, names)
    folder = find_model(name_or_uri)
    info = read_info(folder)
    if not info.members:
        return ModelBundle.read(folder, info)
    return Ensemble(
        {name: ModelBundle.read(folder, member, _weights_file(name)) for name, member in info.members.items()}
    )


def _combine(name: str, names: Sequence[str]) -> Ensemble:
    known = sorted({*shipped_models(), *ADDABLE})
    unknown = [each for each in names if each not in known]
    if unknown:
        raise MisuseError(
            f"there is no model '{unknown[0]}' for the ensemble '{name}'; choose from {', '.join(known)}"
        )
    if len(set(names)) < len(names):
        raise MisuseError(f"'{name}' names a model twice; name each model once")
    ensemble = Ensemble({each: ModelBundle.load(each) for each in sorted(names)})
    _ = ensemble.info  # raises if they do not go together
    if "+" not in name and ensemble.model != name:
        raise MisuseError(
            f"there is no model '{name}': {'+'.join(names)} is {ensemble.model} here; tables that it labeled "
            f"have it in _models/{name}"
        )
    return ensemble


def _weights_file(name: str) -> str:
    return f"{name}.keras"


def _join_genres(infos: Mapping[str, ModelInfo]) -> tuple[str, ...]:
    """Return all genres. One member must know them all, to divide the probability among all."""
    genres = sorted({genre for info in infos.values() for genre in info.genres})
    if not any(set(info.genres) == set(genres) for info in infos.values()):
        raise MisuseError(
            f"none of the models {', '.join(infos)} knows the genres of all the others; combine models of "
            "which one does"
        )
    return tuple(genres)


def _join_taxonomies(infos: Mapping[str, ModelInfo]) -> Taxonomy | None:
    """Return the taxonomy of the members that have one, which must name the same styles in one order."""
    found = {name: info.taxonomy for name, info in infos.items() if info.taxonomy is not None}
    if not found:
        return None
    (first, taxonomy), *others = found.items()
    for other, its_own in others:
        if its_own.names() != taxonomy.names():
            raise MisuseError(f"the models {first} and {other} name different styles; combine other models")
    return taxonomy
