"""Whitening of the difference.

Inputs: the exposure, its template, the raw difference and its kernel. Output: diffexp_ID.fits,
native: image, variance, mask, PSF and photometric calibration of the difference exposure.
"""


rule decorrelate:
    input:
        science=science_files,
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
        subtracted="results/deepDiff/v{visit}-f{band}/subtracted_{visit}-{band}-det{detector}.fits",
    output:
        diffexp="results/deepDiff/v{visit}-f{band}/diffexp_{visit}-{band}-det{detector}.fits",
    log:
        "logs/decorrelate/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/decorrelate/{visit}-{band}-det{detector}.tsv"
    conda:
        "../../environment.yml"
    threads: config["threads"]
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(15),
    params:
        section=config["decorrelate"],
        images=config["input"],
        exposure=exposure_params,
        code=code_of("decorrelate"),
    message:
        "Decorrelating visit {wildcards.visit} detector {wildcards.detector} band {wildcards.band}"
    script:
        "../scripts/decorrelate.py"
