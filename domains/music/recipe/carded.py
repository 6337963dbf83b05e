"""What both recipes write beside an adapter: its card, with how to prompt it and both licences."""

from __future__ import annotations

from pathlib import Path

from domains.music.model.manifest import Manifest
from domains.music.output.card import adapter_card
from suite import adapters
from suite.adapters.handle import handle_of
from suite.files import write_text
from suite.training import AdapterModule


class CardedRecipe(AdapterModule):
    """A recipe whose adapters say how to prompt them, and under whose licences they stand."""

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter with its card."""
        super().save_adapter(folder)
        base = None if self.base.startswith((".", "/", "~")) else self.base
        stated = Manifest.from_dict(self.extra(), folder)
        methods = [member.method for member in handle_of(self.model).attachment("default").members]
        parameters = adapters.count(self.model).trainable
        card = adapter_card(stated, base=base, methods=list(dict.fromkeys(methods)), parameters=parameters)
        write_text(Path(folder) / "README.md", card)
