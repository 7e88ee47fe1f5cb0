# SPDX-License-Identifier: Apache-2.0
# The symbols that libraries of this interpreter's process give to others. layout.py and
# probe_runtime.py stand before this text; one line of JSON follows it. Reads only.
import json


def main():
    asked = json.loads(sys.stdin.buffer.readline().decode())
    nonce = asked["nonce"].encode()
    out = sys.stdout.buffer
    paths = runtime_paths(asked["torch"])
    for name in asked["names"]:
        try:
            image = Image(paths[name])
            lines = [b" ".join(image.needed())] + image.exports()
        except (KeyError, OSError, ValueError, IndexError, struct.error):
            continue
        head = b" ".join((nonce, name.encode(), image.build_id().encode(), b"%d" % len(lines)))
        out.write(b"\n".join([b"", head] + lines + [b""]))
    out.flush()


main()
