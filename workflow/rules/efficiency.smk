"""The efficiency of the configuration on its own exposures: `snakemake efficiency`.

Inputs: products of the main chain and, with injections in them, the exposures again. Outputs:
results/efficiency.html and tables in results/efficiency. The stages are those of the main chain
under results/efficiency/METHOD/rREALISATION; realisation 0, without injections, is the main chain
for the configured method.
"""


include: "efficiency_inputs.smk"


wildcard_constraints:
    realisation=r"\d+",
    method=r"[A-Za-z0-9_+.-]+",


rule efficiency:
    input:
        outcomes=recovered,
    output:
        injections="results/efficiency/injections.parquet",
        summary="results/efficiency/efficiency.ecsv",
        bins="results/efficiency/efficiency_bins.ecsv",
        false="results/efficiency/false_detections.ecsv",
        exposures="results/efficiency/exposures.ecsv",
        page=report(
            "results/efficiency.html",
            caption="../report/efficiency.rst",
            category="Efficiency",
        ),
    log:
        "logs/efficiency.log",
    benchmark:
        "logs/efficiency.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(4000),
        runtime=more_time(30),
    params:
        section=config["efficiency"],
        config=config,
        methods=efficiency_methods,
        code=code_of("efficiency"),
    message:
        "Measuring the efficiency"
    script:
        "../scripts/efficiency.py"


rule inject:
    input:
        science=science_files,
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
        subtracted="results/deepDiff/v{visit}-f{band}/subtracted_{visit}-{band}-det{detector}.fits",
        diffexp="results/deepDiff/v{visit}-f{band}/diffexp_{visit}-{band}-det{detector}.fits",
        status="results/status/{visit}-{band}-det{detector}.json",
    output:
        injected="results/efficiency/injected/r{realisation}/v{visit}-f{band}/injected_{visit}-{band}-det{detector}.fits",
    log:
        "logs/inject/r{realisation}/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/inject/r{realisation}/{visit}-{band}-det{detector}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(15),
    params:
        section=injection_section(),
        images=config["input"],
        min_good_weight=config["detect"]["min_good_weight"],
        exposure=exposure_params,
        code=code_of("inject"),
    message:
        "Injecting into visit {wildcards.visit} detector {wildcards.detector} band {wildcards.band}, realisation {wildcards.realisation}"
    script:
        "../scripts/inject.py"


use rule subtract as subtract_efficiency with:
    input:
        science=injected_or_own,
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
        catalogue=star_catalogue(),
    output:
        subtracted="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/subtracted_{visit}-{band}-det{detector}.fits",
    log:
        "logs/subtract_efficiency/{method}/r{realisation}/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/subtract_efficiency/{method}/r{realisation}/{visit}-{band}-det{detector}.tsv"
    params:
        section=method_subtract,
        exposure=injected_params,


use rule decorrelate as decorrelate_efficiency with:
    input:
        science=injected_or_own,
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
        subtracted="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/subtracted_{visit}-{band}-det{detector}.fits",
    output:
        diffexp="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/diffexp_{visit}-{band}-det{detector}.fits",
    log:
        "logs/decorrelate_efficiency/{method}/r{realisation}/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/decorrelate_efficiency/{method}/r{realisation}/{visit}-{band}-det{detector}.tsv"
    params:
        section=method_decorrelate,
        exposure=injected_params,


use rule detect as detect_efficiency with:
    input:
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
        diffexp="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/diffexp_{visit}-{band}-det{detector}.fits",
    output:
        footprints="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/footprints_{visit}-{band}-det{detector}.fits",
    log:
        "logs/detect_efficiency/{method}/r{realisation}/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/detect_efficiency/{method}/r{realisation}/{visit}-{band}-det{detector}.tsv"


use rule measure as measure_efficiency with:
    input:
        science=injected_or_own,
        template="results/deepDiff/v{visit}-f{band}/template_{visit}-{band}-det{detector}.fits",
        subtracted="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/subtracted_{visit}-{band}-det{detector}.fits",
        diffexp="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/diffexp_{visit}-{band}-det{detector}.fits",
        footprints="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/footprints_{visit}-{band}-det{detector}.fits",
    output:
        sources="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/sources_{visit}-{band}-det{detector}.fits",
    log:
        "logs/measure_efficiency/{method}/r{realisation}/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/measure_efficiency/{method}/r{realisation}/{visit}-{band}-det{detector}.tsv"
    params:
        exposure=injected_params,


use rule calibrate as calibrate_efficiency with:
    input:
        diffexp="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/diffexp_{visit}-{band}-det{detector}.fits",
        footprints="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/footprints_{visit}-{band}-det{detector}.fits",
        sources="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/sources_{visit}-{band}-det{detector}.fits",
    output:
        catalogue="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/diaSrc_{visit}-{band}-det{detector}.parquet",
        status="results/efficiency/{method}/r{realisation}/status/{visit}-{band}-det{detector}.json",
    log:
        "logs/calibrate_efficiency/{method}/r{realisation}/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/calibrate_efficiency/{method}/r{realisation}/{visit}-{band}-det{detector}.tsv"


rule recover:
    input:
        injected="results/efficiency/injected/r{realisation}/v{visit}-f{band}/injected_{visit}-{band}-det{detector}.fits",
        catalogue="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/diaSrc_{visit}-{band}-det{detector}.parquet",
        status="results/efficiency/{method}/r{realisation}/status/{visit}-{band}-det{detector}.json",
        known=uninjected_catalogue,
        known_status=uninjected_status,
        diffexp=uninjected_diffexp,
    output:
        recovered="results/efficiency/{method}/r{realisation}/v{visit}-f{band}/recovered_{visit}-{band}-det{detector}.parquet",
    log:
        "logs/recover/{method}/r{realisation}/{visit}-{band}-det{detector}.log",
    benchmark:
        "logs/recover/{method}/r{realisation}/{visit}-{band}-det{detector}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(15),
    params:
        match_radius=config["efficiency"]["match_radius"],
        min_good_weight=config["detect"]["min_good_weight"],
        code=code_of("recover"),
    message:
        "Matching what was injected into visit {wildcards.visit} detector {wildcards.detector} band {wildcards.band}"
    script:
        "../scripts/recover.py"
