"""Boards without a Grafana: their final JSON, drawn in a browser from a real Prometheus."""
