"""Errors of the program text: raised when it is imported or first used."""

from operon.errors.base import OperonError


class DeclarationError(OperonError):
    """Something is declared in a way that cannot work."""

    code = "declaration"

    def __init__(self, subject: str, problem: str, *, cure: str) -> None:
        super().__init__(f"{subject} {problem}", hint=cure, subject=subject)


class DuplicateNameError(DeclarationError):
    """Two workflows of one version, or two steps of one workflow, share a name."""

    code = "duplicate-name"


class SignatureError(DeclarationError):
    """A function's parameters or annotations do not fit its decorator."""

    code = "signature"


class ConfigurationError(OperonError):
    """A setting is missing, malformed or contradicts another."""

    code = "configuration"

    def __init__(self, setting: str, problem: str, *, cure: str) -> None:
        super().__init__(f"{setting} {problem}", hint=cure, setting=setting)
