# SPDX-License-Identifier: Apache-2.0
# Where releases of an environment lie. Probe and rollout both begin with this text.
import os


def release_root(prefix):
    """The folder of ours for the environment `prefix` (sys.prefix).

    A sibling folder, because as root `pip uninstall` deletes files of a release that lies inside
    sys.prefix; and not one whose path begins with the prefix's text, because pip compares strings.
    """
    prefix = os.path.realpath(prefix)
    if prefix in ("/usr", "/usr/local"):
        return "/var/lib/ds-deploy/" + prefix.strip("/").replace("/", "-")
    parent, name = os.path.split(prefix)
    beside = os.path.join(parent, ".ds-deploy", name)
    inside = os.path.join(prefix, "var", "ds-deploy")
    if os.path.isdir(beside) or (not os.path.isdir(inside) and os.access(parent, os.W_OK)):
        return beside
    return inside
