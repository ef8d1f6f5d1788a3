"""Which `run()` is a training step: the ops that write the step counter, and the walk that reaches them.

A run is a training step when what it fetches reaches an op that writes the global step; without a global
step, an op that writes a trainable variable. Initializing and restoring write as well, but train nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import tensorflow as tf

__all__ = ["StepOps", "ancestors"]

_SCOPE = "hookrun/"
"""The name scope of the ops that are added to the graph."""

_VARIABLES = frozenset({"VarHandleOp", "Variable", "VariableV2"})

_RESOURCE = tf.resource.as_datatype_enum

_ASSIGNMENTS = frozenset({"Assign", "AssignVariableOp"})

_PASSED_ON = frozenset(
    {"Identity", "IdentityN", "Switch", "Merge", "Enter", "Exit", "NextIteration"}
    | {"RefIdentity", "RefSwitch", "RefMerge", "RefEnter", "RefExit", "RefNextIteration", "RefSelect"}
)

_READS = frozenset(
    {"ReadVariableOp", "ReadVariableXlaSplitND", "ResourceGather", "ResourceGatherNd", "VariableShape"}
    | {"VarIsInitializedOp", "IsVariableInitialized", "DestroyResourceOp", "DisableCopyOnRead"}
)

_INPUTS_BEFORE_ARGUMENTS = {
    **dict.fromkeys(["PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile"], 0),
    **dict.fromkeys(["If", "StatelessIf", "Case", "StatelessCase", "RemoteCall"], 1),
}
"""Ops that call functions, and how many of their inputs come before the functions' own arguments."""

_BRANCHES = frozenset({"If", "Case"})
"""Ops that a control dependency does not wait for: their branch may still run. Their values do wait."""


class StepOps:
    """The ops of a graph that make a run a training step.

    Built inside the graph, before it is finalized: for each of these ops it adds a read of the global
    step that waits for the op, so that a step can fetch the value after its own update.

    Args:
      graph: The `tf.Graph`.
      global_step: A variable or tensor of size 1, or None.
    """

    def __init__(self, graph: tf.Graph, global_step: Any) -> None:
        self._graph = graph
        self.counts_global_step = global_step is not None
        if global_step is None:
            variables = {_variable_op(v) for v in tf.compat.v1.trainable_variables()} - {None}
        else:
            variables = set(_variables_behind(_tensor_of(global_step)))
        variables = set(self._under_any_name(variables))
        self._setters: set[Any] = set()
        if self.counts_global_step:
            self._setters = self._anchors_of(variables, self._puts)
            anchors = self._anchors_of(variables, lambda op: not self._puts(op))
        else:
            anchors = self._updates_of(variables)
        anchors |= set(self._dequeues_after(anchors))
        readable = self.counts_global_step and _is_plain_read(_tensor_of(global_step))
        self._reads: dict[Any, Any] = {
            op: _read_after(op, _tensor_of(global_step)) if readable else None for op in anchors
        }

    def __bool__(self) -> bool:
        """False when no run can be a training step."""
        return bool(self._reads)

    @property
    def is_forgotten(self) -> bool:
        """True where there is a global step, nothing writes it, and an optimizer trains."""
        if not self.counts_global_step or self._reads:
            return False
        trainable = {_variable_op(v) for v in self._graph.get_collection("trainable_variables")} - {None}
        updates = self._updates_of(self._under_any_name(trainable))
        return any(op.type not in _ASSIGNMENTS for op in updates)  # an evaluation may load other weights

    def reached_by(self, fetches: Iterable[Any], fed: Collection[int]) -> list[Any]:
        """The step ops that running `fetches` runs.

        Args:
          fetches: Tensors and operations of the graph.
          fed: The `id` of each tensor whose value is fed, and which therefore is not computed.

        Returns:
          The ops, without order; empty when the run is no training step.
        """
        if not self._reads:
            return []
        return [op for op in ancestors(fetches, fed) if op in self._reads]

    def reads_of(self, step_ops: Iterable[Any]) -> list[Any] | None:
        """The reads of the global step to fetch in a run that reaches `step_ops`.

        The step is the largest value among them: the last op to write has seen the others' writes.

        Returns:
          Tensors; None where the global step cannot be read within the run.
        """
        reads = [self._reads[op] for op in step_ops]
        return None if any(read is None for read in reads) else reads

    def writes_variables(self, fetches: Iterable[Any], fed: Collection[int]) -> bool:
        """True when running `fetches` writes variables of the model: trains, initializes or restores them.

        Local ones, which hold metrics, are none.
        """
        return any(op in self._writes for op in ancestors(fetches, fed))

    def sets_step(self, fetches: Iterable[Any], fed: Collection[int]) -> bool:
        """True when running `fetches` puts another global step in the place of the one that was counted.

        That is what restoring and initializing do, and assigning a constant.
        """
        return bool(self._setters) and any(op in self._setters for op in ancestors(fetches, fed))

    @staticmethod
    def unfed_placeholders(fetches: Iterable[Any], fed: Collection[int]) -> list[Any]:
        """The placeholders that running `fetches` needs a value for and that are not in `fed`."""
        return [op for op in ancestors(fetches, fed) if op.type == "Placeholder"]

    def _under_any_name(self, variables: Collection[Any]) -> Iterator[Any]:
        """The ops that make `variables`, or others that share them by name."""
        shared = set(map(_shared_name, variables))
        for op in self._graph.get_operations():
            if op.type in _VARIABLES and _shared_name(op) in shared:
                yield op

    @functools.cached_property
    def _writes(self) -> set[Any]:
        of = self._graph.get_collection
        local = {_variable_op(v) for v in of("local_variables")} - {_variable_op(v) for v in of("variables")}
        variables = [op for op in self._graph.get_operations() if op.type in _VARIABLES and op not in local]
        return self._anchors_of(variables, lambda op: True)

    def _updates_of(self, variables: Iterable[Any]) -> set[Any]:
        """The ops through which a fetch trains one of `variables`."""
        return self._anchors_of(variables, lambda op: not (_restores(op) or op in self._initializers))

    def _anchors_of(self, variables: Iterable[Any], chosen: Callable[[Any], bool]) -> set[Any]:
        """The ops outside of v1 control flow through which a fetch reaches chosen writers of `variables`."""
        writers = dict(writer for variable in variables for writer in self._writers(variable))
        return {anchor for op, depth in writers.items() if chosen(op) for anchor in self._anchors(op, depth)}

    def _puts(self, op: Any) -> bool:
        """True for an op that writes a counter and does not count."""
        return _restores(op) or op in self._initializers or _assigns_constant(op)

    @functools.cached_property
    def _initializers(self) -> set[Any]:
        variables = tf.compat.v1.global_variables() + tf.compat.v1.local_variables()
        initializers = {getattr(variable, "initializer", None) for variable in variables} - {None}
        names = {f"{op.name}/Assign" for op in self._graph.get_operations() if op.type in _VARIABLES}
        return initializers | {op for op in self._graph.get_operations() if op.name in names}

    def _writers(self, variable: Any) -> Iterator[tuple[Any, int]]:
        """The ops that write `variable`, found by following its reference through the graph.

        Each comes with its depth: in how many `tf.compat.v1` conditionals and loops it is.
        """
        references = [(variable.outputs[0], 0)]
        seen = {id(variable.outputs[0])}
        while references:
            tensor, depth = references.pop()
            for op in tensor.consumers():
                indices = [i for i, t in enumerate(op.inputs) if t is tensor and _takes_reference(op, i)]
                if not indices or op.type in _READS:
                    continue
                if op.type not in _PASSED_ON and any(self._functions.writes(op, i) for i in indices):
                    yield op, depth
                for output in op.outputs:
                    if _is_reference(output) and id(output) not in seen:
                        seen.add(id(output))
                        references.append((output, depth + _descent(op)))

    def _anchors(self, writer: Any, depth: int) -> Iterator[Any]:
        """The ops outside of all v1 control flow through which a fetch reaches `writer`."""
        pending, seen = [(writer, depth)], {writer}
        while pending:
            op, depth = pending.pop()
            if depth == 0:
                yield op
                continue
            for child in self._children.get(op, ()):
                if child not in seen:
                    seen.add(child)
                    pending.append((child, depth + _descent(child)))

    def _dequeues_after(self, anchors: Collection[Any]) -> Iterator[Any]:
        """The ops that hand over a gradient, and then dequeue what is enqueued after an update.

        `tf.compat.v1.train.SyncReplicasOptimizer` updates in its chief's queue runner, and its workers
        wait for the token that the runner enqueues then.
        """
        ops = self._graph.get_operations()
        if not any(op.type.endswith("AccumulatorApplyGradient") for op in ops):
            return
        queues = {
            id(op.inputs[0])
            for op in ops
            if op.type.startswith("QueueEnqueue") and any(o in anchors for o in ancestors([op], ()))
        }
        for op in ops:
            if op.type.startswith("QueueDequeue") and id(op.inputs[0]) in queues:
                if any(o.type.endswith("AccumulatorApplyGradient") for o in ancestors([op], ())):
                    yield op

    @functools.cached_property
    def _functions(self) -> _Functions:
        return _Functions(self._graph)

    @functools.cached_property
    def _children(self) -> dict[Any, list[Any]]:
        children: dict[Any, list[Any]] = {}
        for op in self._graph.get_operations():
            for parent in {tensor.op for tensor in op.inputs} | set(op.control_inputs):
                children.setdefault(parent, []).append(op)
        return children


class _Functions:
    """The functions of a graph, asked which of their arguments they write."""

    def __init__(self, graph: tf.Graph) -> None:
        self._graph = graph
        self._answers: dict[tuple[str, int], bool] = {}

    @functools.cached_property
    def _definitions(self) -> dict[str, Any]:
        return {f.signature.name: f for f in self._graph.as_graph_def().library.function}

    def writes(self, caller: Any, index: int) -> bool:
        """True when an op or node, which is known not to read only, writes its input of that index."""
        node = caller.node_def if isinstance(caller, tf.Operation) else caller
        names = [f.name for a in node.attr.values() for f in (a.func, *a.list.func) if f.name]
        if not names and not hasattr(tf.raw_ops, node.op) and node.op in self._definitions:
            return self._function_writes(node.op, index)
        if node.op in _INPUTS_BEFORE_ARGUMENTS:
            return any(self._function_writes(f, index - _INPUTS_BEFORE_ARGUMENTS[node.op]) for f in names)
        # A plain op writes; one that calls functions in its own way does when they write anything.
        return not names or any(self._function_writes_any(name) for name in names)

    def _function_writes_any(self, name: str) -> bool:
        arguments = self._definitions[name].signature.input_arg if name in self._definitions else ()
        return any(self._function_writes(name, i) for i, a in enumerate(arguments) if a.type == _RESOURCE)

    def _function_writes(self, name: str, argument: int) -> bool:
        function = self._definitions.get(name)
        if function is None or not 0 <= argument < len(function.signature.input_arg):
            return False
        key = (name, argument)
        if key not in self._answers:
            self._answers[key] = False  # for a function that calls itself
            self._answers[key] = self._body_writes(function, function.signature.input_arg[argument].name)
        return self._answers[key]

    def _body_writes(self, function: Any, argument: str) -> bool:
        references = {argument}
        for node in function.node_def:  # in topological order
            inputs = [name for name in node.input if not name.startswith("^")]
            indices = [i for i, x in enumerate(inputs) if not references.isdisjoint((x, _without_output(x)))]
            if not indices or node.op in _READS:
                continue
            if node.op not in _PASSED_ON and any(self.writes(node, i) for i in indices):
                return True
            types = node.attr["Tout"].list.type or node.attr["T"].list.type
            references.update(f"{node.name}:output:{i}" for i, t in enumerate(types) if t == _RESOURCE)
            if node.op in _PASSED_ON and not types:
                references.add(node.name)
        return False


def _without_output(name: str) -> str:
    return name.partition(":")[0]


def ancestors(fetches: Iterable[Any], fed: Collection[int]) -> Iterator[Any]:
    """The ops that running `fetches` runs, those of the fetches included."""
    pending = [f if isinstance(f, tf.Operation) else f.op for f in fetches if id(f) not in fed]
    seen = set(pending)
    while pending:
        op = pending.pop()
        yield op
        parents = [tensor.op for tensor in op.inputs if id(tensor) not in fed]
        for parent in (*parents, *op.control_inputs):
            if parent not in seen:
                seen.add(parent)
                pending.append(parent)


def _tensor_of(global_step: Any) -> Any:
    """The tensor behind a variable (its handle, for a resource variable) or the tensor itself."""
    op = _variable_op(global_step)
    return global_step if op is None else op.outputs[0]


def _variable_op(variable: Any) -> Any:
    """The op that makes `variable`; None for what is no variable."""
    if isinstance(variable, tf.Variable):
        handle = getattr(variable, "handle", None)
        return variable.op if handle is None else handle.op
    return None


def _variables_behind(tensor: Any) -> Iterator[Any]:
    """The ops that make the variables from which `tensor` is computed."""
    pending, seen = [tensor.op], {tensor.op}
    while pending:
        op = pending.pop()
        if op.type in _VARIABLES:
            yield op
        for parent in [t.op for t in op.inputs]:
            if parent not in seen:
                seen.add(parent)
                pending.append(parent)


def _shared_name(variable: Any) -> tuple[str, ...]:
    """What tells the variable that an op makes from every other one."""
    name = variable.get_attr("shared_name") or variable.name.encode()
    return variable.type, variable.get_attr("container"), name


def _is_plain_read(tensor: Any) -> bool:
    """True for a variable and for an unchanged read of one."""
    while tensor.op.type in ("Identity", "ReadVariableOp", "RefIdentity"):
        tensor = tensor.op.inputs[0]
    return tensor.op.type in _VARIABLES


def _read_after(op: Any, tensor: Any) -> Any:
    """A read of the variable behind `tensor` that waits for `op`.

    A graph that has one already, from an earlier Supervisor, gets no second; None where it needs one and
    takes no more ops.
    """
    variable = next(_variables_behind(tensor))
    graph = op.graph
    name = f"{variable.name}/after/{op.name}"
    try:
        return graph.get_tensor_by_name(f"{_SCOPE}{name}:0")
    except KeyError:
        if graph.finalized:
            return None
    with graph.name_scope(_SCOPE):
        return _build_read(op, variable, name)


def _build_read(op: Any, variable: Any, name: str) -> Any:
    graph, value, awaited = op.graph, variable.outputs[0], [op]
    if op.type in _BRANCHES:
        with tf.control_dependencies(None), graph.colocate_with(None, True), tf.device(op.device):
            awaited += [tf.identity(output) for output in op.outputs if not _is_reference(output)]
    with tf.control_dependencies(None), graph.colocate_with(variable, True), tf.control_dependencies(awaited):
        if value.dtype == tf.resource:
            return tf.raw_ops.ReadVariableOp(resource=value, dtype=variable.get_attr("dtype"), name=name)
        return tf.identity(value, name=name)


def _restores(op: Any) -> bool:
    """True for an assignment of what was read from a checkpoint."""
    if op.type not in _ASSIGNMENTS:
        return False
    value = op.inputs[1]
    while value.op.type in ("Identity", "Reshape", "Cast"):
        value = value.op.inputs[0]
    return value.op.type in ("RestoreV2", "Restore", "RestoreSlice")


def _assigns_constant(op: Any) -> bool:
    """True for an assignment of what is the same in each run."""
    return op.type in _ASSIGNMENTS and not any(
        parent.op_def.is_stateful or parent.type.startswith("Placeholder") or parent.type in _VARIABLES
        for parent in ancestors([op.inputs[1]], ())
    )


def _descent(op: Any) -> int:
    """How many v1 conditionals and loops deeper the outputs of `op` are than its inputs."""
    kind = op.type.removeprefix("Ref")
    if kind == "Switch":
        return 0 if op.inputs[1].op.type == "LoopCond" else 1
    if kind == "Merge":
        return 0 if any(t.op.type.endswith("NextIteration") for t in op.inputs) else -1
    return {"Enter": 1, "Exit": -1}.get(kind, 0)


def _is_reference(tensor: Any) -> bool:
    return bool(tensor.dtype == tf.resource or tensor.dtype != tensor.dtype.base_dtype)


def _takes_reference(op: Any, index: int) -> bool:
    """True when input `index` of `op` is a handle or a reference, not a value read from one."""
    tensor = op.inputs[index]
    if tensor.dtype == tf.resource:
        return True
    if not _is_reference(tensor):
        return False
    for argument in op.op_def.input_arg:
        if argument.type_list_attr:
            length = len(op.get_attr(argument.type_list_attr))
        else:
            length = op.get_attr(argument.number_attr) if argument.number_attr else 1
        if index < length:
            return bool(argument.is_ref)
        index -= length
    return False
