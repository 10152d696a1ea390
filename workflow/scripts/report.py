"""The report page."""

from skydelta.stage import stage

with stage(snakemake):
    from skydelta.report import report_entries, write_report

    write_report(
        snakemake.output.report,
        report_entries(snakemake.params.exposures, "results"),
        config=snakemake.params.config,
        truth=next(iter(snakemake.input.truth), None),
        overlaps=snakemake.input.overlaps,
        **snakemake.params.section,
    )
