"""What the planner predicts, against what clients of the engine on this machine measure."""
