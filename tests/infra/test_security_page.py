"""``docs/security.md`` says what the templates say."""

from tests.infra.conftest import Synthesised
from tests.support.security_table import FILE, page


def test_the_page_on_security_is_what_the_templates_say(bundle: Synthesised) -> None:
    assert FILE.read_text() == page(bundle), "stale: make security"
