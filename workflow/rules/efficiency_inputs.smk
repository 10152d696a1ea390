"""The functions that name the inputs of the efficiency's jobs."""

from skydelta.efficiency.plan import EfficiencyPlan

EFFICIENCY = EfficiencyPlan(config, SURVEY)

# Not the number of exposures or realisations: more of them leave the others as they are.
INJECTION_KEYS = (
    *("density", "snr", "magnitudes", "on_hosts"),
    *("negative_fraction", "separation", "seed"),
)


def injection_section():
    """What an injection depends on of the configuration's section."""
    return {key: config["efficiency"][key] for key in INJECTION_KEYS}


def injected_or_own(wildcards):
    """Input function: the exposure with injections; its own files for realisation 0."""
    path = EFFICIENCY.injected(wildcards.realisation, exposure_of(wildcards))
    return science_files(wildcards) if path is None else path


def injected_params(wildcards):
    """Params function: the row of the exposure with injections."""
    row = exposure_of(wildcards)
    path = EFFICIENCY.injected(wildcards.realisation, row)
    if path is None:
        return as_params(row)
    return {"band": row.band, "path": path, "psf": None, "weight": None, "mask": None}


def method_subtract(wildcards):
    """Params function: the section `subtract` as the method has it."""
    return EFFICIENCY.section(wildcards.method, "subtract")


def method_decorrelate(wildcards):
    """Params function: the section `decorrelate` as the method has it."""
    return EFFICIENCY.section(wildcards.method, "decorrelate")


def uninjected_diffexp(wildcards):
    """Input function: the method's difference without injections."""
    row = exposure_of(wildcards)
    return EFFICIENCY.uninjected(wildcards.method, "diffexp", "fits", row)


def uninjected_catalogue(wildcards):
    """Input function: the method's catalogue without injections."""
    row = exposure_of(wildcards)
    return EFFICIENCY.uninjected(wildcards.method, "diaSrc", "parquet", row)


def uninjected_status(wildcards):
    """Input function: how the exposure fared without injections."""
    row = exposure_of(wildcards)
    return EFFICIENCY.uninjected(wildcards.method, "status", "json", row)


def recovered(wildcards):
    """Input function: what was recovered from every exposure by every method."""
    return EFFICIENCY.outcomes()


def efficiency_methods(wildcards):
    """Params function: the changes of each method by its name in paths."""
    return {name: v.changes for name, v in EFFICIENCY.variants.items()}
