"""The exceptions of the package's own messages."""


class UsageError(Exception):
    """Something the user can put right: a config key, a path, a missing package.

    The message is one line that names the key or the path and says what to do. Commands print it
    alone, without a traceback, and exit with a non-zero code.
    """


class DivergenceError(UsageError):
    """A loss, gradient or weight of a training is not finite."""


class PrunedError(UsageError):
    """A trial of a search was ended, since others had done better up to there."""


OF_TORCH = ("CUDA out of memory", "can't allocate memory", "MPS backend out of memory")
"""What torch says, on a GPU, a CPU and a Mac."""


def out_of_memory(error: BaseException, batch_size: int | None) -> UsageError | None:
    """What to say of an error that means that memory was not enough; None for any other.

    Args:
        batch_size: images at a time in what was being done, if it is known.
    """
    text = str(error)
    # By name and text: torch, which takes seconds to import, is not imported for it.
    of_torch = type(error).__name__ == "OutOfMemoryError" or any(m in text for m in OF_TORCH)
    if not (of_torch or isinstance(error, MemoryError)):
        return None
    fewer = "a smaller data.batch_size"
    if batch_size is not None and batch_size > 1:
        fewer = f"data.batch_size={batch_size // 2} (it is {batch_size})"
    return UsageError(f"out of memory: add {fewer}; or a narrower network, model.width=0.5")


def one_line(error: BaseException) -> str:
    """What an error says, in one line; its type, if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its type, if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
