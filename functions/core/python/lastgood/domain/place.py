"""A Region of an account: where sources are, and copies of their points."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """EC2 is one in each: with snapshots, slots, keys and lineages of its own."""

    region: str
    account: str

    def __str__(self) -> str:
        return f"{self.region} of {self.account}"

    def name(self, home: str) -> str:
        """In runs and reports: ``eu-west-1`` in the account ``home``, and in any other
        ``222222222222/eu-west-1``."""
        return self.region if self.account == home else f"{self.account}/{self.region}"
