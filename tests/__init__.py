"""The proof. Importing it makes the functions importable, as the layer does in Lambda."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

for folder in ("functions/core/python", "functions"):
    if str(ROOT / folder) not in sys.path:
        sys.path.insert(0, str(ROOT / folder))
