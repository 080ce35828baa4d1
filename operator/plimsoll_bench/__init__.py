"""`plimsoll bench`: drives any OpenAI-compatible server and says how it did."""
