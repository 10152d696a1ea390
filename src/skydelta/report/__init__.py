"""The report: one HTML page of what happened, in pictures and numbers."""

from skydelta.report.entries import ReportEntry
from skydelta.report.page import write_report

__all__ = ["ReportEntry", "write_report"]
