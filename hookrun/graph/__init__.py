"""A training in a v1 session: `Supervisor`, its sessions, and which of their runs are training steps.

It names the standard hooks. It knows nothing of `eager/` and of the command line.
"""
