"""Several methods of subtraction on the same exposures, side by side."""
