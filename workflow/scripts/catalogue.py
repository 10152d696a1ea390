"""All catalogues of the survey as one."""

from skydelta.stage import stage

with stage(snakemake):
    from skydelta.io.catalogues import concatenate_catalogues

    concatenate_catalogues(snakemake.input.catalogues, snakemake.output.catalogue)
