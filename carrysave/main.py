# SPDX-License-Identifier: Apache-2.0
"""The command line."""

import sys
import warnings

from rich.markup import escape

from . import commands  # noqa: F401 - they enter themselves
from .errors import BadInput, Failure
from .front import app, err

__all__ = ["app", "main"]


def main():
    """Run the command line; mistakes of the user end in one line and exit status 2."""
    # Components that are made only to be checked are no mistake. By its text: to import the
    # warning's class takes as long as the rest of the start.
    warnings.filterwarnings("ignore", ".* created but never used")
    try:
        app(standalone_mode=True)
    except BadInput as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except Failure as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted; nothing was left half-written", highlight=False)
        sys.exit(130)


if __name__ == "__main__":
    main()
