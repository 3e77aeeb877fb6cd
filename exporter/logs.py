"""Logs on stderr, one event a line, as logfmt or JSON; nothing secret passes."""

from __future__ import annotations

import logging
import sys

import structlog

from phasegate.contract.secrets import redactor

LEVELS = ["debug", "info", "warning", "error"]


def configure_logs(level: str, style: str) -> None:
    """Set up structlog and the standard library's logging alike."""
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redactor.processor,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler()
    handler.addFilter(redactor)
    # Of a session that was lost it warns for itself; a collector's failure is told by us.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler])
