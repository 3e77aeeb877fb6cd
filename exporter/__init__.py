"""The long-running measurer: collectors, evidence, and the HTTP face that Prometheus scrapes."""
