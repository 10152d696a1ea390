"""The noise of the difference made white."""

from skydelta.stage import stage, with_provenance

with stage(snakemake):
    from skydelta.decorrelate import decorrelate
    from skydelta.io.differences import read_difference
    from skydelta.io.inputs import read_science
    from skydelta.io.native import write_exposure
    from skydelta.io.templates import read_template

    difference, kernel = read_difference(snakemake.input.subtracted)
    template, noise_correlation = read_template(snakemake.input.template)
    science = read_science(snakemake.params.exposure, snakemake.params.images, psf=difference.psf)
    result = decorrelate(
        difference, science, template, kernel, noise_correlation, **snakemake.params.section
    )
    write_exposure(snakemake.output.diffexp, with_provenance(result.exposure, snakemake))
