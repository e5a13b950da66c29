"""What a test says of a call that AWS refuses."""

import re
from typing import Any

import pytest
from botocore.exceptions import ClientError


def refused(code: str) -> Any:
    """A context in which a call must end with this error code, to the letter."""
    return pytest.raises(ClientError, match=rf"\({re.escape(code)}\)")
