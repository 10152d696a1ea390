"""Which coadds lie under which exposure."""

from skydelta.stage import stage

with stage(snakemake):
    from skydelta.io.tracts_mapping import write_coverage, write_overlaps, write_tracts_mapping
    from skydelta.overlap import survey_overlaps
    from skydelta.survey import CACHE, load_survey

    section = snakemake.params.section
    survey = load_survey({**snakemake.params.survey, "overlap": section})
    overlaps, coverage = survey_overlaps(
        survey.exposures,
        survey.coadds,
        mapping=section["tracts_mapping"],
        footprints=survey.sky_map_footprints,
        cache=CACHE,
        margin_px=section["margin_px"],
    )
    write_tracts_mapping(snakemake.output.mapping, overlaps)
    write_overlaps(snakemake.output.overlaps, overlaps)
    write_coverage(snakemake.output.coverage, coverage)
