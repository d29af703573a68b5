"""What TensorFlow computes with, set before its first operation: threads, GPU memory, precision."""

from contextlib import suppress


def use_threads(count: int, operations: int = 1) -> None:
    """Give TensorFlow `count` threads, and GPU memory as it is needed; before the first operation.

    As many `operations` run at a time. In a process that has used TensorFlow already, as a notebook may, all is as
    it is.
    """
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() == 0:
        with suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(count)
            tf.config.threading.set_inter_op_parallelism_threads(operations)
        grow_memory()


def grow_memory() -> None:
    """Take GPU memory as it is needed; before the first operation. Later than that it is as it is."""
    import tensorflow as tf

    with suppress(RuntimeError):
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


def use_precision(precision: str) -> None:
    """Build models from here on that compute in float32, mixed_bfloat16 or mixed_float16; weights are float32."""
    import keras

    keras.config.set_dtype_policy(precision)
