"""Which function reads and which writes the objects of each class that an archive may hold.

A reader is ``function(archive, number)`` with an InputArchive, a writer ``function(archive,
object)`` with an OutputArchive; the latter returns the number that the object was given.
"""

_CODECS = "skydelta.io.afw"

READERS = {
    "ApCorrMap": (f"{_CODECS}.fields", "read_ap_corr_map"),
    "Calib": (f"{_CODECS}.photo_calibs", "read_calib"),
    "ChebyshevBoundedField": (f"{_CODECS}.fields", "read_chebyshev"),
    "CoaddInputs": (f"{_CODECS}.coadd_inputs", "read_coadd_inputs"),
    "Detector": (f"{_CODECS}.detectors", "read_detector"),
    "ExposureSummaryStats": (f"{_CODECS}.labels", "read_summary_stats"),
    "FilterLabel": (f"{_CODECS}.labels", "read_filter_label"),
    "PhotoCalib": (f"{_CODECS}.photo_calibs", "read_photo_calib"),
    "PixelAreaBoundedField": (f"{_CODECS}.fields", "read_pixel_area"),
    "Polygon": (f"{_CODECS}.labels", "read_polygon"),
    "ProductBoundedField": (f"{_CODECS}.fields", "read_product"),
    "ProductTransmissionCurve": (f"{_CODECS}.records", "read_record"),
    "RadialTransmissionCurve": (f"{_CODECS}.records", "read_record"),
    "SkyWcs": (f"{_CODECS}.sky_wcs", "read_sky_wcs"),
    "SpatiallyConstantTransmissionCurve": (f"{_CODECS}.records", "read_record"),
    "TanWcs": (f"{_CODECS}.sky_wcs", "read_old_wcs"),
    "TransformMap": (f"{_CODECS}.records", "read_record"),
    "TransformPoint2ToPoint2": (f"{_CODECS}.records", "read_record"),
    "TransformedTransmissionCurve": (f"{_CODECS}.records", "read_record"),
    "VisitInfo": (f"{_CODECS}.visit_infos", "read_visit_info"),
    "Wcs": (f"{_CODECS}.sky_wcs", "read_old_wcs"),
}
"""(module, function) by the class name in the archive's index."""

WRITERS = {
    "ApCorrMap": (f"{_CODECS}.fields", "write_ap_corr_map"),
    "ArchiveRecord": (f"{_CODECS}.records", "write_record"),
    "AstSkyWcs": (f"{_CODECS}.sky_wcs", "write_sky_wcs"),
    "BoundedPhotoCalib": (f"{_CODECS}.photo_calibs", "write_photo_calib"),
    "ChebyshevBoundedField": (f"{_CODECS}.fields", "write_chebyshev"),
    "CoaddInputs": (f"{_CODECS}.coadd_inputs", "write_coadd_inputs"),
    "Detector": (f"{_CODECS}.detectors", "write_detector"),
    "FilterLabel": (f"{_CODECS}.labels", "write_filter_label"),
    "FitsSkyWcs": (f"{_CODECS}.sky_wcs", "write_fits_sky_wcs"),
    "PixelAreaBoundedField": (f"{_CODECS}.fields", "write_pixel_area"),
    "Polygon": (f"{_CODECS}.labels", "write_polygon"),
    "ProductBoundedField": (f"{_CODECS}.fields", "write_product"),
    "SummaryStats": (f"{_CODECS}.labels", "write_summary_stats"),
    "VisitInfo": (f"{_CODECS}.visit_infos", "write_visit_info"),
}
"""(module, function) by the name of the value object's class."""
