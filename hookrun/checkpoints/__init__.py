"""Files of checkpoints: how they are written, which one a start takes, which are kept.

It knows what to write only as a function of a path: no hook, no graph, no session.
"""
