"""One board a file, found without a registry: `sketch(settings)` gives its rows of panels."""
