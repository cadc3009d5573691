"""scripts/train_ppo.py of which each process has an output_dir of its own, as machines without shared storage do.

train_on_two_disks.py flags...
"""

import os
import sys

from scripts.train_ppo import main
from trl_ext.session_ppo import trainer

if __name__ == "__main__":
    trainer.SEEN_WITHIN_SECONDS = 1.0
    place = sys.argv.index("--output_dir") + 1
    sys.argv[place] += f"-of-{os.environ['RANK']}"
    sys.exit(main(sys.argv[1:]))
