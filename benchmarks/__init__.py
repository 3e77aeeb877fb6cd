"""What the exporter costs, side by side with its peers in the same run; ratios, not times."""
