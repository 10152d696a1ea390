"""Subtraction, by the method of the configuration.

Inputs: the exposure, its template and, where the kernel's stars come from one, the star catalogue.
Output: subtracted_ID.fits, the difference in science counts with its kernel (KERNIMG, KERNFLD,
KERNBACK, KERNGRID), stars (KERNSTAR) and, from some methods, score maps.
"""


rule subtract:
    input:
        science=science_files,
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
        catalogue=star_catalogue(),
    output:
        subtracted="results/deepDiff/v{visit}-f{band}/subtracted_{visit}-{band}-det{detector}.fits",
    log:
        "logs/subtract/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/subtract/{visit}-{band}-det{detector}.tsv"
    conda:
        "../../environment.yml"
    threads: config["threads"]
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(15),
    params:
        section=config["subtract"],
        images=config["input"],
        exposure=exposure_params,
        code=code_of("subtract"),
    message:
        "Subtracting visit {wildcards.visit} detector {wildcards.detector} band {wildcards.band}"
    script:
        "../scripts/subtract.py"
