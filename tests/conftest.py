"""Fixtures shared by all tests."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

# Before numpy is imported: threads make the many small fits slower, by several times.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    """The modules that take minutes first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: next((i for i, d in enumerate(_LONG) if d in item.path.parts), 9))


_LONG = ("slurm", "workflow")
"""Folders of tests."""


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real sky beside the project; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@dataclass(frozen=True)
class Chain:
    """A simulated pair and what every stage makes of it, each when first asked for."""

    pair: object

    @property
    def science(self):
        return self.pair.science

    @cached_property
    def template(self):
        from skydelta.template import build_template

        coadds = [coadd for _, _, coadd in self.pair.coadds]
        return build_template(self.science.wcs, self.science.shape, coadds, band="i")

    @cached_property
    def difference(self):
        from skydelta.subtract import subtract

        return subtract(self.science, self.template.exposure, self.template.noise_correlation)

    @property
    def kernel(self):
        return self.difference.solution.kernel

    @cached_property
    def decorrelated(self):
        from skydelta.decorrelate import decorrelate

        return decorrelate(
            self.difference,
            self.science,
            self.template.exposure,
            self.template.noise_correlation,
        )

    @cached_property
    def matched(self):
        from skydelta.matched_template import MatchedTemplate

        return MatchedTemplate.of(self.template.exposure, self.decorrelated.exposure.meta)

    @cached_property
    def detections(self):
        from skydelta.detect import detect

        return detect(self.decorrelated.exposure, matched=self.matched)

    @cached_property
    def columns(self):
        from skydelta.measure import measure

        return measure(
            self.decorrelated.exposure,
            self.science,
            self.template.exposure,
            self.detections,
            kernel_sum=self.difference.flux_ratio,
            kernel_error=self.difference.flux_error,
        )


def _chain(**seeing):
    from skydelta.simulate import simulate_pair

    return Chain(simulate_pair((512, 512), star_density=20, n_transients=12, **seeing))


@pytest.fixture(scope="session")
def chain_of():
    """Chain of any object with `science` and `coadds` as a simulated pair's."""
    return Chain


@pytest.fixture(scope="session")
def lsst_survey(tmp_path_factory):
    """A simulated LSST repository, one visit of 4 detectors over three tracts, and native twins.

    Denser in stars and events than the demo: enough of both on 512 x 512 px.
    """
    from skydelta.simulate.lsst import simulate_lsst_survey

    folder = tmp_path_factory.mktemp("lsst")
    return simulate_lsst_survey(
        folder / "repository", native=folder / "native", star_density=45, event_density=6
    )


@pytest.fixture(scope="session")
def broad():
    """The chain on a science exposure of 0.9 arcsec over a template of 0.7 arcsec."""
    return _chain(seed=5, fwhm_science=0.9, fwhm_template=0.7)


@pytest.fixture(scope="session")
def sharp():
    """The chain on a science exposure sharper than its template: 0.7 over 0.9 arcsec."""
    return _chain(seed=8, fwhm_science=0.7, fwhm_template=0.9)
