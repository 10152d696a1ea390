"""Detections matched to the sources that were injected."""

from skydelta.stage import stage

with stage(snakemake):
    from skydelta.io.recovered import recovered_exposure, write_outcome

    given, names = snakemake.input, snakemake.wildcards
    outcome = recovered_exposure(
        {
            "method": names.method,
            "visit": int(names.visit),
            "detector": int(names.detector),
            "band": names.band,
            "realisation": int(names.realisation),
        },
        statuses=(given.known_status, given.status),
        injected=given.injected,
        catalogue=given.catalogue,
        known=given.known,
        diffexp=given.diffexp,
        match_radius=snakemake.params.match_radius,
        min_good_weight=snakemake.params.min_good_weight,
    )
    write_outcome(snakemake.output.recovered, outcome)
