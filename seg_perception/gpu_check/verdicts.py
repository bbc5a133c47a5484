"""What a row of the table says of its check."""

from __future__ import annotations

OK, WRONG, FAULT, DIED, LEFT_OUT, MEASURED = "ok", "WRONG", "FAULT", "DIED", "left out", ""
"""Right; not right; the check raised; its process ended or hung; could not be done here; a number without a judgement."""

BAD = (WRONG, FAULT, DIED)
