"""Errors a person can act on. Each carries the exit code of the command line."""


class FigmentError(Exception):
    """Something went wrong that a message can explain; `exit_code` is what a command ends with."""

    exit_code = 1


class UsageError(FigmentError):
    """The request itself is wrong: an unknown name, a value out of bounds, two options that exclude each other."""

    exit_code = 2


class DataError(FigmentError):
    """The data cannot be used: too few readable items, mixed kinds, a hostile archive."""

    exit_code = 3


class Diverged(FigmentError):
    """A loss or a gradient stopped being finite; raised before the update."""

    exit_code = 4


class InvalidCheckpoint(FigmentError):
    """A checkpoint or a model file is missing, damaged, or from a newer version."""

    exit_code = 5


def did_you_mean(asked: str, known: object) -> str:
    """One sentence that lists what exists and names the nearest: for the end of a `UsageError`."""
    from difflib import get_close_matches

    names = sorted(str(name) for name in known)  # type: ignore[attr-defined]
    close = get_close_matches(asked, names, n=1, cutoff=0.5)
    listing = ", ".join(names)
    return (f"Did you mean '{close[0]}'? " if close else "") + (
        f"There are: {listing}." if names else "There are none."
    )
