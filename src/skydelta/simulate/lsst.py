"""A small survey as LSST's pipelines leave one on disk: a gen2 repository that needs no stack."""

from dataclasses import dataclass
from pathlib import Path

from astropy.table import vstack

from skydelta.simulate.detector import Defects, coadd_conditions
from skydelta.simulate.lsst_coadds import TractTemplate
from skydelta.simulate.lsst_info import exposure_info
from skydelta.simulate.lsst_plan import plan_lsst_survey
from skydelta.simulate.lsst_writers import Gen2Writer, NativeWriter
from skydelta.simulate.observe import take_exposure
from skydelta.simulate.sky import EVENT_DENSITY, GALAXY_DENSITY, STAR_DENSITY, rng_for
from skydelta.simulate.survey import TYPICAL_FWHM, make_sky


@dataclass(frozen=True)
class LsstSurvey:
    """A simulated repository.

    Parameters
    ----------
    root
        Its folder.
    truth
        Path of truth.csv.
    native
        Folder of the same images in the native format, None if they were not asked for.
    """

    root: Path
    truth: Path
    native: Path | None


def simulate_lsst_survey(
    outdir,
    *,
    native=None,
    native_psf_nodes=9,
    expinfo_version=1,
    seed=3,
    registration_error_mas=10.0,
    coadd_depth=15,
    star_density=STAR_DENSITY,
    galaxy_density=GALAXY_DENSITY,
    event_density=EVENT_DENSITY,
    defects=None,
    variance_from="data",
    **geometry,
):
    """Simulate a survey and write it as an LSST gen2 repository.

    Exposures (calexp) have PSFEx models of the simulated optics as PSFs, coadds (deepCoadd) the
    weighted mean of the PSFs of their inputs, which end within the field; pixels are drawn with
    just these PSFs, each source with that of its own position, so that the images know their PSFs
    exactly. The same call gives the same pixels.

    Parameters
    ----------
    outdir
        Root of the repository; made if missing.
    native
        Folder for the same images in the native format with exposures.csv and coadds.csv.
    native_psf_nodes
        There, PSFs are sampled at so many positions along each axis.
    expinfo_version
        Version of the files, see skydelta.io.afw.exposure_writer.write_afw.
    seed
        int; all pixels follow from it.
    registration_error_mas, coadd_depth, star_density, galaxy_density, event_density, defects, \
variance_from
        As of skydelta.simulate.survey.simulate_survey.
    **geometry
        Parameters of the plan: n_visits, detectors (LSSTCam's numbers, 0 to 188; they lie side by
        side all the same), bands, shape, centre (deg; default where the tracts 4639, 4640 and one
        south of them meet), rotation_deg, fwhm_science, fwhm_template, zero_point as of
        `simulate_survey`; skymap, a SkyMapConfig; psf_degree and psf_pixstep of the PSFEx models;
        aligned_inputs, whether the template's inputs all cover everything and lie on the pixels of
        the centre's tract: the coadds' PSF is then as smooth as theirs.

    Returns
    -------
    LsstSurvey

    Raises
    ------
    ValueError
        For a band that is not one of ugrizy, a detector that LSSTCam does not have, a skymap of
        cells.
    """
    plan = plan_lsst_survey(seed=seed, **geometry)
    writers = [Gen2Writer(outdir, expinfo_version)]
    if native is not None:
        writers.append(NativeWriter(native, native_psf_nodes))
    for writer in writers:
        writer.begin(plan)
    sky = _sky_of(plan, seed, star_density, galaxy_density, event_density)
    truths = []
    for pointing in plan.pointings:
        taken = take_exposure(
            pointing,
            sky,
            seed,
            Defects() if defects is None else defects,
            registration_error_mas=registration_error_mas,
            template_variance_ratio=1.0 / coadd_depth,
            variance_from=variance_from,
        )
        truths.append(taken.truth)
        exposure = taken.exposure.replace(
            psf=pointing.psf,
            info=exposure_info(pointing, plan.centre),
            meta={**taken.exposure.meta, "TIMESYS": "TAI"},
        )
        for writer in writers:
            writer.add_exposure(pointing, exposure, sky, seed)
    for window, band in ((w, b) for w in plan.windows for b in plan.nominal):
        template = TractTemplate(window, plan.inputs[band])
        conditions = coadd_conditions(plan.nominal[band], coadd_depth)
        rng = rng_for(seed, "template", band, int(window.tract.id))
        for patch, coadd in template.draw(plan.images, sky, band, conditions, rng):
            for writer in writers:
                writer.add_coadd(patch, coadd)
    truth = vstack(truths)
    for writer in writers:
        writer.finish(truth)
    outdir = Path(outdir)
    return LsstSurvey(outdir, outdir / "truth.csv", None if native is None else Path(native))


def _sky_of(plan, seed, star_density, galaxy_density, event_density):
    noise_flux = {b: c.point_source_error(TYPICAL_FWHM) for b, c in plan.nominal.items()}
    return make_sky(seed, plan.field, star_density, galaxy_density, event_density, noise_flux)
