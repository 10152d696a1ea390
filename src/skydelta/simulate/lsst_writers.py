"""Where the images of an LSST-like survey go: a gen2 repository, or native files and tables."""

from pathlib import Path

from skydelta.io.afw.exposure_writer import write_afw
from skydelta.io.afw_catalogue import write_afw_catalogue
from skydelta.io.native import write_exposure
from skydelta.io.skymap_pickle_writer import write_skymap_pickle
from skydelta.io.tracts_mapping import write_tracts_mapping
from skydelta.lsst.gen2 import DATASETS
from skydelta.overlap import Overlap
from skydelta.psf import sample_psf
from skydelta.repository.parents import write_configuration
from skydelta.simulate.lsst_sources import ALIASES, measured_stars
from skydelta.simulate.observe import write_truth
from skydelta.simulate.survey import write_csv

MAPPER = "lsst.obs.lsst.imsim.ImsimMapper"


class Gen2Writer:
    """An LSST gen2 repository: one root with calexp, src, deepCoadd and what describes them.

    Parameters
    ----------
    root
        Folder; made if missing.
    expinfo_version
        EXPINFO_V of the images, 0 to 2; DC2's is 1.
    """

    def __init__(self, root, expinfo_version=1):
        self.root = Path(root)
        self.expinfo_version = expinfo_version

    def begin(self, plan):
        """Write the sky map, tracts_mapping.sqlite3 and the configuration."""
        write_skymap_pickle(self._path("deepCoadd_skyMap"), plan.skymap.config)
        rows = [
            Overlap(p.visit, p.detector, p.band, tract, patch, float("nan"))
            for p, keys in zip(plan.pointings, plan.edges, strict=True)
            for tract, patch in keys
        ]
        write_tracts_mapping(self.root / "tracts_mapping.sqlite3", rows)
        write_configuration(self.root, MAPPER)

    def add_exposure(self, pointing, exposure, sky, seed):
        """Write a calexp and its stars."""
        data_id = {
            "visit": pointing.visit,
            "detector": pointing.detector,
            "band": pointing.band,
        }
        path = self._path("calexp", **data_id)
        write_afw(path, exposure, expinfo_version=self.expinfo_version)
        stars = measured_stars(pointing, exposure, sky, seed)
        write_afw_catalogue(self._path("src", **data_id), stars, aliases=ALIASES)

    def add_coadd(self, patch, exposure):
        """Write the coadd of a patch."""
        path = self._path(
            "deepCoadd", band=exposure.band, tract=int(patch.tract.id), patch=patch.index
        )
        write_afw(path, exposure, expinfo_version=self.expinfo_version)

    def finish(self, truth):
        """Write truth.csv."""
        write_truth(self.root / "truth.csv", truth)

    def _path(self, dataset, **data_id):
        path = self.root / DATASETS[dataset].path(data_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class NativeWriter:
    """The same images in the native format, with exposures.csv, coadds.csv and truth.csv.

    Parameters
    ----------
    root
        Folder; made if missing.
    psf_nodes
        PSFs are sampled at so many positions along each axis.
    """

    def __init__(self, root, psf_nodes=9):
        self.root = Path(root)
        self.psf_nodes = psf_nodes
        self._exposures, self._coadds = [], []

    def begin(self, plan):
        """Nothing is known before there are images."""

    def add_exposure(self, pointing, exposure, sky, seed):
        """Write an exposure."""
        visit, detector, band = pointing.visit, pointing.detector, pointing.band
        name = f"exposures/exposure_{visit}_{band}_{detector:03d}.fits"
        self._write(name, exposure)
        self._exposures.append(f"{visit},{detector},{band},{name}")

    def add_coadd(self, patch, exposure):
        """Write the coadd of a patch."""
        tract, (px, py), band = int(patch.tract.id), patch.index, exposure.band
        name = f"coadds/coadd_{tract}_{px}-{py}_{band}.fits"
        self._write(name, exposure)
        self._coadds.append(f'{tract},"{px},{py}",{band},{name}')

    def finish(self, truth):
        """Write the three tables."""
        write_csv(self.root / "exposures.csv", "visit,detector,band,path", self._exposures)
        write_csv(self.root / "coadds.csv", "tract,patch,band,path", self._coadds)
        write_truth(self.root / "truth.csv", truth)

    def _write(self, name, exposure):
        psf = sample_psf(exposure.psf, exposure.shape, self.psf_nodes)
        write_exposure(self.root / name, exposure.replace(psf=psf))
