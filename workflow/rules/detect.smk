"""Detection.

Inputs: the difference exposure and the template. Output: footprints_ID.fits with SOURCES (peaks,
signs, dipoles; sky sources last), SPANS (pixels of the footprints) and PLANES (pixels of the
artefacts' mask planes).
"""


rule detect:
    input:
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
        diffexp="results/deepDiff/v{visit}-f{band}/diffexp_{visit}-{band}-det{detector}.fits",
    output:
        footprints="results/deepDiff/v{visit}-f{band}/footprints_{visit}-{band}-det{detector}.fits",
    log:
        "logs/detect/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/detect/{visit}-{band}-det{detector}.tsv"
    conda:
        "../../environment.yml"
    threads: config["threads"]
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(15),
    params:
        section=config["detect"],
        code=code_of("detect"),
    message:
        "Detecting on visit {wildcards.visit} detector {wildcards.detector} band {wildcards.band}"
    script:
        "../scripts/detect.py"
