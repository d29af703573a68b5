"""The exception tree. Each message is one line: what was wrong, what was expected, what to do now."""


class RayBirdsError(Exception):
    """Anything that the person at the command line can mend; jobs print it without a traceback."""


class SettingsError(RayBirdsError):
    """An option, or a combination of options, that cannot be carried out."""


class DataError(RayBirdsError):
    """Images, or a source of them, that are not what they should be."""


class ModelError(RayBirdsError):
    """Weights or a bundle that are missing, damaged, or made for something else."""


class OutputError(RayBirdsError):
    """A place for results that is taken, incomplete, full, or cannot be written."""


class BlockingFindings(RayBirdsError):  # noqa: N818 - reads as what was found
    """A check found what blocks a sweep; its page and tables are in place."""


class OutOfMemoryError(RayBirdsError):
    """A trial does not fit into the memory of its device."""


class TrialsFailed(RayBirdsError):  # noqa: N818 - reads as what happened
    """Some trials of a sweep ended in an error; the results of the others are in place."""
