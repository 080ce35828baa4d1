"""From a plan to the objects that should exist; deterministic, plain data in and out."""
