"""The calibrated catalogue of one exposure, and how the exposure fared."""

from skydelta.stage import provenance, stage

with stage(snakemake):
    from skydelta.io.catalogues import write_catalogue
    from skydelta.io.finish import calibrated_exposure
    from skydelta.io.outcome import write_status

    catalogue, status = calibrated_exposure(
        int(snakemake.wildcards.visit),
        int(snakemake.wildcards.detector),
        snakemake.wildcards.band,
        sources=snakemake.input.sources,
        diffexp=snakemake.input.diffexp,
        footprints=snakemake.input.footprints,
        threshold=snakemake.params.threshold,
    )
    write_catalogue(snakemake.output.catalogue, catalogue, provenance(snakemake))
    write_status(snakemake.output.status, status)
