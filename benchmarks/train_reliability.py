"""Train the reliability score on simulated pairs, and say how good it is on others.

    pip install 'skydelta[train]'
    python benchmarks/train_reliability.py [--size 2048] [--samples samples.npz]
                                           [--target src/skydelta/data/reliability_v1.json]

Writes the model file and prints its ROC on seeds held back. Every pair is searched twice: as
shipped, and with the search for cosmic rays, trails and halos off, without the model and the
registration error and from 4.5 sigma on, so that there are artefacts of every kind to learn from
that no flag tells of. --samples keeps the features, and takes them from there if it exists. The
same seeds, options and scikit-learn give the same file.
"""

import argparse
import json
import os
from pathlib import Path

# Before numpy: one core.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from catalogue_pair import ARTEFACT, REAL, judge, simulated
from science import make_template

from skydelta.detect import DetectOptions
from skydelta.measure import MeasureOptions
from skydelta.reliability import MODEL_FILE, ReliabilityModel
from skydelta.reliability_features import FEATURES, reliability_features

VERSION = "1"
ROOT = Path(__file__).resolve().parents[1]

SHIPPED = DetectOptions()
HARSH = DetectOptions(
    threshold=4.5,
    model_error=0.0,
    registration_error=0.0,
    cosmic_ray_sigma=None,
    streak_sigma=None,
    halos=False,
)

TRAIN = [
    # FWHM science, template (arcsec), registration error (mas), seed
    (0.9, 0.75, 20, 101),
    (0.65, 0.75, 20, 102),
    (0.75, 0.75, 0, 103),
    (1.2, 0.7, 60, 104),
    (0.6, 0.9, 40, 105),
    (0.8, 0.7, 60, 106),
    (1.0, 0.8, 10, 107),
    (0.7, 0.7, 20, 108),
    (0.65, 0.8, 10, 109),
    (0.9, 0.75, 10, 110),
]
HELD_BACK = [(0.9, 0.75, 20, 201), (0.65, 0.75, 20, 202), (1.1, 0.8, 40, 203), (0.7, 0.75, 10, 204)]

FALSE_RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
SEED, TREES, DEPTH, RATE = 1, 120, 3, 0.12


def samples_of(case, size):
    """Features, kinds, S/N and whether found as shipped and unflagged, of one pair."""
    science, template, registration, seed = case
    pair = simulated(size, science, template, seed, registration=registration, events=500, trails=2)
    coadd = make_template(pair)
    parts = []
    # The score is what is being trained.
    measured = MeasureOptions(reliability=False)
    for options in (SHIPPED, HARSH):
        judged = judge(pair, coadd, seed, detect_options=options, measure_options=measured)
        ratio = float(judged.kernel_sum)
        features = reliability_features(judged.difference, judged.columns, ratio)
        own = ~judged.columns["sky_source"]
        parts.append(
            {
                "features": features[own],
                "kind": judged.kind[own],
                "snr": judged.catalogue["snr"][own],
                "shipped": np.full(own.sum(), options is SHIPPED),
                "unflagged": judged.unflagged[own],
                "pair": np.full(own.sum(), seed),
            }
        )
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def gather(size, path):
    """Samples of all pairs, from a file if it is there."""
    if path and Path(path).exists():
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}
    parts = []
    for case in TRAIN + HELD_BACK:
        parts.append(samples_of(case, size))
        real, false = ((parts[-1]["kind"] == k).sum() for k in (REAL, ARTEFACT))
        print(f"{case}: {real} real, {false} artefacts", flush=True)
    samples = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    if path:
        np.savez(path, **samples)
    return samples


def select(samples, keep):
    return {name: values[keep] for name, values in samples.items()}


def train(samples):
    """The content of the model file."""
    from sklearn.ensemble import GradientBoostingClassifier

    real = samples["kind"] == REAL
    # As many real sources as artefacts: the score is the probability at even odds.
    weight = np.where(real, 0.5 / real.mean(), 0.5 / (~real).mean())
    model = GradientBoostingClassifier(
        n_estimators=TREES,
        max_depth=DEPTH,
        learning_rate=RATE,
        subsample=0.7,
        min_samples_leaf=20,
        max_features=6,
        random_state=SEED,
    )
    model.fit(samples["features"], real, sample_weight=weight)
    trees = [full_tree(t[0].tree_) for t in model.estimators_]
    # The prior of even odds: log odds 0.
    return {
        "version": VERSION,
        "made_by": "benchmarks/train_reliability.py",
        "features": list(FEATURES),
        "trees": {
            "bias": 0.0,
            "feature": [t[0] for t in trees],
            "threshold": [t[1] for t in trees],
            "value": [[round(RATE * v, 6) for v in t[2]] for t in trees],
        },
    }


def full_tree(tree):
    """A grown tree with all nodes of its depth: a leaf above it is repeated in its descendants."""
    feature, threshold = [0] * (2**DEPTH - 1), [0.0] * (2**DEPTH - 1)
    value = [0.0] * 2**DEPTH

    def fill(node, place, level):
        if level == DEPTH:
            value[place - (2**DEPTH - 1)] = float(tree.value[node, 0, 0])
            return
        leaf = tree.children_left[node] < 0
        if not leaf:
            feature[place] = int(tree.feature[node])
            # The largest float32 not above it: the comparison is one of float32 values.
            threshold[place] = float(f"{_below(tree.threshold[node]):.9g}")
        fill(node if leaf else tree.children_left[node], 2 * place + 1, level + 1)
        fill(node if leaf else tree.children_right[node], 2 * place + 2, level + 1)

    fill(0, 0, 0)
    return feature, threshold, value


def _below(threshold):
    near = np.float32(threshold)
    return near if near <= threshold else np.nextafter(near, np.float32(-np.inf))


def roc_rows(score, kind):
    """Completeness at false-positive rates, and the area under the curve."""
    real, false = score[kind == REAL], np.sort(score[kind == ARTEFACT])
    cuts = [np.quantile(false, 1 - rate, method="higher") for rate in FALSE_RATES]
    complete = [float((real > cut).mean()) for cut in cuts]
    below = np.searchsorted(false, real, side="left") + np.searchsorted(false, real, side="right")
    return complete, float(below.mean() / (2 * len(false))), len(real), len(false)


def report(content, held):
    """The ROC of a model on samples."""
    score = ReliabilityModel.of(content).trees.probability(held["features"])
    bright = held["snr"] > 6
    shipped, clean = held["shipped"], held["unflagged"]
    groups = {
        "all": np.ones(len(score), bool),
        "as shipped": shipped,
        "as shipped, unflagged": shipped & clean,
        "artefact search off": ~shipped,
        "artefact search off, S/N > 6": ~shipped & bright,
    }
    print(
        "| sources | real | artefacts | AUC | " + " | ".join(f"{r:g}" for r in FALSE_RATES) + " |"
    )
    print("|---" * (4 + len(FALSE_RATES)) + "|")
    for name, keep in groups.items():
        complete, area, real, false = roc_rows(score[keep], held["kind"][keep])
        row = " | ".join(f"{100 * c:.1f} %" for c in complete)
        print(f"| {name} | {real} | {false} | {area:.4f} | {row} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--samples")
    parser.add_argument("--target", default=ROOT / "src" / "skydelta" / "data" / MODEL_FILE)
    arguments = parser.parse_args()
    samples = select_known(gather(arguments.size, arguments.samples))
    held = np.isin(samples["pair"], [case[-1] for case in HELD_BACK])
    content = train(select(samples, ~held))
    Path(arguments.target).write_text(json.dumps(content, separators=(",", ":")) + "\n")
    report(content, select(samples, held))


def select_known(samples):
    """Without the second sources beside an event, which are neither real nor artefacts."""
    return select(samples, (samples["kind"] == REAL) | (samples["kind"] == ARTEFACT))


if __name__ == "__main__":
    main()
