"""The calibrated catalogue of one exposure, and how the exposure fared."""

from skydelta.stage import options, provenance, stage

with stage(snakemake):
    from skydelta.calibrate import CalibrateOptions
    from skydelta.io.catalogues import write_catalogue
    from skydelta.io.finish import calibrated_exposure, catalogue_cards
    from skydelta.io.outcome import write_status

    catalogue, status = calibrated_exposure(
        int(snakemake.wildcards.visit),
        int(snakemake.wildcards.detector),
        snakemake.wildcards.band,
        sources=snakemake.input.sources,
        diffexp=snakemake.input.diffexp,
        footprints=snakemake.input.footprints,
        threshold=snakemake.params.threshold,
        options=options(CalibrateOptions, snakemake.params.section),
    )
    meta, notes = provenance(snakemake)
    # One file for each format, then the status.
    *catalogues, status_file = snakemake.output
    for path in catalogues:
        write_catalogue(path, catalogue, (meta | catalogue_cards(status), notes))
    write_status(status_file, status)
