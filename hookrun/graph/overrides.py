"""What a subclass may have overridden of TensorFlow's Supervisor that this one has not."""

from __future__ import annotations

import logging

__all__ = ["warn_of_overrides"]

_logger = logging.getLogger(__name__)

_INSTEAD = {
    "_init_ready_op": "pass ready_op= and ready_for_local_init_op=",
    "_init_init_op": "pass init_op= and init_feed_dict=",
    "_init_local_init_op": "pass local_init_op=",
    "_init_saver": "pass saver=",
    "_init_summary_op": "pass summary_op=",
    "_init_global_step": "pass global_step=",
    "_default_global_step_tensor": "pass global_step=",
    "_init_session_manager": "pass session_manager=",
    "_get_first_op_from_collection": "pass the op itself, such as summary_op=",
    "_verify_setup": "check before the Supervisor is made",
}
"""The private methods by which subclasses change what TensorFlow's class does, and what does it here."""


def warn_of_overrides(kind: type) -> None:
    """Warn of methods of `kind`, a subclass of Supervisor, that TensorFlow's class would call."""
    instead = [f"{name} ({advice})" for name, advice in _INSTEAD.items() if hasattr(kind, name)]
    if instead:
        _logger.warning(
            "%s overrides private methods of TensorFlow's Supervisor, which are not called here: %s",
            *(kind.__name__, ", ".join(instead)),
        )
