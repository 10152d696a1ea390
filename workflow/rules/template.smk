"""The template of an exposure: its coadds on its own pixel grid.

Inputs: the exposure (its grid only) and the coadds under it. Output: template_ID.fits, native,
with COVERAGE (coadds per pixel) and NOISECORR (autocorrelation of its noise). Counts are those of
the first coadd's zero point.
"""


rule template:
    input:
        science=science_files,
        coadds=coadd_files,
    output:
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
    log:
        "logs/template/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/template/{visit}-{band}-det{detector}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(15),
    params:
        section=config["template"],
        images=config["input"],
        exposure=exposure_params,
        coadds=coadd_params,
        code=code_of("template"),
    message:
        "Template for visit {wildcards.visit} detector {wildcards.detector} band {wildcards.band} from {input.coadds}"
    script:
        "../scripts/template.py"
