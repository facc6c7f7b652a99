"""Two stores, one seed: what they answer and what then stands in their tables must be the same, step by step."""
