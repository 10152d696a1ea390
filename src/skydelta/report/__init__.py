"""The report: one HTML page of what happened, in pictures and numbers."""

from skydelta.report.entries import ReportEntry, report_entries
from skydelta.report.page import write_report

__all__ = ["ReportEntry", "report_entries", "write_report"]
