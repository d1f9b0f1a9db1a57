"""The one place that writes to the terminal, so that messages and progress bars do not mix."""

import logging

from rich.console import Console

console = Console(highlight=False, soft_wrap=True, markup=False)


class ConsoleHandler(logging.Handler):
    """Shows log messages above a progress bar that is being drawn, in lines of any length."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            console.print(self.format(record))
        except Exception:
            self.handleError(record)
