"""Reliability: how far a source looks like a real change, from 0 (artefact) to 1 (real).

A classifier of boosted trees on features that know neither place nor flux in physical units
(`skydelta.reliability_features`), learnt on simulated pairs by benchmarks/train_reliability.py. It
does not look at flags: those are cuts of their own.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from skydelta.boosted_trees import BoostedTrees
from skydelta.reliability_features import FEATURES, reliability_features

MODEL_FILE = "reliability_v1.json"


@dataclass(frozen=True)
class ReliabilityModel:
    """A trained classifier.

    Parameters
    ----------
    version
        Written beside every score.
    features
        Names of its features, in the order of the columns it is given.
    trees
        skydelta.boosted_trees.BoostedTrees.
    """

    version: str
    features: tuple
    trees: BoostedTrees

    @classmethod
    def of(cls, mapping):
        """From the content of a model file.

        Raises
        ------
        ValueError
            If it was learnt on other features than those measured here.
        """
        if tuple(mapping["features"]) != FEATURES:
            msg = "the model of reliability was learnt on other features: train it again"
            raise ValueError(msg)
        return cls(mapping["version"], FEATURES, BoostedTrees.of(mapping["trees"]))


@cache
def shipped_model():
    """The ReliabilityModel that comes with the package."""
    text = resources.files("skydelta").joinpath("data", MODEL_FILE).read_text()
    return ReliabilityModel.of(json.loads(text))


def reliability_columns(difference, columns, kernel_sum, *, model=None):
    """The score of measured sources and the model's version.

    Parameters
    ----------
    difference
        Exposure they were measured on.
    columns
        Measurements by name, from `skydelta.measure.measure`.
    kernel_sum
        Science counts per template count.
    model
        ReliabilityModel; default the shipped one.

    Returns
    -------
    dict
        ``reliability``: (n,) float32 in [0, 1], NaN for sky sources, which are no detections;
        ``reliabilityVersion``: (n,) str.
    """
    model = model or shipped_model()
    score = model.trees.probability(reliability_features(difference, columns, kernel_sum))
    score[np.asarray(columns["sky_source"], bool)] = np.nan
    return {
        "reliability": score.astype(np.float32),
        "reliabilityVersion": np.full(len(score), model.version),
    }
