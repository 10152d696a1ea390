"""Alard-Lupton subtraction.

Inputs: the exposure and its template. Output: subtracted_ID.fits, the raw difference in science
counts, with the kernel solution (KERNBASE, KERNCOEF, KERNBACK, KERNGRID, KERNSTAR).
"""


rule subtract:
    input:
        science=science_files,
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
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
        runtime=15,
    params:
        section=config["subtract"],
        images=config["input"],
        exposure=exposure_params,
        code=code_of("subtract"),
    message:
        "Subtracting visit {wildcards.visit} detector {wildcards.detector} band {wildcards.band}"
    script:
        "../scripts/subtract.py"
