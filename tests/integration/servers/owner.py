"""A process that owns throw-away servers and is then ended by a test, in some way.

`python owner.py WAY` prints one line, `DIRECTORY DIRECTORY PID...`, and ends as WAY says.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from phasegate.servers.cache import CacheServer
from phasegate.servers.postgres import PostgresServer
from phasegate.servers.supervisor import descendants


def main(way: str) -> None:
    """Starts both servers and ends in the given way, or waits to be ended."""
    postgres = PostgresServer(settings={"fsync": False})
    cache = CacheServer()
    if way == "thread":
        # PR_SET_PDEATHSIG counts the end of the thread that forked: servers must survive it.
        for start in (postgres.start, cache.start):
            starter = threading.Thread(target=start)
            starter.start()
            starter.join()
        time.sleep(0.3)
        assert postgres.execute("select 1") == [(1,)]
    else:
        postgres.start()
        cache.start()
    below = descendants(os.getpid())
    if way == "fork":
        # The child keeps every pipe of ours open, beyond our own end.
        child = os.fork()
        if child == 0:
            os.close(1)
            time.sleep(60)
            os._exit(0)
        below.append(-child)
    if way == "frozen":
        postgres.freeze()
        cache.freeze()
    homes = (postgres.data_directory.parent, cache.socket_path.parent.parent)
    print(*homes, *below, flush=True)  # noqa: T201  # the test reads it
    if way == "thread":
        return
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        # A terminal's Ctrl-C reaches the whole process group: the servers must be out of it.
        assert postgres.execute("select 1") == [(1,)]
        raise


if __name__ == "__main__":
    main(sys.argv[1])
