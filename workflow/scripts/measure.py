"""Detected sources measured in instrumental units."""

from skydelta.stage import options, provenance, stage

with stage(snakemake):
    from skydelta.detections import mask_with_planes
    from skydelta.io.detections import read_detections
    from skydelta.io.differences import read_difference_psf
    from skydelta.io.inputs import read_science
    from skydelta.io.products import read_image
    from skydelta.io.sources import write_sources
    from skydelta.io.templates import read_template
    from skydelta.local_calibration import local_columns
    from skydelta.measure import MeasureOptions, measure

    detections = read_detections(snakemake.input.footprints)
    science = read_science(
        snakemake.params.exposure,
        snakemake.params.images,
        psf=read_difference_psf(snakemake.input.subtracted),
    )
    difference = read_image(snakemake.input.diffexp)
    difference = difference.replace(mask=mask_with_planes(difference.mask, detections))
    columns = measure(
        difference,
        science,
        read_template(snakemake.input.template)[0],
        detections,
        kernel_sum=difference.meta["KSUM"],
        kernel_error=difference.meta.get("KFLUXERR", 0.0),
        options=options(MeasureOptions, snakemake.params.section),
    )
    columns |= local_columns(
        difference, columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    )
    write_sources(snakemake.output.sources, columns, provenance(snakemake))
