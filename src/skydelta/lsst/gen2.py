"""Where LSST gen2 repositories keep their datasets, as data.

Templates as in obs_lsst (policy/lsstCamMapper.yaml) and obs_base (policy/exposures.yaml,
datasets.yaml) of 2019 to 2020; ``band`` is what they call ``filter``.
"""

from skydelta.path_templates import Dataset

_CCD = "{visit:08d}-{band}-{raft}-{sensor}-det{detector:03d}"


def _of_calexp(folder, name, kind):
    path = f"{folder}/{{visit:08d}}-{{band}}/{{raft}}/{name}_{_CCD}.fits"
    return Dataset(path, kind)


def _of_difference(name, kind):
    return Dataset(f"deepDiff/v{{visit:08d}}-f{{band}}/{{raft}}/{name}_{_CCD}.fits", kind)


def _of_coadd(name, kind):
    folder = "deepCoadd-results/{band}/{tract:d}/{patch}"
    return Dataset(f"{folder}/{name}-{{band}}-{{tract:d}}-{{patch}}.fits", kind)


EXPOSURE, CATALOGUE, SKYMAP, FILE = "exposure", "catalogue", "skymap", "file"
"""Kinds of datasets by what they are read as; a FILE is not read."""

DATASETS = {
    "calexp": _of_calexp("calexp", "calexp", EXPOSURE),
    "calexpBackground": _of_calexp("calexp", "bkgd", FILE),
    "src": _of_calexp("src", "src", CATALOGUE),
    "deepCoadd": Dataset("deepCoadd/{band}/{tract:d}/{patch}.fits", EXPOSURE),
    "deepCoadd_directWarp": Dataset(
        "deepCoadd/{band}/{tract:d}/{patch}/warp-{band}-{tract:d}-{patch}-{visit:d}.fits", EXPOSURE
    ),
    "deepCoadd_calexp": _of_coadd("calexp", EXPOSURE),
    "deepCoadd_calexp_background": _of_coadd("bkgd", FILE),
    "deepCoadd_det": _of_coadd("det", CATALOGUE),
    "deepCoadd_meas": _of_coadd("meas", CATALOGUE),
    "deepCoadd_forced_src": _of_coadd("forced_src", CATALOGUE),
    "deepCoadd_skyMap": Dataset("deepCoadd/skyMap.pickle", SKYMAP),
    "deepDiff_differenceExp": _of_difference("diffexp", EXPOSURE),
    "deepDiff_matchedExp": _of_difference("matchexp", EXPOSURE),
    "deepDiff_diaSrc": _of_difference("diaSrc", CATALOGUE),
    "deepDiff_kernelSrc": _of_difference("kernelSrc", CATALOGUE),
    "deepDiff_forced_diaSrc": _of_difference("diaForced", CATALOGUE),
    "deepDiff_diaObject": Dataset(
        "deepDiff/diaObject/{tract:d}/{patch}/diaObject-{tract:d}-{patch}.fits", CATALOGUE
    ),
}

MARKS = ("repositoryCfg.yaml", "_mapper", "_parent", "calexp", "deepCoadd", "deepCoadd-results")
"""Files and folders by which a gen2 repository is known; deepDiff is in other folders, too."""
