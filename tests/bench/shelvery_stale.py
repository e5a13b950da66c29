"""For shelvery's own environment: how many backups a second its check for staleness takes.

Prints ``{"rate": ...}``, in backups a second of CPU.
"""

import json
import time
from datetime import UTC, datetime, timedelta

from shelvery.backup_resource import BackupResource
from shelvery.runtime_config import RuntimeConfig

COUNT = 20_000


class Engine:
    """What ``calculate_expire_date`` asks for: a name, and no options given by hand."""

    lambda_payload = None
    lambda_context = None

    def get_engine_type(self) -> str:
        return "ebs"


def a_backup(number: int) -> BackupResource:
    backup = BackupResource(tag_prefix="shelvery", entity_resource=None, construct=True)
    backup.date_created = datetime.now(UTC) - timedelta(days=number % 60)
    backup.retention_type = BackupResource.RETENTION_DAILY
    backup.entity_resource_tags = dict
    backup.entity_id = "vol-1"
    return backup


def main() -> None:
    engine = Engine()
    backups = [a_backup(number) for number in range(COUNT)]
    began = time.process_time()
    for backup in backups:
        backup.is_stale(engine)
    rate = COUNT / (time.process_time() - began)
    print(json.dumps({"rate": rate, "config": RuntimeConfig.__name__}))


if __name__ == "__main__":
    main()
