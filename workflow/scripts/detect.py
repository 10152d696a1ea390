"""Artefacts and sources detected on the difference exposure."""

from skydelta.stage import options, provenance, stage

with stage(snakemake):
    from skydelta.detect import DetectOptions, detect
    from skydelta.io.detections import write_detections
    from skydelta.io.differences import read_for_detection
    from skydelta.io.products import read_image
    from skydelta.matched_template import MatchedTemplate
    from skydelta.sky_sources import identity_seed

    difference, psf, score = read_for_detection(snakemake.input.diffexp)
    wildcards = snakemake.wildcards
    detections = detect(
        difference,
        psf=psf,
        score=score,
        matched=MatchedTemplate.of(read_image(snakemake.input.template), difference.meta),
        sky_seed=identity_seed(wildcards.visit, wildcards.band, wildcards.detector),
        options=options(DetectOptions, snakemake.params.section),
    )
    write_detections(snakemake.output.footprints, detections, provenance(snakemake))
