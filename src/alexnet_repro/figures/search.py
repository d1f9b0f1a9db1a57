"""What a search tried: the least validation error of every trial, by each value."""

import warnings
from typing import Any

import numpy as np
import optuna
from matplotlib.figure import Figure
from optuna.visualization.matplotlib import plot_slice


def draw_search(study: optuna.Study) -> Figure:
    """A part for each value, with the error of trials that ended upwards; later ones are darker."""
    with warnings.catch_warnings(action="ignore"):  # Optuna calls its drawings experimental
        axes: Any = plot_slice(study, target_name="validation error (%)")
    figure: Figure = np.ravel(axes)[0].figure
    return figure
