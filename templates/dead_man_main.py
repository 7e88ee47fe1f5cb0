# SPDX-License-Identifier: Apache-2.0
# The process that outlives the session. durable.py, activation.py, holder.py, history.py and dead_man.py stand before this
# text; its words: "watch" or "probe", ROOT, identity.
import os
import sys


def main():
    mode, root, identity = sys.argv[1:]
    os.umask(0o022)
    name = ARMED if mode == "watch" else OUTLIVES
    write_record(root, name, this_process(identity))
    if mode == "watch":
        watch(root, identity)
    else:
        show_life(root)


main()
