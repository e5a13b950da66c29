"""What people are told, once."""

from datetime import datetime

from lastgood.domain.notices import Notice
from lastgood.ports import Ledger, Notices


def tell_once(ledger: Ledger, notices: Notices, notice: Notice, at: datetime) -> bool:
    """Tell it, unless it was told before; whether it was told now. Twice if this is killed in
    between."""
    if ledger.told(notice.key):
        return False
    notices.tell(notice)
    ledger.note_told(notice.key, at)
    return True
