"""What LSST files hold, as value objects: PSFs, WCS, fields, polygons, exposure information.

Positions are the parent pixels of afw: 0-based, and counted from the parent image's first pixel
where a file holds only a part of it. Nothing here touches a file; skydelta.io.afw does.
"""
