"""Coadds resampled to an exposure's grid and combined."""

from skydelta.stage import stage, with_provenance

with stage(snakemake):
    from dataclasses import replace

    from skydelta.io.inputs import read_coadds, read_grid
    from skydelta.io.templates import write_template
    from skydelta.template import build_template

    row, lost = snakemake.params.exposure, []
    wcs, shape = read_grid(row["path"])
    coadds = read_coadds(snakemake.params.coadds, snakemake.params.images, lost)
    template = build_template(wcs, shape, coadds, band=row["band"], **snakemake.params.section)
    exposure = with_provenance(template.exposure.noted(*lost), snakemake)
    template = replace(template, exposure=exposure)
    write_template(snakemake.output.template, template)
