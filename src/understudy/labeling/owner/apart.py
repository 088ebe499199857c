"""The process that answers the owner's slow requests (`web/apart.py`):

python -m understudy.labeling.owner.apart PROJECT
"""

import sys
from pathlib import Path

from understudy.labeling.app import routes
from understudy.labeling.parts import LabelApp
from understudy.store import open_project
from understudy.web.apart import answer_calls

if __name__ == "__main__":
    project = open_project(Path(sys.argv[1]))
    answer_calls(routes(), LabelApp(store=project.open_store(pooled=True), project=project))
