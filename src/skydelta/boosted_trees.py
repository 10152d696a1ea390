"""Boosted decision trees, evaluated: a sum of small trees, as a probability.

P = 1 / (1 + exp(-(b + sum_t v_t(x)))), where v_t is the value of the leaf of tree t that x falls
into (Friedman 2001, Ann. Stat. 29, 1189, eq. for two classes); a sample goes left where its feature
is at most the threshold.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit


@dataclass(frozen=True)
class BoostedTrees:
    """Trees of one depth, all nodes written out: node i has the children 2 i + 1 and 2 i + 2.

    Parameters
    ----------
    feature
        (n_trees, 2^depth - 1) int, the feature that each inner node asks.
    threshold
        (n_trees, 2^depth - 1) float32.
    value
        (n_trees, 2^depth) what the leaves add to the log odds, left to right.
    bias
        Log odds before any tree.
    """

    feature: np.ndarray
    threshold: np.ndarray
    value: np.ndarray
    bias: float

    @classmethod
    def of(cls, mapping):
        """From the lists of a model file.

        Raises
        ------
        ValueError
            If the arrays are not those of trees of one depth.
        """
        feature = np.asarray(mapping["feature"], np.intp)
        value = np.asarray(mapping["value"], float)
        threshold = np.asarray(mapping["threshold"], np.float32)
        inner = feature.shape[1]
        if threshold.shape != feature.shape or value.shape != (len(feature), inner + 1):
            msg = f"trees of {inner} inner nodes need as many thresholds and a leaf more"
            raise ValueError(msg)
        if (inner + 1) & inner:
            msg = f"{inner} inner nodes are not those of a full tree"
            raise ValueError(msg)
        return cls(feature, threshold, value, float(mapping["bias"]))

    def log_odds(self, samples):
        """(n,) log odds of (n, features) samples, compared as float32."""
        samples = np.asarray(samples, np.float32)
        total = np.full(len(samples), self.bias)
        rows = np.arange(len(samples))
        inner = self.feature.shape[1]
        for feature, threshold, value in zip(self.feature, self.threshold, self.value, strict=True):
            node = np.zeros(len(samples), np.intp)
            while node.size and node[0] < inner:
                right = samples[rows, feature[node]] > threshold[node]
                node = 2 * node + 1 + right
            total += value[node - inner]
        return total

    def probability(self, samples):
        """(n,) probabilities of (n, features) samples."""
        return expit(self.log_odds(samples))
