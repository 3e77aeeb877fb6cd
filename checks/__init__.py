"""What `make check` and `make test` need beyond the tools themselves; no part of the product."""
