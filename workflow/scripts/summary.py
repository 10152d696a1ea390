"""The table of all statuses."""

from skydelta.stage import stage

with stage(snakemake):
    import logging

    from skydelta.upkeep.summary import sentence, write_summary

    outcomes = write_summary(snakemake.output.summary, snakemake.input.statuses)
    logging.getLogger("skydelta").info(sentence(outcomes))
