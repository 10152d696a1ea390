"""The table of all statuses.

Inputs: the status of every exposure. Output: results/status/summary.csv, a line for each exposure
with its outcome, the reason and numbers. `skydelta status` counts them.
"""


rule summary:
    input:
        statuses=statuses(),
    output:
        summary="results/status/summary.csv",
    log:
        "logs/summary.log",
    benchmark:
        "logs/summary.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=30,
    params:
        code=code_of("summary"),
    message:
        "Listing how the exposures fared"
    script:
        "../scripts/summary.py"


onsuccess:
    print_summary("results/status/summary.csv")
