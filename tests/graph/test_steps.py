"""Which run is a training step, and that the step it tells is the value after its own update."""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace

import pytest
import tensorflow as tf

import hookrun
from hookrun import signals
from hookrun.graph.steps import StepOps

tf1 = tf.compat.v1


@pytest.fixture(params=["resource", "reference"])
def use_resource(request):
    """Everything that takes this fixture is specified for both kinds of variables."""
    return request.param == "resource"


@pytest.fixture(params=["resource-v1", "reference-v1", "resource-v2"])
def in_control_flow(request):
    """`use_resource` under both control flows; functions, as of v2, cannot hold reference variables."""
    kind, version = request.param.split("-")
    before = tf1.control_flow_v2_enabled()
    switch = {True: tf1.enable_control_flow_v2, False: tf1.disable_control_flow_v2}
    switch[version == "v2"]()
    yield kind == "resource"
    switch[before]()


def counter(use_resource=True, name="global_step", dtype=tf.int64, shape=(), collections=("global_step",)):
    """A variable that starts at 0; by default it is the global step."""
    return tf1.get_variable(
        name,
        shape,
        dtype,
        tf1.zeros_initializer(),
        trainable=False,
        use_resource=use_resource,
        collections=[tf1.GraphKeys.GLOBAL_VARIABLES, *collections],
    )


def weights(use_resource=True, name="weights", shape=(3,), **options):
    return tf1.get_variable(
        name, shape, tf.float32, tf1.ones_initializer(), use_resource=use_resource, **options
    )


def sgd(variable, global_step=None, learning_rate=0.1):
    optimizer = tf1.train.GradientDescentOptimizer(learning_rate)
    return optimizer.minimize(tf.reduce_sum(variable**2), global_step=global_step, var_list=[variable])


def supervisor(**options):
    """A Supervisor without services, and the list of the steps that it tells."""
    sv = hookrun.Supervisor(save_model_secs=0, save_summaries_secs=0, **options)
    told = []
    sv.on(signals.step, lambda sv, event: told.append(event.global_step))
    return sv, told


@contextlib.contextmanager
def session(**options):
    """A managed session, and the list of the steps that it tells."""
    sv, told = supervisor(**options)
    with sv.managed_session() as sess:
        yield sess, told


def steps_of(fetches, runs=5, **options):
    """The steps told when `fetches` are run some times."""
    with session(**options) as (sess, told):
        for _ in range(runs):
            sess.run(fetches)
    return told


def in_a_conditional(update):
    return tf.cond(tf.constant(0.5) < 1.0, update, lambda: tf.constant(0, tf.int64))


def in_the_other_branch(update):
    return tf.cond(tf.constant(0.5) > 1.0, lambda: tf.constant(0, tf.int64), update)


def in_a_loop(update, times=1):
    def body(i):
        with tf.control_dependencies([update()]):
            return i + 1

    return tf.while_loop(lambda i: i < times, body, [tf.constant(0)])[0]


def in_a_loop_in_a_conditional(update):
    return in_a_conditional(lambda: tf.cast(in_a_loop(update), tf.int64))


def in_a_conditional_in_a_loop(update):
    return in_a_loop(lambda: in_a_conditional(update))


def in_a_loop_in_a_loop(update):
    return in_a_loop(lambda: in_a_loop(update))


def in_a_conditional_in_a_conditional(update):
    return in_a_conditional(lambda: in_the_other_branch(update))


def in_a_case(update):
    never = (tf.constant(0.5) > 1.0, lambda: tf.constant(1, tf.int64))
    always = (tf.constant(0.5) < 1.0, update)
    return tf.case([never, always], default=lambda: tf.constant(0, tf.int64))


NESTED = [
    in_a_conditional,
    in_the_other_branch,
    in_a_loop,
    in_a_case,
    in_a_loop_in_a_conditional,
    in_a_conditional_in_a_loop,
    in_a_loop_in_a_loop,
    in_a_conditional_in_a_conditional,
]


def adds_one(global_step):
    return lambda: tf.identity(tf1.assign_add(global_step, 1))


class TestOptimizers:
    OPTIMIZERS = {
        "GradientDescent": lambda step: tf1.train.GradientDescentOptimizer(0.1),
        "Momentum": lambda step: tf1.train.MomentumOptimizer(0.1, 0.9),
        "Nesterov": lambda step: tf1.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
        "Adagrad": lambda step: tf1.train.AdagradOptimizer(0.1),
        "AdagradDA": lambda step: tf1.train.AdagradDAOptimizer(0.1, step),
        "Adadelta": lambda step: tf1.train.AdadeltaOptimizer(0.1),
        "Adam": lambda step: tf1.train.AdamOptimizer(0.1),
        "Ftrl": lambda step: tf1.train.FtrlOptimizer(0.1),
        "RMSProp": lambda step: tf1.train.RMSPropOptimizer(0.1),
        "CenteredRMSProp": lambda step: tf1.train.RMSPropOptimizer(0.1, centered=True),
        "ProximalAdagrad": lambda step: tf1.train.ProximalAdagradOptimizer(0.1),
        "ProximalGradientDescent": lambda step: tf1.train.ProximalGradientDescentOptimizer(0.1),
    }

    @pytest.fixture(params=OPTIMIZERS)
    def make(self, request):
        return self.OPTIMIZERS[request.param]

    @pytest.fixture(params=["dense", "sparse"])
    def loss(self, request, use_resource):
        if request.param == "dense":
            return tf.reduce_sum(weights(use_resource) ** 2)
        rows = tf.nn.embedding_lookup(weights(use_resource, shape=(5, 3)), tf.constant([1, 3, 1]))
        return tf.reduce_sum(rows**2)

    def test_minimize_with_the_global_step_is_a_step(self, make, loss, use_resource):
        global_step = counter(use_resource)
        train_op = make(global_step).minimize(loss, global_step=global_step)
        with session() as (sess, told):
            for _ in range(5):
                sess.run(loss)
                sess.run([train_op, loss])
        assert told == [1, 2, 3, 4, 5]

    def test_minimize_is_a_step_where_there_is_no_global_step(self, make, loss, use_resource):
        unrelated = counter(use_resource, name="unrelated", collections=())
        train_op = make(unrelated).minimize(loss)
        with session() as (sess, told):
            for _ in range(3):
                sess.run(loss)
                sess.run([train_op, loss])
        assert told == [1, 2, 3]

    def test_minimize_without_the_global_step_is_no_step_where_there_is_one(self, use_resource):
        counter(use_resource)
        assert steps_of(tf1.train.AdamOptimizer().minimize(weights(use_resource) ** 2)) == []

    def test_of_partitioned_variables(self, use_resource):
        parts = weights(use_resource, shape=(6, 2), partitioner=tf1.fixed_size_partitioner(3))
        global_step = counter(use_resource)
        loss = tf.reduce_sum(tf.convert_to_tensor(parts) ** 2)
        train_op = tf1.train.AdamOptimizer().minimize(loss, global_step=global_step)
        assert steps_of([train_op, loss]) == [1, 2, 3, 4, 5]


class TestSeveralTrainOps:
    @pytest.fixture
    def gan(self, use_resource):
        global_step = counter(use_resource)
        return SimpleNamespace(
            global_step=global_step,
            generator=sgd(weights(use_resource, "generator"), global_step),
            discriminator=sgd(weights(use_resource, "discriminator"), global_step),
        )

    def test_that_take_turns_are_a_step_each(self, gan):
        with session() as (sess, told):
            for _ in range(5):
                sess.run(gan.discriminator)
                sess.run(gan.generator)
        assert told == list(range(1, 11))

    def test_in_one_run_are_one_step_that_tells_the_last_update(self, gan):
        assert steps_of([gan.generator, gan.discriminator], runs=20) == list(range(2, 41, 2))

    def test_of_which_one_advances_the_global_step(self, use_resource):
        global_step = counter(use_resource)
        generator = sgd(weights(use_resource, "generator"), global_step)
        discriminator = sgd(weights(use_resource, "discriminator"))
        with session() as (sess, told):
            for _ in range(3):
                sess.run([discriminator])
                sess.run([generator])
                sess.run([discriminator, generator])
        assert told == [1, 2, 3, 4, 5, 6]

    def test_each_with_its_own_step_are_steps_when_they_advance_the_global_one(self, use_resource):
        generator_step = counter(use_resource, "generator_step", collections=())
        generator = sgd(weights(use_resource, "generator"), generator_step)
        discriminator = sgd(weights(use_resource, "discriminator"), counter(use_resource))
        with session() as (sess, told):
            for _ in range(3):
                sess.run(generator)
                sess.run(discriminator)
        assert told == [1, 2, 3]


class TestAnUpdateByHand:
    UPDATES = {
        "method": lambda step: step.assign_add(1),
        "function": lambda step: tf1.assign_add(step, 1),
        "function, its operation": lambda step: tf1.assign_add(step, 1).op,
        "assign": lambda step: tf1.assign(step, step + 1),
        "assign, by method": lambda step: step.assign(step + 1),
        "assign_sub": lambda step: tf1.assign_sub(step, -1),
        "within a group": lambda step: tf.group(tf.no_op(), tf.group(tf1.assign_add(step, 1))),
        "locked": lambda step: tf1.assign_add(step, 1, use_locking=True),
        "count_up_to": lambda step: step.count_up_to(1000),
        "what is computed from it": lambda step: tf.convert_to_tensor(tf1.assign_add(step, 1)) * 2,
    }

    @pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
    def test_is_a_step(self, update, use_resource):
        global_step = counter(use_resource)
        assert steps_of(update(global_step)) == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("by", ["method", "function"])
    def test_by_scatter_is_a_step(self, by, use_resource):
        global_step = counter(use_resource, shape=(1,))
        indices = tf.constant([0])
        updates = tf.constant([1], tf.int64)
        if by == "function":
            update = tf1.scatter_add(global_step, indices, updates)
        else:
            update = global_step.scatter_nd_add(indices[:, None], updates)
        assert steps_of(update) == [1, 2, 3, 4, 5]

    def test_of_a_reference_by_a_raw_op_is_a_step(self):
        global_step = counter(use_resource=False, shape=(1,))
        updates = tf.constant([1], tf.int64)
        assert steps_of(tf.raw_ops.ScatterAdd(ref=global_step._ref(), indices=[0], updates=updates)) == [
            1,
            2,
            3,
            4,
            5,
        ]

    def test_through_identities_of_the_handle_is_a_step(self):
        handle = tf.identity(tf.identity_n([tf.identity(counter().handle), tf.constant(1)])[0])
        update = tf.raw_ops.AssignAddVariableOp(resource=handle, value=tf.constant(1, tf.int64))
        assert steps_of(update) == [1, 2, 3, 4, 5]

    def test_of_the_reference_that_an_update_returns_is_a_step_of_two(self):
        global_step = counter(use_resource=False)
        assert steps_of(tf1.assign_add(tf1.assign_add(global_step, 1), 1)) == [2, 4, 6, 8, 10]

    def test_by_more_than_one_is_a_step(self, use_resource):
        assert steps_of(counter(use_resource).assign_add(10)) == [10, 20, 30, 40, 50]

    def test_through_a_variable_that_shares_the_global_step_by_name_is_a_step(self):
        counter()
        alias = tf.raw_ops.VarHandleOp(dtype=tf.int64, shape=[], shared_name="global_step")
        update = tf.raw_ops.AssignAddVariableOp(resource=alias, value=tf.constant(1, tf.int64))
        assert steps_of(update) == [1, 2, 3, 4, 5]


class TestAnUpdateInControlFlow:
    @pytest.mark.parametrize("nest", NESTED)
    def test_is_a_step(self, nest, in_control_flow):
        global_step = counter(use_resource=in_control_flow)
        train_op = nest(adds_one(global_step))
        reading = nest(lambda: tf.identity(global_step + 1))
        with session() as (sess, told):
            for _ in range(5):
                sess.run(reading)
                sess.run(train_op)
        assert told == [1, 2, 3, 4, 5]

    def test_by_an_optimizer_is_a_step(self, in_control_flow):
        global_step = counter(use_resource=in_control_flow)
        variable = weights(in_control_flow)
        optimizer = tf1.train.AdamOptimizer()
        gradients = optimizer.compute_gradients(tf.reduce_sum(variable**2))
        optimizer.apply_gradients(gradients)  # makes the slots

        def update():
            with tf.control_dependencies([optimizer.apply_gradients(gradients, global_step=global_step)]):
                return tf.constant(1, tf.int64)

        assert steps_of([in_a_conditional(update)]) == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("nest", NESTED)
    def test_of_a_trainable_variable_is_a_step_where_there_is_no_global_step(self, nest, in_control_flow):
        variable = weights(in_control_flow, shape=())
        train_op = nest(lambda: tf.cast(tf.identity(tf1.assign_add(variable, 1.0)), tf.int64))
        assert steps_of(train_op) == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("branch", [0, 1])
    def test_in_a_branch_that_returns_nothing_is_a_step(self, branch, in_control_flow):
        global_step = counter(in_control_flow)
        branches = [lambda: tf.group(tf1.assign_add(global_step, 1)), tf.no_op]
        update = tf.cond(tf.constant(branch) < 1, branches[branch], branches[1 - branch])
        assert steps_of(update, runs=20) == list(range(1, 21))

    def test_in_one_of_several_values_of_a_branch_is_a_step(self, in_control_flow):
        global_step = counter(in_control_flow)
        _, second = tf.cond(
            tf1.placeholder_with_default(True, []),
            lambda: (tf.constant(1.0), adds_one(global_step)()),
            lambda: (tf.constant(2.0), tf.constant(0, tf.int64)),
        )
        assert steps_of(second, runs=50) == list(range(1, 51))

    def test_repeated_by_a_loop_is_one_step_that_tells_the_last_update(self, in_control_flow):
        global_step = counter(use_resource=in_control_flow)
        assert steps_of(in_a_loop(adds_one(global_step), times=7)) == [7, 14, 21, 28, 35]

    def test_in_a_branch_is_a_step_whichever_is_taken(self, in_control_flow):
        global_step = counter(use_resource=in_control_flow)
        taken = tf1.placeholder_with_default(True, [])
        train_op = tf.cond(taken, adds_one(global_step), lambda: tf.constant(0, tf.int64))
        with session() as (sess, told):
            for value in (True, False, False, True):
                sess.run(train_op, {taken: value})
        assert told == [1, 1, 1, 2]

    def test_in_a_branch_of_a_switch_is_a_step(self):
        branches = [lambda: tf.constant(0, tf.int64), adds_one(counter())]
        assert steps_of(tf.switch_case(tf.constant(1), branches)) == [1, 2, 3, 4, 5]

    def test_that_follows_control_flow_is_a_step(self, in_control_flow):
        global_step = counter(use_resource=in_control_flow)
        with tf.control_dependencies([in_a_loop(lambda: tf.constant(1))]):
            update = tf1.assign_add(global_step, 1)
        assert steps_of(update) == [1, 2, 3, 4, 5]

    def test_is_a_step_beside_a_model_that_has_loops_and_conditionals(self, in_control_flow):
        global_step = counter(use_resource=in_control_flow)
        variable = weights(in_control_flow)
        dropped = tf.cond(tf.constant(0.5) < 1.0, lambda: variable * 0.5, lambda: variable)
        _, powers = tf.while_loop(
            lambda i, x: i < 3, lambda i, x: (i + 1, x * variable), [tf.constant(0), dropped]
        )
        loss = tf.reduce_sum(powers**2)
        train_op = tf1.train.AdamOptimizer().minimize(loss, global_step=global_step)
        with session() as (sess, told):
            for _ in range(3):
                sess.run(loss)
                sess.run([train_op, loss])
        assert told == [1, 2, 3]

    def test_is_a_step_in_a_graph_that_was_imported_without_its_collections(self, in_control_flow):
        with tf.Graph().as_default() as exported:
            step = counter(use_resource=in_control_flow)
            train_op = in_a_conditional_in_a_loop(adds_one(step))
            reading = in_a_conditional(lambda: tf.identity(step))
        tf.import_graph_def(exported.as_graph_def(), name="")
        graph = tf1.get_default_graph()
        sv, told = supervisor(
            init_op=graph.get_operation_by_name("global_step/Assign"),
            ready_op=None,
            saver=None,
            global_step=graph.get_tensor_by_name("global_step:0") if not in_control_flow else read(graph),
        )
        with sv.managed_session() as sess:
            sess.run("global_step/Assign")
            for _ in range(5):
                sess.run(reading.name)
                sess.run(train_op.name)
        assert told == [1, 2, 3, 4, 5]


def read(graph):
    return graph.get_tensor_by_name("global_step/Read/ReadVariableOp:0")


class TestAFunctionCalledInTheGraph:
    def test_that_updates_is_a_step(self):
        global_step = counter()

        @tf.function
        def train(x):
            global_step.assign_add(1)
            return x + 1.0

        assert steps_of(train(tf.constant(1.0))) == [1, 2, 3, 4, 5]

    def test_that_calls_one_that_updates_is_a_step(self):
        global_step = counter()

        @tf.function
        def inner(x):
            if x > 0.0:
                global_step.assign_add(1)
            return x

        @tf.function
        def outer(x):
            for _ in tf.range(2):
                x = inner(x)
            return x

        assert steps_of(outer(tf.constant(1.0))) == [2, 4, 6, 8, 10]

    @pytest.mark.parametrize("nest", NESTED)
    def test_with_control_flow_that_updates_is_a_step(self, nest):
        global_step = counter()
        assert steps_of(tf.function(lambda: nest(adds_one(global_step)))()) == [1, 2, 3, 4, 5]

    def test_that_only_reads_is_no_step(self):
        global_step, other = counter(), counter(name="other", collections=())

        @tf.function
        def inner(x):
            return x + tf.cast(global_step, tf.float32) + tf.cast(global_step.read_value(), tf.float32)

        @tf.function
        def outer(x):
            other.assign_add(global_step)
            if x > 0.0:
                x = tf.while_loop(lambda x: x < 2.0, lambda x: inner(x) + 1.0, [x])[0]
            return tf.switch_case(tf.constant(0), [lambda: inner(x), lambda: x]) * inner(x)

        evaluate, train_op = outer(tf.constant(1.0)), global_step.assign_add(1)
        with session() as (sess, told):
            sess.run(evaluate)
            assert sess.run(other) == 0
            sess.run(train_op)
            sess.run(evaluate)
            assert sess.run(other) == 1
        assert told == [1]

    def test_that_reads_with_gradients_is_no_step(self):
        global_step, variable = counter(), weights()

        @tf.function
        def loss(x):
            scale = tf.cast(global_step, tf.float32)
            return tf.reduce_sum(tf.while_loop(lambda x: x[0] < 9.0, lambda x: x * 2.0, [x])[0] * scale)

        gradients = tf.gradients(loss(variable * 2.0), [variable])
        train_op = sgd(variable, global_step)
        with session() as (sess, told):
            sess.run(gradients)
            sess.run([train_op, gradients])
        assert told == [1]

    def test_that_is_given_the_handle_and_updates_is_a_step(self):
        global_step = counter()

        @tf.function
        def train(handle):
            tf.raw_ops.AssignAddVariableOp(resource=handle, value=tf.constant(1, tf.int64))
            return tf.constant(1)

        assert steps_of(train(global_step.handle)) == [1, 2, 3, 4, 5]

    def test_that_returns_the_handle_is_followed(self):
        global_step = counter()

        @tf.function
        def handle_and_value():
            return global_step.handle, global_step + 1

        @tf.function
        def train():
            handle, value = handle_and_value()
            tf.raw_ops.AssignAddVariableOp(resource=handle, value=tf.constant(1, tf.int64))
            return value

        @tf.function
        def evaluate():
            return handle_and_value()[1] + 1

        handle = handle_and_value()[0]
        outside = tf.raw_ops.AssignAddVariableOp(resource=handle, value=tf.constant(1, tf.int64))
        inside, reading = train(), evaluate()
        with session() as (sess, told):
            sess.run(reading)
            sess.run(outside)
            sess.run(inside)
        assert told == [1, 2]

    def test_that_writes_a_trainable_variable_is_a_step_where_there_is_no_global_step(self):
        variable = weights()

        @tf.function
        def train():
            variable.assign_sub(variable * 0.1)
            return tf.reduce_sum(variable)

        reading = tf.function(lambda: tf.reduce_sum(variable))()
        train_op = train()
        with session() as (sess, told):
            for _ in range(3):
                sess.run(reading)
                sess.run(train_op)
        assert told == [1, 2, 3]

    def test_is_a_step_only_where_it_is_called(self):
        global_step = counter()

        @tf.function
        def train():
            return global_step.assign_add(1)

        train_op, evaluate = train(), tf.constant(1) + 1
        with session() as (sess, told):
            sess.run(evaluate)
            sess.run(train_op)
        assert told == [1]

    def test_of_a_dataset_that_reads_the_global_step_is_no_step(self):
        global_step = counter()
        dataset = tf.data.Dataset.range(10).map(lambda x: x + global_step)
        iterator = tf1.data.make_initializable_iterator(dataset)
        following = iterator.get_next()
        train_op = sgd(weights(), global_step)
        with session() as (sess, told):
            sess.run(iterator.initializer)
            assert sess.run(following) == 0
            sess.run(train_op)
        assert told == [1]


class TestSyncReplicas:
    @pytest.fixture
    def replica(self, use_resource):
        global_step, variable = counter(use_resource), weights(use_resource)
        optimizer = tf1.train.SyncReplicasOptimizer(
            tf1.train.GradientDescentOptimizer(0.1), replicas_to_aggregate=1, total_num_replicas=1
        )
        loss = tf.reduce_sum(variable**2)
        train_op = optimizer.minimize(loss, global_step=global_step)
        return SimpleNamespace(
            optimizer=optimizer,
            train_op=train_op,
            loss=loss,
            global_step=global_step,
            init_tokens=optimizer.get_init_tokens_op(num_tokens=0),
            queue_runner=optimizer.get_chief_queue_runner(),
        )

    def test_a_worker_whose_update_is_made_by_the_chief_makes_steps(self, replica):
        sv, told = supervisor(local_init_op=replica.optimizer.chief_init_op)
        with sv.managed_session() as sess:
            sv.start_queue_runners(sess, [replica.queue_runner])
            sess.run(replica.init_tokens)
            for _ in range(20):
                sess.run(replica.loss)
                sess.run([replica.train_op, replica.loss])
            assert sess.run(replica.global_step) == 20
        assert told == list(range(1, 21))

    def test_what_reads_the_queues_is_no_step(self, replica, use_resource):
        metrics = tf.queue.FIFOQueue(10, [tf.float32], shapes=[()])
        with tf.control_dependencies([replica.train_op]):
            train_op = metrics.enqueue(replica.loss)
        size, metric = metrics.size(), metrics.dequeue()
        sv, told = supervisor(local_init_op=replica.optimizer.chief_init_op)
        with sv.managed_session() as sess:
            sv.start_queue_runners(sess, [replica.queue_runner])
            for _ in range(3):
                sess.run(train_op)
                sess.run(size)
                sess.run(metric)
        assert told == [1, 2, 3]


class TestNoGlobalStep:
    def test_a_run_that_writes_a_trainable_variable_is_a_step_that_the_supervisor_counts(self, use_resource):
        first, second = weights(use_resource, "first"), weights(use_resource, "second")
        train_first, train_second = sgd(first), sgd(second)
        with session() as (sess, told):
            sess.run(train_first)
            sess.run(first)
            sess.run(train_second)
            sess.run([train_first, train_second])
        assert told == [1, 2, 3]

    def test_a_run_that_writes_another_variable_is_no_step(self, use_resource):
        weights(use_resource)
        assert steps_of(counter(use_resource, "other", collections=()).assign_add(1)) == []

    def test_a_graph_without_trainable_variables_has_no_step(self, use_resource):
        other = counter(use_resource, "other", collections=())
        update = tf1.assign_add(other, 1)
        sv, told = supervisor()
        with sv.managed_session() as sess:
            sess.run([update, other])
        assert told == []
        assert not sv.global_step_advances

    def test_global_step_none_ignores_that_of_the_graph(self, use_resource):
        train_op = counter(use_resource).assign_add(1)
        both = sgd(weights(use_resource), tf1.train.get_global_step())
        with session(global_step=None) as (sess, told):
            sess.run(train_op)
            sess.run(both)
            sess.run(both)
        assert told == [1, 2]

    def test_setting_up_is_no_step(self, use_resource, tmp_path):
        variable = weights(use_resource)
        train_op = sgd(variable)
        initializer = tf1.global_variables_initializer()
        sv, told = supervisor()
        with sv.managed_session() as sess:
            sess.run(train_op)
            path = sv.saver.save(sess, str(tmp_path / "model"))
            sess.run(initializer)
            sv.saver.restore(sess, path)
            variable.load([1.0, 2.0, 3.0], sess)
            sess.run(train_op)
        assert told == [1, 2]


class TestAForgottenGlobalStep:
    """A graph that trains and has a global step, which nothing advances."""

    def test_is_told_once(self, use_resource, caplog):
        counter(use_resource)
        train_op = sgd(weights(use_resource))
        sv, told = supervisor()
        for _ in range(2):
            with sv.managed_session() as sess:
                sess.run(train_op)
        assert told == []
        (warning,) = [record.message for record in caplog.records if "Nothing advances" in record.message]
        assert "the global step 'global_step:0'" in warning and "minimize()" in warning

    @pytest.mark.parametrize("trains", [True, False])
    def test_is_no_graph_that_advances_it_or_does_not_train(self, use_resource, trains, caplog, tmp_path):
        global_step, variable = counter(use_resource), weights(use_resource)
        if trains:
            sgd(variable, global_step)
        else:
            counter(use_resource, "other", collections=()).assign_add(1)
        sv, _ = supervisor(logdir=tmp_path)
        with sv.managed_session():
            pass
        assert "Nothing advances" not in caplog.text

    def test_is_no_evaluation_that_loads_other_weights(self, use_resource, caplog):
        counter(use_resource)
        weights(use_resource).assign(tf1.placeholder(tf.float32, [3]))
        sv, _ = supervisor()
        with sv.managed_session():
            pass
        assert "Nothing advances" not in caplog.text


class TestWhatIsNoStep:
    @pytest.fixture
    def trained(self, use_resource):
        global_step, variable = counter(use_resource), weights(use_resource)
        loss = tf.reduce_sum(variable**2)
        tf1.summary.scalar("loss", loss)
        tf1.summary.scalar("step", global_step)
        return SimpleNamespace(
            global_step=global_step, variable=variable, loss=loss, train_op=sgd(variable, global_step)
        )

    def test_evaluation_and_reading_the_global_step(self, trained):
        fetches = [trained.loss, trained.global_step, trained.global_step + 1, trained.variable]
        with session() as (sess, told):
            for fetch in (*fetches, fetches, {"all": fetches}, trained.loss.name, []):
                sess.run(fetch)
            assert sess.run(trained.global_step) == 0
            assert tf1.train.global_step(sess, trained.global_step) == 0
        assert told == []

    def test_an_evaluation_does_not_advance_the_global_step_between_steps(self, trained):
        with session() as (sess, told):
            for step in range(1, 6):
                sess.run(trained.train_op)
                for _ in range(3):
                    assert sess.run([trained.loss, trained.global_step])[1] == step
        assert told == [1, 2, 3, 4, 5]

    def test_summaries(self, trained):
        sv, told = supervisor()
        with sv.managed_session() as sess:
            assert sess.run(sv.summary_op)
        assert told == []

    def test_initializers(self, trained):
        initializers = [
            tf1.global_variables_initializer(),
            tf1.variables_initializer([trained.global_step]),
            trained.global_step.initializer,
            tf1.local_variables_initializer(),
        ]
        assert steps_of(initializers) == []

    def test_the_initializer_of_a_local_global_step(self, use_resource):
        global_step = tf1.get_variable(
            "global_step",
            initializer=tf.constant(0, tf.int64),
            trainable=False,
            use_resource=use_resource,
            collections=[tf1.GraphKeys.LOCAL_VARIABLES, tf1.GraphKeys.GLOBAL_STEP],
        )
        update = tf1.assign_add(global_step, 1)
        with session() as (sess, told):
            sess.run(update)
            sess.run(global_step.initializer)
            sess.run(update)
        assert told == [1, 1]

    @pytest.mark.parametrize("reshape", [False, True])
    def test_saving_and_restoring(self, trained, reshape, tmp_path):
        saver = tf1.train.Saver(reshape=reshape)
        with session(saver=saver) as (sess, told):
            sess.run(trained.train_op)
            path = saver.save(sess, str(tmp_path / "model"), global_step=trained.global_step)
            sess.run(trained.train_op)
            saver.restore(sess, path)
            sess.run(trained.train_op)
        assert told == [1, 2, 2]

    def test_saving_and_restoring_by_objects(self, tmp_path):
        global_step = counter()
        update, checkpoint = global_step.assign_add(1), tf1.train.Checkpoint(step=global_step)
        prefix = str(tmp_path / "model")
        with tf1.Session() as sess:
            sess.run(global_step.initializer)
            restored = checkpoint.restore(checkpoint.save(prefix, session=sess))
        with session() as (sess, told):
            restored.initialize_or_restore(sess)
            sess.run(update)
            checkpoint.save(prefix, session=sess)
            sess.run(update)
            restored.initialize_or_restore(sess)
            sess.run(update)
        assert told == [1, 2, 1]

    def test_a_sharded_saver(self, trained, tmp_path):
        saver = tf1.train.Saver(sharded=True)
        with session(saver=saver) as (sess, told):
            path = saver.save(sess, str(tmp_path / "model"))
            saver.restore(sess, path)
        assert told == []

    def test_an_initializer_that_reads_a_checkpoint(self, tmp_path, use_resource):
        with tf.Graph().as_default():
            saved = counter(use_resource)
            saver = tf1.train.Saver()
            with tf1.Session() as sess:
                sess.run(saved.initializer)
                path = saver.save(sess, str(tmp_path / "model"))
        with tf.Graph().as_default():
            step = counter(use_resource)
            update = tf1.assign_add(step, 1)
            tf1.train.init_from_checkpoint(path, {"global_step": step})
            with session() as (sess, told):
                sess.run(step.initializer)
                sess.run(update)
            assert told == [1]

    def test_loading_a_value(self, trained):
        with session() as (sess, told):
            trained.global_step.load(100, sess)
            sess.run(trained.train_op)
        assert told == [101]

    def test_what_asks_for_uninitialized_variables(self, trained):
        fetches = [
            tf1.report_uninitialized_variables(),
            tf1.is_variable_initialized(trained.global_step),
            tf1.assert_variables_initialized(),
            tf.shape(trained.global_step),
        ]
        assert steps_of(fetches) == []

    def test_queues(self, trained):
        queue = tf.queue.FIFOQueue(10, [tf.int64], shapes=[()])
        fetches = [queue.enqueue(trained.global_step), queue.size()]
        taken = queue.dequeue()
        with session() as (sess, told):
            for fetch in fetches:
                sess.run(fetch)
            assert sess.run(taken) == 0
        assert told == []

    def test_taking_what_a_step_has_enqueued(self, trained):
        queue = tf.queue.FIFOQueue(10, [tf.int64], shapes=[()])
        with tf.control_dependencies([trained.train_op]):
            enqueue = queue.enqueue(tf.identity(trained.global_step))
        taken, size = queue.dequeue(), queue.size()
        with session() as (sess, told):
            sess.run(enqueue)
            sess.run(size)
            sess.run(taken)
        assert told == [1]

    def test_gradient_accumulation_until_the_gradients_are_applied(self, use_resource):
        global_step, variable = counter(use_resource), weights(use_resource)
        total = weights(use_resource, "total", trainable=False)
        optimizer = tf1.train.AdamOptimizer()
        [(gradient, _)] = optimizer.compute_gradients(tf.reduce_sum(variable**2), [variable])
        accumulate, clear = tf1.assign_add(total, gradient), tf1.assign(total, tf.zeros([3]))
        apply = optimizer.apply_gradients([(tf.convert_to_tensor(total), variable)], global_step=global_step)
        with session() as (sess, told):
            for _ in range(3):
                sess.run(clear)
                for _ in range(4):
                    sess.run(accumulate)
                sess.run(apply)
        assert told == [1, 2, 3]

    def test_what_reads_the_global_step_for_its_own_update(self, trained, use_resource):
        step = trained.global_step
        other = weights(use_resource, "other", trainable=False)
        average = tf1.train.ExponentialMovingAverage(0.9, num_updates=step)
        averaged = average.apply([weights(name="averaged", trainable=False)])
        decayed = tf1.train.exponential_decay(0.1, step, 10, 0.9)
        pieces = tf1.train.piecewise_constant(step, [10, 20], [0.1, 0.2, 0.3])
        fetches = [
            averaged,
            decayed() if callable(decayed) else decayed,
            pieces() if callable(pieces) else pieces,
            tf1.assign(other, tf.fill([3], tf.cast(step, tf.float32))),
            tf1.train.polynomial_decay(0.1, step, 10, cycle=True),
            sgd(weights(use_resource, "more"), learning_rate=decayed),
        ]
        with session() as (sess, told):
            for fetch in (*fetches, fetches):
                sess.run(fetch)
        assert told == []

    def test_what_a_session_runs_without_hooks(self, trained):
        sv, told = supervisor()
        with sv.managed_session() as sess:
            sess.run_without_hooks(trained.train_op)
            sess.run(trained.train_op)
        assert told == [2]

    def test_a_train_op_that_the_run_does_not_reach(self, trained):
        after = tf.identity(trained.loss)
        with tf.control_dependencies([trained.train_op]):
            tf.identity(after, name="after_training")
        assert steps_of(after) == []

    def test_a_graph_whose_global_step_nothing_writes(self, use_resource):
        global_step = counter(use_resource)
        train_op = sgd(weights(use_resource))
        sv, told = supervisor()
        with sv.managed_session() as sess:
            sess.run([train_op, global_step])
        assert told == []
        assert not sv.global_step_advances


class TestFetches:
    @pytest.fixture
    def names(self, model):
        with tf.control_dependencies([model.train_op]):
            after = tf.identity(model.loss, name="after_training")
        return SimpleNamespace(**vars(model), after=after)

    FETCHES = {
        "operation": lambda m: m.train_op,
        "name of the operation": lambda m: m.train_op.name,
        "tensor downstream": lambda m: m.after,
        "name of the tensor": lambda m: "after_training:0",
        "list": lambda m: [m.loss, m.train_op],
        "tuple": lambda m: (m.loss, (m.train_op,)),
        "dict": lambda m: {"loss": m.loss, "train": {"op": [m.train_op.name]}},
        "twice": lambda m: [m.train_op, m.train_op, m.after],
        "sparse tensor": lambda m: tf.SparseTensor([[0]], tf.reshape(m.after, [1]), [1]),
        "indexed slices": lambda m: tf.IndexedSlices(tf.reshape(m.after, [1]), tf.constant([0])),
        "ragged tensor": lambda m: tf.RaggedTensor.from_row_splits(tf.reshape(m.after, [1]), [0, 1]),
    }

    @pytest.mark.parametrize("fetch", FETCHES.values(), ids=FETCHES)
    def test_that_reach_the_update_are_steps_in_any_form(self, names, fetch):
        assert steps_of(fetch(names)) == [1, 2, 3, 4, 5]

    def test_a_fed_tensor_cuts_the_way_to_the_update(self, names):
        evaluated = names.after * 2.0
        with session() as (sess, told):
            assert sess.run(evaluated, {names.after: 3.0}) == 6.0
            assert sess.run(names.global_step) == 0
            assert sess.run("after_training:0", {"after_training:0": 3.0}) == 3.0
            sess.run(evaluated)
            sess.run([evaluated, names.train_op], {names.after: 3.0})
        assert told == [1, 2]

    def test_a_fed_tensor_cuts_no_other_way(self, names):
        with tf.control_dependencies([names.after]):
            evaluated = tf.constant(1.0) + 1.0
        with session() as (sess, told):
            for expected in (1, 2):
                sess.run(evaluated, {names.after: 3.0})
                assert sess.run(names.global_step) == expected
        assert told == [1, 2]

    def test_a_fed_value_of_the_update_keeps_it_from_being_made(self):
        update = counter(use_resource=False).assign_add(1)
        with session() as (sess, told):
            sess.run(update, {update: 5})
            sess.run(update)
        assert told == [1]


class TestTheGlobalStepItself:
    def test_of_any_integer_type(self, use_resource):
        for dtype in (tf.int32, tf.int64, tf.uint8 if use_resource else tf.int16):
            with tf.Graph().as_default():
                update = tf1.assign_add(counter(use_resource, dtype=dtype), 1)
                assert steps_of(update) == [1, 2, 3, 4, 5]

    def test_of_shape_one(self, use_resource):
        global_step = counter(use_resource, shape=(1,))
        told = steps_of(tf1.assign_add(global_step, [1]))
        assert told == [1, 2, 3, 4, 5]
        assert all(type(step) is int for step in told)

    FORMS = {
        "variable": lambda step: step,
        "its tensor": lambda step: tf1.get_default_graph().get_tensor_by_name("global_step:0"),
        "read value": lambda step: step.read_value(),
        "identity": lambda step: tf.identity(step),
        "identities": lambda step: tf.identity(tf.identity(step.value())),
        "derived": lambda step: step * 1,
        "cast": lambda step: tf.cast(step, tf.int32),
        "conditional": lambda step: tf.cond(step < 0, lambda: -step, lambda: tf.identity(step)),
    }

    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    def test_given_as(self, form, use_resource):
        variable = counter(use_resource, collections=())
        if form is self.FORMS["its tensor"] and use_resource:
            pytest.skip("of a resource variable, that is the handle")
        train_op = sgd(weights(use_resource), variable)
        global_step = form(variable)
        with session(global_step=global_step) as (sess, told):
            for _ in range(5):
                sess.run(global_step)
                sess.run(train_op)
        assert told == [1, 2, 3, 4, 5]

    def test_given_as_a_multiple_is_told_as_the_multiple(self, use_resource):
        variable = counter(use_resource, collections=())
        assert steps_of(tf1.assign_add(variable, 1), global_step=variable * 2) == [2, 4, 6, 8, 10]

    def test_given_as_a_read_that_waits_for_something_else(self, use_resource):
        variable, other = counter(use_resource, collections=()), weights(use_resource)
        train_other, train_op = sgd(other), tf1.assign_add(variable, 1)
        with tf.control_dependencies([tf.reduce_sum(other), tf1.assign(other, other)]):
            global_step = tf.identity(variable)
        with session(global_step=global_step) as (sess, told):
            sess.run(train_other)
            sess.run(train_op)
        assert told == [1]

    def test_given_as_a_placeholder_makes_no_step(self, use_resource):
        placeholder = tf1.placeholder_with_default(tf.constant(0, tf.int64), [])
        assert steps_of(sgd(weights(use_resource)), global_step=placeholder) == []

    def test_found_by_its_name(self, use_resource):
        update = tf1.assign_add(counter(use_resource, collections=()), 1)
        assert steps_of(update) == [1, 2, 3, 4, 5]

    def test_on_another_device_than_the_model(self, use_resource):
        with tf.device("/cpu:0"):
            global_step = counter(use_resource)
        with tf.device("/cpu:1"):
            train_op = sgd(weights(use_resource), global_step)
        sv, told = supervisor()
        with sv.managed_session(config=tf1.ConfigProto(device_count={"CPU": 2})) as sess:
            for _ in range(20):
                sess.run(train_op)
        assert told == list(range(1, 21))

    def test_is_read_where_it_is_whatever_surrounds_the_supervisor(self, use_resource, graph):
        with tf.device("/job:ps/task:0/cpu:0"):
            global_step = counter(use_resource)
        train_op = sgd(weights(use_resource), global_step)
        before = set(graph.get_operations())
        with tf.device("/job:worker/task:1"), tf.control_dependencies([train_op]):
            with graph.colocate_with(weights(use_resource, "elsewhere").op):
                supervisor(saver=None, summary_op=None, init_op=None, ready_op=None, local_init_op=None)
        [read] = [op for op in graph.get_operations() if op not in before and op.name.startswith("hookrun")]
        assert read.colocation_groups() == global_step.op.colocation_groups()
        assert "/job:ps/task:0" in tf.DeviceSpec.from_string(read.device).to_string()


class TestRunsThatAreNoSteps:
    """Which of them write the model, and which set the global step: name, writes, sets."""

    @pytest.mark.parametrize(
        "name, writes, sets",
        [
            ("read", False, False),
            ("save/control_dependency", False, False),
            ("count_locally", False, False),
            ("other", True, False),
            ("save/restore_all", True, True),
            ("init", True, True),
            ("global_step/Assign", True, True),
            ("set_to_seven", True, True),
            ("set_to_what_is_fed", True, False),
            ("add_one", True, False),
            ("assign_one_more", True, False),
        ],
    )
    def test_are_known_from_the_graph(self, graph, use_resource, name, writes, sets):
        step = counter(use_resource)
        other = counter(use_resource, "weight", collections=("variables",))
        local = tf1.get_local_variable("local", initializer=0, use_resource=use_resource)
        tf1.train.Saver([step, other])
        tf1.variables_initializer([step, other], name="init")
        tf.identity(step + 1, name="read")
        with tf1.name_scope("writes/"):
            updates = {
                "count_locally": tf1.assign_add(local, 1),
                "other": tf1.assign_add(other, 1),
                "set_to_seven": tf1.assign(step, 7),
                "set_to_what_is_fed": tf1.assign(step, tf1.placeholder(tf.int64, [])),
                "add_one": tf1.assign_add(step, 1),
                "assign_one_more": tf1.assign(step, step + 1),
            }
        op = updates[name].op if name in updates else graph.get_operation_by_name(name)
        step_ops = StepOps(graph, step)
        assert step_ops.writes_variables([op], ()) is writes
        assert step_ops.sets_step([op], ()) is sets
        assert bool(step_ops.reached_by([op], ())) is (writes and not sets and name != "other")


class TestAnImportedMetaGraph:
    @pytest.fixture
    def names(self, in_control_flow, tmp_path):
        """The names of the ops of a graph that was exported, and then imported."""
        with tf.Graph().as_default():
            global_step, variable = counter(in_control_flow), weights(in_control_flow)
            train_op = sgd(variable, global_step)
            nested = in_a_conditional_in_a_loop(adds_one(global_step))
            reading = in_a_conditional(lambda: tf.identity(global_step))
            tf1.global_variables_initializer()
            supervisor()
            path = str(tmp_path / "model.meta")
            tf1.train.export_meta_graph(path)
        tf1.train.import_meta_graph(path)
        return SimpleNamespace(train=train_op.name, nested=nested.name, reading=reading.name)

    def test_has_the_same_steps(self, names):
        with session() as (sess, told):
            for _ in range(3):
                sess.run(names.train)
                sess.run(names.reading)
                sess.run("init")
                sess.run(names.nested)
                sess.run([names.nested, names.train])
        assert told == [1, 1, 3, 4, 1, 3, 4, 1, 3]


class TestStepNumbers:
    def test_are_never_stale(self, use_resource):
        global_step, variable = counter(use_resource), weights(use_resource)
        train_op = sgd(variable, global_step, learning_rate=1e-4)
        loss = tf.reduce_sum(variable)
        assert steps_of([loss, train_op], runs=1500) == list(range(1, 1501))

    def test_count_the_own_update_and_all_before_it_when_several_threads_train(self, use_resource):
        threads, runs = 4, 300
        global_step = counter(use_resource)
        update = tf1.assign_add(global_step, 1, use_locking=True).op
        sv = hookrun.Supervisor(save_model_secs=0)
        told = {}
        sv.on(signals.step, lambda sv, event: told[threading.get_ident()].append(event.global_step))
        stale = []

        def train(sess):
            steps = told[threading.get_ident()] = []
            for _ in range(runs):
                before = sess.run(global_step)
                sess.run(update)
                if not before < steps[-1] <= threads * runs:
                    stale.append((before, steps[-1]))

        with sv.managed_session() as sess:
            in_threads(threads, train, sess)
        assert stale == []
        steps = sorted(step for steps in told.values() for step in steps)
        assert len(steps) == threads * runs
        assert steps[-1] == threads * runs
        # A number may be told twice and its predecessor not at all; none is told before its update.
        assert all(step >= updates for updates, step in enumerate(steps, 1))

    def test_grow_in_each_of_several_threads(self, use_resource):
        global_step = counter(use_resource)
        train_op = sgd(weights(use_resource), global_step, learning_rate=1e-4)
        sv = hookrun.Supervisor(save_model_secs=0)
        told = {}
        sv.on(
            signals.step,
            lambda sv, event: told.setdefault(threading.get_ident(), []).append(event.global_step),
        )

        def train(sess):
            for _ in range(200):
                sess.run(train_op)

        with sv.managed_session() as sess:
            in_threads(4, train, sess)
            last = sess.run(global_step)  # TensorFlow adds to a reference variable without a lock
        for steps in told.values():
            assert all(a < b for a, b in zip(steps, steps[1:], strict=False))
        assert max(map(max, told.values())) == last <= 800


def in_threads(count, function, *args):
    """Call a function in several threads at once, and wait for them."""
    threads = [threading.Thread(target=function, args=args) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
