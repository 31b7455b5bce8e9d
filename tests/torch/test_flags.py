"""torchrun's own parser, against what petctl says of its flags."""

import unittest

from torch.distributed.run import get_args_parser
from world import ROOT, WorldTest

TABLE = ROOT / "docs" / "torchrun.md"


class Flags(WorldTest):
    def flags(self) -> dict[str, list[str]]:
        """Spellings of each of torchrun's flags, by its name."""
        actions = get_args_parser()._actions
        return {a.dest: list(a.option_strings) for a in actions if a.option_strings and a.dest != "help"}

    def test_every_flag_of_torchrun_is_in_the_table_of_the_documentation(self):
        rows = [line for line in TABLE.read_text().splitlines() if line.startswith("|")]
        missing = [
            name
            for name, spellings in self.flags().items()
            if not any(f"`{spelling}`" in row for spelling in spellings for row in rows)
        ]
        self.assertEqual(missing, [])
        self.finish()

    def test_every_flag_of_torchrun_is_known_in_every_spelling(self):
        help_text = self.petctl("torchrun", "--help").stdout()
        missing = [
            name
            for name, spellings in self.flags().items()
            if not any(spelling in help_text for spelling in spellings)
        ]
        self.assertEqual(missing, [])
        self.finish()


if __name__ == "__main__":
    unittest.main()
