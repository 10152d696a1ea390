"""Sources of known position and flux injected into an exposure."""

from skydelta.stage import options, stage, with_provenance

with stage(snakemake):
    from skydelta.efficiency.draw import draw_injections, generator
    from skydelta.efficiency.inject import inject
    from skydelta.efficiency.options import EfficiencyOptions
    from skydelta.io.differences import read_difference_psf
    from skydelta.io.injections import read_depth, refuse_failed, write_injected
    from skydelta.io.inputs import read_science
    from skydelta.io.templates import read_template

    refuse_failed(snakemake.input.status)
    names, params = snakemake.wildcards, snakemake.params
    choices = options(EfficiencyOptions, params.section)
    rng = generator(
        choices.seed, int(names.realisation), int(names.visit), int(names.detector), names.band
    )
    psf = read_difference_psf(snakemake.input.subtracted)
    science = read_science(params.exposure, params.images, psf=psf)
    depth = read_depth(snakemake.input.diffexp, params.min_good_weight)
    template = read_template(snakemake.input.template)[0]
    fwhm = psf.compute_shape(0.5 * science.shape[1], 0.5 * science.shape[0]).fwhm
    injected, notes = draw_injections(template, depth, fwhm, choices, rng)
    exposure = inject(science, injected["x"], injected["y"], injected["counts"], rng)
    exposure = with_provenance(exposure.noted(*notes), snakemake)
    write_injected(snakemake.output.injected, exposure, injected, fwhm)
