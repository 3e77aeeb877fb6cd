"""What wakes people: alerts and recording rules from the contract, in the dialect of each tool."""
