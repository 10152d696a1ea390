"""What makes results/lsst a repository."""

from pathlib import Path

from skydelta.stage import stage

with stage(snakemake):
    from skydelta.io.lsst_export import export_configuration

    export_configuration(Path(snakemake.output.configuration).parent)
