"""Results for users of the LSST stack, where `output.lsst` says so.

Inputs: the difference exposure, its detections and measurements. Outputs: results/lsst, a gen2
repository with deepDiff_differenceExp as afw exposures and deepDiff_diaSrc as afw catalogues of
instrumental measurements; exported/ID.json names the files of each exposure, none for one that
failed.
"""


rule export_root:
    output:
        configuration="results/lsst/repositoryCfg.yaml",
    log:
        "logs/export_root.log",
    benchmark:
        "logs/export_root.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=5,
    params:
        code=code_of("export_root"),
    message:
        "Making results/lsst an LSST repository"
    script:
        "../scripts/export_root.py"


rule export:
    input:
        diffexp="results/deepDiff/v{visit}-f{band}/diffexp_{visit}-{band}-det{detector}.fits",
        footprints="results/deepDiff/v{visit}-f{band}/footprints_{visit}-{band}-det{detector}.fits",
        sources="results/deepDiff/v{visit}-f{band}/sources_{visit}-{band}-det{detector}.fits",
    output:
        manifest="results/lsst/exported/{visit}-{band}-det{detector}.json",
    log:
        "logs/export/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/export/{visit}-{band}-det{detector}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=10,
    params:
        bands=config["calibrate"]["bands"],
        code=code_of("export"),
    message:
        "Exporting visit {wildcards.visit} detector {wildcards.detector} band {wildcards.band}"
    script:
        "../scripts/export.py"
