"""From spec and nodes to the planner and back to `status.plan`; no Kubernetes client."""
