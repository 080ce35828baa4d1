"""What a config.json says of a model, whatever its family: its layers, weights and formats."""
