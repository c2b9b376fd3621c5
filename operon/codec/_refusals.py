"""The two refusals of the codec: of a value to write, of a text to read.

They carry facts only; whoever knows the run and the step turns them into the
errors that users see. This file knows nothing of types or formats.
"""


class NotEncodable(Exception):  # noqa: N818 - a refusal that the engine translates
    """A value would not come back from its text as the same value.

    Attributes:
        path: Where in the value, such as `result.items[2].price`.
        reason: What is so there, and the cure.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


class Undecodable(Exception):  # noqa: N818 - a refusal that the engine translates
    """A stored text does not fit the type declared today.

    Attributes:
        reason: What does not fit, and where.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
