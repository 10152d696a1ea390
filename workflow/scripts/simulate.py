"""Simulate the demo survey."""

from skydelta.stage import stage

with stage(snakemake):
    from skydelta.simulate.survey import simulate_survey
    from skydelta.survey import simulation_options

    section = snakemake.params.section
    simulate_survey(section["outdir"], **simulation_options(section))
