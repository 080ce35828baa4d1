"""A day in hours on a real cluster, while pods and the operator are killed and people edit."""
