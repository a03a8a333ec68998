"""Studies: which setting is better, and whether a claim of the documentation holds."""
