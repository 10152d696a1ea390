"""All catalogues of the survey as one."""

from skydelta.stage import provenance, stage

with stage(snakemake):
    from skydelta.io.catalogues import concatenate_catalogues

    # Inputs are not listed: the rows say which exposures they are from.
    concatenate_catalogues(
        snakemake.input.catalogues, snakemake.output.catalogue, (provenance(snakemake)[0], ())
    )
