"""Models of the Hugging Face Hub: what is there, and how it comes here. No torch, no server."""
