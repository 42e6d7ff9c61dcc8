"""The settings of published comparisons of priors: data, recipe, published values, and what runs one of them."""
