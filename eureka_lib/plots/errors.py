"""An error in a notebook: its line first, and the way to it folded below.

For errors of the values that a reader gives (ValueError and TypeError), whose line says what was allowed; where nobody
looks on, and outside a notebook, errors are as ever.
"""

import html
import traceback

from IPython import get_ipython
from IPython.display import HTML, display

from eureka_lib import progress


def fold_tracebacks() -> None:
    """From now on show this notebook's ValueErrors and TypeErrors folded."""
    if (shell := get_ipython()) and not progress.headless():
        shell.set_custom_exc((ValueError, TypeError), _folded)


def _folded(shell, kind, value, trace, tb_offset=None) -> list[str]:
    """The error in a line, which the cell ends with; its traceback is displayed, folded."""
    lines = html.escape("".join(traceback.format_exception(kind, value, trace)))
    display(HTML(f"<details><summary>where it was raised</summary><pre>{lines}</pre></details>"))
    line = [f"{kind.__name__}: {value}"]
    shell._showtraceback(kind, value, line)  # IPython leaves this to whoever handles an error
    return line
