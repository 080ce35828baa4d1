"""`make gpu-check`: what a machine with a GPU has to show."""
