"""Measurement in instrumental units.

Inputs: the difference exposure, its footprints, the exposure and its template. Output:
sources_ID.fits, a table in counts, pixels and radians with the names of the LSST stack.
"""


rule measure:
    input:
        science=science_files,
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
        subtracted="results/deepDiff/v{visit}-f{band}/subtracted_{visit}-{band}-det{detector}.fits",
        diffexp="results/deepDiff/v{visit}-f{band}/diffexp_{visit}-{band}-det{detector}.fits",
        footprints="results/deepDiff/v{visit}-f{band}/footprints_{visit}-{band}-det{detector}.fits",
    output:
        sources="results/deepDiff/v{visit}-f{band}/sources_{visit}-{band}-det{detector}.fits",
    log:
        "logs/measure/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/measure/{visit}-{band}-det{detector}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(15),
    params:
        section=config["measure"],
        images=config["input"],
        exposure=exposure_params,
        code=code_of("measure"),
    message:
        "Measuring visit {wildcards.visit} detector {wildcards.detector} band {wildcards.band}"
    script:
        "../scripts/measure.py"
