"""Coadds resampled to an exposure's grid and combined."""

from skydelta.stage import stage, with_provenance

with stage(snakemake):
    from dataclasses import replace

    from skydelta.io.inputs import read_coadds, read_grid
    from skydelta.io.products import write_template
    from skydelta.template import build_template

    exposure = snakemake.params.exposure
    wcs, shape = read_grid(exposure["path"])
    coadds = read_coadds(snakemake.params.coadds, snakemake.params.images)
    template = build_template(
        wcs, shape, coadds, band=exposure["band"], **snakemake.params.section
    )
    template = replace(template, exposure=with_provenance(template.exposure, snakemake))
    write_template(snakemake.output.template, template)
