"""Calibration, and the catalogue of the whole survey.

Inputs: the measurements and the difference exposure. Outputs: diaSrc_ID.parquet in Rubin's
DiaSource columns (nJy, AB mag, deg), empty for an exposure that failed; results/status/ID.json,
how the exposure fared; results/catalogue/diaSources.parquet, all exposures together. Both
catalogues also as FITS tables where `calibrate` says so.
"""


rule calibrate:
    input:
        diffexp="results/deepDiff/v{visit}-f{band}/diffexp_{visit}-{band}-det{detector}.fits",
        footprints="results/deepDiff/v{visit}-f{band}/footprints_{visit}-{band}-det{detector}.fits",
        sources="results/deepDiff/v{visit}-f{band}/sources_{visit}-{band}-det{detector}.fits",
    output:
        catalogue=expand(
            "results/deepDiff/v{{visit}}-f{{band}}/diaSrc_{{visit}}-{{band}}-det{{detector}}.{format}",
            format=config["calibrate"]["formats"],
        ),
        status="results/status/{visit}-{band}-det{detector}.json",
    log:
        "logs/calibrate/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/calibrate/{visit}-{band}-det{detector}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=10,
    params:
        threshold=config["detect"]["threshold"],
        section={k: config["calibrate"][k] for k in ("bands", "zero_point_error")},
        code=code_of("calibrate"),
    message:
        "Calibrating visit {wildcards.visit} detector {wildcards.detector} band {wildcards.band}"
    script:
        "../scripts/calibrate.py"


rule catalogue:
    input:
        exposures="results/status/summary.csv",
    output:
        catalogue=expand(
            "results/catalogue/diaSources.{format}",
            format=config["calibrate"]["survey_formats"],
        ),
    log:
        "logs/catalogue.log",
    benchmark:
        "logs/catalogue.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=30,
    params:
        code=code_of("catalogue"),
    message:
        "Joining the catalogues"
    script:
        "../scripts/catalogue.py"
