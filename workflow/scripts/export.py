"""One exposure's results in an LSST repository."""

from pathlib import Path

from skydelta.stage import stage

with stage(snakemake):
    from skydelta.io.lsst_export import export_exposure

    names = snakemake.wildcards
    export_exposure(
        Path(snakemake.output.manifest).parents[1],
        snakemake.output.manifest,
        {"visit": int(names.visit), "detector": int(names.detector), "band": names.band},
        diffexp=snakemake.input.diffexp,
        footprints=snakemake.input.footprints,
        sources=snakemake.input.sources,
        bands=snakemake.params.bands,
    )
