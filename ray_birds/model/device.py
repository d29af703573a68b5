"""What TensorFlow computes with: threads, GPU memory, precision; and in what pieces networks are called.

On CPUs a network takes small pieces of a batch, as many side by side as there are threads. Threads that share each
of its hundreds of operations wait for one another at each; and what a layer puts out for a small piece is still in
the core's cache when the next one asks for it (benchmarks/README.md, Pieces side by side).
"""

from contextlib import suppress

_PIXELS = 8 * 224**2  # of a piece, on CPUs
_MOST = 8  # lanes, each of which holds what its piece puts out


def use_lanes(threads: int) -> int:
    """Share `threads` among calls of a network side by side, before the first operation; returns how many calls.

    A GPU gets one at a time, which fills it.
    """
    lanes = 1 if _has_gpu() else min(threads, _MOST)
    use_threads(max(1, threads // lanes), operations=lanes)
    return lanes


def piece(batch_size: int, image_size: int) -> int:
    """How many images a network takes at a time: `batch_size` on a GPU; on CPUs fewer, the larger they are."""
    return batch_size if _has_gpu() else max(1, min(batch_size, _PIXELS // image_size**2))


def _has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


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
