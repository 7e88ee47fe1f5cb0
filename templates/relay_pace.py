# SPDX-License-Identifier: Apache-2.0
# When a source is too slow. Pure: it is told the time, in seconds.

AHEAD = 3      # chunks that the source has and this host lacks: then it is this connection
BEHIND = 4     # chunks behind the root; fewer are on their way in any tree
PATIENCE = 4   # windows, where the cause is farther up: those nearer to it act first


class Pace:
    """How this host advances beside the root of its tree.

    In a tree each host sends to up to `degree` children, so that where all links are alike they get
    one part in `degree` of what the root gets: slow is less than half of that. Where the root was
    never seen to advance, because it had all of the stream, `expected` (chunks a second) stands for
    it; 0: not known.
    """

    def __init__(self, number, degree, expected, now):
        self.number, self.share, self.expected = number, 2.0 * max(1, degree), expected
        self.first = None   # when the root was first heard of, and where it was
        self.best = 0.0     # chunks a second, of the root since then
        self.root = 0
        self.seen = ""      # in the last window, beside what was due
        self.begin(now, 0)

    def begin(self, now, have):
        """With another source."""
        self.slow_windows = 0
        self.open_window(now, have)

    def open_window(self, now, have):
        self.began, self.had, self.root_was, self.heard = now, have, self.root, False

    def hear(self, now, root):
        """What a frame said of the root; 0: its sender has not heard of it yet."""
        if not root:
            return
        self.heard = True
        self.root = max(self.root, root)
        if self.first is None:
            self.first = (now, root)
        elif now - self.first[0] >= 0.5:
            self.best = max(self.best, (self.root - self.first[1]) / (now - self.first[0]))

    def window(self):
        rate = self.best or self.expected
        return max(0.5, 8 / rate) if rate else 0.5

    def is_slow(self, now, have, source_has):
        """Whether the source is to be left; `have` counts parts of chunks too."""
        passed = now - self.began
        if passed < self.window():
            return False
        if self.heard and self.root < self.number:
            due = self.root - self.root_was
        else:  # it has all, or nobody told how far it is
            due = (self.best or self.expected) * passed
        slow = (due >= 1 and have - self.had < due / self.share
                and max(self.root, source_has) - have >= BEHIND)
        self.slow_windows = self.slow_windows + 1 if slow else 0
        self.seen = "%.1f of %.1f chunks/s" % ((have - self.had) / passed, due / passed)
        self.open_window(now, have)
        return slow and (source_has - have >= AHEAD or self.slow_windows >= PATIENCE)
