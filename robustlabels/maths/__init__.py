"""Formulas that more than one place needs, as pure functions of tensors or arrays."""
