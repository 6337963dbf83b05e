"""One chair in four colourings, side by side: what the shipped adapter looks at.

python docs/examples/point_cloud_insight.py out/
"""

import sys
from pathlib import Path

from domains.point_cloud import PointCloudClassifier
from domains.point_cloud.data import world
from domains.point_cloud.output.pictures import render
from suite.media import sheets

COLOURINGS = {
    "patches": "patches and their centres",
    "influence": "influence on the answer",
    "spectrum": "energy in high frequencies",
    "chunks": "local graphs",
}

classifier = PointCloudClassifier.from_pretrained("tiny")
chair = world.make("chair", 2_500_001, 4096, occluded=0.0).points
cards = []
folder = Path(sys.argv[1])
for colour, title in COLOURINGS.items():
    [result] = classifier.predict([chair], colour=colour, out=folder)
    cards.append(sheets.caption(render(result.drawing, 330), title))
sheets.save_png(sheets.sheet(cards, columns=4), folder / "insight.png")
