"""What every room agrees on: series, criteria, settings, errors. No I/O but reading the config
and the baseline beside it."""
