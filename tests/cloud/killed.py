"""The death of a process, as a test inflicts it."""


class Killed(BaseException):
    """The worker died here: no handler of ours may catch it."""
