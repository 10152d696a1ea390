"""The report.

Inputs: every product of every exposure, and the truth table where there is one. Output:
results/report.html, one page that opens without a network.
"""


rule report:
    input:
        exposures="results/status/summary.csv",
        overlaps="results/overlaps/overlaps.csv",
        truth=truth_table(),
    output:
        report=report(
            "results/report.html",
            caption="../report/report.rst",
            category="Survey",
        ),
    log:
        "logs/report.log",
    benchmark:
        "logs/report.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(4000),
        runtime=60,
    params:
        section=config["report"],
        config=config,
        exposures=[report_params(row) for row in SURVEY.exposures],
        code=code_of("report"),
    message:
        "Writing the report"
    script:
        "../scripts/report.py"
