"""What a notebook is like for somebody who looks on; where nobody does, and outside a notebook, all is as ever.

Pictures are sharp on dense displays. An error of a value that a reader gives (ValueError and TypeError), whose line
says what was allowed, has that line first, and the way to it folded below.
"""

import html
import traceback

from IPython import get_ipython
from IPython.display import HTML, display
from matplotlib_inline.backend_inline import set_matplotlib_formats

from eureka_lib import progress


def prepare() -> None:
    """From now on draw sharply, and fold ValueErrors and TypeErrors."""
    if (shell := get_ipython()) and not progress.headless():
        shell.set_custom_exc((ValueError, TypeError), _folded)
        set_matplotlib_formats("retina")


def _folded(shell, kind, value, trace, tb_offset=None) -> list[str]:
    """The error in a line, which the cell ends with; its traceback is displayed, folded."""
    lines = html.escape("".join(traceback.format_exception(kind, value, trace)))
    display(HTML(f"<details><summary>where it was raised</summary><pre>{lines}</pre></details>"))
    line = [f"{kind.__name__}: {value}"]
    shell._showtraceback(kind, value, line)  # IPython leaves this to whoever handles an error
    return line
