"""Folders of data by name and identifier: skydelta's results and LSST gen2 repositories."""

from skydelta.repository.repository import Repository

__all__ = ["Repository"]
