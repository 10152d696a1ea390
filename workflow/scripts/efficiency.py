"""Tables and page of the efficiency."""

from skydelta.stage import stage

with stage(snakemake):
    from skydelta.efficiency.results import measure_efficiency

    measure_efficiency(
        snakemake.input.outcomes,
        snakemake.output,
        methods=snakemake.params.methods,
        config=snakemake.params.config,
    )
