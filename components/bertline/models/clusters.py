"""Element-wise work between two products, compiled by XLA into one pass over memory forwards and one backwards.

TensorFlow runs a formula operation by operation, and each reads and writes the whole activation: GELU's takes eight
passes forwards and more backwards. XLA makes one loop of it. The products stay TensorFlow's: on a CPU oneDNN's are
faster than XLA's.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Function = Callable[..., Any]


def fused(function: Function) -> Function:
    """Compile a function of tensors, and its gradient, where it is called with `compiled=True`.

    Only the inputs are kept for the way back: what the gradient needs of the rest is computed again within the same
    loop, which costs less than to write and to read it. Tensors are positional, all else is given by keyword and is a
    constant of the compiled code. Integers have no gradient.
    """
    forward = jitted(function)
    backward = jitted(functools.partial(_differentiate, function))

    @functools.wraps(function)
    def call(*inputs: Any, compiled: bool, **constants: Any) -> Any:
        if not compiled:
            return function(*inputs, **constants)

        def operation(*inputs: Any) -> Any:
            def gradient(*upstream: Any) -> Any:
                return backward(list(inputs), list(upstream), **constants)

            return forward(*inputs, **constants), gradient

        return tf.custom_gradient(operation)(*map(tf.convert_to_tensor, inputs))

    return call


def jitted(function: Function) -> Function:
    """The function as XLA compiles it: once for each shape that it meets."""
    return tf.function(function, autograph=False, jit_compile=True)  # type: ignore[no-any-return]


def _differentiate(function: Function, inputs: list[Any], upstream: list[Any], **constants: Any) -> Any:
    with tf.GradientTape() as tape:
        watched = [each for each in inputs if each.dtype.is_floating]
        tape.watch(watched)
        outputs = function(*inputs, **constants)
    gradients = iter(tape.gradient(outputs, watched, upstream, tf.UnconnectedGradients.ZERO))
    return [next(gradients) if each.dtype.is_floating else None for each in inputs]
