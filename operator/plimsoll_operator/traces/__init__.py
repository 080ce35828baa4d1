"""Traffic as others recorded it, read into the simulator's arrivals."""
