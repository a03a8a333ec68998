"""From the user's X and y to a trained network: the estimator's base class, the training loop, and what they rest on.

Read ``base`` first. Below it lie ``net``, the loop, which is skorch; ``objective``, what the loop minimizes and what
training remembers about each row; and ``inputs``, which checks and converts what users pass.
"""
