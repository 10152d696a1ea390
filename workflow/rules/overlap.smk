"""Which coadds lie under which exposure.

Inputs: the two tables and the headers of their images. Outputs: tracts_mapping.sqlite3 (the
schema of DC2's), overlaps.csv (fraction of the exposure on each coadd) and exposures.csv (covered
fraction and status of every exposure). The edges of the DAG come from the same functions.
"""


rule overlap:
    input:
        demo=simulated_images(),
    output:
        mapping="results/overlaps/tracts_mapping.sqlite3",
        overlaps="results/overlaps/overlaps.csv",
        coverage="results/overlaps/exposures.csv",
    log:
        "logs/overlap.log",
    benchmark:
        "logs/overlap.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(30),
    params:
        section=PATHS["overlap"],
        tables=tables_digest(),
        survey=survey_params(),
        code=code_of("overlap"),
    message:
        "Finding the coadds under {params.tables[0]} exposures"
    script:
        "../scripts/overlap.py"
