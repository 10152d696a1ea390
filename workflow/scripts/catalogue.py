"""All catalogues of the survey as one."""

from skydelta.stage import provenance, stage

with stage(snakemake):
    from pathlib import Path

    from skydelta.io.catalogues import concatenate_catalogues
    from skydelta.upkeep.summary import read_outcomes
    from skydelta.upkeep.tree import ExposureFiles

    exposures = read_outcomes(snakemake.input.summary)
    catalogues = [ExposureFiles(*key, Path("results")).catalogue for key in exposures]
    # Inputs are not listed: the rows say which exposures they are from.
    concatenate_catalogues(catalogues, snakemake.output.catalogue, (provenance(snakemake)[0], ()))
