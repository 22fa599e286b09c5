"""The command line: `edgebudget`, and `python -m edgebudget`."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from traceback import print_exc

import typer

from edgebudget.cli.app import build_app
from edgebudget.cli.output import print_error
from edgebudget.errors import EdgeBudgetError

USAGE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the process's own) name and return its exit code.

    Whatever goes wrong becomes one sentence on stderr; a traceback only with `--debug`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        with _log_to_stderr() if debug else nullcontext():
            code = build_app(arguments)(arguments, prog_name="edgebudget", standalone_mode=False)
        sys.stdout.flush()
    except EdgeBudgetError as error:
        return _fail(str(error), error.exit_code, debug)
    except typer.TyperException as error:
        return _fail(f"{error.format_message().rstrip('.')}. Try 'edgebudget --help'.", USAGE, debug)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone. What is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _fail(f"internal error: {what}. Run again with --debug for the traceback.", USAGE, debug)
    if code == INTERRUPTED:  # what typer makes of a KeyboardInterrupt, too
        print_error("interrupted")
    return code if isinstance(code, int) else 0


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Show what the package logs: the tracebacks behind the sentences that a report carries."""
    logger, handler = logging.getLogger("edgebudget"), logging.StreamHandler(sys.stderr)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _fail(sentence: str, code: int, debug: bool) -> int:
    if debug:
        print_exc()
    print_error(sentence)
    return code
