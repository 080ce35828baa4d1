"""The commands of `plimsoll` that plan and operate."""
