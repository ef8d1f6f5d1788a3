"""A logdir seen from outside, while nothing trains or beside a training: the command `hookrun`.

Nothing else imports it.
"""
