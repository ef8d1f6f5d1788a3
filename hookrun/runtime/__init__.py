"""What every training shares: the bus, hooks and their subscriptions, threads, and steps that exclude saves.

It knows no graph, no session, no TensorFlow 2 loop, and no single hook.
"""
