"""Run the cloud: ``python -m tests.cloud --port 5055 --start 2026-03-01T00:00:00Z --live``."""

import argparse
import os
import signal
import threading
from datetime import UTC, datetime

# Read by moto when it is imported. Its images would bring a thousand foreign snapshots along; with
# the managed policies, AWSLambdaBasicExecutionRole means what it means on AWS.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
# Calls inside the cloud name their endpoint and credentials themselves.
os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)

from tests.cloud.clock import Clock
from tests.cloud.server import Cloud


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cloud", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--start", type=datetime.fromisoformat, default=datetime.now(UTC))
    parser.add_argument("--live", action="store_true", help="do what is due without being told")
    given = parser.parse_args()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    with Clock(given.start, ticking=True) as clock:
        cloud = Cloud(clock)
        print(cloud.start(given.port), flush=True)
        if given.live:
            threading.Thread(target=cloud.live, args=(1.0,), daemon=True).start()
        ended.wait()
        cloud.close()


if __name__ == "__main__":
    main()
