"""Runs a command at a terminal of its own and types what it is told to.

at_terminal.py '[["pattern", "answer"], ...]' COMMAND ...
Each answer is typed once its pattern has come; all that the terminal showed is printed.
"""
import json
import os
import pty
import re
import select
import sys
import time

LIMIT = 120  # seconds


def main() -> int:
    answers = json.loads(sys.argv[1])
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(sys.argv[2], sys.argv[2:])
    shown, looked_at = b"", 0
    ends = time.monotonic() + LIMIT
    while time.monotonic() < ends:
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # Linux says so once the last process has closed the other side
                break
        match = answers and re.search(answers[0][0].encode(), shown[looked_at:])
        if match:
            looked_at += match.end()
            time.sleep(0.1)  # readpassphrase(3) throws away what was typed before it asked
            os.write(terminal, answers.pop(0)[1].encode())
    else:
        os.kill(child, 9)
    sys.stdout.write(shown.decode(errors="replace"))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


sys.exit(main())
