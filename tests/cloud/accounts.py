"""The accounts of the cloud, and in which of them whoever signs with an access key acts."""

import re
from collections.abc import Callable

HOME = "123456789012"
# moto tells the account by a key of twenty capital letters and digits, and by no other.
_KEY = re.compile(r"(?:OPERATOR|S\d{7})(\d{12})")


def operator_credentials(account: str = HOME) -> dict[str, str]:
    """Those of an administrator of the account."""
    key = "test" if account == HOME else f"OPERATOR{account}"
    return {"aws_access_key_id": key, "aws_secret_access_key": "test"}


def service_key(number: int, account: str) -> str:
    return f"S{number:07}{account}"


def operated_by(access_key: str) -> str | None:
    """The account whose administrator, or service, has the key; None: a session, or unknown."""
    known = _KEY.fullmatch(access_key)
    return known[1] if known else None


def reading_keys(stock: Callable[[str], str]) -> Callable[[str], str]:
    """moto's look-up of an account, for the keys above too."""
    return lambda access_key: operated_by(access_key) or stock(access_key)
