"""One error base: what went wrong, where, what to do, and the exit code that says so."""


class EdgeBudgetError(Exception):
    """A failure that a user can act on.

    `message` says what and where in one sentence, `hint` what to do about it. `exit_code` is what the command
    line ends with: 2 for wrong usage, bad input, or a model that could not be estimated.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class UsageError(EdgeBudgetError):
    """The command or the call asks for something that does not exist or does not fit together."""


class UnknownNameError(UsageError):
    """A name that no registry, zoo or folder holds."""


class ModelError(EdgeBudgetError):
    """The model could not be found, built, or given inputs."""


class TraceError(EdgeBudgetError):
    """The model was built, but its forward could not be traced."""


class DataDependentError(TraceError):
    """The forward reads the values of a tensor, which a trace without weights does not have."""


class ProfileError(EdgeBudgetError):
    """A device profile is not valid; the message starts with the file and the field."""


class SettingsError(EdgeBudgetError):
    """The settings of a repository are not valid; the message starts with the file, the line and the key."""


class BaselineError(EdgeBudgetError):
    """An earlier report cannot be read, or is none."""


class CalibrationError(EdgeBudgetError):
    """Calibration data or a fit is missing, not valid, or not applicable."""


class MeasurementError(EdgeBudgetError):
    """A real runtime could not be measured."""


class MissingExtraError(EdgeBudgetError):
    """An optional package is needed; the hint names the extra that brings it."""

    def __init__(self, package: str, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the package '{package}', which is not installed.",
            f"Install it with: pip install 'edgebudget[{extra}]'",
        )


class OutputError(EdgeBudgetError):
    """A report could not be written; nothing was left half-written."""
