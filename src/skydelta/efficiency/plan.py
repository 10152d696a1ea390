"""What the workflow runs for the efficiency: exposures, methods, and the names of the files.

Realisation 0 of a method is the survey as it is, without injections. That of the configured method
is the main chain itself.
"""

from dataclasses import dataclass
from functools import cached_property

from skydelta.efficiency.options import spread

ROOT = "results/efficiency"
_UNINJECTED = 0


@dataclass(frozen=True)
class EfficiencyPlan:
    """The jobs of `snakemake efficiency`.

    Parameters
    ----------
    config
        The whole configuration.
    survey
        skydelta.survey.Survey.
    """

    config: dict
    survey: object

    @cached_property
    def variants(self):
        """Variant by the name it has in paths: those of `efficiency.methods`, or the configured."""
        from skydelta.compare.variants import Variant, chosen_variants

        names = self.config["efficiency"]["methods"]
        if not names:
            name = self.config["subtract"]["method"]
            return {name: Variant(name, {}, self.config)}
        return {v.file_name: v for v in chosen_variants(self.config, names)}

    @cached_property
    def exposures(self):
        """The rows of the exposures that are injected into."""
        edges = self.survey.edges
        count = self.config["efficiency"]["exposures"]
        return spread(self.survey.exposures, count, lambda row: bool(edges[row.key]))

    def section(self, method, name):
        """A section of the configuration as a method has it."""
        return self.variants[method].config[name]

    def is_configured(self, method):
        """Whether a method is that of the main chain."""
        variant = self.variants[method].config
        return all(variant[name] == self.config[name] for name in ("subtract", "decorrelate"))

    def outcomes(self):
        """The recovered_ID.parquet of every method, realisation and exposure."""
        last = self.config["efficiency"]["realisations"]
        return [
            _path(f"{ROOT}/{method}/r{realisation}", "recovered", row, "parquet")
            for method in self.variants
            for realisation in range(1, last + 1)
            for row in self.exposures
        ]

    def uninjected(self, method, prefix, suffix, row):
        """A product of an exposure without injections: "diffexp", "diaSrc" or "status"."""
        if self.is_configured(method):
            if prefix == "status":
                return f"results/status/{row.id}.json"
            return _path("results/deepDiff", prefix, row, suffix)
        folder = f"{ROOT}/{method}/r{_UNINJECTED}"
        if prefix == "status":
            return f"{folder}/status/{row.id}.json"
        return _path(folder, prefix, row, suffix)

    def injected(self, realisation, row):
        """The exposure with injections; None for realisation 0."""
        if int(realisation) == _UNINJECTED:
            return None
        return _path(f"{ROOT}/injected/r{realisation}", "injected", row, "fits")


def _path(folder, prefix, row, suffix):
    return f"{folder}/v{row.visit:08d}-f{row.band}/{prefix}_{row.id}.{suffix}"
