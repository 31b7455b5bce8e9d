//! What `petctl torchrun --help` says.

use super::command_line::shown;
use super::flags::{FLAGS, Group, Takes};
use std::fmt::Write;

/// Where the help texts begin.
const COLUMN: usize = 34;

pub(crate) const USAGE: &str = "usage: torchrun [FLAGS] SCRIPT [ARGUMENTS OF THE SCRIPT]";

pub(crate) fn text() -> String {
    let mut text = format!(
        "{USAGE}

Starts a training script on this node, as torchrun does, and takes all of its flags, whole or abbreviated, with - or _.
Groups form as soon as their nodes are there and form again within a second when one is lost; one count of restarts
holds for the whole job; the process that failed first is named.

  -h, --help                      This text
"
    );
    for group in Group::ALL {
        // Writing to a string can't fail.
        let _written = writeln!(text, "\n{}:", group.title());
        for flag in FLAGS.iter().filter(|flag| flag.group == group) {
            let mut left = shown(flag).replace('/', ", ");
            if let Takes::Value(value) = flag.takes {
                left = format!("{left} {value}");
            }
            let _written = if left.len() + 4 > COLUMN {
                writeln!(text, "  {left}\n{:COLUMN$}{}", "", flag.help)
            } else {
                writeln!(text, "  {left:width$}{}", flag.help, width = COLUMN - 2)
            };
        }
    }
    text.push_str(
        "
Environment:
  PET_<FLAG>                      Default of a flag: PET_NNODES=1:4, PET_STANDALONE=1
  PYTHON_EXEC                     The Python to use [default: python3 beside this program, of $VIRTUAL_ENV, on the PATH]
  PETCTL_TOKEN_FILE, PETCTL_TOKEN The coordinator's token, for nodes that others must not join [default: of --rdzv-id]
  PETCTL_WANTED                   Nodes to wait for, between MIN and MAX [default: MAX]

Examples:
  petctl torchrun --standalone --nproc-per-node 4 train.py --epochs 3
  petctl torchrun --nnodes 2:4 --rdzv-backend c10d --rdzv-endpoint head:29400 --rdzv-id run1 train.py

Exit codes: 0 all succeeded; 1 the job failed; 2 the command line is wrong; 75 too few nodes came in time; 128 + N this
was ended by signal N.
docs/torchrun.md has every flag and variable, and how they differ from torchrun's.
",
    );
    text
}
