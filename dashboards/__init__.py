"""What people look at: Grafana boards from the contract's series and limits."""
