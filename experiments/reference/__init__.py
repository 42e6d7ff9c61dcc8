"""What `experiments.api_reference` builds its pages from."""
