"""The figures of plots, which a notebook shows as pictures. Importing this imports matplotlib."""

from matplotlib.figure import Figure

from pipeline.plots.figures import to_png


class ShownFigure(Figure):
    """A figure that a notebook shows as a picture, also if pyplot has not been imported there."""

    def _repr_png_(self) -> bytes:
        return to_png(self)
