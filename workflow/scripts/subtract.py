"""The template matched to the science image and subtracted."""

from skydelta.stage import stage, with_provenance

with stage(snakemake):
    from dataclasses import replace

    from skydelta.io.differences import write_difference
    from skydelta.io.inputs import left_out, read_catalogue, read_science
    from skydelta.io.templates import read_template
    from skydelta.subtract import subtract, subtract_options

    template, noise_correlation = read_template(snakemake.input.template)
    science = read_science(snakemake.params.exposure, snakemake.params.images)
    choices = subtract_options(snakemake.params.section)
    catalogue = None
    if choices.stars.source == "catalogue":
        catalogue = read_catalogue(snakemake.input.catalogue, science.band)
    difference = subtract(
        science, template, noise_correlation, options=choices, catalogue=catalogue
    )
    exposure = difference.exposure.noted(*left_out(template))
    difference = replace(difference, exposure=with_provenance(exposure, snakemake))
    write_difference(snakemake.output.subtracted, difference)
