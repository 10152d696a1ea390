"""The table of all statuses."""

from skydelta.stage import stage

with stage(snakemake):
    import logging

    from skydelta.upkeep.summary import sentence, write_summary

    statuses = [path for path in snakemake.input if path.startswith("results/status/")]
    outcomes = write_summary(snakemake.output.summary, statuses)
    logging.getLogger("skydelta").info(sentence(outcomes))
