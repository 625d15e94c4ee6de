"""Training rows: examples as they are read, and as ids and labels. The one place that masks."""

from cft.rows.read import load_rows, rows_of
from cft.rows.tokens import IGNORED, TokenRow, ends, tokenize_row
from cft.rows.turns import reads_thoughts

__all__ = ["IGNORED", "TokenRow", "ends", "load_rows", "reads_thoughts", "rows_of", "tokenize_row"]
