"""What every room agrees on: series, criteria, settings, errors. No I/O but reading the config."""
