"""The built-in demo survey.

Inputs: none. Outputs: demo/exposures.csv, demo/coadds.csv, demo/truth.csv and the images they
name, in the native format. It runs only if the configuration's tables are those of the demo.
"""


rule simulate:
    output:
        exposures="{outdir}/exposures.csv".format(outdir=config["simulate"]["outdir"]),
        coadds="{outdir}/coadds.csv".format(outdir=config["simulate"]["outdir"]),
        truth="{outdir}/truth.csv".format(outdir=config["simulate"]["outdir"]),
        images=simulated_images(),
    log:
        "logs/simulate.log",
    benchmark:
        "logs/simulate.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(30),
    params:
        section=config["simulate"],
        code=code_of("simulate"),
    message:
        "Simulating the demo survey"
    script:
        "../scripts/simulate.py"
