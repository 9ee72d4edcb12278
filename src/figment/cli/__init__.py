"""The command line: parse, call one public function, print. Results go to stdout, progress to stderr."""

from __future__ import annotations

import signal
import sys
import warnings
from types import FrameType


def main() -> None:
    """Runs a command; ends with the exit code of the contract and no stack trace for a person's mistakes."""
    signal.signal(signal.SIGINT, _interrupted)
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    import figment.cli.anomaly
    import figment.cli.attack
    import figment.cli.classify
    import figment.cli.colours
    import figment.cli.complete
    import figment.cli.diagnose
    import figment.cli.distill
    import figment.cli.explore
    import figment.cli.export
    import figment.cli.faces
    import figment.cli.lessons
    import figment.cli.translate  # noqa: F401 - each adds its command
    from figment.cli.commands import app
    from figment.core.errors import FigmentError

    try:
        app(prog_name="figment")
    except FigmentError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder without permission
        print(f"error: {error.strerror or error}: {error.filename or '?'}", file=sys.stderr)
        sys.exit(1)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    print("stopped", file=sys.stderr)
    sys.exit(130)
