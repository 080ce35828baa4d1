"""From an engine's measured steps to the calibration of an Accelerator resource."""
