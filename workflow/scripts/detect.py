"""Sources detected on the difference exposure."""

from skydelta.stage import options, provenance, stage

with stage(snakemake):
    from skydelta.detect import DetectOptions, detect
    from skydelta.io.detections import write_detections
    from skydelta.io.differences import read_for_detection

    difference, psf, score = read_for_detection(snakemake.input.diffexp)
    choices = options(DetectOptions, snakemake.params.section)
    detections = detect(difference, psf=psf, score=score, options=choices)
    write_detections(snakemake.output.footprints, detections, provenance(snakemake))
