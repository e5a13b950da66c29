"""``docs/security.md`` says what the templates say."""

from pathlib import Path

from tests.infra.conftest import synthesise
from tests.support.security_table import FILE, POLICIES, page


def test_the_page_on_security_is_what_the_templates_say(tmp_path: Path) -> None:
    assert FILE.read_text() == page(synthesise(tmp_path, POLICIES)), "stale: make security"
