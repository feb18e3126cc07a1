"""Taxonomy: how the outputs of a multi-label network map to genres and styles."""

from typing import Self

from pydantic import Field, model_validator

from schemas.versions import Stored


class TaxonomyClass(Stored):
    """A class of the network and what it is called here.

    Attributes
    ----------
    index : int
        Number of the network's output.
    name : str
        What the makers of the classes call it.
    genre : str
        The genre that it belongs to.
    style : str or None
        The style of the genre that it means; None: the genre as a whole.
    """

    index: int = Field(ge=0)
    name: str
    genre: str
    style: str | None = None


class MusicWeights(Stored):
    """A logistic regression: whether a segment is music, by the outputs for music and for speech.

    Attributes
    ----------
    intercept, music, speech : float
        What is added to `music` times the logit of music and `speech` times the greatest one of speech.
    """

    intercept: float
    music: float
    speech: float


class Adjustment(Stored):
    """Outputs of a head of our own that are added to scores of genres: rock that is called country, say.

    Attributes
    ----------
    first : int
        The first of these outputs.
    genres : tuple of str
        The genres that they are added to, in their order.
    """

    first: int = Field(ge=0)
    genres: tuple[str, ...] = Field(min_length=1)


class Taxonomy(Stored):
    """Genres and styles of a network whose outputs are logits of one class each.

    Attributes
    ----------
    n_outputs : int
        Outputs of the network, most of which no genre needs.
    classes : tuple of TaxonomyClass
        Those that mean a genre or a style of one.
    music : int
        The output for music of any kind.
    speech : tuple of int
        The outputs for speech.
    biases : dict of str to float
        What is added to the logits of a genre's classes; 0 where it says nothing.
    adjustment : Adjustment or None
        Outputs that are added to the scores of genres; None: none.
    slope, offset : float
        The probability that a class holds, beside others, is the logistic function of `slope` times its logit
        with the bias, plus `offset`.
    threshold : float
        Classes at least this probable are labels of a track.
    is_music : MusicWeights
        Whether it is music at all.
    """

    n_outputs: int = Field(ge=2)
    classes: tuple[TaxonomyClass, ...] = Field(min_length=1)
    music: int = Field(ge=0)
    speech: tuple[int, ...] = Field(min_length=1)
    biases: dict[str, float] = Field(default_factory=dict)
    adjustment: Adjustment | None = None
    slope: float = Field(default=1.0, gt=0)
    offset: float = 0.0
    threshold: float = Field(default=0.3, gt=0, lt=1)
    is_music: MusicWeights

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        indices = [each.index for each in self.classes]
        if max(*indices, self.music, *self.speech) >= self.n_outputs:
            raise ValueError("a class has no output in the network")
        if len(set(indices)) < len(indices):
            raise ValueError("a class is named twice")
        if len({(each.genre, each.style) for each in self.classes}) < len(indices):
            raise ValueError("two classes map to the same genre and style")
        if (own := self.adjustment) is not None:
            if not set(own.genres) <= set(self.genres()):
                raise ValueError("the adjustment names a genre to which no class maps")
            if own.first + len(own.genres) > self.n_outputs:
                raise ValueError("the adjustment refers to an output that the network does not have")
        return self

    def names(self) -> list[tuple[str, str | None]]:
        """Return the genre and style of each class, in the order of the classes."""
        return [(each.genre, each.style) for each in self.classes]

    def genres(self) -> tuple[str, ...]:
        """Return the genres, in alphabetical order."""
        return tuple(sorted({each.genre for each in self.classes}))
