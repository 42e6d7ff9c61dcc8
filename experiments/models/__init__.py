"""The VAEs of the programs: networks, likelihoods, and trained models."""
