"""The noise of the difference made white."""

from skydelta.stage import options, stage, with_provenance

with stage(snakemake):
    from skydelta.decorrelate import DecorrelateOptions, decorrelate
    from skydelta.io.differences import detection_hdus, read_difference
    from skydelta.io.inputs import read_science
    from skydelta.io.native import write_exposure
    from skydelta.io.templates import read_template

    difference = read_difference(snakemake.input.subtracted)
    template, noise_correlation = read_template(snakemake.input.template)
    psf = difference.science_psf or difference.exposure.psf
    science = read_science(snakemake.params.exposure, snakemake.params.images, psf=psf)
    choices = options(DecorrelateOptions, snakemake.params.section)
    result = decorrelate(difference, science, template, noise_correlation, options=choices)
    exposure = with_provenance(result.exposure, snakemake)
    write_exposure(snakemake.output.diffexp, exposure, detection_hdus(result))
