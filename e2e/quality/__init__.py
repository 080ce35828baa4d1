"""What number formats cost in quality: `python -m e2e.quality`."""
