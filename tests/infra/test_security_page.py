"""``docs/security.md`` says what the templates say."""

from pathlib import Path

from infra.bundle import CHAT
from tests.infra.conftest import synthesise
from tests.support.security_table import FILE, PERMISSIONS, POLICIES, page


def test_the_page_on_security_is_what_the_templates_say(tmp_path: Path) -> None:
    made = page(synthesise(tmp_path, POLICIES, context={CHAT: str(PERMISSIONS)}))

    assert FILE.read_text() == made, "stale: make security"
