"""The generated pages tell what is true now."""

from __future__ import annotations

from operations.reference import pages


def test_generated_pages_are_up_to_date() -> None:
    for path, text in pages().items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path.name} is old: run `python -m operations.reference`"
        )
