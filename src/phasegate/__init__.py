"""Phasegate moves a live PostgreSQL from integer keys to UUIDs, each phase proved by measurement.

The rooms of the house (`contract`, `exporter`, …) lie at the project's root, where people see
them; the links beside this file give them their import name `phasegate.<room>`.
"""

__version__ = "0.1.0"
