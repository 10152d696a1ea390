"""Sources detected on the difference exposure."""

from skydelta.stage import options, provenance, stage

with stage(snakemake):
    from skydelta.detect import DetectOptions, detect
    from skydelta.io.detections import write_detections
    from skydelta.io.products import read_image

    difference = read_image(snakemake.input.diffexp)
    detections = detect(difference, options=options(DetectOptions, snakemake.params.section))
    write_detections(snakemake.output.footprints, detections, provenance(snakemake))
